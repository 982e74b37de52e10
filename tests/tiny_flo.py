"""Middlebury flow files, written by the tests."""

import struct

import numpy as np


def write_flo(path, flow):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = flow.shape[:2]
    head = b"PIEH" + struct.pack("<ii", width, height)
    path.write_bytes(head + np.asarray(flow, "<f4").tobytes())
    return path
