import dataclasses
import json

import cv2
import numpy as np
import pytest
from failing import fails, refused

from savos_model.geometry import crop
from savos_model.instances import InstanceError
from savos_model.types import Box, Instance
from training.data.store import (
    CONTEXT,
    FIELDS,
    ClipFrame,
    StoreError,
    collect_rows,
    open_clip,
    open_store,
    store_clip,
)

SHAPE, PATCH = (120, 180), (32, 64)
STEP = (4, 2)  # motion of the object (x, y) [px a frame]


def texture(seed, shape=SHAPE):
    noise = np.random.default_rng(seed).random((*shape, 3), np.float32)
    return cv2.normalize(
        cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U
    )


def boxed(mask):
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return Box(x, y, x + width, y + height), mask[y : y + height, x : x + width].astype(np.uint8)


def masks(t):
    """A pillar at rest and an object that moves by STEP behind it."""
    pillar, thing = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    pillar[:, 100:115] = True
    thing[30 + STEP[1] * t : 70 + STEP[1] * t, 40 + STEP[0] * t : 90 + STEP[0] * t] = True
    return pillar, thing


def frame(t, full=True, **extra):
    pillar, thing = masks(t)
    image = texture(0).copy()
    moved = np.roll(texture(1), (STEP[1] * t, STEP[0] * t), (0, 1))
    image[thing] = moved[thing]
    image[pillar] = texture(2)[pillar]
    instances = [Instance("thing", *boxed(thing & ~pillar)), Instance("pillar", *boxed(pillar))]
    truth = {"thing": boxed(thing), "pillar": boxed(pillar)} if full else None
    return ClipFrame(image, instances, truth, **extra)


@pytest.fixture
def clip(tmp_path):
    assert store_clip([frame(t) for t in range(5)], tmp_path / "clip", PATCH) == 10
    return open_clip(tmp_path / "clip")


def test_rows_have_the_documented_shapes(clip):
    assert set(clip.arrays) == set(FIELDS) - {"scenery"}  # without occluders
    for name, values in clip.arrays.items():
        dtype, text = FIELDS[name]
        assert values.dtype == dtype and len(values) == 10, name
        assert values.ndim == text.split("]")[0].count(",") + 1, name
    height, width = (2 * side for side in PATCH)
    assert clip.arrays["rgb"].shape == (10, 3, height, width)
    assert clip.arrays["flow"].shape == (10, 2, *PATCH)


def test_arrays_are_mapped_and_cannot_be_changed(clip):
    for name, values in clip.arrays.items():
        assert isinstance(values, np.memmap), name
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0


def test_rows_show_what_the_frame_shows(clip):
    """Row 4 of the track `thing`: its right half stands behind the pillar."""
    pillar, thing = masks(4)
    row = {name: np.asarray(values[4]) for name, values in clip.arrays.items()}
    box = Box(*row["boxes"])
    tight = boxed(thing & ~pillar)[0]
    assert box.width == pytest.approx(CONTEXT * tight.width, abs=2)
    assert (box.x0 + box.x1) / 2 == pytest.approx((tight.x0 + tight.x1) / 2, abs=1)
    context = tuple(2 * side for side in PATCH)
    for name, mask in (("visible", thing & ~pillar), ("others", pillar), ("truth", thing)):
        wanted = crop(mask.astype(np.uint8) * 255, box, context)
        np.testing.assert_array_equal(row[name], wanted, err_msg=name)
    picture = crop(frame(4).image, box, context)
    np.testing.assert_array_equal(row["rgb"], picture[..., ::-1].transpose(2, 0, 1))
    assert row["known"] == 1


def test_rows_are_linked_within_their_track(clip):
    linked = clip.arrays["linked"].tolist()
    assert linked == [1, 1, 1, 1, 0] * 2
    assert clip.windows(3).tolist() == [0, 1, 2, 5, 6, 7]
    assert clip.windows(5).tolist() == [0, 5]
    assert clip.windows(6).tolist() == clip.windows(20).tolist() == []


def test_flow_both_ways_is_the_known_motion(clip):
    visible = clip.arrays["visible"][:5]
    inside = np.stack([cv2.erode(v[::2, ::2], np.ones((5, 9), np.uint8)) == 255 for v in visible])
    for name, sign, rows in (("flow", 1, range(4)), ("flow_back", -1, range(1, 5))):
        for row in rows:
            motion = np.median(clip.arrays[name][row][:, inside[row]].astype(float), axis=1)
            assert motion == pytest.approx(np.multiply(sign, STEP), abs=0.3), (name, row)
            still = np.median(clip.arrays[name][5 + row].astype(float), axis=(1, 2))
            assert still == pytest.approx((0, 0), abs=0.1)
    assert not clip.arrays["flow"][4].any() and not clip.arrays["flow_back"][0].any()


def test_a_gap_ends_the_link(tmp_path):
    frames = [frame(t) for t in range(5)]
    frames[2] = dataclasses.replace(frames[2], instances=frames[2].instances[1:])
    store_clip(frames, tmp_path / "clip", PATCH)
    clip = open_clip(tmp_path / "clip")
    assert clip.arrays["linked"].tolist() == [1, 0, 1, 0] + [1, 1, 1, 1, 0]
    assert not clip.arrays["flow"][1].any() and clip.arrays["flow"][0].any()


