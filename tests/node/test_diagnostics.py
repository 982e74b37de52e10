import numpy as np
import pytest

from savos_ros.node.diagnostics import ERROR, OK, WARN, Health


def answered(health, count, start=0.0, step=0.1, **stages):
    for k in range(count):
        health.joined()
        health.answered(
            start + k * step, {name: values[k] for name, values in stages.items()}, 3, False
        )


def test_percentiles_are_those_of_numpy_over_the_window():
    values = np.random.default_rng(0).gamma(2, 5, 500)
    health = Health(window=200)
    answered(health, 500, network=values)
    wanted = np.percentile(values[-200:], (50, 95, 99))
    assert health.percentiles()["network"] == pytest.approx(wanted)


def test_rate_is_of_the_last_five_seconds():
    health = Health(10)
    answered(health, 100, step=0.1)
    assert health.rate_hz(9.9) == pytest.approx(10, rel=0.02)
    assert health.rate_hz(30.0) == 0.0


def test_resets_and_unfamiliar_frames_are_counted():
    health = Health(10)
    for reset, unfamiliar in ((False, True), (True, False), (False, False)):
        health.answered(0.0, {}, 3, reset, unfamiliar)
    values = health.report(1.0, {}, idle=False)[2]
    assert (values["stream_resets"], values["frames_unfamiliar"]) == ("1", "1")


def test_latency_of_another_clock_is_left_out():
    health = Health(10)
    answered(health, 3, stamp=[1e12, -5.0, 20.0], network=[1.0, 1.0, 1.0])
    assert health.percentiles()["stamp"] == (20.0, 20.0, 20.0)
    assert health.percentiles()["network"] == (1.0, 1.0, 1.0)


def test_drops_are_counted_all_but_logged_seldom():
    health = Health(10)
    assert "queue_full: too slow" in health.drop("queue_full", "too slow", 0.0)
    assert [health.drop("queue_full", "too slow", 0.1 * k) for k in range(1, 40)] == [""] * 39
    assert "41" not in health.drop("size_mismatch", "differs", 0.2)
    line = health.drop("queue_full", "too slow", 5.5)
    assert "(40 since the last report)" in line
    assert health.drops == {"queue_full": 41, "size_mismatch": 1}


def test_report_says_what_was_lost_since_the_last_one():
    health = Health(10)
    answered(health, 20, network=[7.0] * 20)
    level, message, values = health.report(1.9, {}, idle=False)
    assert (level, message) == (OK, "10.0 Hz")
    assert values["frames_in"] == values["frames_out"] == "20"
    assert values["latency_ms.network.p95"] == "7.000" and values["drops"] == "0"
    health.drop("queue_full", "", 2.0)
    level, message, values = health.report(2.0, {"image_unpaired": 2}, idle=False)
    assert level == WARN and "image_unpaired 2, queue_full 1" in message
    assert values["drops"] == "3" and values["drops.image_unpaired"] == "2"
    assert health.report(2.0, {"image_unpaired": 2}, idle=False)[0] == OK
    level, message, _ = health.report(2.0, {"image_unpaired": 2}, idle=True)
    assert level == WARN and "Hz" not in message
    health.drop("step_failed", "", 2.0)
    assert health.report(2.0, {"image_unpaired": 2}, idle=False)[0] == ERROR
