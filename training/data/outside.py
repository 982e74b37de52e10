"""Guards against what files of others may hold: names that leave their folder, endless pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from savos_model.image_size import encoded_size

MAX_PIXELS = 1 << 24  # of one picture; the largest of the data sets has half a million
MAX_NAME = 100


def is_file_name(name: str) -> bool:
    """Whether a name stays in the folder that it is put behind."""
    plain = name not in ("", ".", "..") and "/" not in name
    return plain and name.isprintable() and len(name) <= MAX_NAME


def read_picture(
    path: str | Path, error: type[ValueError], flags: int = cv2.IMREAD_COLOR
) -> np.ndarray:
    """Read a PNG or JPEG; its size is checked before it is decoded.

    Args:
        path: the file.
        error: what is raised; its text names the file, the rule and the value found.
        flags: of cv2.imdecode.

    Returns:
        The pixels [H, W] or [H, W, C] as the flags ask for them.

    Raises:
        error: missing, damaged, another format, or larger than MAX_PIXELS.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause}") from None
    height, width = encoded_size(data) or (0, 0)
    if height * width > MAX_PIXELS:
        raise error(f"{path} is {width}x{height}, more than {MAX_PIXELS} pixels")
    try:
        image = cv2.imdecode(data, flags) if height and width else None
    except cv2.error:
        image = None
    if image is None:
        raise error(f"{path} cannot be decoded: it is cut off or no PNG or JPEG")
    return image
