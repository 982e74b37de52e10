"""Labels one bag at the best offline quality: adapted to it, refined by all of its frames."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from savos_model.backends.interface import Backend
from savos_model.config import RefineConfig
from savos_model.network.weights import find_weights, load_weights
from savos_model.settings import UserError
from savos_model.types import Frame
from savos_ros.bags.coco import CocoLabels
from savos_ros.bags.ids import with_ids
from savos_ros.bags.reader import BagFrame, BagFrames
from savos_ros.bags.run import REFINED_TOPIC, SUMMARY, run_bag, write_json
from savos_ros.bags.settings import BagError, LabelOptions, RunOptions
from savos_ros.bags.storage import FILE_ENDINGS, open_bag

SAMPLES = 16  # of a data file: a bag of an hour is not read for its name
SAMPLE_BYTES = 1 << 20


def bag_identity(path: Path) -> dict[str, Any]:
    """Return what distinguishes a bag wherever it lies: data files by sample, and counts.

    Raises BagError, OSError: the bag, or a file of it, cannot be read.
    """
    with open_bag(path) as bag:
        counts = {name: info.msgcount for name, info in bag.topics.items()}
    files = [path] if path.is_file() else sorted(path.iterdir())
    data = [file for file in files if file.is_file() and {*FILE_ENDINGS} & {*file.suffixes}]
    return {
        "files": {file.name: [file.stat().st_size, _sampled(file)] for file in data},
        "messages": counts,
    }


def _sampled(path: Path) -> str:
    """Return the SHA-256 of a file, of evenly spread parts where it is large."""
    digest, size = hashlib.sha256(), path.stat().st_size
    step = max(SAMPLE_BYTES, (size - SAMPLE_BYTES) // (SAMPLES - 1))
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


LABELS = "labels.json"
PIXEL_BYTES = 5  # of a frame that waits: colours, grey image and count of masks
MOST_WINDOW = 10_000
# What labels are made of, by the key in summary.json.
WORDS = {"bag": "another bag", "weights": "other weights", "settings": "other settings"}

Tick = Callable[[int], None]


@dataclass(frozen=True)
class LabelJob:
    """A bag and the folder that its labels go to."""

    bag: Path
    folder: Path
    options: LabelOptions


@dataclass(frozen=True)
class Labelled:
    """The result of labelling a bag."""

    name: str  # of its folder
    state: str  # "labelled", "kept" (it was finished before) or "failed"
    frames: int = 0  # frames labelled
    objects: int = 0  # masks in them
    seconds: float = 0.0  # time it took
    text: str = ""  # what went wrong, or ""
    lost: str = ""  # why frames of the bag have no labels, or ""


def finished(job: LabelJob) -> Labelled | None:
    """Return what an earlier run left of a bag; None when it is still to be done.

    Labels are kept where bag, weights and settings are the same, wherever the files lie now, and
    their windows at least as long as `memory_mb` allows now. Raises BagError: they are of another
    bag, or made otherwise; or the folder is none of ours.
    """
    if not job.folder.exists():
        return None
    try:
        summary = json.loads((job.folder / SUMMARY).read_text("utf-8"))
        label = summary["label"]
        made, windows = dict(label["made"]), int(label["window"])
        window = refine_over(tuple(label["shape"]), label["frames"], job.options.memory_mb).window
        done = _labelled(job, "kept", summary)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        raise BagError(
            f"{job.folder} exists and holds no labels, or those of another version: remove it, or "
            "choose another --out",
            "taken",
        ) from None
    wanted = made_of(job)
    other = [name for name in WORDS if made.get(name) != wanted[name]]
    if other or windows < window:
        what = WORDS[other[0]] if other else f"windows of {windows} frames, {window} fit now"
        raise BagError(
            f"{job.folder} holds labels of {what}: remove it and give the command again, or change "
            "--out",
            "other_labels",
        )
    if done.text:
        again = f"{done.text}; then remove {job.folder} and give the command again"
        done = dataclasses.replace(done, text=again)
    return done


def made_of(job: LabelJob) -> dict[str, Any]:
    """Return what decides the labels of a bag, by the keys of WORDS, as JSON has it.

    The number of threads changes how sums are rounded, no more, and does not count. Raises
    BagError, WeightsError, OSError: bag or weights cannot be read.
    """
    options = job.options
    settings = dataclasses.asdict(options)
    del settings["memory_mb"]
    for name in ("weights", "threads", "engine_dir"):
        del settings["backend"][name]
    return {
        "bag": bag_identity(job.bag),
        "weights": hashlib.sha256(find_weights(options.backend.weights).read_bytes()).hexdigest(),
        "settings": json.loads(json.dumps(settings)),
    }


def label_bag(job: LabelJob, tick: Tick) -> Labelled:
    """Label a bag; ticks after each frame read, each frame labelled and each iteration.

    Leaves result/ and summary.json in its folder as `savos run --refine` does, and labels.json. The
    folder appears when it is complete. Errors are part of the result, not raised: one bad
    bag must not end the work on the others.
    """
    started, aside = time.perf_counter(), job.folder.with_name(f".{job.folder.name}.part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        summary = _label(job, aside, tick)
        aside.rename(job.folder)
    except Exception as error:
        shutil.rmtree(aside, ignore_errors=True)
        text = str(error) if isinstance(error, UserError | ValueError | OSError) else repr(error)
        return Labelled(job.folder.name, "failed", text=text)
    return _labelled(job, "labelled", summary, time.perf_counter() - started)


def _label(job: LabelJob, aside: Path, tick: Tick) -> dict:
    from savos_model.backends.choose import make_backend

    options, made = job.options, made_of(job)
    shape, expected = _first_frame(job)
    backend, decision = None, "off"
    if options.iterations:
        backend, decision = _adapted(job, expected, tick)
    run = RunOptions(
        options.backend,
        options.stream,
        refine_over(shape, expected, options.memory_mb),
        options.input,
        topics=options.topics,
        video=False,
    )
    labels = CocoLabels()

    def watch(topic: str, item: BagFrame, objects: list, times: dict) -> None:
        if topic == REFINED_TOPIC:
            labels.add(item, objects)

    backend = backend or make_backend(options.backend)
    summary = run_bag(
        job.bag, aside, run, backend, watch=watch, bar=lambda items, *_: ticking(items, tick)
    )
    facts = {"bag": job.folder.name, "model": summary["model"], "adaptation": decision}
    document = labels.document({"description": "amodal labels by savos_ros", **facts})
    (aside / LABELS).write_text(json.dumps(document, allow_nan=False), "utf-8")
    summary["label"] = {
        "made": made,
        "shape": shape,
        "frames": expected,
        "window": run.refine.window,
        "adaptation": decision,
    }
    write_json(aside / SUMMARY, summary)
    return summary


def _adapted(job: LabelJob, expected: int, tick: Tick) -> tuple[Backend, str]:
    """Return an engine with weights adapted to the bag, or with the given ones, and the reason."""
    from savos_model.backends.choose import make_backend
    from training.adapt.bag_bursts import adapt_to_bursts, bursts_of, engine_of

    options = job.options
    weights = load_weights(options.backend.weights)
    with bag_frames(job) as bag:
        frames: Iterable[Frame] = (item.frame for item in ticking(bag, tick))
        if options.input.track:
            frames = with_ids(frames, make_backend(options.backend), options.stream)
        bursts = bursts_of(frames, expected, options.stream.tracks.reset_gap_s)
        weights, decision = adapt_to_bursts(
            bursts, weights, options.backend, options.iterations, job.folder.name, tick
        )
    return engine_of(weights, options.backend), decision


def refine_over(shape: tuple[int, int], expected: int, memory_mb: int) -> RefineConfig:
    """Return the pass over a bag of [rows, columns] images, in windows that fit the memory."""
    fits = memory_mb * 2**20 // (PIXEL_BYTES * shape[0] * shape[1])
    window = max(2, min(MOST_WINDOW, fits, expected + 1))  # one more is never due before the end
    return RefineConfig(True, window, window if expected < window else window // 2)


def ticking(items: Iterable[BagFrame], tick: Tick) -> Iterator[BagFrame]:
    """Hand frames on; ticks once each."""
    for item in items:
        yield item
        tick(1)


def bag_frames(job: LabelJob) -> BagFrames:
    """Return the frames of a job's bag, to be opened by a with block."""
    return BagFrames(job.bag, job.options.topics, job.options.input)


def _first_frame(job: LabelJob) -> tuple[tuple[int, int], int]:
    """Return rows and columns of the first usable image, and the number of images."""
    with bag_frames(job) as bag:
        first: Frame | None = next((item.frame for item in bag), None)
        if first is None:
            why = "; ".join(bag.report.examples.values()) or bag.report.damage or "it is empty"
            raise BagError(f"{job.bag}: no frame can be used: {why}", "no_frame")
        return first.image.shape[:2], bag.expected


def _labelled(job: LabelJob, state: str, summary: dict, seconds: float = 0.0) -> Labelled:
    frames, lost = summary["frames_out"], ""
    if frames < summary["frames_in"]:
        why = "; ".join(summary["examples"].values()) or "they could not be read"
        lost = f"{frames} of {summary['frames_in']} frames labelled: {why}"
    objects = sum(summary["objects_out"].values())
    return Labelled(job.folder.name, state, frames, objects, seconds, summary["damage"], lost)
