"""Name the packages to install for optional features; each is an extra of pyproject.toml."""

import importlib.util

PIP = {
    "bags": "pip install rosbags rosbags-image mcap zstandard jinja2 av pycocotools pillow",
    "foxglove": "pip install foxglove-sdk rosbags",
    "openvino": "pip install openvino",
    "render": "pip install av fast-simplification moderngl mujoco pillow pycocotools trimesh",
    "ray": "pip install ray",
    "tensorrt": "pip install cuda-bindings tensorrt_rtx",
    "torch": "pip install torch",
    "train": "pip install torch matplotlib scikit-learn tensorboard pycocotools pillow",
    "view": "pip install aiohttp",
}

MODULES = {  # modules of the extras; a module may be in several
    "foxglove": ("foxglove",),
    "render": ("av", "fast_simplification", "glcontext", "moderngl", "mujoco", "trimesh"),
    "train": ("PIL", "matplotlib", "pycocotools", "sklearn", "tensorboard", "torch"),
    "bags": ("av", "jinja2", "mcap", "rosbags", "pycocotools", "rich", "PIL", "zstandard"),
    "view": ("aiohttp",),
}


def extra_of(module: str, first: str = "") -> str:
    """Return the extra that installs a module, preferably `first`; "" for none."""
    return next((name for name in (first, *MODULES) if module in MODULES.get(name, ())), "")


def installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package around it
        return False
