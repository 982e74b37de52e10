"""One soak under way: feeds a node as fast as it answers, scores and samples."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import psutil

from savos_ros.bags.recording import START_NS
from savos_ros.bags.restamp import header_stamp
from savos_ros.messages.results import amodal_objects
from savos_ros.tools.bench import MEASURED, cpu_s, figures
from savos_ros.tools.harness import NodeProcess, Recorder
from savos_ros.tools.settings import DemoError
from savos_ros.tools.soak_scene import (
    PERIOD_NS,
    SCORES,
    Mask,
    SoakFrame,
    label_table,
    renumbering,
    score,
    shares,
)

POLL_S = 1.0
LOST_AFTER = 15  # polls in which nothing came while the node was running: what is out is lost
GIVE_UP_AFTER = 120  # such polls in a row
MASKS, REFINED = "masks", "masks_refined"


class Feeder(Recorder):
    """Publishes frames and takes their answers; every frame ends as answered or as lost.

    Time counts only while both processes run: either may be stopped and continue later. `limits`
    are the frames that may be out by topic of answers; `unmatched` answers are to no such frame.
    """

    def __init__(self, limits: dict[str, int], node: NodeProcess) -> None:
        super().__init__()
        self._limits, self.node, self.process = limits, node, psutil.Process(node.pid)
        self._answers: queue.SimpleQueue[tuple[str, float, bytes]] = queue.SimpleQueue()
        self._out: dict[str, dict[int, float]] = {topic: {} for topic in limits}
        self.answered, self.lost = dict.fromkeys(limits, 0), dict.fromkeys(limits, 0)
        self.unmatched = self._silent = 0

    def __enter__(self) -> Feeder:
        """Connect, and wait for the node and its topics."""
        super().__enter__()
        with ExitStack() as failed:
            failed.push(self.__exit__)
            if REFINED in self._limits:
                self.subscribe(REFINED, lambda data: self._came(REFINED, data))
            self.open_inputs()
            self.wait_for_node(self.node.check)
            while not all(publisher.get_subscription_count() for publisher in self.inputs):
                self.node.check()
                time.sleep(0.05)
            failed.pop_all()
        return self

    def _on_masks(self, data: bytes) -> None:
        self._came(MASKS, data)

    def _came(self, topic: str, data: bytes) -> None:
        self._answers.put((topic, time.monotonic(), data))

    def send(self, stamp_ns: int, image: np.ndarray, labels: np.ndarray) -> None:
        """Publish one frame, and expect its answers."""
        now = time.monotonic()
        for out in self._out.values():
            out[stamp_ns] = now
        super().send(stamp_ns, image, labels)

    def full(self) -> bool:
        """Whether an answer must come before the next frame."""
        return any(self.out(topic) >= limit for topic, limit in self._limits.items())

    def out(self, topic: str) -> int:
        """Return the number of frames without an answer on this topic."""
        return len(self._out[topic])

    @property
    def waiting(self) -> bool:
        """Whether any answer is still out."""
        return any(self._out.values())

    def take(self) -> tuple[int, float, bytes] | None:
        """Wait for an answer: stamp [ns], latency [s] and message; None when it is not of ~/masks.

        Raises DemoError: the node has ended, or answers nothing any more.
        """
        try:
            topic, came_s, data = self._answers.get(timeout=POLL_S)
        except queue.Empty:
            self._nothing_came()
            return None
        self._silent = 0
        stamp = header_stamp(data)
        sent_s = self._out[topic].pop(stamp, None) if stamp is not None else None
        if stamp is None or sent_s is None:
            self.unmatched += 1
            return None
        self.answered[topic] += 1
        return (stamp, came_s - sent_s, data) if topic == MASKS else None

    def _nothing_came(self) -> None:
        self.node.check()
        if self.process.status() == psutil.STATUS_STOPPED:
            return
        self._silent += 1
        if self._silent >= GIVE_UP_AFTER:
            raise DemoError(f"the node answered nothing for {GIVE_UP_AFTER * POLL_S:.0f} s")
        if self._silent % LOST_AFTER == 0:
            for topic, out in self._out.items():
                self.lost[topic] += len(out)
                out.clear()


MIN_SAMPLES = 20
# Largest growth from the tenth after the warm-up to the last; None: reported, not judged, as other
# work on the machine changes it.
LIMITS = {
    "rss_mb": 0.02,
    "threads": 0.0,
    "handles": 0.0,
    "adapter_rss_mb": 0.02,
    "cpu_ms": None,
    "latency_p50_ms": None,
    "latency_p99_ms": None,
}
BELOW_BASE = 0.005  # what the recall of visible pixels may lie under that of the base weights


def verdict(samples: Sequence[dict], warm_up_h: float = 0.0) -> dict:
    """Compare the last tenth of the samples with the one that follows the warm-up.

    The warm-up is `warm_up_h` hours by the stamps, and a tenth of the samples at least. Returns
    compared: by quantity, mean early and late (threads and handles: median), growth (a share),
    limit, flat; against_base: recall of given visible pixels in the last tenth, that of the base
    weights on the same frames, limit, kept; flat: all of it, None with too few samples.
    """
    tenth = len(samples) // 10
    first = max(tenth, sum(row["hours"] <= warm_up_h for row in samples))
    if len(samples) < max(MIN_SAMPLES, first + 2 * tenth):
        return {"compared": {}, "against_base": None, "flat": None}
    early, late = samples[first : first + tenth], samples[-tenth:]
    compared = {}
    for name, limit in LIMITS.items():
        pair = [[row[name] for row in part if row.get(name) is not None] for part in (early, late)]
        if not all(pair):
            continue
        middle = np.median if limit == 0.0 else np.mean
        began, ended = (float(middle(values)) for values in pair)
        growth = ended / began - 1
        flat = None if limit is None else abs(growth) <= limit if limit == 0.0 else growth <= limit
        compared[name] = {
            "early": began, "late": ended, "growth": growth, "limit": limit, "flat": flat,
        }  # fmt: skip
    against = against_base(late)
    flat = (against is None or against["kept"]) and all(
        row["flat"] is not False for row in compared.values()
    )
    return {"compared": compared, "against_base": against, "flat": flat}


def against_base(samples: Sequence[dict]) -> dict | None:
    """Compare the recall of given visible pixels with the base weights'; None without scores."""
    pairs = [[row[name]["visible_recall"] for name in ("scores", "base")] for row in samples]
    known = [pair for pair in pairs if None not in pair]
    if not known:
        return None
    recall, base = np.mean(known, axis=0).tolist()
    kept = recall >= base - BELOW_BASE
    return {"recall": recall, "base": base, "limit": -BELOW_BASE, "kept": kept}


