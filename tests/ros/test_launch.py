"""Runs the launch files for real; needs launch_pytest, which comes with ROS 2."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_scene as scene
import yaml

ROOT = Path(__file__).resolve().parents[2]

for needed in ("launch_pytest", "launch_ros", "composition_interfaces"):
    pytest.importorskip(
        needed, reason=f"{needed} is not installed: launch files are tested where ROS 2 has it"
    )

import launch_pytest  # noqa: E402
import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from launch import LaunchContext, LaunchDescription  # noqa: E402
from launch.actions import IncludeLaunchDescription, RegisterEventHandler  # noqa: E402
from launch.event_handlers import OnProcessExit, OnProcessIO  # noqa: E402
from launch.events.process import ProcessIO  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from launch_pytest.actions import ReadyToTest  # noqa: E402
from lifecycle_msgs.srv import GetState  # noqa: E402
from savos_ros.msg import AmodalMaskArray  # noqa: E402

from savos_model.config import ModelConfig  # noqa: E402
from savos_model.layers import parameter_shapes  # noqa: E402
from savos_model.weights import Weights, save_weights  # noqa: E402
from savos_ros.bags.recording import RecordOptions, record  # noqa: E402

FRAMES = 20


def included(name: str, **arguments: str) -> IncludeLaunchDescription:
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py"))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())


def write_params(folder: Path, weights: str) -> str:
    path = folder / "params.yaml"
    # A queue for all frames: a busy machine must not fail the test.
    values = {"model": {"weights": weights}, "input": {"queue_depth": 2 * FRAMES}}
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    return str(path)


@pytest.fixture
def params_file(tmp_path):
    """Parameters that name an untrained network."""
    model, rng = ModelConfig(width=0.125), np.random.default_rng(0)
    shapes = parameter_shapes(model).items()
    arrays = {key: rng.normal(0, 0.05, shape).astype(np.float32) for key, shape in shapes}
    path = tmp_path / "untrained.safetensors"
    save_weights(path, Weights("untrained", model, arrays, {}))
    return write_params(tmp_path, str(path))


@pytest.fixture
def bag(tmp_path):
    record(scene.frames(FRAMES), FRAMES, tmp_path / "bag", RecordOptions("label_image"))
    return str(tmp_path / "bag")


class Watcher:
    """Collects masks and asks for the lifecycle state, in its own context."""

    def __init__(self, node_name: str):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("watcher", context=self.context)
        self.masks = []
        self.node.create_subscription(
            AmodalMaskArray, f"{node_name}/masks", self.masks.append, FRAMES
        )
        self.client = self.node.create_client(GetState, f"{node_name}/get_state")
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.executor.spin)
        self.thread.start()

    def state(self) -> str:
        if not self.client.service_is_ready():
            return "unknown"
        future = self.client.call_async(GetState.Request())
        wait_until(future.done, 5)
        return future.result().current_state.label if future.done() else "unknown"

    def close(self):
        self.executor.shutdown()
        self.thread.join()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


def wait_until(condition, limit_s: float = 40.0) -> bool:
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def watch():
    """Makes watchers that are closed after the test."""
    made = []

    def make(node_name: str) -> Watcher:
        made.append(Watcher(node_name))
        return made[-1]

    yield make
    for watcher in made:
        watcher.close()


def load(name: str) -> LaunchDescription:
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py"))
    return source.get_launch_description(LaunchContext())


def test_every_argument_has_a_text_and_a_default_that_works_unedited():
    arguments = {a.name: a for a in load("amodal").get_launch_arguments()}
    assert set(arguments) == {
        "image", "instances", "image_transport", "params_file", "namespace", "backend", "autostart",
        "respawn", "bag", "rviz", "fastdds",
    }  # fmt: skip
    for argument in arguments.values():
        assert argument.description and argument.default_value is not None, argument.name


def test_replay_needs_a_bag_alone():
    arguments = load("kitti_replay").get_launch_arguments()
    assert [a.name for a in arguments if a.default_value is None] == ["bag"]


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"params_file": "/no/such.yaml"}, "params_file:=/no/such.yaml does not exist"),
        ({"bag": "/no/such_bag"}, "bag:=/no/such_bag does not exist"),
        ({"fastdds": "/no/such.xml"}, "fastdds:=/no/such.xml does not exist"),
    ],
)
def test_a_path_that_does_not_exist_is_told_by_the_name_of_its_argument(argument, words):
    context = LaunchContext()
    entities = load("amodal").entities
    context.launch_configurations.update(argument)
    for declared in entities[:-1]:
        declared.execute(context)
    with pytest.raises(FileNotFoundError, match=words):
        entities[-1].execute(context)


@launch_pytest.fixture
def with_bag(params_file, bag):
    arguments = {"params_file": params_file, "bag": bag, "namespace": "front", "fastdds": "true"}
    return LaunchDescription([included("amodal", **arguments), ReadyToTest()])


@pytest.mark.launch(fixture=with_bag)
def test_the_node_becomes_active_and_answers_every_frame_of_the_bag(with_bag, watch):
    watcher = watch("/front/savos")
    assert wait_until(lambda: len(watcher.masks) >= FRAMES), len(watcher.masks)
    assert watcher.state() == "active"
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in watcher.masks]
    assert stamps == [scene.START_NS + i * scene.PERIOD_NS for i in range(FRAMES)]
    assert {mask.id for message in watcher.masks for mask in message.masks} == {"1001", "2001"}


@launch_pytest.fixture
def replay(params_file, bag):
    arguments = {"params_file": params_file, "bag": bag, "rviz": "false"}
    return LaunchDescription([included("kitti_replay", **arguments), ReadyToTest()])


@pytest.mark.launch(fixture=replay)
def test_replay_answers_the_bag(replay, watch):
    watcher = watch("/savos")
    assert wait_until(lambda: len(watcher.masks) >= FRAMES), len(watcher.masks)


def run_cameras(**arguments: str) -> list:
    context = LaunchContext()
    entities = load("cameras").entities
    context.launch_configurations.update(arguments)
    for declared in entities[:-1]:
        declared.execute(context)
    return entities[-1].execute(context)


def test_cameras_are_different_names():
    assert len(run_cameras()) == 3
    for cameras in ("front,front", "front,,left", ""):
        with pytest.raises(ValueError, match="different names with commas"):
            run_cameras(cameras=cameras)


@launch_pytest.fixture
def two_cameras(params_file):
    arguments = {
        "cameras": "front, left",
        "params_file": params_file,
        "image": "picture",
        "instances": "/tracks/{camera}",
    }
    return LaunchDescription([included("cameras", **arguments), ReadyToTest()])


@pytest.mark.launch(fixture=two_cameras)
def test_each_camera_is_a_node_with_topics_and_diagnostics_of_its_own(two_cameras, watch):
    watchers = {name: watch(f"/{name}/savos") for name in ("front", "left")}
    for watcher in watchers.values():
        assert wait_until(lambda: watcher.state() == "active")  # noqa: B023
    node, heard = watchers["front"].node, {}

    def hear(message):
        heard.update({status.hardware_id: status.name for status in message.status})

    node.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
    expected = {f"/{name}": f"/{name}/savos: amodal masks" for name in watchers}
    assert wait_until(lambda: heard == expected), heard
    for name in watchers:
        topics = dict(node.get_subscriber_names_and_types_by_node("savos", f"/{name}"))
        assert {f"/{name}/picture", f"/tracks/{name}"} <= topics.keys()


@launch_pytest.fixture
def by_hand(params_file):
    arguments = {"params_file": params_file, "autostart": "false"}
    return LaunchDescription([included("amodal", **arguments), ReadyToTest()])


@pytest.mark.launch(fixture=by_hand)
def test_without_autostart_the_node_waits_unconfigured(by_hand, watch):
    watcher = watch("/savos")
    assert wait_until(watcher.client.service_is_ready)
    time.sleep(1)
    assert watcher.state() == "unconfigured"


@launch_pytest.fixture
def wrong_weights(tmp_path):
    params_file = write_params(tmp_path, str(tmp_path / "gone.safetensors"))
    told, exits = [], []

    def hear(event: ProcessIO) -> None:
        told.append(event.text.decode())

    handlers = [
        OnProcessIO(on_stdout=hear, on_stderr=hear),
        OnProcessExit(on_exit=lambda event, context: exits.append(event.returncode)),
    ]
    listening = [RegisterEventHandler(handler) for handler in handlers]
    launched = included("amodal", params_file=params_file)
    return LaunchDescription([*listening, launched, ReadyToTest()]), told, exits


@pytest.mark.launch(fixture=wrong_weights)
def test_a_failed_start_ends_the_launch_with_the_cause(wrong_weights):
    _, told, exits = wrong_weights
    assert wait_until(lambda: exits)
    assert exits == [1]
    assert "cannot configure: model.weights" in "".join(told)
    assert "gone.safetensors" in "".join(told)
