"""Start one amodal mask node per camera, each in a namespace of the camera's name.

ros2 launch savos_ros cameras.launch.py cameras:=front,left,right
ros2 launch savos_ros cameras.launch.py image:=/cams/{camera}/rgb instances:=/tracks/{camera}
"""

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from rclpy.exceptions import InvalidNamespaceException
from rclpy.validate_namespace import validate_namespace

from savos_ros.paths import share_dir

CAMERAS = DeclareLaunchArgument(
    "cameras", default_value="front,left,right", description="camera namespaces, comma-separated"
)
ARGUMENTS = (
    DeclareLaunchArgument(
        "image",
        default_value="camera/image_raw",
        description="image topic, in the camera's namespace unless it begins with /; {camera} "
        "is replaced by its name",
    ),
    DeclareLaunchArgument(
        "instances",
        default_value="tracker/labels",
        description="topic of the tracked instance masks, resolved like image",
    ),
    DeclareLaunchArgument(
        "respawn",
        default_value="true",
        choices=["true", "false"],
        description="true: restart a node that exits; false: shut down all cameras",
    ),
)
OF_ONE_NODE = {"namespace", "bag", "rate", "loop"}


def names(listed: str) -> list[str]:
    """Return the camera names; raise ValueError before any node starts if one is invalid."""
    cameras = [name.strip() for name in listed.split(",")]
    if "" in cameras or len(set(cameras)) < len(cameras):
        raise ValueError(f"cameras:={listed} must be distinct names separated by commas")
    for camera in cameras:
        try:
            validate_namespace(f"/{camera}")
        except InvalidNamespaceException as error:
            why = str(error).splitlines()[0].rstrip(":")
            raise ValueError(f"cameras:={listed}: {camera} cannot be a namespace: {why}") from None
    return cameras


def start(context: LaunchContext) -> list[Action]:
    """Include the launch file of one node for each camera, in a separate scope."""
    cameras = names(LaunchConfiguration(CAMERAS.name).perform(context))
    if context.launch_configurations.get("bag"):
        node = context.launch_configurations["node_name"]
        follow = " ".join(f"--follow /{camera}/{node}" for camera in cameras)
        raise ValueError(
            "bag: each node would play it. Give use_sim_time:=true here, and in another terminal "
            f"savos play BAG --clock {follow}"
        )
    values = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    port = context.launch_configurations["web_port"]
    return [
        GroupAction([
            IncludeLaunchDescription(
                source(),
                launch_arguments={
                    "namespace": camera,
                    # Each camera has a page; a wrong port is refused by the included file.
                    "web_port": str(int(port) + index) if port.isdecimal() else port,
                    **{name: text.replace("{camera}", camera) for name, text in values.items()},
                }.items(),
            )
        ])
        for index, camera in enumerate(cameras)
    ]  # fmt: skip


def source() -> PythonLaunchDescriptionSource:
    """Return the launch file of one node."""
    return PythonLaunchDescriptionSource(str(share_dir() / "launch" / "amodal.launch.py"))


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    own = {argument.name for argument in ARGUMENTS} | OF_ONE_NODE
    others = source().get_launch_description(LaunchContext()).get_launch_arguments()
    # Passed to each node by name.
    inherited = [argument for argument in others if argument.name not in own]
    return LaunchDescription([CAMERAS, *ARGUMENTS, *inherited, OpaqueFunction(function=start)])
