"""Unlabelled things in front of objects get no loss weight."""

import numpy as np
import pytest
import tiny_fishbowl
import torch

from savos_model.config import ModelConfig
from savos_model.types import Box, Instance
from training.data.prepare import clip_jobs, fishbowl_frames, run_job, street_frames, strides_of
from training.data.settings import ClipSource
from training.data.store import ClipFrame, open_clip, scenery_over, store_clip
from training.learn.augment import Window, make_input
from training.learn.augment_config import plain
from training.learn.windows import Place, gather

SHAPE = (40, 60)
PATCH = ModelConfig().patch


def ones(box):
    return box, np.ones((box.height, box.width), np.uint8)


def test_what_no_visible_mask_covers_is_scenery():
    shown = [Instance("a", *ones(Box(10, 10, 20, 20))), Instance("b", *ones(Box(20, 10, 24, 20)))]
    full = {"a": ones(Box(10, 10, 30, 20)), "b": ones(Box(20, 10, 24, 20))}
    box, mask = scenery_over(full, shown, SHAPE)["a"]
    assert set(scenery_over(full, shown, SHAPE)) == {"a"} and box == full["a"][0]
    # Columns 10-19 are its own, 20-23 those of b; the occluder of 24-29 has no mask.
    np.testing.assert_array_equal(mask.any(0), [False] * 14 + [True] * 6)


def test_a_clip_whose_occluders_all_have_masks_has_no_scenery(tmp_path):
    frames = list(fishbowl_frames(tiny_fishbowl.write_clip(tmp_path)))
    assert [frame.scenery for frame in frames] == [{}] * tiny_fishbowl.FRAMES


def test_an_unlabelled_thing_in_a_clip_is_scenery(tmp_path):
    tiny_fishbowl.write_clip(tmp_path)
    record = tiny_fishbowl.record()
    record["objects"] = record["objects"][1:]  # the near square loses its label
    tiny_fishbowl.write_masks(tmp_path, record)
    for number, frame in enumerate(fishbowl_frames(tmp_path / "tiny")):
        front, back, _ = tiny_fishbowl.scene(number)
        area = sum(int(mask.sum()) for _, mask in frame.scenery.values())
        assert area == int((front & back).sum())


def test_generated_streets_have_scenery():
    covered = [frame.scenery for frame in street_frames(4, 1)]
    assert sum(int(mask.sum()) for masks in covered for _, mask in masks.values()) > 0


def test_slow_clips_are_not_thinned():
    assert strides_of(30.0) == (1, 2, 3)
    assert strides_of(15.0) == (1, 2)
    assert strides_of(10.0) == strides_of(5.0) == (1,)


def test_a_folder_of_rendered_clips_is_stored(tmp_path):
    tiny_fishbowl.write_clip(tmp_path)
    (job,) = clip_jobs(ClipSource(tmp_path), tmp_path / "out", ModelConfig())
    assert (
        job.origin["stride"] == 1 and run_job(job) == 11
    )  # two in six frames, once all but hidden
    with pytest.raises(FileNotFoundError):
        clip_jobs(ClipSource(tmp_path / "out"), tmp_path, ModelConfig())


def clip(folder, scenery):
    """An object whose right half something unlabelled covers, for two frames."""
    image = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
    item = Instance("a", *ones(Box(10, 10, 30, 26)))
    covered = {"a": ones(Box(30, 10, 44, 26))} if scenery else None
    store_clip([ClipFrame(image, [item], scenery=covered)] * 2, folder, PATCH)
    return open_clip(folder)


def test_windows_of_clips_with_and_without_scenery_mix(tmp_path):
    clips = [clip(tmp_path / "without", False), clip(tmp_path / "with", True)]
    assert "scenery" not in clips[0].arrays
    window = gather(clips, [Place(0, 0), Place(1, 0)], 2, np.array([False, True]))
    assert window.scenery.shape == window.visible.shape
    assert not window.scenery[0].any() and window.scenery[1].amax() == 255
    assert gather(clips, [Place(0, 0)], 2, np.array([False])).scenery is None


def test_scenery_has_no_weight_and_is_not_shown(tmp_path):
    clips = [clip(tmp_path / "with", True)]
    window = gather(clips, [Place(0, 0)] * 2, 2, np.array([False, False]))
    config = plain(enlarge=2.0)

    def targets(window: Window):
        return make_input(window, ModelConfig(), config, torch.Generator().manual_seed(0))

    without, with_it = targets(window._replace(scenery=None)), targets(window)
    assert torch.equal(without.patches, with_it.patches)
    assert torch.equal(without.visible, with_it.visible)
    dropped = (without.weight == 1) & (with_it.weight == 0)
    assert without.weight.amin() == 1 and dropped.any()
    assert (with_it.visible[dropped] == 0).all()
    # Beyond what is covered, a pixel of the background keeps its weight.
    assert (with_it.weight[..., -1, -1] == 1).all()
