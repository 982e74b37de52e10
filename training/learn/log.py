"""Output of a training run: progress, log.jsonl, TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from savos_model.files import write_file
from training.learn.config import RunConfig

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG = "log.jsonl"  # one JSON object per validation
TENSORBOARD = "tensorboard"


class RunLog:
    """Reports the steps and validations of one run; a bar in a terminal, else plain lines.

    Args:
        out: folder of the run.
        run: its settings.
        done: steps done before; what was logged after them is dropped, as they are run again.
        speaks: False makes every call do nothing, for all processes but one.
    """

    def __init__(self, out: Path, run: RunConfig, done: int, *, speaks: bool) -> None:
        self.out, self.first, self.done, self.steps = out, done, done, run.train.steps
        self.frames = 0  # windows times frames of the steps so far
        self.speaks = speaks
        console = Console(quiet=not speaks, soft_wrap=True, highlight=False)
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        self.bar = Progress(*columns, console=console, disable=not (speaks and console.is_terminal))
        self.task = self.bar.add_task("", total=self.steps, completed=done)
        self.board = None
        if speaks:
            drop_later(out / LOG, done)
            self.board = self.open_board() if run.machine.tensorboard else None
        self.began = self.marked = time.monotonic()
        self.training_s = 0.0

    def open_board(self) -> SummaryWriter | None:
        """TensorBoard's writer, or None with a line that says why."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.say("TensorBoard is not installed, so no curves: pip install tensorboard")
            return None
        return SummaryWriter(str(self.out / TENSORBOARD), purge_step=self.first + 1)

    def __enter__(self) -> RunLog:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        if self.board:
            self.board.close()

    def say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        self.bar.console.print(text, markup=False)

    def stepped(self, done: int, frames: int) -> None:
        """Count a step of so many object-frames.

        The time since the last one, without validations, is training time.
        """
        now = time.monotonic()
        self.training_s += now - self.marked
        self.frames += frames
        self.marked, self.done = now, done
        self.bar.update(self.task, completed=done)

    @property
    def rate(self) -> float:
        """Object-frames per second of training so far, of all processes together."""
        return self.frames / max(self.training_s, 1e-9)

    def figures(self, values: Mapping[str, float]) -> None:
        """Show the figures of the last step, `loss` among them."""
        if not self.speaks:
            return
        self.write("train", {**values, "object_frames_per_s": self.rate})
        per_step = (time.monotonic() - self.began) / (self.done - self.first)
        left = timedelta(seconds=round(per_step * (self.steps - self.done)))
        text = f"loss {values['loss']:.4f}  {self.rate:.0f} object-frames/s  {left} left"
        self.bar.update(self.task, description=text)
        if self.bar.disable:
            self.say(f"step {self.done}/{self.steps}  {text}")

    def validated(
        self, train: float, values: Mapping[str, float], picture: Callable[[], np.ndarray]
    ) -> None:
        """Log a validation after the last step.

        Args:
            train: loss of the last step.
            values: validation losses by name, `loss` their sum.
            picture: makes uint8 [H, W, 3] RGB; called where TensorBoard shows it.
        """
        if self.speaks:
            losses = {name: value for name, value in values.items() if name != "loss"}
            entry = {"step": self.done, "train": train, "val": values["loss"]}
            entry |= {"object_frames_per_s": self.rate, **losses}
            report(entry, self.out / LOG, self.say)
            self.write("validation", values)
            if self.board:
                self.board.add_image("validation", picture(), self.done, dataformats="HWC")
        self.marked = time.monotonic()

    def write(self, group: str, values: Mapping[str, float]) -> None:
        """Scalars of the last step for TensorBoard, where it is on."""
        if self.board:
            for name, value in values.items():
                self.board.add_scalar(f"{group}/{name}", value, self.done)


def report(entry: Mapping[str, float], log: Path, say: Callable[[str], None] = print) -> None:
    """Say the figures of one validation and append them to the log, one JSON object a line."""
    say(json.dumps({name: round(value, 5) for name, value in entry.items()}))
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def drop_later(log: Path, step: int) -> None:
    """Take out of a log what was written after a step: that part of the run is repeated."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        write_file(log, "".join(line + "\n" for line in kept))
