"""Runs hours of frames through the real node in accelerated time and watches what grows."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from savos_model.config import RefineConfig
from savos_model.results import keep_results
from savos_model.settings import check_settings, setting
from savos_ros.tools.harness import NodeProcess, environment
from savos_ros.tools.soak_feed import MASKS, REFINED, Feeder
from savos_ros.tools.soak_fresh import against_fresh
from savos_ros.tools.soak_run import Run
from savos_ros.tools.soak_scene import PERIOD_NS, SoakFrame, base_scores, renumbering, soak_frames
from savos_ros.tools.soak_verdict import MIN_SAMPLES
from training.street.config import StreetConfig

LOOP_FRAMES = 100


@dataclass(frozen=True)
class SoakOptions:
    """What is run."""

    hours: float = setting(24.0, "stamps at 10 Hz [h]", minimum=0.001, maximum=100_000.0)
    width: int = setting(160, "image columns [px]", minimum=64, maximum=8192)
    height: int = setting(96, "image rows [px]", minimum=32, maximum=8192)
    tracks: int = setting(3, "most masks per frame", minimum=1, maximum=40)
    seed: int = setting(6, "number that fixes the scene", minimum=0, maximum=2**31 - 1)
    weights: str = setting("", "weights of the node; empty for its default")
    refine: bool = setting(False, "with refined masks, which a subscriber takes")
    adapt: bool = setting(False, "with adaptation, in a process of its own")
    ahead: int = setting(2, "frames sent before their answers", minimum=1, maximum=100)
    samples: int = setting(200, "measurements over the run", minimum=2, maximum=100_000)
    warm_up: float = setting(
        0.0, "hours that the verdict leaves out, a tenth at least", minimum=0.0, maximum=100_000.0
    )
    fresh: int = setting(
        30, "rounds of the loop at the end, in turn with a fresh node", minimum=0, maximum=10_000
    )

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def frames(self) -> int:
        """Frames of the run."""
        return round(self.hours * 3600e9 / PERIOD_NS)

    @property
    def scene(self) -> StreetConfig:
        """The loop: crowded, its tracker loses objects often."""
        return StreetConfig(
            seed=self.seed, frames=LOOP_FRAMES, width=self.width, height=self.height, density=2.0,
            lost_share=0.1, min_tracked_px=20, min_full_px=100,
        )  # fmt: skip

    def limits(self) -> dict[str, int]:
        """Frames that may be out, by topic of answers."""
        refine = RefineConfig()  # refined ones come when a window is full, a stride at a time
        late = refine.window + 2 * refine.stride + self.ahead
        return {MASKS: self.ahead} | ({REFINED: late} if self.refine else {})

    def parameters(self, folder: Path) -> dict[str, str]:
        """ROS parameters of the node that differ from their defaults."""
        found = {"model.weights": self.weights} if self.weights else {}
        if self.refine:
            found["refine.enabled"] = "true"
        if self.adapt:
            found |= {"adapt.enabled": "true", "adapt.folder": str(folder / "adapted")}
        return found


def soak(options: SoakOptions, out: Path | None, say: Callable[[str], None]) -> dict:
    """Loop a street through a fresh node as fast as it answers, its stamps going on at 10 Hz.

    Args:
        options: what to run.
        out: results file (savos_model/results.py), written after each sample; None writes none.
        say: told how it goes.

    Returns:
        options; ended ("complete", or why not); sent, answered, lost, unmatched (frames); samples
        (memory, threads, handles, latency, scores); node (its last diagnostics); verdict, in it
        against_fresh (savos_ros.tools.soak_fresh). With Ctrl-C, or when the node fails, of what was
        run until then.

    Raises:
        DemoError: the node did not start.
        ValueError: the scene cannot be looped, or weights or engine cannot be used.
    """
    frames = soak_frames(options.scene, options.tracks)
    renumbering(frames, 0)  # refuses what cannot be looped before the node starts
    base = base_scores(frames, {"model.weights": options.weights} if options.weights else {})
    told = {name: getattr(options, name) for name in options.__dataclass_fields__}

    def keep(report: dict) -> None:
        keep_results(out, {"options": told, **report}, options.seed)

    with tempfile.TemporaryDirectory() as name, _Nodes(options, frames, base, Path(name)) as nodes:
        run = nodes.start()
        report = run.go(options.frames, options.samples, keep, say)
        if report["ended"] == "complete":
            if options.fresh and not options.adapt:
                say(f"{options.fresh} rounds in turn with a fresh node")
                verdict, fresh = report["verdict"], nodes.start()
                verdict["against_fresh"] = against_fresh(run, fresh, options.fresh)
                if not verdict["against_fresh"]["flat"]:
                    verdict["flat"] = False
                keep(report)
            nodes.stop()
    return {"options": told, **report}


class _Nodes(ExitStack):
    """Nodes with what feeds them, each in a domain of its own."""

    def __init__(
        self, options: SoakOptions, frames: list[SoakFrame], base: list[np.ndarray], folder: Path
    ) -> None:
        super().__init__()
        self._options, self._frames, self._base, self._folder = options, frames, base, folder
        self._started: list[NodeProcess] = []

    def start(self) -> Run:
        """Start one more; DemoError when that fails."""
        place = len(self._started)
        os.environ.update(environment(place))
        log = self._folder / f"node{place}.log"
        output = self.enter_context(log.open("w"))
        parameters = self._options.parameters(self._folder)
        node = self.enter_context(NodeProcess(parameters, output, log))
        self._started.append(node)
        process = psutil.Process(node.pid)
        feeder = self.enter_context(Feeder(self._options.limits(), process, node.check))
        return Run(self._frames, self._base, feeder, process, self._options.warm_up)

    def stop(self) -> None:
        """End all; DemoError when one does not end cleanly."""
        for node in self._started:
            node.stop()


def summary(report: dict) -> str:
    """How it ended, in a few lines."""
    judged = report["verdict"]
    answered, lost = report["answered"][MASKS], report["lost"][MASKS]
    lines = [
        f"{report['ended']}: {report['hours']:.2f} h in {report['seconds']:.0f} s; "
        f"{report['sent']} frames sent, {answered} answered, {lost} lost, "
        f"{report['unmatched']} unmatched"
    ]
    for name, row in judged["compared"].items():
        note = {None: "not judged", True: "flat", False: "NOT FLAT"}[row["flat"]]
        lines.append(
            f"{name}: {row['early']:.2f} -> {row['late']:.2f} ({row['growth']:+.2%}) {note}"
        )
    if fresh := judged.get("against_fresh"):
        note = "flat" if fresh["flat"] else "NOT FLAT"
        lines.append(
            f"latency, in turn with a fresh node: {fresh['fresh_ms']:.2f} -> {fresh['old_ms']:.2f} "
            f"ms ({fresh['growth']:+.2%}, {fresh['low']:+.2%} to {fresh['high']:+.2%}) {note}"
        )
    if not judged["compared"]:
        lines.append(f"fewer than {MIN_SAMPLES} samples: nothing compared")
    return "\n".join(lines)
