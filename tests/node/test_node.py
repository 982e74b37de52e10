import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
from rclpy.parameter import Parameter
from savos_ros.msg import InstanceMaskArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger

from savos_model.stream.stream import AmodalStream
from savos_ros.messages import kit
from savos_ros.messages.extras import optional
from savos_ros.node.engine import Engine
from savos_ros.node.qos import profile
from tests.node.rig import HEIGHT, WIDTH, Rig, echo_engine, own_name, wait_for
from tests.tiny_scene import EchoBackend


@pytest.fixture
def rig():
    made = Rig(diagnostics__period_s=0.2).activate()
    yield made
    made.close()


class HeldStream(AmodalStream):
    """A stream with a set delay, or a failure."""

    def __init__(self, settings, delay_s=0.0):
        super().__init__(EchoBackend(), settings.stream)
        self.delay_s, self.fail, self.resets = delay_s, False, 0

    def step(self, frame):
        time.sleep(self.delay_s)
        if self.fail:
            self.fail = False
            raise RuntimeError("the engine gave up")
        return super().step(frame)

    def reset(self):
        self.resets += 1
        super().reset()


def held(delay_s=0.0):
    """A loader, and the list in which its streams appear."""
    streams = []

    def load(settings):
        streams.append(HeldStream(settings, delay_s))
        return Engine(streams[-1], "echo", "for tests")

    return load, streams


def test_header_size_ids_and_masks_of_the_answer(rig):
    for index in range(4):
        rig.send(index)
        rig.answered(index)
    message = rig.masks[-1]
    assert message.header == rig.head(3)
    assert (message.height, message.width, message.model) == (HEIGHT, WIDTH, "echo")
    (mask,) = message.masks
    assert (mask.id, mask.class_id) == ("1007", "1")
    assert mask.mask.header == message.header and mask.mask.encoding == "mono8"
    assert (mask.mask.height, mask.mask.width) == (mask.roi.height, mask.roi.width)
    pixels = np.frombuffer(mask.mask.data, np.uint8).reshape(mask.mask.height, mask.mask.width)
    assert set(np.unique(pixels)) <= {0, 254, 255}
    whole = np.zeros((HEIGHT, WIDTH), bool)
    x, y = mask.roi.x_offset, mask.roi.y_offset
    whole[y : y + mask.roi.height, x : x + mask.roi.width] = pixels > 0
    assert whole[10:30, 13:43].all(), "the visible mask is part of the amodal one"


@pytest.mark.parametrize("value", [0, 65535])
def test_a_frame_without_objects_gives_an_empty_array(rig, value):
    rig.send(0, labels=rig.labels(0, np.full((HEIGHT, WIDTH), value, np.uint16)))
    rig.answered(0)
    assert rig.masks[0].masks == [] and rig.masks[0].header == rig.head(0)
    assert (rig.masks[0].height, rig.masks[0].width) == (HEIGHT, WIDTH)


