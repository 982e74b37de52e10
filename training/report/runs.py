"""Compare training runs: held-out losses by step, size and cost of their networks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from savos_model.network.presets import make_net
from savos_model.network.unet_layers import unet_flop
from savos_model.results import ResultsError
from savos_model.tables import Table
from training.learn.config import RunConfig, make_run
from training.learn.log import LOG
from training.learn.stages import stage_at

TERMS = ("val", "mask", "direct", "merged", "consistency")  # of an entry of the log
SAME = ("data", "model", "train", "augment", "loss")  # groups of settings that decide a result
FREE = ("name", "start", "steps", "validate_every")  # shown elsewhere, or without effect

NOTE = (
    "MFLOP: of the convolutions, per track. Frames: thousands of object-frames, at most those of "
    "the shortest run. Held-out losses at that point: their sum; L_M carried along the motion, at "
    "its own frame (direct) and of both directions (merged); L_C."
)


def runs_metrics(folders: Sequence[Path]) -> dict:
    """Return curves and differences of runs, for `write_results`.

    Args:
        folders: of `savos train --out`; the first one is what the others are compared with.

    Raises:
        ResultsError: a folder holds no validated run, or two folders have the same name.
        SettingError: its settings are of another version.
    """
    if len({folder.name for folder in folders}) < len(folders):
        raise ResultsError(f"runs must have different names, got {[f.name for f in folders]}")
    runs = {folder.name: (read_run(folder), read_curve(folder)) for folder in folders}
    first = next(iter(runs.values()))[0]
    return {
        "runs": {
            name: {
                "changes": changes(first, run),
                "start": run.train.start,
                "parameters": sum(p.numel() for p in make_net(run.model).parameters()),
                "mflop": round(unet_flop(run.model) / 1e6, 1) if run.model.same_frame else None,
                "curve": [
                    {"step": row["step"], "object_frames": object_frames(run, row["step"])}
                    | {term: row[term] for term in TERMS}
                    for row in curve
                ],
            }
            for name, (run, curve) in runs.items()
        }
    }


def read_run(folder: Path) -> RunConfig:
    """Return the settings that a run has written."""
    try:
        return make_run(folder / "run.yaml")
    except OSError as error:
        raise ResultsError(f"{folder} holds no run ({error}): give savos train's --out") from error


def read_curve(folder: Path) -> list[dict[str, float]]:
    """Return the entries of a run's log, one per validation; errors as runs_metrics."""
    try:
        rows = [json.loads(line) for line in (folder / LOG).read_text("utf-8").splitlines()]
        if rows and all(name in row for row in rows for name in ("step", *TERMS)):
            return rows
    except (OSError, ValueError, TypeError) as error:
        raise ResultsError(f"{folder / LOG} cannot be read: {error}") from error
    raise ResultsError(f"{folder / LOG} must hold validations with {', '.join(TERMS)}: train first")


def changes(first: RunConfig, run: RunConfig) -> dict[str, str]:
    """Return the settings of a run that differ from those of the first one, as text."""
    found = {}
    for group in SAME:
        usual, own = vars(getattr(first, group)), vars(getattr(run, group))
        for name, value in own.items():
            if name not in FREE and value != usual[name]:
                found[name] = str(value)
    return found


def object_frames(run: RunConfig, done: int) -> int:
    """Return the object-frames that the first `done` steps of a run have trained on."""
    config = run.train
    stages = (stage_at(config.plan, step, config.steps) for step in range(done))
    return sum(stage.batch * stage.length for stage in stages)


def runs_table(metrics: Mapping) -> Table:
    """Return a table of the runs, each after about as many object-frames as the shortest one."""
    rows = []
    common = min(run["curve"][-1]["object_frames"] for run in metrics["runs"].values())
    for name, run in metrics["runs"].items():
        shown = [row for row in run["curve"] if row["object_frames"] <= common]
        last = shown[-1] if shown else run["curve"][0]
        differs = ", ".join(f"{key} {value}" for key, value in run["changes"].items())
        cost = "" if run["mflop"] is None else f"{run['mflop']:.0f}"
        size = f"{run['parameters'] / 1e6:.2f}"
        terms = (f"{last[term]:.4f}" for term in TERMS)
        rows.append([name, differs, size, cost, f"{last['object_frames'] / 1e3:.0f}", *terms])
    heads = ("run", "differs in", "weights [M]", "MFLOP", "frames [k]", "loss")
    return Table("", [*heads, *TERMS[1:]], rows, NOTE, names=2)
