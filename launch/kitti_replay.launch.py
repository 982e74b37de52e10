"""Replays a bag made by `savos kitti-to-bag`: player, node and RViz.

ros2 launch savos_ros kitti_replay.launch.py bag:=kitti_0001
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from savos_ros.paths import share_dir

# Other arguments of amodal.launch.py may be given too: they reach it by name.
ARGUMENTS = (
    DeclareLaunchArgument("bag", description="rosbag2 made by `savos kitti-to-bag`"),
    DeclareLaunchArgument("rviz", default_value="true", description="open RViz"),
    DeclareLaunchArgument(
        "fastdds",
        default_value="true",
        description="profile that lets images through shared memory",
    ),
)


def generate_launch_description() -> LaunchDescription:
    """Entry point of the launch system."""
    amodal = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share_dir() / "launch" / "amodal.launch.py")),
        launch_arguments={a.name: LaunchConfiguration(a.name) for a in ARGUMENTS}.items(),
    )
    return LaunchDescription([*ARGUMENTS, amodal])
