"""Bags without ROS: read, write, convert, play, run, label.

May import messages, training and savos_model.
"""

from savos_ros.paths import use_private_path

use_private_path()
