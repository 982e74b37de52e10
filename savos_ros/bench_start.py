"""Measures how long the node takes from the start of its process to its first answer."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from savos_model.settings import check_settings, setting
from savos_ros.bags.recording import RecordOptions, record
from savos_ros.bench import frames_with
from savos_ros.demo_session import START_LIMIT_S, DemoError, NodeProcess, Recorder, environment
from training.results import write_results

ACTIVE = re.compile(r"\[(\d+\.\d+)\] .*: active: ")
FRAMES = 10


@dataclass(frozen=True)
class StartOptions:
    """What is measured."""

    rounds: int = setting(5, "rounds, each of a cold and a warm start", minimum=1)
    backend: str = setting("", "engine of the node; empty for its default")
    seed: int = setting(3, "number that fixes the scene", minimum=0, maximum=2**31 - 1)

    def __post_init__(self) -> None:
        check_settings(self)


class FirstAnswer(Recorder):
    """Notes when the first masks come."""

    at_s: float | None = None

    def _on_masks(self, data: bytes) -> None:
        self.at_s = self.at_s or time.time()


def bench_start(options: StartOptions, out: Path | None) -> dict:
    """Start the node again and again while a player waits for it with frames at 10 Hz.

    Cold: the user's cache folder (engines) is empty and no Python module is compiled, as after an
    installation. Warm: the next start with what the cold one left.

    Args:
        options: what to measure.
        out: results file (training/results.py); None writes none.

    Returns:
        cold and warm: seconds from the start of the process, each with median and worst: "active",
        until the node has its engine and its topics, and "answer", until the first masks arrive.

    Raises:
        DemoError: the node did not start, died, or did not end cleanly.
    """
    os.environ.update(environment())
    parameters = {"model.backend": options.backend} if options.backend else {}
    times: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as name:
        bag = Path(name) / "street"
        record(frames_with(10, options.seed), FRAMES, bag, RecordOptions())
        for index in range(options.rounds):
            caches = Path(name) / f"caches{index}"
            # The node inherits both.
            os.environ["XDG_CACHE_HOME"] = str(caches / "user")
            os.environ["PYTHONPYCACHEPREFIX"] = str(caches / "python")
            for kind in times:
                times[kind].append(start(bag, Path(name) / "node.log", parameters))
    report = {kind: summary(rows) for kind, rows in times.items()} | {"rounds": options.rounds}
    if out is not None:
        write_results(out, report, seed=options.seed)
    return report


def start(bag: Path, log: Path, parameters: dict[str, str]) -> dict[str, float]:
    """Seconds of one start."""
    play = [sys.executable, "-m", "savos_ros.cli", "play", str(bag), "--loop", "--restamp"]
    quiet = subprocess.DEVNULL
    playing = subprocess.Popen([*play, "--wait", "60"], stdout=quiet, stderr=quiet)
    try:
        with FirstAnswer() as recorder, log.open("w") as output:
            time.sleep(3)  # until the player waits; that it starts is not the node's time
            begun_s = time.time()
            with NodeProcess(parameters, output, log) as node:
                while recorder.at_s is None:
                    node.check()
                    if time.time() - begun_s > START_LIMIT_S:
                        raise DemoError(f"no answer after {START_LIMIT_S:.0f} s: see {log}")
                    time.sleep(0.005)
                node.stop()
            active = ACTIVE.search(log.read_text())
            if active is None:
                raise DemoError("the node's log does not say when it was active")
            return {"active": float(active[1]) - begun_s, "answer": recorder.at_s - begun_s}
    finally:
        playing.send_signal(signal.SIGINT)
        playing.wait(20)


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median and worst of each figure [s]."""
    values = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        name: {"median": float(np.median(found)), "worst": max(found)}
        for name, found in values.items()
    }
