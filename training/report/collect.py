"""Records what the network says inside, over FISHBOWL clips: weights of both directions, and h."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from savos_model.backends.interface import Backend
from savos_model.config import StreamConfig
from savos_model.results import write_results
from savos_model.settings import SettingError
from savos_model.stream.record import Observed, Record
from savos_model.stream.refine import WindowRefiner, forward_share, merge
from savos_model.stream.stream import AmodalStream
from savos_model.stream.video import WHOLE, Online, Setup
from savos_model.types import AmodalObject, Frame
from training.data.fishbowl import FishbowlClip, clip_names
from training.data.jobs import Tick, run_jobs
from training.evaluate.metrics import PAPER

FRAME_NS = 33_333_333  # at 30 Hz
PERPLEXITY = 15.0
MIN_POINTS = 10  # fewer objects show nothing


@dataclass(frozen=True)
class TraceJob:
    """One clip to run over."""

    path: Path
    ours: Setup


@dataclass
class Trace:
    """The record of one clip, and what ran.

    Attributes:
        shares: by frame, the forward direction's mean weight in each object's merged mask, 0..1.
        objects: by id, (occlusion rate, frame, h) where the object is most occluded.
        types: by id.
    """

    name: str
    model: dict
    shares: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    objects: dict[str, tuple[float, int, np.ndarray]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)


class Watcher(WindowRefiner):
    """The bi-directional pass, noting how it shares each object between the directions."""

    def __init__(self, backend: Backend, stream: StreamConfig, shares: dict[int, list]) -> None:
        super().__init__(backend, stream, WHOLE)
        self.shares = shares

    def compose_track(self, record: Record, item: Observed, backward: np.ndarray) -> AmodalObject:
        """Compose like WindowRefiner.compose_track; the stamp contains the frame number."""
        if item.forward is not None:
            inside = merge(item.forward, backward) > 0.5
            if inside.any():
                share = forward_share(item.forward, backward)
                frame = record.seen.frame.stamp_ns // FRAME_NS
                self.shares[frame].append(float(share[inside].mean()))
        return super().compose_track(record, item, backward)


def frames_of(clip: FishbowlClip) -> Iterator[Frame]:
    """Yield the frames of a clip whose stamps are multiples of FRAME_NS."""
    for index, image in enumerate(clip.frames()):
        yield Frame(index * FRAME_NS, image, clip.instances(index))


def trace_clip(job: TraceJob, tick: Tick) -> Trace:
    """Run over one clip in both directions; tick(1) after each frame."""
    clip = FishbowlClip(job.path)
    ours = Online(job.ours)
    trace = Trace(clip.name, ours.model, types={item.id: item.category for item in clip.objects})
    stream = AmodalStream(ours.engine, ours.stream, records=True)
    watcher = Watcher(ours.engine, ours.stream, trace.shares)
    same = ours.engine.model.same_frame
    for index, frame in enumerate(frames_of(clip)):
        before = [name for name, _ in stream.tracks.observed_last()]
        stream.step(frame)
        watcher.push(stream.record)
        if same:
            names, of = [name for name, _ in stream.tracks.observed_last()], index
        else:  # the network ran on the frame before
            names, of = before, index - 1
        for name in names:
            state, rate = stream.tracks.get(name), occlusion(clip, name, of)
            if state is not None and rate is not None:
                known = trace.objects.get(name)
                if known is None or rate > known[0]:
                    trace.objects[name] = (rate, of, state.h.copy())
        tick(1)
    watcher.flush()
    return trace


def occlusion(clip: FishbowlClip, name: str, frame: int) -> float | None:
    """Return the occlusion rate of an object large enough to be scored, else None."""
    item = next(item for item in clip.objects if item.id == name)
    full, visible = (item.mask(kind, frame) for kind in ("full", "visible"))
    if full is None or visible is None:
        return None
    areas = int(np.count_nonzero(full.mask)), int(np.count_nonzero(visible.mask))
    if areas[0] <= PAPER.min_full_px or areas[1] <= PAPER.min_visible_px:
        return None
    return 1 - min(1.0, areas[1] / areas[0])


def alpha_metrics(traces: list[Trace]) -> dict:
    """Return the mean weight of each direction by frame of the clip; None where nothing was merged.

    `forward` and `backward` are lists over frames, 0..1, of sum 1; `objects` how many they are
    means of. Raises ValueError: no object was completed from both directions.
    """
    last = max((frame for trace in traces for frame in trace.shares), default=-1)
    groups = [[s for trace in traces for s in trace.shares.get(k, ())] for k in range(last + 1)]
    if not any(groups):
        raise SettingError(
            "data must have an object that is completed from both directions: give longer clips"
        )
    forward = [float(np.mean(group)) if group else None for group in groups]
    return {
        "forward": forward,
        "backward": [None if value is None else 1 - value for value in forward],
        "objects": [len(group) for group in groups],
    }


def tsne_metrics(traces: list[Trace], seed: int) -> dict:
    """Lay h of each object, taken where it is most occluded, out in two dimensions by t-SNE.

    `points` have clip, id, type, frame, occlusion, x, y of each object; `neighbours` the share of
    objects whose nearest h of another clip has the same type, and the share by chance.

    Raises ValueError: too few objects.
    """
    from sklearn.manifold import TSNE

    rows = [(t, name, *t.objects[name]) for t in traces for name in sorted(t.objects)]
    if len(rows) < MIN_POINTS:
        raise SettingError(
            f"data must have at least {MIN_POINTS} objects, got {len(rows)}: give more clips",
            "bounds",
        )
    h = np.stack([row[4] for row in rows]).astype(np.float64)
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(h)
    points = [
        {"clip": t.name, "id": name, "type": t.types[name], "frame": frame, "occlusion": rate,
         "x": float(x), "y": float(y)}
        for (t, name, rate, frame, _), (x, y) in zip(rows, places, strict=True)
    ]  # fmt: skip
    return {"points": points, "perplexity": perplexity, "neighbours": neighbours(points, h)}


def neighbours(points: list[dict], h: np.ndarray) -> dict[str, float | None]:
    """Return how often the nearest h [K, D] of another clip is of the same type, and by chance."""
    clips = np.array([p["clip"] for p in points])
    types = np.array([p["type"] for p in points])
    distance = ((h[:, None] - h[None]) ** 2).sum(-1)
    other = clips[:, None] != clips[None]
    usable = other.any(1)
    if not usable.any():
        return {"same_type": None, "by_chance": None}
    nearest = np.where(other, distance, np.inf).argmin(1)
    alike = (types[:, None] == types[None]) & other
    return {
        "same_type": float((types[nearest] == types)[usable].mean()),
        "by_chance": float((alike.sum(1)[usable] / other.sum(1)[usable]).mean()),
    }


def collect(data: Path, ours: Setup, out: Path, processes: int, seed: int) -> list[Path]:
    """Run over the clips of a folder and write alpha.json and tsne.json; return their paths.

    Raises ValueError: no clips, or too few objects.
    """
    paths = clip_names(data)
    if not paths:
        raise ValueError(f"{data} holds no FISHBOWL clips (NAME.mp4 with NAME.json.gz)")
    steps = sum(FishbowlClip(path).num_frames for path in paths)
    jobs = [TraceJob(path, ours) for path in paths]
    traces = run_jobs(trace_clip, jobs, processes, steps, "clips")
    about = {
        "data": {"set": "fishbowl", "clips": [trace.name for trace in traces]},
        "model": traces[0].model,
    }
    found = {"alpha.json": alpha_metrics(traces), "tsne.json": tsne_metrics(traces, seed)}
    for name, metrics in found.items():
        write_results(out / name, {**about, **metrics}, seed=seed)
    return [out / name for name in found]