def test_overlay_is_drawn_only_when_asked_for(rig, monkeypatch):
    drawn = []
    from savos_ros.node import outputs

    real = outputs.draw
    monkeypatch.setattr(outputs, "draw", lambda *given: drawn.append(1) or real(*given))
    rig.send(0)
    rig.answered(0)
    assert not drawn
    pictures, jpegs = [], []
    rig.helper.create_subscription(Image, "/savos/overlay", pictures.append, profile(10))
    rig.helper.create_subscription(
        CompressedImage, "/savos/overlay/compressed", jpegs.append, profile(10)
    )
    outputs_of_node = rig.node._outputs
    wait_for(outputs_of_node._picture.get_subscription_count)
    wait_for(outputs_of_node._jpeg.get_subscription_count)
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[..., 0] = 200  # red
    rig.send(1, image=rig.image(1, rgb, "rgb8"))
    wait_for(lambda: pictures and jpegs)
    assert len(drawn) == 1
    assert pictures[0].header == jpegs[0].header == rig.head(1)
    assert (pictures[0].encoding, jpegs[0].format) == ("bgr8", "jpeg")
    picture = np.frombuffer(pictures[0].data, np.uint8).reshape(HEIGHT, WIDTH, 3)
    assert picture[45, 70].tolist() == [0, 0, 200], "channels are swapped to BGR"
    assert (picture[20, 20] != (0, 0, 200)).any(), "the object is filled"
    decoded = cv2.imdecode(np.frombuffer(jpegs[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == picture.shape and np.abs(decoded.astype(int) - picture).mean() < 12


def test_the_calibration_comes_with_the_header_of_each_image(rig):
    got = []
    rig.helper.create_subscription(CameraInfo, "/savos/camera_info", got.append, profile(10))
    wait_for(rig.node._outputs._calibration.get_subscription_count)
    sender = rig.publisher(CameraInfo, "camera_info")
    sender.publish(CameraInfo(width=WIDTH, height=HEIGHT, k=[float(i) for i in range(9)]))
    wait_for(lambda: rig.node._outputs._info)
    for index in range(2):
        rig.send(index)
        rig.answered(index)
    wait_for(lambda: len(got) == 2)
    assert [info.header for info in got] == [rig.head(0), rig.head(1)]
    assert got[0].width == WIDTH and list(got[0].k) == list(range(9))


def test_instance_masks_and_compressed_images():
    rig = Rig(input__mask_source="instance_masks", input__image_transport="compressed").activate()
    try:
        assert rig.node._inputs.subscriptions["image"].topic == "/image/compressed"
        data = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))[1].tobytes()
        image = kit.compressed_image(rig.kit, rig.head(0), data, "jpeg")
        from tests.tiny_scene import Box, Instance

        items = [
            Instance("left", Box(5, 5, 25, 25), np.ones((20, 20), np.uint8), "car", 0.5),
            Instance("right", Box(15, 5, 45, 25), np.ones((20, 30), np.uint8), "bus", 1.0),
        ]
        masks = kit.instance_array(rig.kit, rig.head(0), (HEIGHT, WIDTH), items)
        rig.publisher(CompressedImage, "image/compressed").publish(image)
        rig.publisher(InstanceMaskArray, "instances").publish(masks)
        rig.answered(0)
        found = [(mask.id, mask.class_id, mask.score) for mask in rig.masks[0].masks]
        assert found == [("left", "car", 0.5), ("right", "bus", 1.0)]
    finally:
        rig.close()


def test_a_slow_engine_drops_the_oldest_and_says_so():
    load, _ = held(delay_s=0.15)
    rig = Rig(load, input__queue_depth=2, diagnostics__period_s=0.2).activate()
    try:
        for index in range(12):
            rig.send(index)
            time.sleep(0.02)  # a burst would already overflow the queue of the middleware
        rig.answered(11)
        assert rig.stamps() == sorted(rig.stamps())
        values = rig.values()
        lost = int(values["drops.queue_full"])
        assert lost == 12 - len(rig.masks) and lost >= 6
        assert values["frames_in"] == "12" and values["frames_out"] == str(len(rig.masks))
    finally:
        rig.close()


def test_an_engine_that_fails_once_is_reported_and_the_next_frame_answered(capfd):
    load, streams = held()
    rig = Rig(load, diagnostics__period_s=0.2).activate()
    try:
        rig.send(0)
        rig.answered(0)
        streams[0].fail = True
        rig.send(1)
        wait_for(lambda: streams[0].resets >= 1)
        rig.send(2)
        rig.answered(2)
        assert 1 not in rig.stamps()
        wait_for(lambda: any(ord(m.status[0].level) == 2 for m in rig.statuses))
        assert rig.values()["drops.step_failed"] == "1"
        assert "the engine gave up" in capfd.readouterr().err
    finally:
        rig.close()


def test_reset_service_forgets_the_tracks():
    load, streams = held()
    rig = Rig(load).activate()
    try:
        client = rig.helper.create_client(Trigger, "/savos/reset")
        assert client.wait_for_service(10)
        rig.send(0)
        rig.answered(0)
        assert len(streams[0].tracks) == 1
        call = client.call_async(Trigger.Request())
        wait_for(call.done)
        assert call.result().success and "before the next frame" in call.result().message
        rig.send(1, labels=rig.labels(1, np.zeros((HEIGHT, WIDTH), np.uint16)))
        rig.answered(1)
        assert len(streams[0].tracks) == 0
        rig.do(rig.node.trigger_deactivate)
        call = client.call_async(Trigger.Request())
        wait_for(call.done)
        assert not call.result().success
    finally:
        rig.close()


def test_what_was_promised_for_the_next_frame_outlasts_a_deactivation():
    load, streams = held()
    rig = Rig(load).activate()
    try:
        rig.send(0)
        rig.answered(0)
        resets = streams[0].resets
        (result,) = rig.do(rig.node.set_parameters, [Parameter("compose.threshold", value=0.7)])
        assert result.successful and streams[0].compose_config.threshold != 0.7
        rig.node._line.pipeline.reset()
        rig.do(rig.node.trigger_deactivate)
        assert streams[0].compose_config.threshold == 0.7 and streams[0].resets == resets + 1
    finally:
        rig.close()


def test_diagnostics_hold_rate_latency_queue_backend_and_tracks(rig):
    for index in range(6):
        rig.send(index)
        rig.answered(index)
    values = rig.values()
    assert values["name"] == "/savos: amodal masks"
    assert values["state"] == "active" and values["level"] == 0
    assert values["frames_in"] == values["frames_out"] == "6"
    assert values["tracks"] == "1" and values["queue"] == "0" and values["drops"] == "0"
    assert values["backend"] == "echo (for tests)" and values["weights"] == "echo"
    assert float(values["rate_hz"]) > 0
    for stage in ("queue", "decode", "flow", "network", "compose", "publish", "total"):
        low, mid, high = (float(values[f"latency_ms.{stage}.{p}"]) for p in ("p50", "p95", "p99"))
        assert 0 <= low <= mid <= high
    assert "latency_ms.stamp.p50" not in values, "stamps of 1970 are of another clock"


def test_latency_from_the_image_stamp(rig):
    image, labels = rig.image(0), rig.labels(0)
    image.header.stamp = labels.header.stamp = rig.helper.get_clock().now().to_msg()
    rig.send(0, image, labels)
    wait_for(lambda: rig.masks)
    assert 0 < float(rig.values()["latency_ms.stamp.p50"]) < 5000


def test_flow_from_a_topic_joins_as_third():
    rig = Rig(flow__method="topic").activate()
    try:
        for index in range(3):
            flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
            flow[..., 0] = 1.0
            message = kit.image(rig.kit, rig.head(index), flow, "32FC2")
            rig.publisher(Image, "flow").publish(message)
            rig.send(index)
            rig.answered(index)
        (mask,) = rig.masks[-1].masks
        assert (mask.velocity_x, mask.velocity_y) == pytest.approx((10.0, 0.0), abs=0.5)
        rig.send(3)  # without its flow
        rig.publisher(Image, "flow").publish(
            kit.image(rig.kit, rig.head(4), np.zeros((2, 2, 2), np.float32), "32FC2")
        )
        rig.send(4)  # with a flow of another size
        message = kit.image(rig.kit, rig.head(5), flow, "32FC2")
        rig.publisher(Image, "flow").publish(message)
        rig.send(5)
        rig.answered(5)
        assert rig.stamps() == [0, 1, 2, 5]
        values = rig.values()
        assert values["drops.size_mismatch"] == values["drops.flow_unfitting"] == "1"
    finally:
        rig.close()


def test_two_cameras_in_namespaces_share_nothing_but_diagnostics():
    name = own_name()
    rig = Rig(namespace="/front", name=name).activate()
    try:
        shared = {"/rosout", "/parameter_events", "/diagnostics"}

        def own():
            found = rig.node.get_publisher_names_and_types_by_node(name, "/front")
            return {topic for topic, _ in found} - shared

        wait_for(lambda: f"/front/{name}/masks" in own())
        assert all(topic.startswith(f"/front/{name}/") for topic in own())
        inputs = rig.node._inputs.subscriptions
        assert {s.topic for s in inputs.values()} == {"/front/image", "/front/instances"}
    finally:
        rig.close()


def test_companion_packages_are_optional():
    rig = Rig(name=own_name()).activate()
    try:
        name = rig.node.get_name()

        def has(topic):
            found = rig.node.get_publisher_names_and_types_by_node(name, "/")
            return f"/{name}/{topic}" in dict(found)

        wait_for(lambda: has("masks") and has("overlay/compressed"))
        assert has("detections") == (optional("vision_msgs") is not None)
        assert has("annotations") == (optional("foxglove_msgs") is not None)
    finally:
        rig.close()


def test_echo_engine_is_the_real_stream(rig):
    assert isinstance(echo_engine(rig.node.settings).stream, AmodalStream)
