"""Measures whole frames of one camera, stage by stage, compared with the machine's limits."""

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from savos_model.backends.choose import RIVALS, candidates, start
from savos_model.backends.interface import BackendError
from savos_model.config import BackendConfig, ComposeConfig, StreamConfig, TracksConfig
from savos_model.instances import from_label_image
from savos_model.network.layers import step_flop
from savos_model.network.weights import load_weights
from savos_model.results import keep_results
from savos_model.stream.stream import STAGES, AmodalStream
from savos_model.tables import columned
from savos_model.types import AmodalObject, Frame
from savos_ros.messages import kit
from savos_ros.messages.settings import InputConfig, NodeSettings
from savos_ros.node.engine import Engine
from savos_ros.node.pipeline import Frameline, Job
from savos_ros.tools.bench_scene import PERIOD_NS, scene
from savos_ros.tools.bench_step import NETWORKS, BenchStepConfig, matrix_products, random_weights
from savos_ros.tools.settings import BenchStreamConfig


class Taker:
    """Builds the messages that a node publishes, and sends them nowhere (Pipeline's Publisher)."""

    def __init__(self) -> None:
        self.kit = kit.RosKit()

    def publish_masks(self, *message: Any, **_: Any) -> None:
        """Build the message of the masks."""
        header, shape, model, objects, period_s = message
        kit.amodal_array(self.kit, header, shape, objects, model, period_s)

    def publish_extras(self, *_: Any, **__: Any) -> None:
        """Do nothing: there is no subscriber."""

    def publish_refined(self, *_: Any, **__: Any) -> None:
        """Do nothing: refinement is off."""

    def open(self) -> bool:
        """Return that the publishers are there."""
        return True


def message_runner(
    stream: AmodalStream, clip: list[tuple[np.ndarray, np.ndarray]], jpeg: bool = False
) -> Callable[[], dict[str, float]]:
    """Return a function that takes the next frame through the node's pipeline, without DDS.

    Returns a function that returns the time of each stage of the stream, "total", "overhead", all
    of it but the stream's step, and "cpu", of all threads [ms]; "mask_bytes", published; and with
    `jpeg` images "decoder", the time of OpenCV's decoder alone on the same image.
    """
    taker = Taker()
    engine = Engine(stream, stream.backend.name, "")
    settings = NodeSettings(input=InputConfig(image_transport="compressed" if jpeg else "raw"))
    line = Frameline.build(engine, settings, taker, logging.getLogger("bench"))
    files = [cv2.imencode(".jpg", image)[1] for image, _ in clip] if jpeg else []
    step, took, published, count = stream.step, [0.0], [0], 0

    def timed(frame: Frame) -> list[AmodalObject]:
        began = time.perf_counter()
        objects = step(frame)
        took[0] = 1e3 * (time.perf_counter() - began)
        published[0] = mask_bytes(objects)
        return objects

    vars(stream)["step"] = timed  # of this one object

    def run() -> dict[str, float]:
        nonlocal count
        image, labels = clip[count % len(clip)]
        head = kit.header(taker.kit, count * PERIOD_NS, "camera")
        times = {}
        if jpeg:
            file = files[count % len(clip)]
            shown = kit.compressed_image(taker.kit, head, file.tobytes(), "jpeg")
            times["decoder"] = clocked(lambda: cv2.imdecode(file, cv2.IMREAD_COLOR))[0]
        else:
            shown = kit.image(taker.kit, head, image, "bgr8")
        count += 1
        pair = (shown, kit.image(taker.kit, head, labels, "16UC1"))
        total, cpu = clocked(lambda: line.pipeline.work(Job(pair, time.monotonic(), count)))
        times |= {"overhead": total - took[0], "total": total, "cpu": cpu}
        return {**stream.report.timings_ms, **times, "mask_bytes": published[0]}

    return run


def clocked(work: Callable[[], object]) -> tuple[float, float]:
    """Return the time of a call and the processor time of all threads during it [ms]."""
    began = time.perf_counter(), time.process_time()
    work()
    return 1e3 * (time.perf_counter() - began[0]), 1e3 * (time.process_time() - began[1])


def mask_bytes(objects: list[AmodalObject]) -> int:
    """Return the bytes of the masks that are published for a frame."""
    return sum(item.mask.nbytes for item in objects)


