"""Record what the program computes and compare two records, to verify a pure refactoring.

python scripts/golden.py record before.json
python scripts/golden.py record after.json
python scripts/golden.py compare before.json after.json

Floats differ between machines and builds of the engines, so no record is committed: record both on
one machine. tests/cli/test_interface.py keeps commands, topics and parameters.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader

SEEDS = (5, 11)
FRAMES = 24
NODE_FRAMES = 300
RATE_HZ = 10
UNSTABLE = ("time", "latency", "hz", "seconds")  # parts of the names of what a clock measured


def savos(*arguments: object) -> None:
    """Run a command of `savos` from this tree; raise CalledProcessError if it fails."""
    call = "import sys; from savos_ros.cli.main import app; app()"
    subprocess.run(
        [sys.executable, "-c", call, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL
    )


def hashes(bag: Path) -> dict[str, str]:
    """Return the SHA-256 of the messages of each topic, with their stamps, in order."""
    found: dict[str, Any] = {}
    with AnyReader([bag]) as reader:
        for connection, stamp_ns, data in reader.messages():
            digest = found.setdefault(connection.topic, hashlib.sha256())
            digest.update(stamp_ns.to_bytes(8, "little", signed=True))
            digest.update(data)
    return {topic: digest.hexdigest() for topic, digest in sorted(found.items())}


def stable(value: Any) -> Any:
    """Return a results file without what differs from run to run."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not any(part in k.lower() for part in UNSTABLE)}
        return {key: stable(item) for key, item in kept.items()}
    return [stable(item) for item in value] if isinstance(value, list) else value


def record(folder: Path) -> dict[str, Any]:
    """Run bags, an evaluation and the node; return hashes, scores and counts."""
    result: dict[str, Any] = {}
    for seed in SEEDS:
        bag, out = folder / f"street{seed}", folder / f"run{seed}"
        savos("street-bag", bag, "--seed", seed, "--frames", FRAMES)
        savos("run", bag, "--out", out, "--refine", "--no-video", "--backend", "onnx")
        summary = json.loads((out / "summary.json").read_text())
        result[f"street {seed}"] = {
            "in": hashes(bag),
            "out": hashes(out / "result"),
            "summary": stable(summary),
        }
    scores = folder / "scores.json"
    savos("evaluate", "street", "--scenes", 2, "--frames", FRAMES, "--json", scores)
    result["evaluate street"] = stable(json.loads(scores.read_text())["metrics"])
    result["node"] = node(folder / "node.json")
    return result


def node(out: Path) -> dict[str, int]:
    """Feed the node at its own pace; return the frames sent, processed and lost."""
    hours = NODE_FRAMES / RATE_HZ / 3600
    savos("soak", "--hours", hours, "--samples", 2, "--fresh", 0, "--json", out)
    report = json.loads(out.read_text())["metrics"]
    lost = sum(report["lost"].values())
    return {"sent": report["sent"], "answered": sum(report["answered"].values()), "lost": lost}


def differences(a: Any, b: Any, at: str = "") -> list[str]:
    """Return a line for each place where two records differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        lines = []
        for key in sorted(a.keys() | b.keys()):
            place = f"{at} / {key}" if at else key
            if key not in a or key not in b:
                lines.append(f"{place}: only in the {'second' if key in b else 'first'}")
            else:
                lines += differences(a[key], b[key], place)
        return lines
    return [] if a == b else [f"{at}: {a} != {b}"]


def main() -> int:
    """Run the command line; return 1 if two records differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("files", nargs="+", type=Path)
    options = parser.parse_args()
    if options.what == "record":
        with tempfile.TemporaryDirectory() as folder:
            result = record(Path(folder))
        options.files[0].write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
        return 0
    first, second = (json.loads(path.read_text()) for path in options.files)
    found = differences(first, second)
    print("\n".join(found) or "equal")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