def test_small_masks_are_no_rows_but_hide(tmp_path):
    small = Instance("small", Box(50, 40, 56, 46), np.ones((6, 6), np.uint8))
    one = dataclasses.replace(frame(0), instances=[*frame(0).instances, small])
    assert store_clip([one], tmp_path / "clip", PATCH, min_px=37) == 2
    others = open_clip(tmp_path / "clip").arrays["others"][0]
    assert others.any()
    assert len(collect_rows([one], PATCH, min_px=36)) == 3


def test_untracked_things_hide_and_are_no_rows():
    extra = Instance("", *boxed(masks(0)[0]))
    bare = dataclasses.replace(frame(0), instances=frame(0).instances[:1])
    with_extra = dataclasses.replace(bare, untracked=[extra])
    (plain,), (row,) = collect_rows([bare], PATCH), collect_rows([with_extra], PATCH)
    assert not plain["others"].any() and row["others"].any()
    np.testing.assert_array_equal(row["visible"], plain["visible"])


def test_scenery_is_stored_apart_from_others(tmp_path):
    thing, pillar = masks(4)[1], masks(4)[0]
    bare = dataclasses.replace(frame(4), instances=frame(4).instances[:1])
    hidden = dataclasses.replace(bare, scenery={"thing": boxed(thing & pillar)})
    store_clip([hidden, bare], tmp_path / "clip", PATCH)
    arrays = open_clip(tmp_path / "clip").arrays
    context = tuple(2 * side for side in PATCH)
    wanted = crop((thing & pillar).astype(np.uint8) * 255, Box(*arrays["boxes"][0]), context)
    np.testing.assert_array_equal(arrays["scenery"][0], wanted)
    assert wanted.any() and not arrays["others"].any() and not arrays["scenery"][1].any()


def test_truth_is_optional_and_may_be_partly_known(tmp_path):
    store_clip([frame(t, full=False) for t in range(2)], tmp_path / "none", PATCH)
    assert set(FIELDS) - set(open_clip(tmp_path / "none").arrays) == {"truth", "known", "scenery"}
    partly = frame(1)
    partly.full.pop("pillar")
    store_clip([frame(0, full=False), partly], tmp_path / "some", PATCH)
    clip = open_clip(tmp_path / "some")
    assert clip.arrays["known"].tolist() == [0, 1, 0, 0]
    assert clip.arrays["truth"].reshape(4, -1).any(1).tolist() == [False, True, False, False]


def test_given_flow_is_used_and_holes_are_filled():
    flow, back = (np.full((*SHAPE, 2), value, np.float32) for value in (3.0, -2.0))
    flow[:, :65] = np.nan
    frames = [frame(0, flow=flow), frame(1, flow_back=back)]
    rows = collect_rows(frames, PATCH)
    left, right = rows[0]["flow"][:, 16, 24], rows[0]["flow"][:, 16, 40]
    assert left.tolist() == pytest.approx(STEP)  # the shift of the box, where flow is unknown
    assert right.tolist() == pytest.approx([3, 3])
    assert rows[1]["flow_back"][:, 16, 32].tolist() == pytest.approx([-2, -2])
    frames = [frame(0, flow=flow[1:]), frame(1)]
    with refused("flow"):
        collect_rows(frames, PATCH)


def test_masks_that_do_not_fit_are_refused():
    twice = dataclasses.replace(frame(0), instances=frame(0).instances[:1] * 2)
    with pytest.raises(InstanceError, match="^instance thing "):
        collect_rows([twice], PATCH)


def test_an_empty_clip_is_finished_too(tmp_path):
    assert store_clip([], tmp_path / "empty", PATCH) == 0
    clip = open_clip(tmp_path / "empty")
    assert clip.windows(1).tolist() == [] and len(clip.arrays["boxes"]) == 0


def test_only_finished_clips_are_opened(tmp_path, clip):
    (tmp_path / "half.part").mkdir()
    np.save(tmp_path / "half.part" / "rgb.npy", np.zeros(1))
    (tmp_path / "other").mkdir()
    assert [c.name for c in open_store(tmp_path)] == ["clip"]
    assert json.loads((tmp_path / "clip" / "meta.json").read_text())["rows"] == 10
    with pytest.raises(FileNotFoundError):
        open_clip(tmp_path / "other")


def test_an_error_leaves_no_finished_clip(tmp_path):
    def broken():
        yield frame(0)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        store_clip(broken(), tmp_path / "clip", PATCH)
    assert open_store(tmp_path) == []


def test_arrays_of_different_length_are_refused(tmp_path, clip):
    np.save(tmp_path / "clip" / "linked.npy", np.zeros(3, np.uint8))
    with fails(StoreError, "rows", str(tmp_path / "clip")):
        open_clip(tmp_path / "clip")


def test_pickled_arrays_are_refused(tmp_path, clip):
    np.save(tmp_path / "clip" / "linked.npy", np.array([None] * 10), allow_pickle=True)
    with fails(StoreError, "array"):
        open_clip(tmp_path / "clip")
