# savos_ros built by colcon on a ROS 2 distribution (x86_64 and aarch64):
#     docker build -f docker/jazzy.Dockerfile -t savos_ros .
#     docker build -f docker/jazzy.Dockerfile --build-arg DISTRO=rolling -t savos_ros:rolling .
#     docker run --rm --network host --ipc host savos_ros \
#         ros2 launch savos_ros amodal.launch.py image:=/camera/image_raw instances:=/tracker/labels
ARG DISTRO=jazzy
FROM ros:${DISTRO}-ros-base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /workspace
# The packages first: a change of the code does not install them again.
COPY package.xml src/savos_ros/package.xml
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rosdep update --rosdistro "$ROS_DISTRO" \
    && rosdep install --from-paths src --ignore-src -y \
    && rm -rf /var/lib/apt/lists/*
ENV VIRTUAL_ENV=/opt/savos PATH=/opt/savos/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/workspace.txt src/savos_ros/requirements/workspace.txt
RUN python3 -m venv --system-site-packages /opt/savos \
    && pip install -r src/savos_ros/requirements/workspace.txt
COPY . src/savos_ros
RUN . "/opt/ros/$ROS_DISTRO/setup.bash" \
    && colcon build --packages-select savos_ros \
    && rm -rf build log \
    && install -m 755 src/savos_ros/docker/entrypoint.sh /savos_entrypoint.sh \
    && /savos_entrypoint.sh savos doctor
# ros images on Ubuntu 24.04 have a user of this number already.
USER 1000
ENV ROS_LOG_DIR=/tmp/ros
# `ros2 launch` as the first process of a container ignores SIGTERM.
STOPSIGNAL SIGINT
ENTRYPOINT ["/savos_entrypoint.sh"]
CMD ["savos_node", "--ros-args", "-p", "autostart:=true"]