SMALL, LARGE = NETWORKS
TRACKS = (1, 4, 5, 10, 20, 50, 100)
SIZES = {"640x480": (480, 640), "1242x375": (375, 1242), "1920x1080": (1080, 1920),
         "3840x2160": (2160, 3840)}  # fmt: skip
USUAL, USUAL_TRACKS, LARGEST = "1242x375", 10, "3840x2160"
COPY_BYTES = 1 << 28  # far above every cache


class Case(NamedTuple):
    """A measured case.

    network: of NETWORKS; image: of SIZES; messages: from messages in to messages out through the
    node's pipeline, not the stream alone; jpeg: the images are compressed.
    """

    network: str
    image: str
    tracks: int
    messages: bool = False
    jpeg: bool = False


def cases() -> list[Case]:
    """Return all cases: track counts on both networks, image sizes on the default one, messages."""
    both = (SMALL, LARGE)
    found = [Case(network, USUAL, tracks) for network in both for tracks in TRACKS]
    found += [Case(SMALL, size, USUAL_TRACKS) for size in SIZES if size != USUAL]
    found += [Case(network, USUAL, USUAL_TRACKS, True) for network in both]
    found.append(Case(SMALL, LARGEST, USUAL_TRACKS, True))
    return found + [Case(SMALL, size, USUAL_TRACKS, True, True) for size in (USUAL, LARGEST)]


