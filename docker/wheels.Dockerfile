# savos_ros with ROS 2 from wheels (x86_64):
#     docker build -f docker/wheels.Dockerfile -t savos_ros:wheels .
#     docker run --rm --network host --ipc host savos_ros:wheels
#     docker run --rm -v "$PWD:/data" savos_ros:wheels savos run /data/BAG --out /tmp/results
FROM python:3.12-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /savos_ros
ENV PATH=/opt/savos/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements requirements
RUN python -m venv /opt/savos \
    && pip install --no-build-isolation --require-hashes -r requirements/setuptools.txt \
    && pip install --no-build-isolation --require-hashes -r requirements/lock-runtime.txt
COPY . .
RUN pip install --no-build-isolation --no-deps . \
    && savos doctor

FROM python:3.12-slim-bookworm
ENV PATH=/opt/savos/bin:$PATH PYTHONUNBUFFERED=1 ROS_LOG_DIR=/tmp/ros
COPY --from=build /opt/savos /opt/savos
RUN useradd --uid 1000 --create-home savos
USER 1000
WORKDIR /home/savos
CMD ["savos_node", "--ros-args", "-p", "autostart:=true"]
