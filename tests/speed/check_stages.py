"""Check that no stage of the stream has become slower: `make bench-check`.

Every stage is compared with a fixed piece of NumPy and OpenCV work in the same process, so that the
bounds hold on fast and slow machines. Both are measured in processor time, interleaved: other
programs hardly change the ratios. Not part of `make test`, which a busy machine must not fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from savos_model.backends.choose import candidates, start
from savos_model.config import BackendConfig, StreamConfig, TracksConfig
from savos_model.instances import from_label_image
from savos_model.network.weights import load_weights
from savos_model.stream import stream as online
from savos_model.types import Frame
from savos_ros.messages.kit import occluders, pixels_of
from savos_ros.tools.bench_scene import PERIOD_NS, scene

FRAMES, WARM_UP = 24, 4
SIZES = {"1242x375": (375, 1242), "1920x1080": (1080, 1920), "3840x2160": (2160, 3840)}
# Stage times over the time of the fixed work, twice what they were when this was written. The
# network's depends on the processor's vector units: three times.
BOUNDS = {
    ("1242x375", 10): {
        "flow": 2.3, "crop": 2.1, "network": 12.0, "warp": 1.0, "compose": 2.4, "labels": 0.4,
        "message": 0.2,
    },
    ("1920x1080", 10): {
        "flow": 3.0, "crop": 2.8, "network": 12.0, "warp": 1.0, "compose": 3.4, "labels": 0.8,
        "message": 0.25,
    },
    ("3840x2160", 10): {
        "flow": 3.2, "crop": 2.9, "network": 12.0, "warp": 1.0, "compose": 4.4, "labels": 2.2,
        "message": 0.6,
    },
    ("1242x375", 50): {
        "flow": 6.4, "crop": 10.5, "network": 60.0, "warp": 4.9, "compose": 9.2, "labels": 0.7,
        "message": 0.9,
    },
}  # fmt: skip
FLAT = 1.5  # a whole frame at 3840x2160 over one at 1242x375, 10 tracks each


def fixed_work() -> Callable[[], object]:
    """Return what the stages are compared with: blur, area mean, product and sort of fixed size."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (375, 1242, 3), np.uint8)
    matrix, values = rng.random((384, 384), np.float32), rng.random(40_000)

    def work() -> object:
        cv2.GaussianBlur(image, (9, 9), 2.0)
        cv2.resize(image, (500, 150), interpolation=cv2.INTER_AREA)
        return matrix @ matrix, np.sort(values)

    return work


@pytest.fixture
def one_thread(monkeypatch) -> Iterator[None]:
    """Compute in one thread, whose processor time the stages' clock then reads."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    monkeypatch.setattr(online, "time", SimpleNamespace(perf_counter=time.process_time))
    yield
    cv2.setNumThreads(threads)


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """Return the processor time that a call takes, and its result."""
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def stage_ratios(size: str, tracks: int) -> dict[str, float]:
    """Return the time of each stage over that of the fixed work, medians over frames."""
    settings = BackendConfig(threads=1)
    engine = start(candidates(settings)[0][0], load_weights(settings.weights), settings, "")
    stream = online.AmodalStream(engine, StreamConfig(TracksConfig(max_tracks=tracks)))
    clip, work, rows = scene(SIZES[size], tracks, 0), fixed_work(), []
    for count in range(WARM_UP + FRAMES):
        image, labels = clip[count % len(clip)]
        unit = seconds(work)[0]
        reading, items = seconds(lambda labels=labels: from_label_image(labels))
        frame = Frame(count * PERIOD_NS, image, items)
        total, objects = seconds(lambda frame=frame: stream.step(frame))
        message = seconds(lambda done=objects: (occluders(done), [pixels_of(o) for o in done]))[0]
        stages = {stage: ms / 1e3 for stage, ms in stream.report.timings_ms.items()}
        stages |= {"labels": reading, "message": message, "total": total + reading + message}
        rows.append({stage: took / unit for stage, took in stages.items()})
    return {stage: median(row[stage] for row in rows[WARM_UP:]) for stage in rows[0]}


@pytest.mark.parametrize(("size", "tracks"), BOUNDS)
def test_no_stage_takes_longer_than_it_did(size, tracks, one_thread):
    ratios, bounds = stage_ratios(size, tracks), BOUNDS[size, tracks]
    shown = ", ".join(f"{stage} {ratios[stage]:.2f} ({bound})" for stage, bound in bounds.items())
    print(f"\n{size}, {tracks} tracks: {shown}")
    slow = [stage for stage, bound in bounds.items() if ratios[stage] > bound]
    assert not slow, f"{', '.join(slow)}: slower than the bound in BOUNDS, or it is to be raised"


def test_a_frame_costs_about_the_same_at_any_resolution(one_thread):
    small, large = (stage_ratios(size, 10)["total"] for size in ("1242x375", "3840x2160"))
    print(f"\n3840x2160 takes {large / small:.2f} times 1242x375")
    assert large / small <= FLAT