def bench_stream(config: BenchStreamConfig, out: Path | None = None) -> dict:
    """Measure all cases, interleaved in rounds.

    Args:
        config: how to measure.
        out: results file (savos_model/results.py); None writes none.

    Returns:
        settings, engine, limit_gflops and copy_gb_s (best over rounds), rows by case (see
        `figures`), per_track_ms by network (what one more track costs between two numbers of
        tracks) and absent: what could not be measured, with the reason, other_engines (the default
        case on other engines of a CPU, by name).
    """
    absent: dict[str, str] = {}
    runs: dict[tuple[Case, str], Callable[[], dict[str, float]]] = {
        (case, ""): runner(case, config) for case in prepared(absent)
    }
    for name in rivals(config, absent):
        case = Case(SMALL, USUAL, USUAL_TRACKS)
        runs[case, name] = runner(case, replace(config, backend=name))
    products = matrix_products(
        BenchStepConfig(threads=config.threads, device=config.device, precision=config.precision)
    )
    source, target = np.ones((2, COPY_BYTES // 8))
    times: dict[tuple[Case, str], list[dict[str, float]]] = {key: [] for key in runs}
    limits, copies = [], []
    for _ in track(range(config.rounds), "measuring", transient=True):
        limits += [flop / seconds(product) / 1e9 for flop, product in products]
        copies.append(2 * source.nbytes / seconds(lambda: np.copyto(target, source)) / 1e9)
        for key, run in runs.items():
            run()
            times[key] += [run() for _ in range(config.frames)]
    found = {key: figures(key[0], measured, max(limits)) for key, measured in times.items()}
    rows = [row for (_, name), row in found.items() if not name]
    report = {
        "settings": dataclasses.asdict(config),
        "engine": engine(config)[1],
        "limit_gflops": max(limits),
        "copy_gb_s": max(copies),
        "rows": rows,
        "per_track_ms": {name: slopes(rows, name) for name in (SMALL, LARGE)},
        "absent": absent,
        "other_engines": {name: row for (_, name), row in found.items() if name},
    }
    keep_results(out, report, config.seed)
    return report


def prepared(absent: dict[str, str]) -> list[Case]:
    """Return the cases that can run here."""
    try:
        kit.RosKit()
    except ImportError as error:
        absent["messages"] = f"{error.name} is not there: source a ROS 2 installation"
        return [case for case in cases() if not case.messages]
    return cases()


def rivals(config: BenchStreamConfig, absent: dict[str, str]) -> list[str]:
    """Return the other engines that this device's default could be, if they are installed."""
    found = []
    for name in sorted(RIVALS - {engine(config)[1]}) if config.device == "cpu" else ():
        try:
            found.append(engine(replace(config, backend=name))[1])
        except BackendError as error:
            absent[name] = str(error)
    return found


def engine(config: BenchStreamConfig) -> tuple[BackendConfig, str]:
    """Return settings and name of the engine that is measured.

    Raises BackendError: it is not installed.
    """
    wanted = BackendConfig(
        backend=config.backend, threads=config.threads, device=config.device,
        precision=config.precision,
    )  # fmt: skip
    return wanted, candidates(wanted)[0][0]


def runner(case: Case, config: BenchStreamConfig) -> Callable[[], dict[str, float]]:
    """Return a function that processes the next frame and returns the time of each stage [ms]."""
    wanted, name = engine(config)
    tracks = TracksConfig(max_tracks=case.tracks)
    if case.network == SMALL:
        weights, settings = load_weights(wanted.weights), StreamConfig(tracks)
    else:
        # Random masks would grow until their objects count as all but hidden, and are left out.
        nothing = ComposeConfig(threshold=0.99)
        weights, settings = random_weights(NETWORKS[LARGE]), StreamConfig(tracks, nothing)
    stream = AmodalStream(start(name, weights, wanted, ""), settings)
    clip = scene(SIZES[case.image], case.tracks, config.seed)
    if case.messages:
        return message_runner(stream, clip, case.jpeg)
    frames = [Frame(0, image, from_label_image(labels)) for image, labels in clip]
    count = 0

    def run() -> dict[str, float]:
        nonlocal count
        frame = replace(frames[count % len(frames)], stamp_ns=count * PERIOD_NS)
        count += 1
        objects: list[AmodalObject] = []
        total, cpu = clocked(lambda: objects.extend(stream.step(frame)))
        times = {**stream.report.timings_ms, "total": total, "cpu": cpu}
        return {**times, "mask_bytes": mask_bytes(objects)}

    return run


def figures(case: Case, times: list[dict[str, float]], limit_gflops: float) -> dict:
    """Return one case's numbers.

    Returns the case, hz, other_share (median share of a frame outside the stage network, during
    which the network may run on a second thread), limit_ms
    (the network's arithmetic at the limit), cores in use, mask_bytes of a frame (medians) and ms by
    stage: median p50, and p99.
    """
    values = {stage: np.array([row[stage] for row in times]) for stage in times[0]}
    published = float(np.median(values.pop("mask_bytes")))
    ms = {
        stage: dict(zip(("p50", "p99"), map(float, np.percentile(column, (50, 99))), strict=True))
        for stage, column in values.items()
    }
    return {
        **case._asdict(),
        "hz": 1e3 / ms["total"]["p50"],
        "other_share": float(np.median(1 - values["network"] / values["total"])),
        "limit_ms": case.tracks * step_flop(NETWORKS[case.network]) / limit_gflops / 1e6,
        "cores": float(np.median(values["cpu"] / values["total"])),
        "mask_bytes": published,
        "ms": ms,
    }


def slopes(rows: list[dict], network: str) -> dict[str, float]:
    """Return the cost of one more track [ms] between neighbouring numbers of tracks."""
    points = [
        (row["tracks"], row["ms"]["total"]["p50"])
        for row in rows
        if row["network"] == network and row["image"] == USUAL and not row["messages"]
    ]
    return {f"{a}-{b}": (y - x) / (b - a) for (a, x), (b, y) in pairwise(points)}


def seconds(work: Callable[[], object]) -> float:
    """Return the time of one call [s]."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def print_bench(report: dict, console: Console) -> None:
    """Print the result of bench_stream."""
    title = (
        f"Whole frames, {report['engine']}, {report['settings']['threads']} threads; limits: "
        f"{report['limit_gflops']:.0f} GFLOP/s, {report['copy_gb_s']:.1f} GB/s copied"
    )
    stages = ("total", "overhead", "decoder", *STAGES)
    rows = []
    others = (
        {**row, "network": f"{n}: {row['network']}"} for n, row in report["other_engines"].items()
    )
    for row in (*report["rows"], *others):
        ms = (row["ms"].get(stage) for stage in stages)
        rows.append((
            row["network"], row["image"] + ", JPEG" * row["jpeg"], str(row["tracks"]),
            f"{row['hz']:.1f}", f"{row['cores']:.1f}",
            f"{row['mask_bytes'] / 1024:.0f}", f"{row['other_share']:.0%}",
            f"{row['limit_ms']:.1f}",
            *("" if cell is None else f"{cell['p50']:.1f}" for cell in ms),
            f"{row['ms']['total']['p99']:.1f}",
        ))  # fmt: skip
    heads = (
        "network",
        "image",
        "tracks",
        "Hz",
        "cores",
        "masks [KiB]",
        "not network",
        "limit",
        *stages,
        "p99",
    )
    console.print(columned(title, *heads, rows=rows))
    for name, why in report["absent"].items():
        console.print(f"{name}: {why}", highlight=False)
