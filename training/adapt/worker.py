"""The process that adapts behind a running node: `python -m training.adapt.worker DESCRIPTOR`."""

import contextlib
import os
import select
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from savos_model.adaptation_link import receive, report
from savos_model.memory import give_back_memory

NICENESS = 19


def main(descriptor: int) -> int:
    """Ask for bursts of frames and learn from them until the node is gone; see adaptation_link."""
    stand_back()
    end_with_the_node(descriptor)
    # Imported at low priority: it takes seconds of computing.
    import cv2
    import torch

    from training.adapt.site import Site

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    connection = Connection(descriptor)
    try:
        start = receive(connection)
        site = Site(start, lambda **facts: report(connection, **facts))
        while True:
            report(connection, state="collecting")
            frames = []
            while len(frames) < start.config.min_frames:
                frame = receive(connection)
                if frame is None:  # the run of frames broke
                    frames.clear()
                else:
                    frames.append(frame)
            site.learn(frames)
            give_back_memory()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 0  # the node is gone
    except Exception as error:
        report(connection, error=f"{type(error).__name__}: {error}"[:1000])
        raise


def stand_back() -> None:
    """Let everybody else go first, and be the first to go when memory is short (Linux)."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(AttributeError, OSError):
        # Gives way immediately; the nicest process still gets its turn while a frame waits.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def end_with_the_node(descriptor: int) -> None:
    """Watch the other side of the pipe in a thread, whatever this process does meanwhile."""
    hangup = select.poll()
    hangup.register(descriptor, 0)  # the end of the other side is always reported

    def watch() -> None:
        hangup.poll()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
