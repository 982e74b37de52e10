"""Replays a bag made by `savos kitti-to-bag`: player, node and, where it is installed, RViz.

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
        description="open RViz; auto: where it is installed and there is a display",
    ),
    DeclareLaunchArgument(
        "fastdds",
        default_value="true",
        description="profile that lets images through shared memory",
    ),
)


def generate_launch_description() -> LaunchDescription:
    """Entry point of the launch system."""
    amodal = PythonLaunchDescriptionSource(str(share_dir() / "launch" / "amodal.launch.py"))
    own = {argument.name for argument in ARGUMENTS}
    others = amodal.get_launch_description(LaunchContext()).get_launch_arguments()
    # All arguments reach the included file by name.
    inherited = [argument for argument in others if argument.name not in own]
    return LaunchDescription([*ARGUMENTS, *inherited, IncludeLaunchDescription(amodal)])
