"""Run the launch files for real; needs launch_pytest, which comes with ROS 2."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
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
from launch.actions import ExecuteProcess, IncludeLaunchDescription, LogInfo  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from launch.utilities import perform_substitutions  # noqa: E402
from launch_pytest.actions import ReadyToTest  # noqa: E402
from lifecycle_msgs.srv import GetState  # noqa: E402
from savos_ros.msg import AmodalMaskArray  # noqa: E402

from savos_model.config import ModelConfig  # noqa: E402
from savos_model.network.layers import parameter_shapes  # noqa: E402
from savos_model.network.weights import Weights, save_weights  # noqa: E402
from savos_ros.bags.recording import RecordOptions, record  # noqa: E402

FRAMES = 20


def included(name: str, **arguments: str) -> IncludeLaunchDescription:
    source = PythonLaunchDescriptionSource(str(ROOT / "launch" / f"{name}.launch.py"))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())


def write_params(folder: Path, weights: str) -> str:
    path = folder / "params.yaml"
    values = {"model": {"weights": weights}}
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
        "image", "instances", "image_transport", "params_file", "namespace", "node_name", "weights",
        "backend", "device", "autostart", "respawn", "log_level", "use_sim_time", "bag", "rate",
        "loop", "rviz", "web", "web_port", "fastdds",
    }  # fmt: skip
    for argument in arguments.values():
        assert argument.description and argument.default_value is not None, argument.name


def test_replay_needs_a_bag_alone():
    arguments = load("kitti_replay").get_launch_arguments()
    assert [a.name for a in arguments if a.default_value is None] == ["bag"]


def test_the_other_files_show_the_arguments_that_they_pass_on():
    wanted, replay, cameras = (
        {argument.name for argument in load(name).get_launch_arguments()}
        for name in ("amodal", "kitti_replay", "cameras")
    )
    assert replay == wanted
    assert cameras == wanted - {"namespace", "bag", "rate", "loop"} | {"cameras"}


def test_rviz_asks_for_reliable_images():
    tree = yaml.safe_load((ROOT / "config" / "amodal.rviz").read_text())
    topics = [display["Topic"] for display in tree["Visualization Manager"]["Displays"]]
    assert [topic["Reliability Policy"] for topic in topics] == ["Reliable", "Reliable"]


def actions_of(name: str, **arguments: str) -> list:
    """Return the actions of a launch file with these arguments."""
    context = LaunchContext()
    entities = load(name).entities
    context.launch_configurations.update(arguments)
    for declared in entities[:-1]:
        declared.execute(context)
    return entities[-1].execute(context)


@pytest.mark.parametrize(
    "arguments",
    [
        {"params_file": "/no/such.yaml"},
        {"bag": "/no/such_bag"},
        {"fastdds": "/no/such.xml"},
        {"namespace": "front-left"},
        {"node_name": "a/b"},
        {"image": "/cam//image"},
        {"instances": "9"},
        {"rate": "fast", "bag": str(ROOT)},
        {"rate": "0", "bag": str(ROOT)},
        {"rviz": "true"},
        {"web_port": "99999", "web": "true"},
        {"web_port": "http", "web": "true"},
    ],
)
def test_what_cannot_be_started_is_refused_before_anything_runs(arguments, monkeypatch, tmp_path):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))  # no package at all
    name, value = next(iter(arguments.items()))
    with pytest.raises((OSError, ValueError), match=re.escape(f"{name}:={value}")):
        actions_of("amodal", **arguments)


def commands(actions: list) -> list[list[str]]:
    """Return the command lines of processes that are no nodes."""
    plain = [action for action in actions if type(action) is ExecuteProcess]
    return [[perform_substitutions(LaunchContext(), part) for part in a.cmd] for a in plain]


def test_the_page_is_served_on_demand_for_the_node_of_the_launch():
    assert commands(actions_of("amodal")) == []
    given = {"web": "true", "web_port": "8123", "namespace": "front", "node_name": "other"}
    (command,) = commands(actions_of("amodal", **given))
    assert command[1:] == [
        "-m", "savos_ros.cli", "view", "--node", "/front/other", "--port", "8123"
    ]  # fmt: skip


def test_each_camera_has_a_page_at_a_port_of_its_own():
    groups = actions_of("cameras", cameras="front,left", web="true", web_port="9000")
    included = [group.get_sub_entities() for group in groups]
    found = [
        dict(entity.launch_arguments)["web_port"]
        for entities in included
        for entity in entities
        if isinstance(entity, IncludeLaunchDescription)
    ]
    assert found == ["9000", "9001"]


@pytest.mark.parametrize("display", ["", ":0"])
def test_rviz_auto_says_why_it_is_not_started(monkeypatch, tmp_path, display):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    program = tmp_path / "lib" / "rviz2" / "rviz2"
    if not display:  # installed then, but without a display
        mark = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "rviz2"
        for path in (program, mark):
            path.parent.mkdir(parents=True)
            path.touch()
    (log,) = [a for a in actions_of("amodal", rviz="auto") if isinstance(a, LogInfo)]
    text = perform_substitutions(LaunchContext(), log.msg)
    assert ("rviz2 is not installed" if display else "there is no display") in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, False),
        ({"bag": str(ROOT)}, True),
        ({"use_sim_time": "true"}, True),
        ({"bag": str(ROOT), "use_sim_time": "false"}, False),
    ],
)
def test_simulated_time_comes_with_a_bag_or_when_asked_for(arguments, expected, tmp_path):
    node = actions_of("amodal", node_name="other", weights="w", **arguments)[0]
    context = LaunchContext()
    node._perform_substitutions(context)
    given = {}
    for part, is_file in node._Node__expanded_parameter_arguments:
        if is_file and "launch_params" in part:
            (tree,) = yaml.safe_load(Path(part).read_text()).values()
            given |= tree["ros__parameters"]
    assert given["use_sim_time"] is expected and given["model.weights"] == "w"
    assert node.node_name == "/other"


# Runs a launch file as `ros2 launch` does; prints the status of the launch service.
PROGRAM = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
source = PythonLaunchDescriptionSource(sys.argv[1])
given = [text.split(":=") for text in sys.argv[2:]]
service = LaunchService(noninteractive=True)  # as with an input that is no terminal
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=given)])
)
sys.exit(service.run())
"""


