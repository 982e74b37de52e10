"""Start the amodal mask node, optionally with a bag, RViz and the Fast DDS profile.

ros2 launch savos_ros amodal.launch.py image:=/camera/image_raw instances:=/tracker/labels
ros2 launch savos_ros amodal.launch.py bag:=street.bag rviz:=true
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from rclpy.exceptions import NameValidationException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.validate_full_topic_name import validate_full_topic_name
from rclpy.validate_namespace import validate_namespace
from rclpy.validate_node_name import validate_node_name
from rclpy.validate_topic_name import validate_topic_name

from savos_ros.bags.settings import PlayOptions
from savos_ros.paths import share_dir
from savos_ros.view.settings import ServeOptions

CONFIG = share_dir() / "config"
BOOL = ["true", "false"]
DISCOVERY_S = 5
RESPAWN_S = 5.0  # long enough to read why it ended
# SIGTERM ends `ros2 launch` before it can end its processes, so the kernel does it.
TIED = "setpriv --pdeathsig TERM " if shutil.which("setpriv") else ""
PREFIX = [TIED, LaunchConfiguration("launch-prefix", default="")]
PARAMETERS = {  # of the node, by the launch argument that sets them unless it is empty
    "image_transport": "input.image_transport",
    "weights": "model.weights",
    "backend": "model.backend",
    "device": "model.device",
}


def argument(name: str, default: str, text: str, *choices: str) -> DeclareLaunchArgument:
    """Declare one argument."""
    return DeclareLaunchArgument(
        name, default_value=default, description=text, choices=choices or None
    )


ARGUMENTS = (
    argument("image", "/camera/image_raw", "camera image topic"),
    argument("instances", "/tracker/labels", "topic of the tracked instance masks"),
    argument(
        "image_transport",
        "",
        "raw or compressed (topic IMAGE/compressed); empty: as in params_file",
        *("", "raw", "compressed"),
    ),
    argument("params_file", str(CONFIG / "amodal.yaml"), "node parameters"),
    argument("namespace", "", "namespace of the node; one per camera"),
    argument("node_name", "savos", "name of the node, and prefix of its private topics"),
    argument("weights", "", "shipped weights or a .safetensors file; empty: as in params_file"),
    argument("backend", "", "engine of the network; empty: as in params_file"),
    argument("device", "", "cpu, cuda or cuda:N; empty: as in params_file"),
    argument("autostart", "true", "configure, then activate", *BOOL),
    argument(
        "respawn",
        "false",
        "true: start the node again when it ends; false: end the launch with it",
        *BOOL,
    ),
    argument(
        "log_level",
        "info",
        "lowest level of the node's log messages",
        *("debug", "info", "warn", "error", "fatal"),
    ),
    argument("use_sim_time", "", "take the time from /clock; empty: true with bag only", "", *BOOL),
    argument(
        "bag",
        "",
        "rosbag2 to play once the node is active, no faster than the node processes frames",
    ),
    argument("rate", str(PlayOptions.rate), "playback rate of the bag; 2.0 is twice as fast"),
    argument("loop", "false", "repeat the bag", *BOOL),
    argument(
        "rviz",
        "false",
        "open RViz; auto: if it is installed and a display is available",
        *("auto", *BOOL),
    ),
    argument(
        "web",
        "false",
        "serve a page for browsers on this machine: savos view, without control",
        *BOOL,
    ),
    argument("web_port", str(ServeOptions.port), "port of the page"),
    argument(
        "fastdds",
        "false",
        "shared-memory profile of Fast DDS, for one machine; true: config/fastdds.xml; or a path",
    ),
)


def existing(path: str, name: str) -> str:
    """Return `path` if it exists; raise FileNotFoundError that names the argument if not."""
    if not Path(path).expanduser().exists():
        raise FileNotFoundError(f"{name}:={path} does not exist: give an existing path")
    return str(Path(path).expanduser())


def check(values: dict[str, str], name: str, options: Callable[[str], object]) -> None:
    """Make the options of a command from an argument; raise ValueError that names it if wrong."""
    try:
        options(values[name])
    except ValueError as error:
        raise ValueError(f"{name}:={values[name]} cannot be used: {error}") from None


def check_names(values: dict[str, str]) -> None:
    """Raise ValueError for names that ROS rejects, before any process is started."""
    space = "/" + values["namespace"].strip("/")

    def topic(text: str) -> None:
        validate_topic_name(text)
        validate_full_topic_name(expand_topic_name(text, values["node_name"], space))

    checks = {
        "namespace": lambda _: validate_namespace(space),
        "node_name": validate_node_name,
        "image": topic,
        "instances": topic,
    }
    for name, check in checks.items():
        try:
            check(values[name])
        except NameValidationException as error:
            why = str(error).splitlines()[0].rstrip(":")
            raise ValueError(f"{name}:={values[name]} cannot be used: {why}") from None


def executable(package: str, name: str) -> bool:
    """Return whether a package has this program."""
    try:
        prefix = get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return (Path(prefix) / "lib" / package / name).exists()


def end_launch(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
    """Shut the launch down when an essential process exits; fail if the process failed."""
    if context.is_shutdown:  # asking twice would fail in launch_ros
        return None
    if event.returncode:
        raise RuntimeError(f"{event.process_name} ended with status {event.returncode}")
    return Shutdown(reason=f"{event.process_name} ended")


def amodal_node(values: dict[str, str], sim_time: bool) -> Node:
    """Return the node with its parameters and remappings."""
    # The node activates on its own: a request of the launch system may precede discovery.
    parameters: list = [existing(values["params_file"], "params_file")]
    parameters.append({"autostart": values["autostart"] == "true", "use_sim_time": sim_time})
    for name, parameter in PARAMETERS.items():
        if values[name]:
            parameters.append({parameter: ParameterValue(values[name], value_type=str)})
    respawn = values["respawn"] == "true"
    logger = full_name(values).strip("/").replace("/", ".")
    return Node(
        package="savos_ros",
        executable="savos_node",
        exec_name="savos_node",
        prefix=PREFIX,
        name=values["node_name"],
        namespace=values["namespace"],
        parameters=parameters,
        remappings=[
            ("image", values["image"]),
            ("image/compressed", values["image"] + "/compressed"),
            ("instances", values["instances"]),
        ],
        ros_arguments=["--log-level", f"{logger}:={values['log_level']}"],
        output="screen",
        emulate_tty=True,
        on_exit=None if respawn else end_launch,
        respawn=respawn,
        respawn_delay=RESPAWN_S,
    )


def full_name(values: dict[str, str]) -> str:
    """Return the full name of the node ("/front/savos")."""
    space = values["namespace"].strip("/")
    return f"/{space}/{values['node_name']}" if space else f"/{values['node_name']}"


def bag_player(values: dict[str, str]) -> list[Action]:
    """Play the bag with its clock at the node's pace, so that no frame is dropped."""
    if not values["bag"]:
        return []
    if importlib.util.find_spec("rosbags") is None:
        raise ModuleNotFoundError("bag:= needs the Python package rosbags: pip install rosbags")
    check(values, "rate", lambda text: PlayOptions(rate=float(text)))
    command = [sys.executable, "-m", "savos_ros.cli", "play", existing(values["bag"], "bag")]
    command += ["--clock", "--rate", values["rate"], "--wait", str(DISCOVERY_S)]
    command += ["--follow", full_name(values), *(["--loop"] if values["loop"] == "true" else [])]

    def failed(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
        return end_launch(event, context) if event.returncode else None

    return [
        ExecuteProcess(cmd=command, name="player", prefix=PREFIX, output="screen", on_exit=failed)
    ]


def viewers(values: dict[str, str], sim_time: bool) -> list[Action]:
    """Return RViz with image and overlay, and rqt's monitor of /diagnostics if installed."""
    if values["rviz"] == "false":
        return []
    absent = ""
    if not executable("rviz2", "rviz2"):
        absent = "rviz2 is not installed (apt install ros-$ROS_DISTRO-rviz2)"
    elif not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        absent = "there is no display"
    if absent and values["rviz"] == "true":
        raise FileNotFoundError(f"rviz:=true: {absent}. Use rviz:=false or rviz:=auto")
    if absent:
        return [LogInfo(msg=f"RViz is not started: {absent}")]
    shown: list[Action] = [
        Node(
            package="rviz2",
            executable="rviz2",
            exec_name="rviz2",
            prefix=PREFIX,
            arguments=["-d", str(CONFIG / "amodal.rviz")],
            remappings=[
                ("/camera/image_raw", values["image"]),
                ("/savos/overlay", f"{full_name(values)}/overlay"),
            ],
            parameters=[{"use_sim_time": sim_time}],
        )
    ]
    table = "rqt_runtime_monitor"
    if not executable(table, table):
        return [*shown, LogInfo(msg=f"no table of /diagnostics: {table} is not installed")]
    return [*shown, Node(package=table, executable=table, exec_name=table, prefix=PREFIX)]


def web_page(values: dict[str, str]) -> list[Action]:
    """Serve the page of `savos view`; the node runs on without it."""
    if values["web"] == "false":
        return []
    if importlib.util.find_spec("aiohttp") is None:
        raise ModuleNotFoundError("web:= needs the Python package aiohttp: pip install aiohttp")
    check(values, "web_port", lambda text: ServeOptions(port=int(text)))
    command = [sys.executable, "-m", "savos_ros.cli", "view", "--node", full_name(values)]
    command += ["--port", values["web_port"]]
    return [ExecuteProcess(cmd=command, name="view", prefix=PREFIX, output="screen")]


def dds_profile(fastdds: str) -> list[Action]:
    """Set the Fast DDS profile for all processes of the launch."""
    if fastdds == "false":
        return []
    path = str(CONFIG / "fastdds.xml") if fastdds == "true" else existing(fastdds, "fastdds")
    return [SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", path)]


def start(context: LaunchContext) -> list[Action]:
    """Validate the arguments and return the actions; no process starts before all are valid."""
    values = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    check_names(values)
    sim_time = values["use_sim_time"] == "true" or (
        bool(values["bag"]) and values["use_sim_time"] != "false"
    )
    actions = [amodal_node(values, sim_time), *bag_player(values), *viewers(values, sim_time)]
    return [*dds_profile(values["fastdds"]), *actions, *web_page(values)]


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
