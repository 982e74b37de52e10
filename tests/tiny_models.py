"""Tiny models for the tests of the renderer."""

import numpy as np

from training.render.meshes import Model, box

CUBE_OBJ = """v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
f 1 3 2
f 1 4 3
f 5 6 7
f 5 7 8
f 1 2 6
f 1 6 5
f 2 3 7
f 2 7 6
f 3 4 8
f 3 8 7
f 4 1 5
f 4 5 8
"""


def plain(colour):
    """A texture of one RGB colour."""
    return np.tile(np.array([*colour, 255], np.uint8), (4, 4, 1))


def block(name="block", size=(0.1, 0.1, 0.1), colour=(200, 40, 40), category="object"):
    """A box that stands on z = 0."""
    half = np.asarray(size) / 2
    part = box(half, plain(colour))
    part.vertices[:, 2] += half[2]
    return Model(name, category, (part,), True)
