"""Files that are too large are refused before they are read."""

import os

import pytest
import tiny_scene as scene
from failing import fails

from savos_model.files import FileError
from savos_ros.bags.convert import masks_to_bag
from savos_ros.bags.settings import BagError, MaskSource, RecordOptions
from training.data.fishbowl import SUBSET_FILE, FishbowlError, read_subset
from training.data.kitti_mots import (
    KittiError,
    read_labels,
    read_mots,
    read_timestamps,
)
from training.data.masks.common import MaskFolderError
from training.data.masks.pngs import read_png
from training.data.outside import MAX_BYTES, read_bytes, read_lines, read_picture

READERS = {
    "picture": (lambda path: read_picture(path, FileError), FileError),
    "masks as text": (read_mots, KittiError),
    "labels": (read_labels, KittiError),
    "times": (lambda path: read_timestamps(path, range(2)), KittiError),
    "mask as PNG": (lambda path: read_png(path, scene.SHAPE), MaskFolderError),
    "subset": (lambda path: read_subset(path.parent, "test1"), FishbowlError),
    "image": (
        lambda path: masks_to_bag(
            MaskSource(path.parent, path.parent / "masks"), path.parent / "bag", RecordOptions()
        ),
        BagError,
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_beyond_the_limit_is_refused(tmp_path, name):
    read, error = READERS[name]
    path = tmp_path / (SUBSET_FILE if name == "subset" else "1.png")
    path.touch()
    os.truncate(path, MAX_BYTES + 1)  # without a byte on the disk
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "1.txt").touch()
    with fails(error, "size", str(path)):
        read(path)


def test_lines_and_bytes_as_written(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"a 1\r\nb 2\n")
    assert read_bytes(path, FileError) == b"a 1\r\nb 2\n"
    assert read_lines(path, KittiError) == ["a 1", "b 2"]
    path.write_bytes(b"\xff")
    with fails(KittiError, "unreadable", "lines.txt", "ascii"):
        read_lines(path, KittiError)
    with fails(KittiError, "unreadable", "none.txt", "No such file"):
        read_lines(tmp_path / "none.txt", KittiError)
