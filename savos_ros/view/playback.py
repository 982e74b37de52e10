"""Shows a bag: plays, pauses, seeks; frames are completed one by one as they are needed."""

import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

from savos_ros.messages.settings import DiagnosticsConfig, OverlayConfig
from savos_ros.node.diagnostics import ERROR, OK, WARN, Health
from savos_ros.view.picture import Shown, packet
from savos_ros.view.recording import Opener, Recording
from savos_ros.view.source import Answer, Sink

LONGEST_GAP_S = 1.0  # a gap in the recording must not become minutes of one still picture
LATE_S = 0.2  # behind by more, the pace starts again from now
MOST_BYTES = 4 << 30  # of a spool on disk


class Spool:
    """Frames in a row, numbered from `first` to `end` - 1, in an unnamed temporary file.

    Beyond its limit [bytes] it forgets all frames before the next one.
    """

    def __init__(self, limit: int = MOST_BYTES) -> None:
        self._limit = limit
        self._file = tempfile.TemporaryFile(prefix="savos_view_")  # noqa: SIM115  see close
        self.clear()

    def clear(self) -> None:
        """Forget all; the next frame is number 0."""
        self.first = self.end = 0
        self._empty()

    def append(self, stamp_ns: int, data: bytes) -> None:
        """Keep the next frame: its time [ns] and its bytes.

        Raises OSError: the disk is full; the text names the folder and the remedy.
        """
        if self._places and self._size + len(data) > self._limit:
            self.first = self.end
            self._empty()
        try:
            self._file.seek(self._size)
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise OSError(
                f"{tempfile.gettempdir()} takes no more frames ({error.strerror}): make room "
                "there, or set TMPDIR to another folder"
            ) from None
        self._places.append((self._size, len(data), stamp_ns))
        self._size += len(data)
        self.end += 1

    def read(self, number: int) -> tuple[int, bytes]:
        """Return the time [ns] and the bytes of a frame."""
        start, length, stamp_ns = self._places[number - self.first]
        self._file.seek(start)
        return stamp_ns, self._file.read(length)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def _empty(self) -> None:
        self._places: list[tuple[int, int, int]] = []
        self._size = 0
        self._file.seek(0)
        self._file.truncate()


