"""Replay a bag made by `savos kitti-to-bag`: player, node and, if installed, RViz.

ros2 launch savos_ros kitti_replay.launch.py bag:=kitti_0001
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from savos_ros.paths import share_dir

ARGUMENTS = (
    DeclareLaunchArgument("bag", description="rosbag2 made by `savos kitti-to-bag`"),
    DeclareLaunchArgument(
        "rviz",
        default_value="auto",
        choices=["auto", "true", "false"],
        description="open RViz; auto: if it is installed and a display is available",
    ),
    DeclareLaunchArgument(
        "fastdds",
        default_value="true",
        description="Fast DDS profile that sends images through shared memory",
    ),
)


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    amodal = PythonLaunchDescriptionSource(str(share_dir() / "launch" / "amodal.launch.py"))
    own = {argument.name for argument in ARGUMENTS}
    others = amodal.get_launch_description(LaunchContext()).get_launch_arguments()
    # All arguments are passed to the included file by name.
    inherited = [argument for argument in others if argument.name not in own]
    return LaunchDescription([*ARGUMENTS, *inherited, IncludeLaunchDescription(amodal)])
