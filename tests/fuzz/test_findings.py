"""Findings of fuzzing: each was a crash, a hang, unlimited memory or an undocumented error."""

import io
import pickle
import re
import struct

import numpy as np
import pytest

from tests.fuzz.readers import READERS

BY_NAME = {reader.name: reader for reader in READERS}
NESTED = b"[" * 100_000


def swapped(old, new):
    def damage(data):
        assert old in data
        return data.replace(old, new, 1)

    return damage


def whole(new):
    return lambda data: new


def huge_jpeg(data):
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 65_000, 65_000) + data[at + 4 :]


def huge_png(data):
    return data[:16] + struct.pack(">II", 60_000, 60_000) + data[24:]


def huge_chunk(data):
    at = data.index(b"IDAT") - 4
    return data[:at] + b"\x7f\xff\xff\xff" + data[at + 4 :]


def temperature(text):
    """Weights that hold this text as their temperature."""

    def damage(data):
        size = struct.unpack("<Q", data[:8])[0]
        start = b'{"__metadata__":{'
        assert data[8:].startswith(start)
        header = data[8 : 8 + size].replace(start, start + b'"temperature":"%s",' % text, 1)
        return struct.pack("<Q", len(header)) + header + data[8 + size :]

    return damage


def packed_npz(_):
    made = io.BytesIO()
    np.savez(made, a=np.zeros(3))
    return made.getvalue()


LAUGHS = b"".join(b"a%d: &a%d [%s]\n" % (i, i, b"*a%d," % (i - 1) * 9) for i in range(1, 12))
ELSEWHERE = pickle.dumps({"../../../../etc_x": {3: {}}})

FINDINGS = {
    "a number without end in KINS": ("kins", swapped(b'"height": 60', b'"height": Infinity')),
    "nested JSON in KINS": ("kins", whole(NESTED)),
    "a number without end in FISHBOWL": ("fishbowl", swapped(b'"fps": 30', b'"width": Infinity')),
    "nested JSON in FISHBOWL": ("fishbowl", whole(NESTED)),
    "nested JSON in results": ("results_json", whole(NESTED)),
    "other text in a subset": ("fishbowl_subset", swapped(b"BigFish", b"\xdd")),
    "a number without end in a subset": ("fishbowl_subset", swapped(b"0,3,4,1", b"0,3,inf,1")),
    "other text in settings": ("run_yaml", swapped(b"model", b"\xdd")),
    "no date in settings": ("run_yaml", swapped(b"0.25", b"2020-99-99")),
    "nested YAML": ("run_yaml", swapped(b"0.25", NESTED)),
    "aliases of aliases": ("run_yaml", lambda data: b"a0: &a0 [x]\n" + LAUGHS),
    "header of a stored array": ("stored_clip", swapped(b"{'descr'", b"(((((((")),
    "shape of a stored array": ("stored_clip", swapped(b"'shape': (", b"'shape': (9" + b"9" * 30)),
    "an archive as a stored array": ("stored_clip", packed_npz),
    "an archive without directory": ("checkpoint_released", swapped(b"PK\1\2", b"PK\1X")),
    "temperature that is no number": ("weights", temperature(b"warm")),
    "temperature nan": ("weights", temperature(b"nan")),
    "a month that no year has": ("kitti_times", swapped(b"-09-", b"-99-")),
    "huge JPEG": ("kitti_image", huge_jpeg),
    "huge PNG of masks": ("kitti_png", huge_png),
    "huge chunk in a PNG of masks": ("kitti_png", huge_chunk),
    "huge chunk in a PNG of labels": ("external_png", huge_chunk),
    "huge chunk in a PNG message": ("message_png", huge_chunk),
    "a video's name that leaves the folder": ("kins_video_car", whole(ELSEWHERE)),
    "a clip's name that leaves the folder": (
        "fishbowl_released",
        whole(pickle.dumps({"../../etc_4": {}})),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FINDINGS)
def test_what_was_found_is_refused(name, tmp_path):
    reader, damage = BY_NAME[FINDINGS[name][0]], FINDINGS[name][1]
    path = reader.write(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(reader.errors) as refused:
        reader.read(path)
    assert str(refused.value) and not re.search(r"\.\./.*is missing", str(refused.value))


OUTLINE_AND_NUMBER = b"0 0.1 0.1 0.5 0.1 0.5 0.5 0.9 7\n3\n"


@pytest.mark.parametrize(
    ("name", "damage"), [("masks_yolo", whole(OUTLINE_AND_NUMBER)), ("masks_png", huge_chunk)]
)
def test_what_can_be_read_is_read_in_bounded_memory(name, damage, tmp_path):
    path = BY_NAME[name].write(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    BY_NAME[name].read(path)
