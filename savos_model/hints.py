"""What to install for what is optional, for messages to the user; each is an extra of pyproject."""

from __future__ import annotations

PIP = {
    "bags": "pip install rosbags rosbags-image mcap zstandard jinja2 av pycocotools pillow",
    "openvino": "pip install openvino",
    "render": "pip install av fast-simplification moderngl mujoco pillow pycocotools trimesh",
    "ray": "pip install ray",
    "tensorrt": "pip install cuda-bindings tensorrt_rtx",
    "torch": "pip install torch",
    "train": "pip install torch matplotlib scikit-learn tensorboard pycocotools pillow",
}
