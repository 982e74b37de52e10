"""Every form of mask folder gives back the masks that were written, under their own ids."""

import json

import cv2
import numpy as np
import pytest
from failing import fails
from PIL import Image
from pycocotools import mask as coco

from savos_model.masks import look_at
from training.data.masks.common import MaskFolderError
from training.data.masks.folders import open_masks
from training.data.masks.pngs import ALONE, IGNORED
from training.data.masks.texts import EMPTY_MASK, NO_ID, track_name

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
    "nothing": (lambda folder: None, "form"),
    "two forms": (
        lambda folder: [text("0 0.1", "000.txt")(folder), text("[]", "a.json")(folder)],
        "form",
    ),
    "other images": (text("0 0.1 0.1 0.2 0.2 0.1 0.2 1", "frame9.txt"), "names"),
    "no ids": (text("0 0.1 0.1 0.2 0.2 0.15 0.25"), "no_ids"),
    "boxes": (text("0 0.1 0.1 0.2 0.2 3"), "boxes"),
    "words": (text("car 0.1 0.1 0.2"), "numbers"),
    "nan": (text("0 nan 0.1 0.2 0.2 0.1 0.2 1"), "numbers"),
    "outside": (text("0 1.5 0.1 0.2 0.2 0.1 0.2 1"), "numbers"),
    "no json": (text("{", "a.json"), "unreadable"),
    "no list": (document(3), "document"),
    "no track": (document([{"image_id": 0, "segmentation": RUNS}]), "document"),
    "no image": (document([{"image_id": 9, "track_id": 1, "segmentation": RUNS}]), "document"),
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
        "document",
    ),
    "size": (
        document([{"image_id": 0, "track_id": 1, "segmentation": RUNS | {"size": [9, 9]}}]),
        "mask",
    ),
    "polygon": (
        document([{"image_id": 0, "track_id": 1, "segmentation": [[1, 2, 3, 4, 5]]}]),
        "mask",
    ),
    "twice": (document([{"image_id": 0, "track_id": 1, "segmentation": RUNS}] * 2), "instances"),
    "lacks": (document([{"track_id": 1}]), "document"),
    "png": (text("no", "000.png"), "unreadable"),
    "colours": (
        lambda folder: cv2.imwrite(str(folder / "000.png"), np.zeros((*SHAPE, 3), np.uint8)),
        "colours",
    ),
    "scaled": (
        lambda folder: cv2.imwrite(str(folder / "000.png"), np.zeros((4, 4), np.uint8)),
        "size",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_named(tmp_path, case):
    make, wanted = BAD[case]
    make(tmp_path)
    with pytest.raises(MaskFolderError) as info:
        source = open_masks(tmp_path, NAMES)
        for name in NAMES:
            source.instances(name, SHAPE)
    assert info.value.kind == wanted


@pytest.mark.parametrize(
    ("value", "name"),
    [(3, "3"), (3.0, "3"), ("3", "3"), ("3.0", "3"), ("03", "3"), (0, "0"), ("car_7", "car_7")]
    + [(2**60 + 1, str(2**60 + 1))]
    + [(value, None) for value in (None, -1, -1.0, "-1", float("nan"), "NaN", "", 1.5, True, [3])]
    + [(float("inf"), None), ("None", None), ("null", None)],
)
def test_what_is_no_id_does_not_become_one(value, name):
    assert track_name(value) == name


@pytest.mark.parametrize("key", ["track_id", "attributes"])
def test_ids_of_a_table_with_gaps_and_of_cvat(tmp_path, key):
    def entry(frame, track, mask):
        place = {"track_id": track} if key == "track_id" else {"attributes": {"track_id": track}}
        return {"image_id": frame, "category_id": 1, "segmentation": runs(mask)} | place

    entries = [
        entry(f, float(t) if f else int(t), mask) for f in range(3) for t, mask in given(f).items()
    ]
    entries += [entry(1, value, blob(2)) for value in (-1, -1, float("nan"), None)]
    (tmp_path / "masks.json").write_text(json.dumps(entries))
    source = open_masks(tmp_path, NAMES)
    check(source)
    assert [source.skipped[NO_ID]] == [4]


@pytest.mark.parametrize("tiny", ["2 2", "2 0.5 0.5 2", "2 0.5 0.5 0.51 0.5 2"])
def test_an_object_too_small_for_an_outline_costs_itself_alone(tmp_path, tiny):
    for frame in range(3):
        lines = [f"2 {outline(m)} {t}" for t, m in given(frame).items()]
        (tmp_path / f"00{frame}.txt").write_text("\n".join([*lines, tiny]) + "\n")
    source = open_masks(tmp_path, NAMES)
    check(source)
    assert source.skipped[EMPTY_MASK] == 3


def test_run_lengths_as_numbers_and_polygons_are_read(tmp_path):
    def numbers(mask):
        flat = np.concatenate(([0], mask.T.ravel(), [1 - mask.T.ravel()[-1]]))
        changes = np.flatnonzero(np.diff(flat.astype(int)))
        return {"size": list(SHAPE), "counts": np.diff(np.concatenate(([0], changes))).tolist()}

    def polygon(mask):
        (points,), _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        return points.reshape(-1).tolist()

    two = blob(5) | blob(40)
    entries = [
        {"image_id": 0, "track_id": 1, "segmentation": numbers(blob(3))},
        {"image_id": 0, "track_id": 2, "segmentation": [polygon(blob(5)), polygon(blob(40))]},
        {"image_id": 0, "track_id": 3, "segmentation": [[1, 1, 2, 2]], "score": None},
        {"image_id": 0, "track_id": 4, "segmentation": []},
    ]
    (tmp_path / "masks.json").write_text(json.dumps(entries))
    source = open_masks(tmp_path, NAMES)
    found = {item.id: full(item) for item in source.instances("000", SHAPE)}
    assert found.keys() == {"1", "2"}
    assert np.array_equal(found["1"], blob(3)) and np.array_equal(found["2"], two)
    assert source.skipped[EMPTY_MASK] == 2


@pytest.mark.parametrize(
    "counts", [[], [-1, 2401], [10, 10], [2**70, 3], [1.5, 2398.5], ["a"], [True, 2399]]
)
def test_run_lengths_that_cannot_be_are_refused(tmp_path, counts):
    entry = {"image_id": 0, "track_id": 1}
    entry["segmentation"] = {"size": list(SHAPE), "counts": counts}
    (tmp_path / "masks.json").write_text(json.dumps([entry]))
    with pytest.raises(MaskFolderError) as info:
        open_masks(tmp_path, NAMES).instances("000", SHAPE)
    assert info.value.kind == "mask"


@pytest.mark.parametrize("points", [[1e9] * 6, ["x"] * 6, [float("nan")] * 6, [[1, 2], [3, 4]]])
def test_corners_that_cannot_be_are_refused(tmp_path, points):
    entry = {"image_id": 0, "track_id": 1, "segmentation": [points]}
    (tmp_path / "masks.json").write_text(json.dumps([entry]))
    with pytest.raises(MaskFolderError) as info:
        open_masks(tmp_path, NAMES).instances("000", SHAPE)
    assert info.value.kind == "mask"


def test_hidden_files_are_no_masks(tmp_path):
    for frame, name in enumerate(NAMES):
        for track, mask in given(frame).items():
            write_palette(tmp_path / track / f"{name}.png", mask)
            (tmp_path / track / f"._{name}.png").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "._7").mkdir()
    (tmp_path / "._7" / "x.png").write_bytes(b"")
    (tmp_path / "._x.json").write_text("{")
    source = open_masks(tmp_path, NAMES)
    assert source.form == "objects"
    check(source)