class BagSource:
    """One bag (a savos_ros.view.source.Source); all pages see the same moment of it.

    Frames are completed in order by one thread and kept drawn in a spool. Going back reads them
    there; going ahead completes all frames up to the wanted one, as masks follow from those before.
    """

    keeps = True

    def __init__(self, opener: Opener, spool: Spool) -> None:
        self._opener, self._spool = opener, spool
        self._overlay = OverlayConfig()
        self._changed = threading.Condition()
        self._playing, self._watched, self._stopped = True, False, False
        self._target: int | None = 0  # frame that is asked for
        self._speed = 1.0
        self._frame, self._ended, self._error = -1, False, ""
        self._health = Health(DiagnosticsConfig().window)
        self._recording: Recording | None = None
        self._frames: Iterator[tuple[Shown, Mapping[str, float]]] = iter(())
        self._thread = threading.Thread(target=self._run, name="savos_view_bag")
        self._opened: Future[None] = Future()

    def start(self, sink: Sink) -> None:
        """Open the bag (see Source); raises BagError, WeightsError or BackendError."""
        self._sink = sink
        self._thread.start()
        self._opened.result()

    def watch(self, on: bool) -> None:
        """Play only while a page is watched; see Source."""
        with self._changed:
            self._watched = on
            self._changed.notify_all()

    def status(self) -> dict[str, Any]:
        """Return where in the bag it is; see Source."""
        with self._changed:
            recording, target, frame, ready = (
                self._recording, self._target, self._frame, self._spool.end
            )  # fmt: skip
            playing, error, ended = self._playing, self._error, self._ended
        assert recording is not None, "started"
        _, _, values = self._health.report(time.monotonic(), dict(recording.losses()), False)
        state, damage = "playing" if playing else "paused", recording.damage()
        if target is not None and ready <= target and not ended:
            state = "completing"
        return {
            "kind": "bag",
            "name": self._opener.path.name,
            "level": ERROR if error else WARN if damage else OK,
            "state": "failed" if error else state,
            "message": error or f"masks {recording.masks}" + (f"; {damage}" if damage else ""),
            "values": values,
            "playing": playing,
            "frame": max(frame, 0),
            "ready": ready,
            "frames": ready if ended else max(recording.expected, ready),
            "speed": self._speed,
        }

    def ask(self, said: dict[str, Any]) -> None:
        """Follow a page: play, pause, seek, step or speed; see Source."""
        do, value = said.get("do"), said.get("value")
        with self._changed:
            if do == "play":
                self._play()
            elif do == "pause":
                self._playing = False
            elif do in ("seek", "step") and type(value) is int:
                begin = 0 if do == "seek" else max(self._frame, 0)
                self._target = min(max(begin + value, 0), self._last)
                self._playing = self._playing and do == "seek"
            elif do == "speed" and isinstance(value, (int, float)) and 0.1 <= value <= 10:
                self._speed = float(value)
            else:
                raise ValueError(f"not understood: {do!r} {value!r}"[:80])
            self._changed.notify_all()

    async def order(self, name: str, on: bool) -> Answer:
        """Refuse: there is no node; see Source."""
        return Answer(False, "a bag has no services to call: start `savos view` on a running node")

    def close(self) -> None:
        """End; see Source."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()
        self._spool.close()

    @property
    def _last(self) -> int:
        """Number of the last frame, as far as it is known."""
        known = self._recording.expected if self._recording and not self._ended else 0
        return max(known, self._spool.end, 1) - 1

    def _play(self) -> None:
        self._playing = True
        if self._ended and self._frame >= self._last:
            self._target = 0

    def _run(self) -> None:
        """Show frame after frame; the only thread that touches bag, stream and spool file."""
        with ExitStack() as stack:
            self._stack = stack
            try:
                self._open()
            except BaseException as error:
                self._opened.set_exception(error)
                return
            self._opened.set_result(None)
            shown_s = 0.0
            while (number := self._next()) is not None:
                try:
                    shown_s = self._show(number, shown_s)
                except Exception as error:  # what a bag or an engine raises is not documented
                    with self._changed:
                        self._error, self._playing, self._target = str(error), False, None

    def _open(self) -> None:
        """Open the bag at its beginning."""
        self._stack.pop_all().close()
        recording = self._stack.enter_context(self._opener())
        self._frames = recording.frames
        with self._changed:
            self._spool.clear()
            self._recording, self._ended = recording, False

    def _next(self) -> int | None:
        """Wait for something to show; return the number of its frame, None at the end."""
        with self._changed:
            while not self._stopped:
                if self._watched and self._target is not None:
                    return self._target
                if self._watched and self._playing:
                    return self._frame + 1
                self._changed.wait()
        return None

    def _show(self, number: int, shown_s: float) -> float:
        """Show one frame when its time has come, unless something else is asked for meanwhile.

        Returns when this one was shown [s].
        """
        asked = self._target == number
        wanted, before = number, self._frame
        if number < self._spool.first:
            self._open()
        while self._spool.end <= number:
            if not self._complete_one():
                number = self._spool.end - 1
            elif self._interrupted(wanted, asked):
                return shown_s
        if number < 0:
            raise ValueError("no frame of this bag can be shown: see drops for the reasons")
        stamp_ns, data = self._spool.read(number)
        due_s = shown_s
        if not asked and self._spool.first <= before < number:
            gap_s = (stamp_ns - self._spool.read(before)[0]) / 1e9 / self._speed
            due_s += min(max(gap_s, 0.0), LONGEST_GAP_S)
        with self._changed:
            while not self._interrupted(wanted, asked) and time.monotonic() < due_s:
                self._changed.wait(due_s - time.monotonic())
            if self._interrupted(wanted, asked):
                return shown_s
            if asked:
                self._target = None
            elif number == before:
                self._playing = False  # the end
                return shown_s
            self._frame, self._error = number, ""
        self._sink.offer(data)
        now_s = time.monotonic()
        return due_s if now_s - due_s < LATE_S else now_s

    def _interrupted(self, number: int, asked: bool) -> bool:
        """Whether another frame than this one is wanted by now."""
        with self._changed:
            if self._stopped or not self._watched:
                return True
            if asked:
                return self._target is None or self._target != number
            return self._target is not None or not self._playing

    def _complete_one(self) -> bool:
        """Complete, draw and keep the next frame; False when there is none."""
        item = next(self._frames, None)
        if item is None:
            with self._changed:
                self._ended = True
            return False
        shown, times = item
        begun = time.monotonic()
        drawn = packet(shown, self._overlay, True, frame=self._spool.end)
        times = {**times, "draw": 1000 * (time.monotonic() - begun)}
        with self._changed:
            self._spool.append(shown.stamp_ns, drawn)
        self._health.answered(time.monotonic(), times, len(shown.objects), False)
        return True
