"""Looks the figures of table cells up in results files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from savos_model.results import ResultsError, read_results
from training.evaluate.summary import figure_of
from training.report.files import KINS

REDUCED = "reduced"  # in the note of whatever was measured with less than the paper's network
NO_KINS = "KINS-Video-Car is not there: see [what it takes](#missing-data)"
PAPER_NETWORK = {"width": 1.0, "patch_height": 64, "patch_width": 128}

RULE = re.compile(r"methods\.(visible|convex|flow\d+\w*)\.")  # nothing learned: no setting
ADAPTED_BY = ("max_iterations", "batch", "length", "learning_rate")


class Source(NamedTuple):
    """A figure in one results file: its name and the dotted path below `metrics`."""

    file: str
    path: str


class Pooled(NamedTuple):
    """The mean of a figure over several files, each weighted by its number of frames."""

    files: tuple[str, ...]
    path: str


class Absent(NamedTuple):
    """A figure that cannot be measured, and why."""

    reason: str


Cell = Source | Pooled | Absent


class Figure(NamedTuple):
    """A looked-up cell: value and 95 % interval where known, and where it comes from or why not."""

    value: float | None
    interval: tuple[float, float] | None
    note: str


class Results:
    """The results files of one folder, read once each.

    Args:
        folder: where the files lie.
        commands: command that writes each file, by its name.
    """

    def __init__(self, folder: Path, commands: Mapping[str, str]) -> None:
        self.folder, self._commands = folder, commands
        self._read: dict[str, dict | None] = {}

    def document(self, name: str) -> dict | None:
        """Return the file `name`, None when it is not there.

        Raises:
            ResultsError: it is there, but no results file.
        """
        if name not in self._read:
            path = self.folder / name
            self._read[name] = read_results(path) if path.is_file() else None
        return self._read[name]

    def metrics(self, name: str) -> dict | None:
        """Return the metrics of a file, None when it is not there."""
        document = self.document(name)
        return None if document is None else document["metrics"]

    def figure(self, cell: Cell) -> Figure:
        """Look a cell up; whatever is missing becomes a note that says how to get it."""
        if isinstance(cell, Absent):
            return Figure(None, None, cell.reason)
        files = (cell.file,) if isinstance(cell, Source) else cell.files
        for name in files:
            if self.metrics(name) is None:
                return Figure(None, None, self.to_run(name))
            if lookup(self.metrics(name), cell.path) is None:
                return Figure(None, None, f"`{name}` has no {cell.path}; {self.to_run(name)}")
        if isinstance(cell, Source):
            metrics = self.metrics(cell.file)
            value = checked(figure_of(lookup(metrics, cell.path)), cell)
            rule = RULE.search(cell.path) is not None
            origin = self.source(cell.file) if rule else self.origin(cell.file)
            return Figure(value, interval(metrics, cell.path), origin)
        group = cell.path.rpartition(".")[0]
        counts = [lookup(self.metrics(name), f"{group}.frames") for name in files]
        values = [checked(figure_of(lookup(self.metrics(n), cell.path)), cell) for n in files]
        if not all(counts):
            return Figure(None, None, f"the number of frames is missing in {', '.join(files)}")
        mean = sum(v * n for v, n in zip(values, counts, strict=True)) / sum(counts)
        listed = ", ".join(f"`{name}`" for name in files)
        first = setting(self.metrics(files[0]) or {})
        return Figure(mean, None, f"mean over the frames of {listed}; the first: {first}")

    def to_run(self, name: str) -> str:
        """Say which command writes a file, and what data it lacks."""
        command = self._commands.get(name)
        text = f"run: `{command}`" if command else f"needs {name}"
        return f"{text}; {NO_KINS}" if name.startswith(KINS) else text

    def origin(self, name: str) -> str:
        """Say how a file was made: setting, seed, commit, command."""
        return f"{setting(self.metrics(name) or {})}; {self.source(name)}"

    def source(self, name: str) -> str:
        """Return the file that was found, its seed, commit and command."""
        document = self.document(name)
        assert document is not None  # asked only for files that were found
        commit, plus, _ = str(document["commit"]).partition("+")
        changed = " with changes" if plus else ""
        made = f"seed {document['seed']}; commit {commit[:7]}{changed}"
        return f"`{name}`: {made}; `{document['command']}`"


def lookup(metrics: Any, path: str) -> Any:
    """Return the value at a dotted path, None where a part of it is missing."""
    for part in path.split("."):
        if not isinstance(metrics, Mapping) or part not in metrics:
            return None
        metrics = metrics[part]
    return metrics


def checked(value: Any, cell: Source | Pooled) -> float:
    """Return a number, or raise ResultsError: other files must not become blank cells."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ResultsError(f"{cell}: a number is expected, got {value!r}: write the file again")
    return float(value)


