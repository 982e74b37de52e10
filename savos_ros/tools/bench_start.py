"""Measures how long the node takes from the start of its process to its first answer."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from savos_model.results import keep_results
from savos_ros.node.qos import profile
from savos_ros.tools.bench_scene import scene
from savos_ros.tools.harness import NODE, START_LIMIT_S, NodeProcess, Recorder, environment
from savos_ros.tools.settings import DemoError, StartOptions

SIZE, TRACKS, PERIOD_S = (375, 1242), 10, 0.1


class Camera(Recorder):
    """Publishes a picture and its masks at 10 Hz, heard or not; notes when the first answer comes.

    The image is uint8 BGR [H, W, 3], its labels uint16 [H, W] ids.
    """

    def __init__(self, image: np.ndarray, labels: np.ndarray) -> None:
        super().__init__()
        self._pictures = image, labels
        self.active_s: float | None = None
        self.at_s: float | None = None

    def __enter__(self) -> Camera:
        """Connect and begin."""
        from std_msgs.msg import Bool

        super().__enter__()
        latched = profile(1, latched=True)
        self._node.create_subscription(Bool, f"{NODE}/active", self._on_active, latched)
        self.open_inputs()
        self._node.create_timer(PERIOD_S, lambda: self.send(time.time_ns(), *self._pictures))
        return self

    def _on_active(self, message: Any) -> None:
        if message.data:
            self.active_s = self.active_s or time.time()

    def _on_masks(self, data: bytes) -> None:
        self.at_s = self.at_s or time.time()


def bench_start(options: StartOptions, out: Path | None) -> dict:
    """Start the node repeatedly next to a camera that sends 10 tracks at 10 Hz.

    Cold: the user's cache folder (engines) is empty and no Python module is compiled, as after an
    installation. Warm: the next start with what the cold one left. Returns for both the seconds
    from the start of the process, each with median and worst: "active", until the node has its
    engine and its topics, and "answer", until the first masks arrive. Raises DemoError: the node
    did not start, died, or did not end cleanly.
    """
    os.environ.update(environment())
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    parameters = {"model.backend": options.backend} if options.backend else {}
    pictures = scene(SIZE, TRACKS, options.seed)[0]
    times: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as name:
        for index in range(options.rounds):
            caches = Path(name) / f"caches{index}"
            # The node inherits both.
            os.environ["XDG_CACHE_HOME"] = str(caches / "user")
            os.environ["PYTHONPYCACHEPREFIX"] = str(caches / "python")
            for rows in times.values():
                rows.append(start(pictures, Path(name) / "node.log", parameters))
    report: dict[str, Any] = {kind: summary(rows) for kind, rows in times.items()}
    report |= {"rounds": options.rounds, "tracks": TRACKS, "image": f"{SIZE[1]}x{SIZE[0]}"}
    keep_results(out, report, options.seed)
    return report


def start(
    pictures: tuple[np.ndarray, np.ndarray], log: Path, parameters: dict[str, str]
) -> dict[str, float]:
    """Return the seconds of one start."""
    with Camera(*pictures) as camera, log.open("w") as output:
        begun_s = time.time()
        with NodeProcess(parameters, output, log) as node:
            while camera.at_s is None or camera.active_s is None:
                node.check()
                if time.time() - begun_s > START_LIMIT_S:
                    raise DemoError(f"no answer after {START_LIMIT_S:.0f} s: see {log}")
                time.sleep(0.005)
            node.stop()
        return {"active": camera.active_s - begun_s, "answer": camera.at_s - begun_s}


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return median and worst of each figure [s]."""
    values = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        name: {"median": float(np.median(found)), "worst": max(found)}
        for name, found in values.items()
    }
