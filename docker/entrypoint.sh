#!/bin/bash
# Runs a command in the sourced workspace of the image.
set -e
# shellcheck disable=SC1090,SC1091
source "/opt/ros/$ROS_DISTRO/setup.bash"
# shellcheck disable=SC1091
source /workspace/install/setup.bash
exec "$@"