SCORED = 10  # of so many frames one is scored, in time each of the loop
ADAPTER = "training.adapt.worker"


class Run:
    """Loops frames, scored by the base weights in `base`, through a node and measures it.

    The verdict compares nothing from the first `warm_up_h` hours by the stamps.
    """

    def __init__(
        self,
        frames: list[SoakFrame],
        base: list[np.ndarray],
        feeder: Feeder,
        warm_up_h: float,
    ) -> None:
        self._frames, self._base, self._feeder = frames, base, feeder
        self._process = feeder.process
        self._numbers: dict[int, dict[int, int]] = {}  # by round of the loop: new label -> old
        self._begun_s, self._cpu_s, self._sent, self._model = time.monotonic(), 0.0, 0, ""
        self._samples: list[dict] = []
        self._warm_up_h = warm_up_h
        self._clear()

    def go(
        self, frames: int, samples: int, keep: Callable[[dict], None], say: Callable[[str], None]
    ) -> dict:
        """Send so many frames; keep what is known (see soak) after each sample, and at the end."""
        every, ended = max(1, frames // samples), "complete"
        try:
            while self._sent < frames:
                while self._feeder.full():
                    self._take()
                self._send()
                if self._sent % every == 0:
                    self._sample()
                    say(line(self._samples[-1]))
                    keep(self._report("under way"))
            while self._feeder.waiting:
                self._take()
            self._feeder.wait_until_quiet(0, lambda: None)
        except KeyboardInterrupt:
            ended = "interrupted"
        except (DemoError, psutil.Error) as error:
            ended = f"failed: {error}"
        report = self._report(ended)
        keep(report)
        return report

    def answer(self) -> float:
        """Send one frame more and wait for its answer; the latency [s], NaN when it is lost."""
        self._latency_s.clear()
        self._send()
        while self._feeder.out(MASKS):
            self._take()
        return self._latency_s[-1] if self._latency_s else np.nan

    def finish_loop(self) -> None:
        """Continue to the end of a round of the loop, and one round more."""
        for _ in range(2 * self.loop_frames - self._sent % self.loop_frames):
            self.answer()

    @property
    def loop_frames(self) -> int:
        """Return the length of the loop."""
        return len(self._frames)

    def _send(self) -> None:
        loop, index = divmod(self._sent, len(self._frames))
        if index == 0:
            new = renumbering(self._frames, loop)
            self._table = label_table(new)
            self._numbers[loop] = {label: old for old, label in new.items()}
            self._numbers.pop(loop - 2, None)
        frame = self._frames[index]
        stamp_ns = START_NS + self._sent * PERIOD_NS
        self._feeder.send(stamp_ns, frame.image, self._table[frame.labels])
        self._sent += 1

    def _take(self) -> None:
        answer = self._feeder.take()
        if answer is None:
            return
        stamp, latency_s, data = answer
        self._latency_s.append(latency_s)
        loop, index = divmod((stamp - START_NS) // PERIOD_NS, len(self._frames))
        if loop and (loop + index) % SCORED == 0:  # base_scores says why not the first round
            masks, self._model = read(data, self._numbers[loop])
            self._scores += score(self._frames[index], masks)
            self._base_scores += self._base[index]

    def _clear(self) -> None:
        self._latency_s: list[float] = []
        self._scores, self._base_scores = np.zeros(SCORES), np.zeros(SCORES)

    def _sample(self) -> None:
        used_s, before = cpu_s(self._process), self._samples[-1:]
        frames = self._sent - (before[0]["sent"] if before else 0)
        latency_ms: list[float | None] = [None, None]
        if self._latency_s:
            latency_ms = (1e3 * np.percentile(self._latency_s, (50, 99))).tolist()
        self._samples.append(
            {
                "hours": hours(self._sent),
                "seconds": time.monotonic() - self._begun_s,
                "sent": self._sent,
                "answered": self._feeder.answered[MASKS],
                "cpu_ms": 1e3 * (used_s - self._cpu_s) / frames,
                "latency_p50_ms": latency_ms[0],
                "latency_p99_ms": latency_ms[1],
                "scores": shares(self._scores),
                "base": shares(self._base_scores),
                "model": self._model,
                **size(self._process),
                **adapter(self._process),
            }
        )
        self._cpu_s = used_s
        self._clear()

    def _report(self, ended: str) -> dict:
        feeder = self._feeder
        return {
            "ended": ended,
            "hours": hours(self._sent),
            "seconds": time.monotonic() - self._begun_s,
            "sent": self._sent,
            "answered": dict(feeder.answered),
            "lost": dict(feeder.lost),
            "unmatched": feeder.unmatched,
            "node": figures(feeder.values) if MEASURED in feeder.values else {},
            "verdict": verdict(self._samples, self._warm_up_h),
            "samples": self._samples,
        }


def frames_of(hours: float) -> int:
    """Return the frames that come in so many hours of the stamps."""
    return round(hours * 3600e9 / PERIOD_NS)


def hours(frames: int) -> float:
    """Return the time that frames take at the rate of their stamps [h]."""
    return frames * PERIOD_NS / 3600e9


def line(sample: dict) -> str:
    """Return a sample as one line."""
    latency, recall = sample["latency_p50_ms"], sample["scores"]["visible_recall"]
    return (
        f"{sample['hours']:7.2f} h in {sample['seconds']:6.0f} s: {sample['rss_mb']:.1f} MB, "
        f"{sample['threads']} threads, {sample['handles']} handles, "
        f"p50 {f'{latency:.1f} ms' if latency else '-'}, recall {recall}, {sample['model']}"
    )


def read(data: bytes, numbers: dict[int, int]) -> tuple[dict[int, Mask], str]:
    """Read a serialized AmodalMaskArray: masks by the loop's first labels, and name of the weights.

    Masks that another round of the loop left behind are not among them.
    """
    from rclpy.serialization import deserialize_message

    from savos_ros.msg import AmodalMaskArray

    message = deserialize_message(data, AmodalMaskArray)
    found = {int(item.id): (item.box, item.mask) for item in amodal_objects(message)}
    return {numbers[new]: mask for new, mask in found.items() if new in numbers}, message.model


def size(process: psutil.Process) -> dict[str, float]:
    """Return memory [MB], threads and open files of a process."""
    with process.oneshot():
        return {
            "rss_mb": process.memory_info().rss / 1e6,
            "threads": process.num_threads(),
            "handles": process.num_fds(),
        }


def adapter(node: psutil.Process) -> dict[str, float]:
    """Return the same of the process that adapts for a node; empty while there is none."""
    for child in node.children():
        try:
            if ADAPTER in child.cmdline():
                return {f"adapter_{name}": value for name, value in size(child).items()}
        except psutil.Error:  # it has just ended
            continue
    return {}
