"""Starts one amodal mask node per camera, each in a namespace of the camera's name.

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

from savos_ros.paths import share_dir

# Other arguments of amodal.launch.py (params_file, backend, fastdds, ...) reach each node by name.
CAMERAS = DeclareLaunchArgument(
    "cameras", default_value="front,left,right", description="namespaces, with commas"
)
ARGUMENTS = (
    DeclareLaunchArgument(
        "image",
        default_value="camera/image_raw",
        description="image topic, in the camera's namespace unless it begins with /; {camera} "
        "stands for its name",
    ),
    DeclareLaunchArgument(
        "instances",
        default_value="tracker/labels",
        description="topic of the tracked instance masks, named as image is",
    ),
    DeclareLaunchArgument(
        "respawn",
        default_value="true",
        choices=["true", "false"],
        description="true: start a node that ended again; false: end all cameras with it",
    ),
)


def start(context: LaunchContext) -> list[Action]:
    """Include the launch file of one node for each camera, in a scope of its own."""
    listed = LaunchConfiguration(CAMERAS.name).perform(context)
    cameras = [name.strip() for name in listed.split(",")]
    if "" in cameras or len(set(cameras)) < len(cameras):
        raise ValueError(f"cameras:={listed} must be different names with commas between them")
    values = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    source = PythonLaunchDescriptionSource(str(share_dir() / "launch" / "amodal.launch.py"))
    return [
        GroupAction([
            IncludeLaunchDescription(
                source,
                launch_arguments={
                    "namespace": camera,
                    **{name: text.replace("{camera}", camera) for name, text in values.items()},
                }.items(),
            )
        ])
        for camera in cameras
    ]  # fmt: skip


def generate_launch_description() -> LaunchDescription:
    """Entry point of the launch system."""
    return LaunchDescription([CAMERAS, *ARGUMENTS, OpaqueFunction(function=start)])
