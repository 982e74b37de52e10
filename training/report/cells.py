"""Looks the figures of table cells and their differences up in results files."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from savos_model.results import ResultsError, read_results
from training.evaluate.metrics import cluster_interval, figure_of
from training.report.paper import TYPES

ABLATIONS = {
    "full": "everything",
    "no_consistency": "without consistency loss",
    "forward_only": "trained forward only",
    "no_memory": "without temporal embedding",
    "no_flow": "without flow",
    "no_image": "without image",
    "no_paste": "without pasted occluders",
    "detach": "consistency loss trains no motion",
    "photometric": "with photometric loss",
    "uniform_motion": "base motion everywhere, no flow per pixel",
    "deocclusion_loss": "Self-Deocclusion's loss",
    "prior_mask": "with prior mask (our default)",
}
MODES = ("forward", "bidirectional")
KINS = "kins_video_car"


def ablation_file(name: str, mode: str) -> str:
    """Return the results file of one ablation, scored in one mode."""
    return f"ablations/{name}_{mode}.json"


def unseen_file(fish: str, method: str = "adapted") -> str:
    """Return the results file of weights that never saw this type of fish, scored on it.

    `adapted` holds SaVos before and after adaptation, `deocclusion` the baseline.
    """
    return f"unseen_{fish}_{method}.json"


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


class Figure(NamedTuple):
    """A looked-up cell: value and 95 % interval where known, and where it comes from or why not."""

    value: float | None
    interval: tuple[float, float] | None
    note: str


Cell = Source | Pooled | Figure


class Results:
    """The results files of one folder, read once each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        """Look a cell up; whatever is missing becomes a note that names its file."""
        if isinstance(cell, Figure):
            return cell
        files = (cell.file,) if isinstance(cell, Source) else cell.files
        for name in files:
            if self.metrics(name) is None:
                return Figure(None, None, missing(name))
            if lookup(self.metrics(name), cell.path) is None:
                return Figure(None, None, f"`{name}` has no {cell.path}")
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


def missing(name: str) -> str:
    """Return the note of a file that is not there."""
    return f"needs {name}; {NO_KINS}" if name.startswith(KINS) else f"needs {name}"


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
    stages = ", ".join(run.get("stages") or ())  # as --stages writes them
    size = f"stages {stages}" if stages else f"{run['batch']} windows of {run['length']} frames"
    steps = f"{training['step']} steps" if "step" in training else "a mean of weights after steps"
    effort = f"{steps} of {size}"
    parts = [f"{effort} of {source}", *(["begun with other weights"] if run["start"] else [])]
    if any(float(share) for share in data.get("supervised", ())):  # older weights do not state it
        parts.append("amodal masks of rendered clips as targets, too")
    if not groups["loss"]["both_directions"]:
        parts.append("forward alone: shares of a merge (alpha) are untrained")
    return parts


def unet_text(training: Mapping[str, str]) -> list[str]:
    """Return steps, frames and data of a U-Net's training, as train_unet.describe stores them."""
    if "train" not in training:
        return []
    batch = json.loads(training["train"])["batch"]
    return [f"{training['step']} steps of {batch} frames of {training['stores']}"]


PARTS = ("full", "occluded")


class Scored(NamedTuple):
    """One method of one results file."""

    file: str
    method: str = "ours"


class Comparison(NamedTuple):
    """A comparison: a name and (without, with) of each part of the data."""

    name: str
    pairs: tuple[tuple[Scored, Scored], ...]


def adaptation(fish: str) -> tuple[Scored, Scored]:
    """Return the weights that never saw a type, before and after adaptation."""
    return Scored(unseen_file(fish), "base"), Scored(unseen_file(fish), "adapted")


def over(name: str, before: str, after: str) -> Comparison:
    """Return ours of one file over ours of another."""
    return Comparison(name, ((Scored(before), Scored(after)),))


EQUAL = "trained on fish alone"
SHIPPED, STREET = "shipped weights", "shipped weights, generated street"
SINGLE, BOTH = "forward over each frame separately", "bi-directional over forward"
COMPARISONS = (
    over(f"{SINGLE}, {SHIPPED}", "fishbowl_single.json", "fishbowl_val.json"),
    over(f"{SINGLE}, {STREET}", "street_single.json", "street_val.json"),
    over(f"{BOTH}, {SHIPPED}", "fishbowl_val.json", "fishbowl_bidirectional.json"),
    over(f"{BOTH}, {STREET}", "street_val.json", "street_bidirectional.json"),
    over(f"{SINGLE}, {EQUAL}", "fish_single.json", "fish.json"),
    over(f"{BOTH}, {EQUAL}", "fish.json", "fish_bidirectional.json"),
    Comparison(
        f"forward over Self-Deocclusion, {EQUAL}",
        ((Scored("fish.json", "deocclusion"), Scored("fish.json")),),
    ),
    over(f"10 frames of lag over forward, {STREET}", "street_val.json", "street_lag_10.json"),
    over(f"{BOTH}, setting of the ablations", *(ablation_file("full", mode) for mode in MODES)),
    Comparison("test-time adaptation, unseen types together", tuple(map(adaptation, TYPES))),
    *(Comparison(f"test-time adaptation, unseen {name}", (adaptation(name),)) for name in TYPES),
)


def ablation_comparisons(mode: str) -> Iterable[Comparison]:
    """Yield each ablation against the full method, in one mode."""
    for name, text in ABLATIONS.items():
        if name != "full":
            yield over(text, ablation_file("full", mode), ablation_file(name, mode))


def gain(results: Results, comparison: Comparison, part: str) -> Figure:
    """Return the difference of two means over the same frames, and its 95 % interval over clips.

    `part` is full or occluded. Clip means are weighted with their frames, so that the gain is that
    of the frame-level means; the interval draws whole clips again. Clips of several files with one
    name are one clip: the same video, other objects.
    """
    differences: dict[str, list[float]] = defaultdict(list)
    for pair in comparison.pairs:
        clips = []
        for scored in pair:
            report = lookup(results.metrics(scored.file), f"methods.{scored.method}.clips")
            if report is None:
                return Figure(None, None, missing(scored.file))
            clips.append(report)
        frames = [{name: row["frames"] for name, row in report.items()} for report in clips]
        if frames[0] != frames[1]:
            note = (
                f"`{pair[0].file}` and `{pair[1].file}` scored different frames: score both again"
            )
            return Figure(None, None, note)
        for name, row in clips[0].items():
            differences[name] += [clips[1][name][part] - row[part]] * row["frames"]
    values = [value for group in differences.values() for value in group]
    if not values:
        return Figure(None, None, "no frames were scored")
    files = dict.fromkeys(f"`{scored.file}`" for pair in comparison.pairs for scored in pair)
    bounds = cluster_interval(differences)
    interval = (bounds[0], bounds[1]) if bounds else None
    first = setting(results.metrics(comparison.pairs[0][1].file) or {})
    return Figure(sum(values) / len(values), interval, f"{', '.join(files)}; {first}")
