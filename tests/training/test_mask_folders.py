"""Every form of mask folder gives back the masks that were written, under their own ids."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from training.boxed import look_at
from training.data.mask_common import MaskFolderError
from training.data.mask_folders import open_masks
from training.data.mask_pngs import ALONE, IGNORED
from training.data.mask_texts import NO_ID

SHAPE = (40, 60)
NAMES = ["000", "001", "002"]


def blob(left, top=10, width=12, height=9):
    mask = np.zeros(SHAPE, np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def given(frame):
    """Masks of a frame by id: 7 moves behind 12, over which it is annotated too."""
    return {"7": blob(5 + 6 * frame), "12": blob(20, 5, 14, 20)}


def full(item):
    return look_at((item.box, item.mask), type(item.box)(0, 0, SHAPE[1], SHAPE[0]))


def check(source, names=NAMES, wanted=given):
    for frame, name in enumerate(names):
        found = {item.id: full(item) for item in source.instances(name, SHAPE)}
        expected = {track: mask.astype(bool) for track, mask in wanted(frame).items() if mask.any()}
        assert found.keys() == expected.keys()
        for track, mask in expected.items():
            assert np.array_equal(found[track], mask), (name, track)


def write_palette(path, numbers):
    picture = Image.fromarray(numbers.astype(np.uint8))
    picture.putpalette([value for step in range(256) for value in (step * 7 % 256, 9, 200)])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def runs(mask):
    found = coco.encode(np.asfortranarray(mask))
    return {"size": found["size"], "counts": found["counts"].decode()}


@pytest.mark.parametrize("deep", [False, True])
def test_label_images_with_a_palette_or_16_bits(tmp_path, deep):
    def labels(frame):
        masks = given(frame)
        return np.where(masks["12"], 12, 7 * masks["7"]) * (250 if deep else 1)

    for frame, name in enumerate(NAMES):
        if deep:
            cv2.imwrite(str(tmp_path / f"{name}.png"), labels(frame).astype(np.uint16))
        else:
            write_palette(tmp_path / f"{name}.png", labels(frame))
    source = open_masks(tmp_path, NAMES)
    assert source.form == "labels"
    check(
        source,
        wanted=lambda f: {str(v): labels(f) == v for v in np.unique(labels(f)).tolist() if v},
    )


def test_the_region_that_kitti_mots_ignores_is_no_object(tmp_path):
    labels = np.zeros(SHAPE, np.uint16)
    labels[:5], labels[8:12, 9:20] = 10000, 2007
    for name in NAMES[:2]:
        cv2.imwrite(str(tmp_path / f"{name}.png"), labels)
    source = open_masks(tmp_path, NAMES)
    for name in NAMES[:2]:
        (item,) = source.instances(name, SHAPE)
        assert (item.id, item.class_id, item.mask.sum()) == ("2007", "2", 44)
    assert source.skipped[IGNORED] == 2


def test_folders_per_object_keep_overlaps_and_written_ids(tmp_path):
    for frame, name in enumerate(NAMES):
        for track, mask in given(frame).items():
            if frame != 1 or track != "7":
                write_palette(tmp_path / f"{int(track):03d}" / f"{name}.png", mask)
    source = open_masks(tmp_path, [*NAMES, "003"])
    assert source.form == "objects"
    check(
        source,
        wanted=lambda f: {f"{int(t):03d}": m for t, m in given(f).items() if (f, t) != (1, "7")},
    )
    assert source.instances("003", SHAPE) == []
    assert source.skipped[ALONE] == 1


def test_coco_annotations_with_names_of_classes(tmp_path):
    path = tmp_path / "masks.json"
    images = [
        {"id": 50 + frame, "file_name": f"cam/{name}.jpg"} for frame, name in enumerate(NAMES)
    ]
    entries = [
        {"image_id": 50 + f, "category_id": 3, "track_id": int(t), "segmentation": runs(m)}
        for f in range(3)
        for t, m in given(f).items()
    ]
    classes = [{"id": 3, "name": "car"}]
    path.write_text(json.dumps({"images": images, "annotations": entries, "categories": classes}))
    source = open_masks(tmp_path, NAMES)
    check(source)
    assert {item.class_id for item in source.instances("000", SHAPE)} == {"car"}


def test_results_in_the_style_of_detectron(tmp_path):
    entries = [
        {"image_id": f, "category_id": 2, "instance_id": int(t), "segmentation": runs(m)}
        | {"score": 0.75}
        for f in range(3)
        for t, m in given(f).items()
    ]
    entries.append({"image_id": 1, "category_id": 2, "segmentation": runs(blob(0)), "score": 0.5})
    path = tmp_path / "coco_instances_results.json"
    path.write_text(json.dumps(entries))
    source = open_masks(path, NAMES)
    check(source)
    first = source.instances("000", SHAPE)[0]
    assert (first.class_id, first.score) == ("2", 0.75)
    assert source.skipped[NO_ID] == 1


def test_tracks_in_the_style_of_youtube_vis(tmp_path):
    entries = [
        {"video_id": 4, "category_id": 1, "score": 0.9}
        | {"segmentations": [None if f == 1 else runs(given(f)[t]) for f in range(3)]}
        for t in ("7", "12")
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries))
    places = {"7": "0", "12": "1"}  # no ids: the place in the list is the only name
    check(
        open_masks(path, NAMES),
        wanted=lambda f: {} if f == 1 else {places[t]: m for t, m in given(f).items()},
    )


def outline(mask):
    (points,), _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return " ".join(f"{x / SHAPE[1]:g} {y / SHAPE[0]:g}" for x, y in points.reshape(-1, 2))


@pytest.mark.parametrize("confidence", ["", " 0.5"])
@pytest.mark.parametrize("stem", ["00{}", "street_{}"])
def test_lines_of_ultralytics(tmp_path, confidence, stem):
    (tmp_path / "labels").mkdir()
    for frame in range(3):
        lines = [f"2 {outline(m)}{confidence} {t}" for t, m in given(frame).items()]
        if frame == 2:
            lines.append(f"2 {outline(blob(40))}{confidence}")  # not tracked
        name = stem.format(frame if stem.startswith("0") else frame + 1)
        (tmp_path / "labels" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    source = open_masks(tmp_path, NAMES)
    assert source.form == "ultralytics"
    check(source)
    item = source.instances("000", SHAPE)[0]
    assert (item.class_id, item.score) == ("2", 0.5 if confidence else 1.0)
    assert source.skipped[NO_ID] == 1


def test_the_first_track_is_no_coordinate(tmp_path):
    (tmp_path / "000.txt").write_text(f"0 {outline(blob(48))} 0.9 1\n")
    assert [item.id for item in open_masks(tmp_path, NAMES).instances("000", SHAPE)] == ["1"]


def text(content, name="000.txt"):
    return lambda folder: (folder / name).write_text(content)


def document(content):
    return text(json.dumps(content), "masks.json")


RUNS = runs(blob(3))
BAD = {
    "nothing": (lambda folder: None, "holds no masks"),
    "two forms": (
        lambda folder: [text("0 0.1", "000.txt")(folder), text("[]", "a.json")(folder)],
        "coco and ultralytics",
    ),
    "other images": (text("0 0.1 0.1 0.2 0.2 0.1 0.2 1", "frame9.txt"), "frame9.txt belongs to"),
    "no ids": (text("0 0.1 0.1 0.2 0.2 0.15 0.25"), "no line ends in a track id"),
    "boxes": (text("0 0.1 0.1 0.2 0.2 3"), "is a box, no outline"),
    "words": (text("car 0.1 0.1 0.2"), "line 1 must hold numbers alone"),
    "nan": (text("0 nan 0.1 0.2 0.2 0.1 0.2 1"), "line 1 must hold numbers alone"),
    "outside": (text("0 1.5 0.1 0.2 0.2 0.1 0.2 1"), "must lie between 0 and 1"),
    "no json": (text("{", "a.json"), "is no JSON"),
    "no list": (document(3), "must be a list"),
    "no track": (
        document([{"image_id": 0, "segmentation": RUNS}]),
        "no mask has a track_id",
    ),
    "no image": (
        document([{"image_id": 9, "track_id": 1, "segmentation": RUNS}]),
        "image_id 9 belongs to none",
    ),
    "two videos": (
        document(
            {
                "images": [
                    {"id": 1, "file_name": "a/000.jpg"},
                    {"id": 2, "file_name": "b/000.jpg"},
                ],
                "annotations": [{"image_id": 1, "track_id": 1, "segmentation": RUNS}],
            }
        ),
        "two images are called 000, .*: keep the annotations of one video",
    ),
    "size": (
        document([{"image_id": 0, "track_id": 1, "segmentation": RUNS | {"size": [9, 9]}}]),
        r"track 1: size \[9, 9\] is not the image's",
    ),
    "polygon": (
        document([{"image_id": 0, "track_id": 1, "segmentation": [[1, 2, 3, 4, 5, 6]]}]),
        "must be compressed RLE",
    ),
    "twice": (
        document([{"image_id": 0, "track_id": 1, "segmentation": RUNS}] * 2),
        "instance 1 comes twice",
    ),
    "lacks": (document([{"track_id": 1}]), "lacks 'image_id'"),
    "png": (text("no", "000.png"), "cannot be read as PNG"),
    "colours": (
        lambda folder: cv2.imwrite(str(folder / "000.png"), np.zeros((*SHAPE, 3), np.uint8)),
        "has colours",
    ),
    "scaled": (
        lambda folder: cv2.imwrite(str(folder / "000.png"), np.zeros((4, 4), np.uint8)),
        "is 4x4, its image 60x40",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_named(tmp_path, case):
    make, wanted = BAD[case]
    make(tmp_path)
    with pytest.raises(MaskFolderError, match=wanted):
        source = open_masks(tmp_path, NAMES)
        for name in NAMES:
            source.instances(name, SHAPE)
