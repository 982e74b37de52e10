"""Runs hours of frames through the real node in accelerated time and watches what grows."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from savos_model.config import RefineConfig
from savos_model.settings import check_settings, setting
from savos_ros.demo_session import NodeProcess, environment
from savos_ros.soak_feed import MASKS, REFINED, Feeder
from savos_ros.soak_run import Run
from savos_ros.soak_scene import PERIOD_NS, base_scores, renumbering, soak_frames
from savos_ros.soak_verdict import MIN_SAMPLES
from training.data.street import StreetConfig
from training.results import keep_results

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
        out: results file (training/results.py), written after each sample; None writes none.
        say: told how it goes.

    Returns:
        options; ended ("complete", or why not); sent, answered, lost, unmatched (frames); samples
        (memory, threads, handles, latency, scores); node (its last diagnostics); verdict. With
        Ctrl-C, or when the node fails, of what was run until then.

    Raises:
        DemoError: the node did not start.
        ValueError: the scene cannot be looped, or weights or engine cannot be used.
    """
    os.environ.update(environment())
    frames = soak_frames(options.scene, options.tracks)
    renumbering(frames, 0)  # refuses what cannot be looped before the node starts
    base = base_scores(frames, {"model.weights": options.weights} if options.weights else {})
    told = {name: getattr(options, name) for name in options.__dataclass_fields__}

    def keep(report: dict) -> None:
        keep_results(out, {"options": told, **report}, options.seed)

    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "node.log"
        parameters = options.parameters(Path(name))
        with log.open("w") as output, NodeProcess(parameters, output, log) as node:
            process = psutil.Process(node.pid)
            with Feeder(options.limits(), process, node.check) as feeder:
                report = Run(frames, base, feeder, process, options.warm_up).go(
                    options.frames, options.samples, keep, say
                )
            if report["ended"] == "complete":
                node.stop()
    return {"options": told, **report}


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
    if judged["flat"] is None:
        lines.append(f"fewer than {MIN_SAMPLES} samples: nothing compared")
    return "\n".join(lines)
