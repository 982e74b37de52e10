import threading
import time

import pytest

from savos_ros.node.worker import Worker


class Recorder:
    """Work that can be held back, with everything that happened."""

    def __init__(self, depth=2):
        self.done, self.dropped, self.errors = [], [], []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.worker = Worker(self.work, depth, self.dropped.append, self.error)

    def work(self, entry):
        self.started.release()
        assert self.gate.wait(10)
        if entry == "bad":
            raise ValueError("bad entry")
        self.done.append(entry)

    def error(self, error, entry):
        self.errors.append((str(error), entry))


@pytest.fixture
def recorder():
    made = Recorder()
    yield made
    made.gate.set()
    made.worker.stop(10)


def wait_for(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.005)


def test_entries_are_worked_in_order(recorder):
    recorder.worker.put(1)
    wait_for(lambda: recorder.done == [1])
    recorder.worker.put(2)
    wait_for(lambda: recorder.done == [1, 2])
    assert recorder.dropped == []


def test_the_oldest_waiting_entry_is_dropped_and_the_newest_wins(recorder):
    recorder.gate.clear()
    recorder.worker.put(0)
    assert recorder.started.acquire(timeout=10)
    for entry in range(1, 6):
        recorder.worker.put(entry)
    assert recorder.dropped == [1, 2, 3]
    assert recorder.worker.waiting == 2
    recorder.gate.set()
    wait_for(lambda: recorder.done == [0, 4, 5])


def test_an_error_is_reported_and_the_next_entry_is_worked(recorder):
    recorder.worker.put("bad")
    wait_for(lambda: recorder.errors == [("bad entry", "bad")])
    recorder.worker.put("good")
    wait_for(lambda: recorder.done == ["good"])


def test_stop_finishes_the_current_entry_drops_the_others_and_ends_the_thread(recorder):
    recorder.gate.clear()
    recorder.worker.put(0)
    assert recorder.started.acquire(timeout=10)
    recorder.worker.put(1)
    threading.Timer(0.1, recorder.gate.set).start()
    assert recorder.worker.stop(10)
    assert recorder.done == [0] and recorder.dropped == [1]
    recorder.worker.put(2)
    assert recorder.dropped == [1, 2]


def test_stop_says_when_the_work_hangs(recorder):
    recorder.gate.clear()
    recorder.worker.put(0)
    assert recorder.started.acquire(timeout=10)
    assert not recorder.worker.stop(0.05)
    recorder.gate.set()
    assert recorder.worker.stop(10)


def test_no_thread_is_left():
    before = threading.active_count()
    for _ in range(20):
        Worker(lambda entry: None, 1, lambda entry: None, lambda error, entry: None).stop(10)
    assert threading.active_count() == before


def test_depth_is_checked():
    with pytest.raises(ValueError, match="^depth .* 0:"):
        Recorder(depth=0)