def launched(name: str, *arguments: str) -> tuple[int, str]:
    """Return status and output of a launch that ends."""
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "launch" / f"{name}.launch.py")]
    done = subprocess.run(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100
    )
    return done.returncode, done.stdout.decode()


def test_a_failed_start_fails_the_launch_with_the_cause(tmp_path):
    params_file = write_params(tmp_path, str(tmp_path / "gone.safetensors"))
    status, text = launched("amodal", f"params_file:={params_file}")
    assert status == 1, text
    assert "cannot configure: model.weights" in text and "gone.safetensors" in text
    assert "ended with status 1" in text


def test_a_camera_that_cannot_be_a_namespace_starts_no_node():
    status, text = launched("cameras", "cameras:=front,rear-left")
    assert status == 1 and "rear-left cannot be a namespace" in text
    assert "process started" not in text


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -15)])
def test_a_launch_with_page_and_bag_ends_in_time_and_leaves_no_process(
    params_file, bag, number, status
):
    """SIGTERM has its default action in the launch system: it ends at that moment."""
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "launch" / "amodal.launch.py")]
    command += [f"params_file:={params_file}", "web:=true", f"web_port:={free_port()}"]
    launch = subprocess.Popen(
        [*command, f"bag:={bag}", "loop:=true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    lines, ready = [], {"active: ", "open http"}
    for line in map(bytes.decode, launch.stdout):
        lines.append(line)
        ready = {text for text in ready if text not in line}
        if not ready:
            break
    assert not ready, "".join(lines)
    started = psutil.Process(launch.pid).children(recursive=True)
    assert len(started) >= 3
    begun = time.monotonic()
    launch.send_signal(number)
    rest = launch.communicate(timeout=60)[0].decode()
    _, left = psutil.wait_procs(started, timeout=30)
    took = time.monotonic() - begun
    assert launch.returncode == status, rest
    assert left == [] and "escalating" not in rest, rest
    assert took < 5, rest


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_prefix_of_the_user_is_kept():
    node = actions_of("amodal")[0]
    context = LaunchContext()
    context.launch_configurations["launch-prefix"] = "gdb --args"
    words = perform_substitutions(context, node.process_description.prefix).split()
    assert words[-2:] == ["gdb", "--args"]
    assert words[:-2] in ([], ["setpriv", "--pdeathsig", "TERM"])


def full_pass(watcher: Watcher) -> list:
    """Masks of one pass over the bag without a gap; [] until there is one.

    A watcher may be discovered after the first frames: the bag is played in a loop.
    """
    wanted = [scene.START_NS + i * scene.PERIOD_NS for i in range(FRAMES)]
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in watcher.masks]
    for begin in range(len(stamps) - FRAMES + 1):
        if stamps[begin : begin + FRAMES] == wanted:
            return watcher.masks[begin : begin + FRAMES]
    return []


@launch_pytest.fixture
def with_bag(params_file, bag):
    arguments = {"params_file": params_file, "bag": bag, "namespace": "front", "loop": "true"}
    return LaunchDescription([included("amodal", **arguments), ReadyToTest()])


@pytest.mark.launch(fixture=with_bag)
def test_the_node_becomes_active_and_answers_every_frame_of_the_bag(with_bag, watch):
    watcher = watch("/front/savos")
    assert wait_until(lambda: full_pass(watcher)), len(watcher.masks)
    assert watcher.state() == "active"
    ids = {mask.id for message in full_pass(watcher) for mask in message.masks}
    assert ids == {"1001", "2001"}


@launch_pytest.fixture
def replay(params_file, bag):
    # Forty times as fast as the camera was: the player waits for the node.
    arguments = {"params_file": params_file, "bag": bag, "rate": "40", "loop": "true"}
    return LaunchDescription([included("kitti_replay", **arguments), ReadyToTest()])


@pytest.mark.launch(fixture=replay)
def test_replay_answers_every_frame_however_fast_it_is_played(replay, watch):
    watcher, dropped = watch("/savos"), []

    def hear(message):
        values = {item.key: item.value for status in message.status for item in status.values}
        dropped.append(values.get("drops", "0"))

    watcher.node.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
    assert wait_until(lambda: full_pass(watcher) and len(dropped) > 2), len(watcher.masks)
    assert set(dropped) == {"0"}


def test_cameras_are_different_names():
    assert len(actions_of("cameras")) == 3
    for cameras in ("front,front", "front,,left", ""):
        with pytest.raises(ValueError, match=f"cameras:={cameras}"):
            actions_of("cameras", cameras=cameras)


def test_cameras_play_no_bag_each():
    with pytest.raises(ValueError, match="--follow /front/savos --follow /left/savos"):
        actions_of("cameras", cameras="front,left", bag="some")


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
def test_each_camera_is_a_node_with_topics_and_separate_diagnostics(two_cameras, watch):
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
