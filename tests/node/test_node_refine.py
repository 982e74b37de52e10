import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from savos_model.config import BackendConfig, ComposeConfig, StreamConfig
from savos_model.stream.video import Online, Setup
from savos_model.types import Frame, Source
from savos_ros.node.engine import load_engine
from tests import tiny_scene as scene
from tests.node.rig import PERIOD_NS, START_NS, Rig, wait_for
from tests.tiny_weights import save_random

LONG = {"refine__window": 100, "refine__stride": 4}


@pytest.fixture
def rigs():
    made = []

    def make(*given, **parameters):
        parameters = {"refine__enabled": True, "diagnostics__period_s": 0.2} | parameters
        made.append(Rig(*given, **parameters).activate())
        return made[-1]

    yield make
    for rig in made:
        rig.close()


def play(rig, indices):
    for index in indices:
        rig.send(index)
        rig.answered(index)


def refined(rig, *indices):
    wait_for(lambda: rig.stamps(rig.refined) == list(indices), what=f"refined {indices}")


def switch(rig, enabled):
    rig.do(rig.node.set_parameters, [Parameter("refine.enabled", value=enabled)])
    outputs = rig.node._outputs
    if enabled:
        wait_for(outputs._refined.get_subscription_count, what="a reader of refined masks")


def threads():
    return [t for t in threading.enumerate() if t.name == "savos_refine"]


def test_every_frame_once_in_order_with_its_own_stamp(rigs):
    rig = rigs(refine__window=4, refine__stride=2, tracks__reset_gap_s=3.0)
    play(rig, range(4))
    wait_for(lambda: len(rig.refined) >= 2)
    play(rig, range(4, 11))
    refined(rig, *range(11))
    assert rig.stamps() == list(range(11)), "the forward answers are all there"
    for index, message in enumerate(rig.refined):
        assert message.header == rig.head(index) and message.model == "echo"
        assert [mask.id for mask in message.masks] == ["1007"]
    assert {m.source for message in rig.masks for m in message.masks} <= {0, 1}
    assert rig.refined[1].masks[0].source == Source.REFINED
    values = rig.values()
    assert values["refine"] == "on" and values["refine.frames_out"] == "11"
    assert int(values["refine.passes"]) >= 1 and values["refine.dropped"] == "0"
    assert float(values["latency_ms.refine_lag.p50"]) <= float(values["latency_ms.refine_lag.p95"])


def test_off_costs_nothing_and_it_switches_while_active(rigs):
    rig = rigs(refine__enabled=False, tracks__reset_gap_s=1.5, **LONG)
    play(rig, range(3))
    assert rig.node._engine.stream.record is None and not threads()
    assert rig.node._outputs._refined is None
    assert rig.values()["refine"] == "off" and "refine.passes" not in rig.values()
    switch(rig, True)
    play(rig, range(3, 7))
    switch(rig, False)
    play(rig, range(7, 9))
    assert rig.node._engine.stream.record is None
    refined(rig, 3, 4, 5, 6)
    wait_for(lambda: rig.node._outputs._refined is None, what="no topic of refined masks")
    switch(rig, True)
    play(rig, range(9, 11))
    refined(rig, 3, 4, 5, 6, 9, 10)
    assert rig.stamps() == list(range(11))


def test_reset_and_a_jump_in_time_give_the_rest_out(rigs):
    rig = rigs(tracks__reset_gap_s=30.0, **LONG)
    client = rig.helper.create_client(Trigger, "/savos/reset")
    assert client.wait_for_service(10)
    play(rig, range(4))
    call = client.call_async(Trigger.Request())
    wait_for(call.done)
    play(rig, [4, 5])
    refined(rig, 0, 1, 2, 3)
    assert rig.refined[3].masks[0].source == Source.FORWARD, "nothing is carried over a reset"
    play(rig, [405])
    refined(rig, 0, 1, 2, 3, 4, 5)


def test_deactivation_drops_the_rest_with_a_count(rigs):
    rig = rigs(tracks__reset_gap_s=30.0, **LONG)
    play(rig, range(5))
    rig.do(rig.node.trigger_deactivate)
    assert not threads()
    assert rig.values()["refine.dropped"] == "5" and not rig.refined


def test_window_and_stride_are_checked_and_locked(rigs):
    rig = rigs(refine__enabled=False)
    (result,) = rig.do(rig.node.set_parameters, [Parameter("refine.window", value=20)])
    assert not result.successful and "deactivate" in result.reason
    rig.do(rig.node.trigger_deactivate)
    rig.do(rig.node.trigger_cleanup)
    (result,) = rig.do(rig.node.set_parameters, [Parameter("refine.stride", value=20)])
    assert not result.successful and "stride must be at most window" in result.reason


def test_a_window_over_all_frames_equals_the_offline_evaluation(rigs, tmp_path):
    weights = str(save_random(tmp_path / "random.safetensors"))
    options = {"model__weights": weights, "model__backend": "onnx", "tracks__reset_gap_s": 30.0}
    rig = rigs(load_engine, compose__mask_values="probability", **options, **LONG)
    frames = scene.frames(10)
    for index, item in enumerate(frames):
        labels = np.zeros(scene.SHAPE, np.uint16)
        for one in item.instances:
            x0, y0, x1, y1 = one.box
            labels[y0:y1, x0:x1][one.mask > 0] = int(one.id)
        rig.send(index, rig.image(index, item.image), rig.labels(index, labels))
        rig.answered(index)
    play(rig, [500])  # a jump in time: all earlier frames are published
    refined(rig, *range(10))
    compose = ComposeConfig(mask_values="probability")
    setup = Setup(BackendConfig(weights, "onnx"), StreamConfig(compose=compose), "bidirectional")
    offline = Online(setup).run(
        Frame(START_NS + index * PERIOD_NS, item.image, item.instances)
        for index, item in enumerate(frames)
    )
    changed = 0
    for message, before, objects in zip(rig.refined, rig.masks[:10], offline, strict=True):
        assert [m.id for m in message.masks] == [o.id for o in objects]
        for mask, old, wanted in zip(message.masks, before.masks, objects, strict=True):
            assert mask.source == wanted.source
            assert (mask.roi.x_offset, mask.roi.y_offset) == wanted.box[:2]
            values = np.frombuffer(mask.mask.data, np.uint8).reshape(wanted.mask.shape)
            assert np.abs(values.astype(int) - wanted.mask).max() <= 1  # of 255, by rounding
            assert mask.source != Source.COASTED
            assert mask.occlusion == pytest.approx(wanted.occlusion, abs=1e-5)
            assert mask.confidence == pytest.approx(wanted.confidence, abs=1e-5)
            changed += mask.mask.data != old.mask.data
    assert changed >= 5, "refinement changes masks"
