"""Collect counts, rates and latencies of the running node for diagnostics, without ROS."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping

import numpy as np

OK, WARN, ERROR = 0, 1, 2  # the levels of diagnostic_msgs/DiagnosticStatus
RATE_SPAN_S = 5.0
LOG_EVERY_S = 5.0
# Beyond this the image stamp is from another clock (a bag without /clock): no latency.
OTHER_CLOCK_MS = 60_000.0
FAILURES = ("step_failed", "callback_failed")
REFINE_COUNTS = (
    "frames_out",
    "passes",
    "windows_skipped",
    "tracks_refined",
    "tracks_left_out",
    "dropped",
)


class Health:
    """Counts and timings reported by the threads of one node, percentiles over `window` frames."""

    def __init__(self, window: int) -> None:
        self._lock = threading.Lock()
        self._window = window
        self._stages: dict[str, deque[float]] = {}
        self._times: deque[float] = deque()
        self._drops: Counter = Counter()
        self._skipped: Counter = Counter()
        self._reported: Counter = Counter()
        self._said: dict[str, tuple[float, int]] = {}
        self._refine = Counter(dict.fromkeys(REFINE_COUNTS, 0))
        self.frames_in = 0
        self.frames_out = 0
        self.tracks = 0
        self.stream_resets = 0
        self.frames_unfamiliar = 0

    def joined(self) -> None:
        """Count a synchronized set."""
        with self._lock:
            self.frames_in += 1

    def answered(
        self,
        now_s: float,
        stages_ms: Mapping[str, float],
        tracks: int,
        reset: bool,
        unfamiliar: bool = False,
    ) -> None:
        """Count a published result at a monotonic time [s]; `reset`: tracks were deleted before it.

        `unfamiliar`: the scene was taken for one unlike those of the training. `stages_ms` are
        durations by stage; "stamp" (from the image stamp) is ignored if the stamp is from another
        clock.
        """
        with self._lock:
            self.frames_out += 1
            self.tracks = tracks
            self.stream_resets += reset
            self.frames_unfamiliar += unfamiliar
            self._times.append(now_s)
        self.timed(stages_ms)

    def timed(self, stages_ms: Mapping[str, float]) -> None:
        """Record durations by stage [ms]."""
        with self._lock:
            for stage, value in stages_ms.items():
                if stage == "stamp" and not 0 <= value < OTHER_CLOCK_MS:
                    continue
                self._stages.setdefault(stage, deque(maxlen=self._window)).append(value)

    def count_refine(self, **counts: int) -> None:
        """Add to the counts of the bidirectional pass, by REFINE_COUNTS."""
        with self._lock:
            self._refine.update(counts)

    def drop(self, reason: str, text: str, now_s: float, count: int = 1) -> str:
        """Count a loss; return a line to log, empty if the reason was logged recently."""
        with self._lock:
            self._drops[reason] += count
            last, said = self._said.get(reason, (-LOG_EVERY_S, 0))
            if now_s - last < LOG_EVERY_S:
                return ""
            total = self._drops[reason]
            self._said[reason] = (now_s, total)
        more = f" ({total - said} since the last report)" if total - said > count else ""
        return f"{reason}: {text}{more}"

    def keep(self, losses: Mapping[str, int]) -> None:
        """Keep the losses of a stamp joiner that is about to be destroyed."""
        with self._lock:
            self._drops.update(losses)

    def skip(self, reasons: Mapping[str, int]) -> None:
        """Count single masks that were skipped or passed on unchanged."""
        with self._lock:
            self._skipped.update(reasons)

    @property
    def drops(self) -> dict[str, int]:
        """Return the losses by reason."""
        with self._lock:
            return dict(self._drops)

    def percentiles(self) -> dict[str, tuple[float, float, float]]:
        """Return p50, p95 and p99 by stage [ms]."""
        with self._lock:
            stages = {name: np.array(values) for name, values in self._stages.items()}
        return {
            name: tuple(np.percentile(values, (50, 95, 99)).tolist())
            for name, values in stages.items()
        }

    def rate_hz(self, now_s: float) -> float:
        """Return the results per second over the last five seconds."""
        with self._lock:
            while self._times and now_s - self._times[0] > RATE_SPAN_S:
                self._times.popleft()
            count = len(self._times)
            return (count - 1) / max(now_s - self._times[0], 1e-9) if count > 1 else 0.0

    def report(
        self, now_s: float, joiner_losses: Mapping[str, int], idle: bool
    ) -> tuple[int, str, dict[str, str]]:
        """Return level, message and values for a DiagnosticStatus at a monotonic time [s].

        `idle`: no synchronized set has arrived for too long.
        """
        rate, stages = self.rate_hz(now_s), self.percentiles()
        with self._lock:
            skipped, refine = dict(self._skipped), dict(self._refine)
            drops = self._drops + Counter(joiner_losses)
            new = drops - self._reported
            self._reported = drops
        values = {
            "rate_hz": f"{rate:.2f}",
            "frames_in": str(self.frames_in),
            "frames_out": str(self.frames_out),
            "tracks": str(self.tracks),
            "stream_resets": str(self.stream_resets),
            "frames_unfamiliar": str(self.frames_unfamiliar),
            "drops": str(sum(drops.values())),
        }
        values |= {f"drops.{reason}": str(count) for reason, count in sorted(drops.items())}
        values |= {f"masks.{reason}": str(count) for reason, count in sorted(skipped.items())}
        if any(refine.values()):
            values |= {f"refine.{name}": str(count) for name, count in refine.items()}
        for stage, numbers in stages.items():
            for name, value in zip(("p50", "p95", "p99"), numbers, strict=True):
                values[f"latency_ms.{stage}.{name}"] = f"{value:.3f}"
        return *_verdict(new, rate, idle), values


def _verdict(new: Counter, rate: float, idle: bool) -> tuple[int, str]:
    """Return level and message for the losses since the last report."""
    lost = ", ".join(f"{reason} {count}" for reason, count in sorted(new.items()))
    if any(new[reason] for reason in FAILURES):
        return ERROR, f"frames failed: {lost}"
    if idle:
        return WARN, "no synchronized frames: see the log for the missing input"
    if lost:
        return WARN, f"{rate:.1f} Hz, lost since the last report: {lost}"
    return OK, f"{rate:.1f} Hz"
