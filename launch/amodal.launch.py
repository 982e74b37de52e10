"""Starts the amodal mask node, on request with a bag, RViz or the Fast DDS profile.

ros2 launch savos_ros amodal.launch.py image:=/camera/image_raw instances:=/tracker/labels
ros2 launch savos_ros amodal.launch.py bag:=street.bag rviz:=true
"""

import importlib.util
import os
import sys
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

from savos_ros.paths import share_dir

CONFIG = share_dir() / "config"
BOOL = ["true", "false"]
DISCOVERY_S = 5
RESPAWN_S = 5.0  # long enough to read why it ended
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
        "raw or compressed (topic IMAGE/compressed); empty: as params_file says",
        *("", "raw", "compressed"),
    ),
    argument("params_file", str(CONFIG / "amodal.yaml"), "node parameters"),
    argument("namespace", "", "one per camera"),
    argument("node_name", "savos", "name of the node, in front of its topics"),
    argument("weights", "", "shipped weights or a .safetensors file; empty: as params_file says"),
    argument("backend", "", "engine of the network; empty: as params_file says"),
    argument("device", "", "cpu, cuda or cuda:N; empty: as params_file says"),
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
        "least level of the node's log",
        *("debug", "info", "warn", "error", "fatal"),
    ),
    argument("use_sim_time", "", "take the time from /clock; empty: true with bag only", "", *BOOL),
    argument("bag", "", "rosbag2 to play once the node is active, no faster than the node answers"),
    argument("rate", "1.0", "speed of the bag, 2.0 is twice as fast"),
    argument("loop", "false", "play the bag again at its end", *BOOL),
    argument(
        "rviz",
        "false",
        "open RViz; auto: where it is installed and there is a display",
        *("auto", *BOOL),
    ),
    argument(
        "fastdds",
        "false",
        "true: config/fastdds.xml, for images within one machine; or a path",
    ),
)


def existing(path: str, name: str) -> str:
    """Return `path` when it exists, else say which argument is wrong."""
    if not Path(path).expanduser().exists():
        raise FileNotFoundError(f"{name}:={path} does not exist: give the path of an existing one")
    return str(Path(path).expanduser())


def check_names(values: dict[str, str]) -> None:
    """Refuse names that ROS refuses: a process that is refused late leaves others behind."""
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
    """Whether a package has this program."""
    try:
        prefix = get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return (Path(prefix) / "lib" / package / name).exists()


def end_launch(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
    """Nothing here is of use without the process; a failed one fails the launch as well."""
    if context.is_shutdown:  # asking twice would fail in launch_ros
        return None
    if event.returncode:
        raise RuntimeError(f"{event.process_name} ended with status {event.returncode}")
    return Shutdown(reason=f"{event.process_name} ended")


def amodal_node(values: dict[str, str], sim_time: bool) -> Node:
    """The node with its parameters and topics."""
    # The node starts itself: a request of the launch system can come before discovery is done.
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
    """Full name of the node ("/front/savos")."""
    space = values["namespace"].strip("/")
    return f"/{space}/{values['node_name']}" if space else f"/{values['node_name']}"


def bag_player(values: dict[str, str]) -> list[Action]:
    """Play the bag with its clock, no faster than the node answers: no frame is dropped."""
    if not values["bag"]:
        return []
    if importlib.util.find_spec("rosbags") is None:
        raise ModuleNotFoundError("bag:= needs the Python package rosbags: pip install rosbags")
    try:
        usable = 0.01 <= float(values["rate"]) <= 100
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"rate:={values['rate']} must be a number between 0.01 and 100")
    command = [sys.executable, "-m", "savos_ros.cli", "play", existing(values["bag"], "bag")]
    command += ["--clock", "--rate", values["rate"], "--wait", str(DISCOVERY_S)]
    command += ["--follow", full_name(values), *(["--loop"] if values["loop"] == "true" else [])]

    def failed(event: ProcessExited, context: LaunchContext) -> Shutdown | None:
        return end_launch(event, context) if event.returncode else None

    return [ExecuteProcess(cmd=command, name="player", output="screen", on_exit=failed)]


def viewers(values: dict[str, str], sim_time: bool) -> list[Action]:
    """RViz with image and overlay, with the table of /diagnostics where rqt has one."""
    if values["rviz"] == "false":
        return []
    absent = ""
    if not executable("rviz2", "rviz2"):
        absent = "rviz2 is not installed (apt install ros-$ROS_DISTRO-rviz2)"
    elif not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        absent = "there is no display"
    if absent and values["rviz"] == "true":
        raise FileNotFoundError(f"rviz:=true cannot be done: {absent}. Give rviz:=false or auto")
    if absent:
        return [LogInfo(msg=f"RViz is not started: {absent}")]
    shown: list[Action] = [
        Node(
            package="rviz2",
            executable="rviz2",
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
    return [*shown, Node(package=table, executable=table)]


def dds_profile(fastdds: str) -> list[Action]:
    """Set the Fast DDS profile for everything that is started."""
    if fastdds == "false":
        return []
    path = str(CONFIG / "fastdds.xml") if fastdds == "true" else existing(fastdds, "fastdds")
    return [SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", path)]


def start(context: LaunchContext) -> list[Action]:
    """Turn the arguments into actions; all that can be wrong is found before any of them runs."""
    values = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    check_names(values)
    sim_time = values["use_sim_time"] == "true" or (
        bool(values["bag"]) and values["use_sim_time"] != "false"
    )
    actions = [amodal_node(values, sim_time), *bag_player(values), *viewers(values, sim_time)]
    return [*dds_profile(values["fastdds"]), *actions]


def generate_launch_description() -> LaunchDescription:
    """Entry point of the launch system."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])
