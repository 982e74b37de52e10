"""Calls and items in a second thread."""

import threading

import pytest

from savos_ros.bags.aside import Aside, ahead


def test_calls_run_in_order_in_another_thread():
    done = []
    with Aside(2) as aside:
        for number in range(20):
            aside.run(lambda n: done.append((n, threading.current_thread())), number)
    assert [number for number, _ in done] == list(range(20))
    assert len({thread for _, thread in done}) == 1 and done[0][1] is not threading.main_thread()


def test_no_more_calls_wait_than_allowed():
    go, started = threading.Event(), []

    def work(number):
        started.append(number)
        assert go.wait(10)

    with Aside(2) as aside:
        for number in range(3):  # one runs, two wait
            aside.run(work, number)
        threading.Timer(0.2, go.set).start()
        assert not go.is_set()
        aside.run(work, 3)
        assert go.is_set(), "it waited for the first call"
    assert started == [0, 1, 2, 3]


def test_the_next_call_or_the_end_raises_what_failed():
    def fail():
        raise ValueError("disk full")

    with pytest.raises(ValueError, match="disk full"), Aside(2) as aside:
        aside.run(fail)
    with pytest.raises(ValueError, match="disk full"), Aside(2) as aside:
        for _ in range(100):
            aside.run(fail)
        pytest.fail("it raised nothing")


def test_after_an_error_in_the_block_waiting_calls_are_left_out():
    go, done = threading.Event(), []
    with pytest.raises(KeyError), Aside(4) as aside:
        aside.run(go.wait, 10)
        aside.run(done.append, 1)
        threading.Timer(0.2, go.set).start()
        raise KeyError("stop")
    assert go.is_set() and not done


def numbers(made, failing=None):
    for number in range(10):
        if number == failing:
            raise ValueError("damaged")
        made.append((number, threading.current_thread()))
        yield number


def test_items_come_in_order_from_another_thread():
    made = []
    assert list(ahead(numbers(made), 2)) == list(range(10))
    assert len({thread for _, thread in made}) == 1 and made[0][1] is not threading.main_thread()
    assert list(ahead([], 3)) == []


def test_an_item_that_cannot_be_made_raises_in_its_place():
    items = ahead(numbers([], failing=4), 3)
    assert [next(items) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="damaged"):
        next(items)


def test_a_closed_generator_makes_no_more_items_than_allowed():
    made = []
    items = ahead(numbers(made), 2)
    assert next(items) == 0
    items.close()
    assert len(made) <= 3
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("savos_ahead") for name in names)
