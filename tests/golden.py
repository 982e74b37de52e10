"""Record what the program computes and offers, and compare two records.

python tests/golden.py record before.json
python tests/golden.py record after.json
python tests/golden.py compare before.json after.json

A pure refactoring must give an equal record. `--only commands,node` records some parts, which takes
seconds instead of minutes. Floats differ between machines and builds of the engines, so no record
is committed: record both on one machine.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosbags.highlevel import AnyReader

if TYPE_CHECKING:
    from rclpy.node import Node

SEEDS = (5, 11)
FRAMES = 24
NODE_FRAMES = 300
RATE_HZ = 10
SETTLED_S = 2.0
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


def streets(folder: Path) -> dict[str, Any]:
    """Run bags of generated streets; return hashes of all messages, and the summaries."""
    result = {}
    for seed in SEEDS:
        bag, out = folder / f"street{seed}", folder / f"run{seed}"
        savos("street-bag", bag, "--seed", seed, "--frames", FRAMES)
        savos("run", bag, "--out", out, "--refine", "--no-video", "--backend", "onnx")
        summary = json.loads((out / "summary.json").read_text())
        result[f"seed {seed}"] = {
            "in": hashes(bag),
            "out": hashes(out / "result"),
            "summary": stable(summary),
        }
    return result


def evaluation(folder: Path) -> dict[str, Any]:
    """Return the scores of `savos evaluate street`."""
    scores = folder / "scores.json"
    savos("evaluate", "street", "--scenes", 2, "--frames", FRAMES, "--json", scores)
    return stable(json.loads(scores.read_text())["metrics"])


def accounting(folder: Path) -> dict[str, Any]:
    """Feed the node at its own pace; return the frames sent, processed and lost by topic."""
    hours, out = NODE_FRAMES / RATE_HZ / 3600, folder / "node.json"
    savos("soak", "--hours", hours, "--samples", 2, "--fresh", 0, "--json", out)
    report = json.loads(out.read_text())["metrics"]
    return {name: report[name] for name in ("sent", "answered", "lost")}


def commands(folder: Path) -> dict[str, str]:
    """Return what every command prints with --help, by its full name."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from savos_ros.cli.main import app

    def names(command: Any, parents: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        inner = getattr(command, "commands", {}).items()
        return sum((names(sub, (*parents, key)) for key, sub in inner), [parents])

    runner = CliRunner(env={"COLUMNS": "100", "TERMINAL_WIDTH": "100", "TERM": "dumb"})
    return {
        " ".join(("savos", *name)): runner.invoke(app, [*name, "--help"], prog_name="savos").output
        for name in names(get_command(app))
    }


def interface(folder: Path) -> dict[str, Any]:
    """Configure a node; return topics and services with their types, and its parameters."""
    import rclpy
    from rclpy.parameter import Parameter

    from savos_ros.node.node import AmodalNode

    name, context = f"golden_{secrets.token_hex(4)}", rclpy.Context()  # one name a call
    rclpy.init(args=["golden", "--ros-args", "-r", f"__node:={name}"], context=context)
    try:
        refine = Parameter("refine.enabled", value=True)  # else one topic is not offered
        node = AmodalNode(context=context, parameter_overrides=[refine])
        try:
            node.trigger_configure()
            return graph(node)
        finally:
            node.close()
    finally:
        rclpy.try_shutdown(context=context)


def graph(node: Node) -> dict[str, Any]:
    """Return the topics and services of a node, and its parameters with descriptors."""
    time.sleep(SETTLED_S)  # a node sees its own topics after a moment
    name, space = node.get_name(), node.get_namespace()
    asked = {
        "publishers": node.get_publisher_names_and_types_by_node,
        "subscriptions": node.get_subscriber_names_and_types_by_node,
        "services": node.get_service_names_and_types_by_node,
        "clients": node.get_client_names_and_types_by_node,
    }
    found: dict[str, Any] = {
        kind: {topic.replace(f"/{name}/", "/savos/"): types for topic, types in ask(name, space)}
        for kind, ask in asked.items()
    }
    names = sorted(node.list_parameters([], 0).names)
    values = zip(node.get_parameters(names), node.describe_parameters(names), strict=True)
    found["parameters"] = {p.name: [p.value, str(described)] for p, described in values}
    return found


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "commands": commands,
    "node": interface,
    "streets": streets,
    "evaluate street": evaluation,
    "accounting": accounting,
}


def differences(a: Any, b: Any, at: str = "") -> list[str]:
    """Return a line for each place where two records differ, or line of a longer text."""
    if isinstance(a, dict) and isinstance(b, dict):
        lines = []
        for key in sorted(a.keys() | b.keys()):
            place = f"{at} / {key}" if at else key
            if key not in a or key not in b:
                lines.append(f"{place}: only in the {'second' if key in b else 'first'}")
            else:
                lines += differences(a[key], b[key], place)
        return lines
    if isinstance(a, str) and isinstance(b, str) and "\n" in a + b:
        changed = list(difflib.unified_diff(a.splitlines(), b.splitlines(), lineterm="", n=0))
        return [f"{at}: {line}" for line in changed[2:] if not line.startswith("@@")]
    return [] if a == b else [f"{at}: {a} != {b}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 1 if two records differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to record, with commas")
    options = parser.parse_args(arguments)
    if options.what == "record":
        parts = options.only.split(",")
        if unknown := sorted(set(parts) - PARTS.keys()):
            parser.error(f"--only takes {', '.join(PARTS)}, not {', '.join(unknown)}")
        with tempfile.TemporaryDirectory() as folder:
            result = {part: PARTS[part](Path(folder)) for part in parts}
        options.files[0].write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
        return 0
    first, second = (json.loads(path.read_text()) for path in options.files)
    found = differences(first, second)
    print("\n".join(found) or "equal")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