def test_a_soft_mask_of_an_object_is_cut_at_half(tmp_path):
    soft = cv2.GaussianBlur(blob(20, 10, 20, 20) * 255, (9, 9), 2)
    for name in NAMES:
        (tmp_path / "3").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "3" / f"{name}.png"), soft)
    (item,) = open_masks(tmp_path, NAMES).instances("000", SHAPE)
    assert np.array_equal(full(item), soft >= 128)
    assert 300 < item.mask.sum() < (soft > 0).sum()


def test_a_soft_mask_is_no_image_of_ids(tmp_path):
    levels = (np.arange(SHAPE[0] * SHAPE[1]) % 200).reshape(SHAPE)
    cv2.imwrite(str(tmp_path / "000.png"), levels.astype(np.uint8))
    with pytest.raises(MaskFolderError) as info:
        open_masks(tmp_path, NAMES).instances("000", SHAPE)
    assert info.value.kind == "soft"


@pytest.mark.parametrize("ids", [True, False])
def test_255_is_void_next_to_ids_and_the_object_where_it_is_alone(tmp_path, ids):
    edge = blob(3) * 255
    for name in NAMES[:2]:
        labels = edge if name == "000" or not ids else np.maximum(edge, blob(30) * 9)
        cv2.imwrite(str(tmp_path / f"{name}.png"), labels)
    source = open_masks(tmp_path, NAMES)
    found = [[item.id for item in source.instances(name, SHAPE)] for name in NAMES[:2]]
    assert found == ([[], ["9"]] if ids else [["255"], ["255"]])
    assert source.skipped[IGNORED] == (2 if ids else 0)


def test_results_of_a_detector_need_no_ids_where_they_are_tracked_later(tmp_path):
    entries = [
        {"image_id": f, "category_id": 2, "segmentation": runs(m)}
        for f in range(3)
        for m in given(f).values()
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries))
    with fails(MaskFolderError, "document", "results.json", "--track"):
        open_masks(path, NAMES)
    source = open_masks(path, NAMES, tracked=False)
    check(
        source, wanted=lambda f: {f"mask {2 * f + k}": m for k, m in enumerate(given(f).values())}
    )
    assert source.skipped[NO_ID] == 0


@pytest.mark.parametrize("confidence", ["", " 0.5"])
def test_lines_of_yolo_predict_need_no_ids_where_they_are_tracked_later(tmp_path, confidence):
    for frame in range(3):
        lines = [f"2 {outline(m)}{confidence}" for m in given(frame).values()]
        (tmp_path / f"00{frame}.txt").write_text("\n".join(lines) + "\n")
    with fails(MaskFolderError, "no_ids", "--track"):
        open_masks(tmp_path, NAMES)
    source = open_masks(tmp_path, NAMES, tracked=False)
    check(source, wanted=lambda f: {f"mask {k}": m for k, m in enumerate(given(f).values(), 1)})
    assert source.instances("000", SHAPE)[0].score == (0.5 if confidence else 1.0)


def test_lines_of_yolo_track_are_read_as_such_where_they_are_tracked_again(tmp_path):
    for frame in range(3):
        lines = [f"2 {outline(m)} 0.5 {t}" for t, m in given(frame).items()]
        (tmp_path / f"00{frame}.txt").write_text("\n".join(lines) + "\n")
    source = open_masks(tmp_path, NAMES, tracked=False)
    check(source)
    assert source.instances("000", SHAPE)[0].score == 0.5