def interval(metrics: dict, path: str) -> tuple[float, float] | None:
    """Return the 95 % interval of a figure: its own ci95, or ci95.<name> or ci95 of its group."""
    group, _, name = path.rpartition(".")
    bounds = lookup(metrics, f"{path}.ci95") or lookup(metrics, f"{group}.ci95")
    if isinstance(bounds, Mapping):
        bounds = bounds.get(name)
    return (float(bounds[0]), float(bounds[1])) if bounds else None


def setting(metrics: Mapping) -> str:
    """Return what a file was measured with: mode, weights, and how they differ from the paper's."""
    model, parts = metrics.get("model") or {}, []
    if model:
        mode = metrics.get("mode") or lookup(metrics, "protocol.mode")
        parts += [f"mode {mode}"] if mode else []
        parts.append(
            ", ".join([f"weights {model.get('weights', 'unnamed')}", *weights_text(model)])
        )
    for name, file in (metrics.get("files") or {}).items():
        parts.append(", ".join([f"{name} {file.get('file', '')}".strip(), *weights_text(file)]))
    adapt = metrics.get("adapt") or {}
    settings = [f"{name} {adapt[name]}" for name in ADAPTED_BY if name in adapt]
    if settings:
        parts.append(f"adapted to each video: {', '.join(settings)}")
    # Evaluations store an empty model where rules alone ran.
    nothing = "rules, nothing learned" if "model" in metrics else "network not stored"
    return "; ".join(parts) or nothing


def weights_text(model: Mapping) -> list[str]:
    """Return the size and training of weights, as far as they are stored."""
    training = model.get("training") or {}
    groups = json.loads(training.get("settings", "{}"))  # of SaVos, by training.train.save_best
    network = network_text(model.get("settings") or groups.get("model", {}))
    return network + (savos_text(training, groups) if groups else unet_text(training))


def network_text(network: Mapping) -> list[str]:
    """Return the size of a network, "reduced" where it is smaller than the paper's."""
    if not PAPER_NETWORK.keys() <= network.keys():
        return ["size of the network not stored"]
    reduced = any(network[name] < value for name, value in PAPER_NETWORK.items())
    size = f"width {network['width']:g}, {network['patch_height']}x{network['patch_width']} patches"
    return [f"{REDUCED}: {size} (paper: width 1, 64x128)" if reduced else size]


def savos_text(training: Mapping[str, str], groups: Mapping[str, Mapping]) -> list[str]:
    """Return steps, windows and data of a training of SaVos from its settings by group."""
    run, data = groups["train"], groups["data"]
    # Folders by name alone, without their location.
    stores = dict.fromkeys(PurePath(store).name for store in data["stores"])
    source = ", ".join(stores) if data["source"] == "stored" else "videos generated on the way"
    effort = f"{training['step']} steps of {run['batch']} windows of {run['length']} frames"
    parts = [f"{effort} of {source}", *(["begun with other weights"] if run["start"] else [])]
    if not groups["loss"]["both_directions"]:
        parts.append("forward alone: shares of a merge (alpha) are untrained")
    return parts


def unet_text(training: Mapping[str, str]) -> list[str]:
    """Return steps, frames and data of a U-Net's training, as train_unet.describe stores them."""
    if "train" not in training:
        return []
    batch = json.loads(training["train"])["batch"]
    return [f"{training['step']} steps of {batch} frames of {training['stores']}"]
