"""Run the network backwards in time over recorded frames, for the bidirectional pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from savos_model.backends.interface import Backend
from savos_model.geometry import pull_patch
from savos_model.stream.estimate import backward_flow, backward_motion
from savos_model.stream.flow import FlowProvider
from savos_model.stream.prediction import (
    Cue,
    Seen,
    moving,
    network_inputs,
    output_values,
    set_priors,
)
from savos_model.stream.record import Observed, Record
from savos_model.types import Box

Estimates = list[dict[str, np.ndarray]]  # of each record's tracks: float32 [h, w, 2] by id


class Backwards(NamedTuple):
    """A track's network input in the backward direction, its prior UNKNOWN: cue and patch."""

    cue: Cue
    patch: np.ndarray


class Carried(NamedTuple):
    """State and prediction (in `box`) that a backward step passes to the previous frame."""

    h: np.ndarray
    c: np.ndarray
    values: np.ndarray
    residual: np.ndarray
    box: Box


def make_backward(
    backend: Backend, flow: FlowProvider, pause: Callable[[], None]
) -> BackwardSame | BackwardNext:
    """Return the backward direction of the network's preset.

    Args:
        backend: an engine with the weights of the stream.
        flow: provides the flow backwards in time.
        pause: called before each unit of work; an exception ends the pass.
    """
    kind = BackwardSame if backend.model.same_frame else BackwardNext
    return kind(backend, flow, pause)


class Backward:
    """Shared base: network inputs, computed once although passes overlap."""

    def __init__(self, backend: Backend, flow: FlowProvider, pause: Callable[[], None]) -> None:
        self.backend, self.flow, self.pause = backend, flow, pause

    def inputs(
        self, known: dict[str, Backwards], items: list[Observed], seen: Seen, there: Seen | None
    ) -> dict[str, Backwards]:
        """Return inputs of tracks of the frame `seen`, with the flow into its neighbour `there`.

        `known` caches them, unless the neighbour is still missing.
        """
        missing = [item for item in items if item.instance.id not in known]
        made = self.work_out(seen, there, missing) if missing else {}
        if there is not None:
            known.update(made)
        made = known | made
        return {item.instance.id: made[item.instance.id] for item in items}

    def work_out(
        self, seen: Seen, there: Seen | None, items: list[Observed]
    ) -> dict[str, Backwards]:
        """Compute inputs; masks without flow use the published motion."""
        self.pause()
        signs = 1 if self.backend.model.same_frame else -1
        shifts = [(signs * i.object.motion[0], signs * i.object.motion[1]) for i in items]
        regions = backward_flow(self.flow, seen, there, [i.box for i in items], shifts)
        made = {}
        for item, region, shift in zip(items, regions, shifts, strict=True):
            self.pause()
            cue = Cue(item.instance, item.box, region, region.median(item.instance) or shift)
            patch = network_inputs(seen, [cue], self.backend.model)[0]
            made[item.instance.id] = Backwards(cue, patch)
        return made


class BackwardSame(Backward):
    """The mirror image of estimate.SameFrame: M~ of each frame, from the last one to the first.

    A track's state starts at zero in its last frame of the window; alpha expresses how little the
    first steps know.
    """

    def run(
        self,
        records: Sequence[Record],
        known: Sequence[dict[str, Backwards]],
        names: Collection[str],
    ) -> Estimates:
        """Return the backward prediction of the tracks `names` in each record."""
        estimates: Estimates = [{} for _ in records]
        carried: dict[str, Carried] = {}
        later: Record | None = None
        for index in reversed(range(len(records))):
            record = records[index]
            items = [item for name, item in record.tracks.items() if name in names]
            onward = set(linked(later)) if later else set()
            carried = {name: last for name, last in carried.items() if name in onward}
            refined = set(carried)  # no later frame has information on a track's last frame
            if items:
                there = later.seen if later else None
                inputs = self.inputs(known[index], items, record.seen, there)
                carried |= self.step(inputs, carried)
                estimates[index] = {n: carried[n].values for n in inputs if n in refined}
            later = record
        return estimates

    def step(self, inputs: dict[str, Backwards], carried: dict[str, Carried]) -> dict[str, Carried]:
        """Run one step of the network; return what it passes on by ID."""
        self.pause()
        model = self.backend.model
        zeros = np.zeros(model.hidden, np.float32)
        patches = np.stack([given.patch for given in inputs.values()])
        set_priors(patches, [self.prior(g, carried.get(i)) for i, g in inputs.items()], model)
        states = [carried.get(name) for name in inputs]
        h = np.stack([last.h if last else zeros for last in states])
        c = np.stack([last.c if last else zeros for last in states])
        out = self.backend.step(patches, h, c)
        values = output_values(out, with_alpha=True)
        rows = zip(inputs, out.h, out.c, values, out.residual, strict=True)
        return {name: Carried._make((*row, inputs[name].cue.box)) for name, *row in rows}

    def prior(self, given: Backwards, last: Carried | None) -> np.ndarray | None:
        """Return the later frame's mask moved into this one; None if the track ends here."""
        if last is None:
            return None
        self.pause()
        motion = backward_motion(given.patch, given.cue, self.backend.model)
        return pull_patch(last.values, motion, last.residual, last.box, given.cue.box)


class BackwardNext(Backward):
    """The mirror image of estimate.NextFrame: each step estimates M^ of the previous frame."""

    def run(
        self,
        records: Sequence[Record],
        known: Sequence[dict[str, Backwards]],
        names: Collection[str],
    ) -> Estimates:
        """Return the backward prediction of the tracks `names` in each record.

        A track's state starts at zero in its last frame of the window; alpha expresses how little
        the first steps know.
        """
        model = self.backend.model
        estimates: Estimates = [{} for _ in records]
        states: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        zeros = np.zeros(model.hidden, np.float32)
        for index in range(len(records) - 1, 0, -1):
            record, before = records[index], records[index - 1]
            items = [record.tracks[name] for name in linked(record) if name in names]
            inputs = self.inputs(known[index], items, record.seen, before.seen)
            states = {name: states.get(name, (zeros, zeros)) for name in inputs}
            if not inputs:
                continue
            self.pause()
            patches = np.stack([given.patch for given in inputs.values()])
            set_priors(patches, [estimates[index].get(i) for i in inputs], model)
            h, c = (np.stack(parts) for parts in zip(*states.values(), strict=True))
            out = self.backend.step(patches, h, c)
            values = output_values(out, with_alpha=True)
            for row, (name, given) in enumerate(inputs.items()):
                self.pause()
                states[name] = (out.h[row], out.c[row])
                guess = moving(values[row], out.residual[row], given.patch, given.cue, model)
                estimates[index - 1][name] = guess.warped(before.tracks[name].box)
        return estimates


def linked(record: Record) -> Iterator[str]:
    """Return the IDs of the tracks that also exist in the previous frame."""
    return (name for name, item in record.tracks.items() if item.linked)
