"""Decode JPEG and PNG after checking their size before memory is taken."""

import cv2
import numpy as np

_PNG = b"\x89PNG\r\n\x1a\n"
# Start-of-frame markers of JPEG, without C4, C8 and CC.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = {0x01, *range(0xD0, 0xD8)}


def encoded_size(data: np.ndarray) -> tuple[int, int] | None:
    """Return (height, width) [px] in the header of uint8 [N]; None: neither JPEG nor PNG."""
    head = data[:24].tobytes()
    if head.startswith(_PNG):
        if len(head) < 24 or head[12:16] != b"IHDR":
            return None
        return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big")
    if head.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    return None


def decode_image(data: np.ndarray, flags: int) -> np.ndarray | None:
    """Decode a JPEG or PNG, uint8 [N], whose size was checked with `encoded_size`.

    Returns the pixels [H, W] or [H, W, C] as the flags of cv2.imdecode ask for them; None if the
    data are damaged.
    """
    if data[: len(_PNG)].tobytes() == _PNG and not _has_whole_chunks(data):
        return None
    try:
        return cv2.imdecode(data, flags)
    except cv2.error:
        return None


def _has_whole_chunks(data: np.ndarray) -> bool:
    """Walk the chunks of a PNG: OpenCV takes the memory that a length asks for before it reads."""
    at, view = len(_PNG), data.data
    while at + 12 <= len(view):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        if end > len(view):
            return False
        if view[at + 4 : at + 8] == b"IEND":
            return True
        at = end
    return False


def _jpeg_size(data: np.ndarray) -> tuple[int, int] | None:
    """Walk the segments of a JPEG up to its start of frame."""
    at = 2
    while at + 9 <= data.size:
        if data[at] != 0xFF:
            return None
        marker = int(data[at + 1])
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _STANDALONE:
            at += 2
        elif marker in _FRAMES:
            height, width = data[at + 5 : at + 9].view(">u2").tolist()
            return height, width
        else:
            length = int(data[at + 2]) << 8 | int(data[at + 3])
            if length < 2:
                return None
            at += 2 + length
    return None
