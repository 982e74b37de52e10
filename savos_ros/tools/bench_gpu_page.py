"""The page of `savos bench gpu`, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from savos_model.tables import markdown_table

ENGINES = ("torch", "onnx", "tensorrt")
SWAP = (
    "engine", "first start [s]", "from the cache [s]", "swap prepared [s]", "taken over [ms]",
    "parity after it", "p99 alone [ms]", "p99 meanwhile [ms]",
)  # fmt: skip


def page(report: dict) -> str:
    """Return the page of what bench_gpu returns, also after some of the steps."""
    settings, steps = report["settings"], report["steps"]
    kind = "Dry run on the CPU" if settings["dry_run"] else "GPU"
    lines = [f"# {kind}: {settings['weights']}", "", *overview(steps), *machine_lines(steps)]
    runs = list(engine_runs(steps))
    limits = result_of(steps, "machine").get("limit_gflops", {})
    for part in (parity_lines(runs), speed_lines(runs, limits), swap_lines(runs)):
        lines += part
    return "\n".join([*lines, *adaptation_lines(steps), *training_lines(steps), *test_lines(steps)])


def result_of(steps: dict, name: str) -> dict[str, Any]:
    """Return what a step found, as far as it came; empty when it did not run."""
    return steps.get(name, {}).get("result", {})


def engine_runs(steps: dict) -> Iterator[tuple[str, str, dict]]:
    """Yield name of the engine, precision and result of all that ran."""
    for name in ENGINES:
        for precision, part in result_of(steps, name).items():
            yield f"{name} {precision}", precision, part


def section(title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a heading and a table; nothing without rows."""
    return [f"## {title}", "", *markdown_table(heads, rows), ""] if rows else []


def overview(steps: dict) -> list[str]:
    """Return the steps with their states and errors."""
    rows = [
        (name, step["state"], f"{step['seconds']:.0f}", cell(step["error"]))
        for name, step in steps.items()
    ]
    return [*markdown_table(("step", "state", "seconds", "error"), rows), ""]


def cell(text: str) -> str:
    """Return text that stays in its cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def machine_lines(steps: dict) -> list[str]:
    """Return the card, versions and limits."""
    found = result_of(steps, "machine")
    facts = {**found.get("gpu", {}), **found.get("versions", {})}
    for precision, rate in found.get("limit_gflops", {}).items():
        facts[f"product of matrices, {precision} [TFLOP/s]"] = f"{rate / 1e3:.2f}"
    for way, rate in found.get("copies_gb_s", {}).items():
        facts[f"copy {way} [GB/s]"] = f"{rate:.1f}"
    return section("Machine", ("", ""), [(name, cell(str(v))) for name, v in facts.items()])


def parity_lines(runs: list[tuple[str, str, dict]]) -> list[str]:
    """Return how far each engine is from torch on the CPU, and errors of a precision."""
    rows: list[tuple[str, ...]] = []
    heads: tuple[str, ...] = ()
    for name, _, part in runs:
        if "parity" in part:
            found = part["parity"]
            values = [*found["by_tracks"].values(), found["sequence"], found["allowed"]]
            rows.append((name, *map(small, values), "yes" if found["good"] else "NO"))
            heads = (*(f"{n} tracks" for n in found["by_tracks"]), "sequence", "allowed", "good")
    lines = section("Difference from torch on the CPU", ("engine", *heads), rows)
    errors = [(name, cell(part["error"])) for name, _, part in runs if "error" in part]
    return lines + section("Engines that failed", ("engine", "error"), errors)


def small(value: float | None) -> str:
    """Return a difference; None: it was not finite."""
    return "not finite" if value is None else f"{value:.1e}"


def speed_lines(runs: list[tuple[str, str, dict]], limits: dict[str, float]) -> list[str]:
    """Return steps and whole frames a second by number of tracks."""
    rows = []
    for name, precision, part in runs:
        for kind in ("steps", "frames"):
            for tracks, times in part.get(kind, {}).items():
                share = "-"
                if "gflop" in times and precision in limits:
                    reached = 1e3 * times["gflop"] / times["p50_ms"]
                    share = f"{reached / limits[precision]:.1%}"
                speeds = (f"{times['fps']:.0f}", f"{times['p50_ms']:.2f}", f"{times['p99_ms']:.2f}")
                rows.append((name, kind, tracks, *speeds, share))
    heads = ("engine", "", "tracks", "per second", "median [ms]", "p99 [ms]", "of the limit")
    return section("Speed: steps of the network, and whole frames", heads, rows)


def swap_lines(runs: list[tuple[str, str, dict]]) -> list[str]:
    """Return starts, and swaps of weights while an engine runs."""
    rows = []
    for name, _, part in runs:
        if "swap" in part:
            start, found = part["start_s"], part["swap"]
            cells = (start["first"], start["again"], found["prepare_s"], found["use_ms"])
            meanwhile = (found["alone"]["p99_ms"], found["meanwhile"]["p99_ms"])
            rows.append(
                (name, *(f"{v:.2f}" for v in cells), small(found["parity"]),
                 *(f"{v:.2f}" for v in meanwhile))
            )  # fmt: skip
    return section("Start, and other weights while it runs", SWAP, rows)


def adaptation_lines(steps: dict) -> list[str]:
    """Return an engine's times alone and next to an adaptation."""
    found = result_of(steps, "adaptation")
    if not found:
        return []
    rows = [
        (name, f"{found[name]['p50_ms']:.2f}", f"{found[name]['p99_ms']:.2f}")
        for name in ("alone", "meanwhile")
    ]
    run = found["adaptation"]
    rate = run["iterations"] / run["seconds"]
    title = f"Adaptation next to {found['engine']}, {found['tracks']} tracks"
    text = (
        f"{run['iterations']} iterations, {rate:.1f} a second; loss {run['first_loss']:.3f} "
        f"-> {run['last_loss']:.3f}"
    )
    return [*section(title, ("step", "median [ms]", "p99 [ms]"), rows), text, ""]


def training_lines(steps: dict) -> list[str]:
    """Return the speed of training."""
    rows = [
        (part["text"], f"{part['object_frames_per_s']:.0f}", f"{1e3 * part['wall_s']:.1f}",
         f"{part['peak_mib']:.0f}")
        for part in result_of(steps, "training").values()
    ]  # fmt: skip
    heads = ("training", "object-frames per second", "step [ms]", "memory [MiB]")
    return section("Training", heads, rows)


def test_lines(steps: dict) -> list[str]:
    """Return what became of the tests."""
    found = result_of(steps, "tests")
    if not found:
        return []
    rows = [
        (name, kind, cell(why))
        for kind in ("failed", "skipped")
        for name, why in found[kind].items()
    ]
    text = (
        f"{found['passed']} passed, {len(found['failed'])} failed, {len(found['skipped'])} skipped"
    )
    return [
        "## Tests marked gpu",
        "",
        text,
        "",
        *(markdown_table(("test", "", "why"), rows) if rows else []),
    ]
