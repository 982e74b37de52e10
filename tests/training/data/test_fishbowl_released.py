import pickle
import shutil

import numpy as np
import pytest
import tiny_fishbowl
import tiny_released
from failing import fails, lacks, refused
from tiny_released import FAR, FRAMES, NEAR, VIDEOS, scene, seen
from typer.testing import CliRunner

from savos_model.masks import look_at
from savos_model.stream.video import Setup
from savos_model.types import Box
from savos_ros.cli.main import app
from tests.trap import trap
from training.data.fishbowl import (
    FishbowlClip,
    FishbowlError,
    clip_paths,
    open_fishbowl,
    read_subset,
)
from training.data.safe_pickle import UnsafePickleError
from training.data.store import open_store
from training.evaluate.benchmark import evaluate
from training.evaluate.mask_sets import Fishbowl

WHOLE = Box(0, 0, tiny_released.SIZE[1], tiny_released.SIZE[0])


@pytest.fixture
def root(tmp_path):
    return tiny_released.write_released(tmp_path / "FISHBOWL_test_data")


def images(instances):
    return {item.id: look_at((item.box, item.mask), WHOLE) for item in instances}


def test_masks_pictures_and_occluders_come_back_exactly(root):
    paths = clip_paths(root)
    assert [path.name for path in paths] == list(VIDEOS)
    clip = open_fishbowl(paths[0])
    assert (clip.name, clip.width, clip.height, clip.num_frames) == (VIDEOS[0], 96, 64, FRAMES)
    for t, image in enumerate(clip.frames()):
        np.testing.assert_array_equal(image, tiny_released.picture(t))
        given, truth = images(clip.instances(t)), images(clip.truth(t))
        if t == 0:
            assert given == truth == {} and clip.untracked(t) == []
            continue
        assert list(given) == list(truth) == [str(NEAR), str(FAR)]
        for index, name in enumerate(given):
            np.testing.assert_array_equal(given[name], seen(t)[index])
            np.testing.assert_array_equal(truth[name], scene(t)[index])
        np.testing.assert_array_equal(images(clip.untracked(t))["untracked"], seen(t)[2])
    assert [item.class_id for item in clip.instances(1)] == ["BigFishA", "SmallFishA"]
    assert clip.stamp_ns(3) == 100_000_000


def test_folders_of_clips_still_open(tmp_path):
    tiny_fishbowl.write_clip(tmp_path)
    (path,) = clip_paths(tmp_path)
    clip = open_fishbowl(path)
    assert isinstance(clip, FishbowlClip) and clip.untracked(0) == []


def test_scores_follow_the_rules_and_the_subset(root, tmp_path):
    def score(**options):
        return evaluate(Fishbowl(root, **options), ["visible"], Setup())

    # The far fish's run is frames 1..7; its ends are not scored, nor rates outside 10 to 70 %.
    rates = [1 - seen(t)[1].sum() / scene(t)[1].sum() for t in range(FRAMES)]
    scored = [t for t in range(2, FRAMES - 1) if 0.1 < rates[t] < 0.7]
    assert len(scored) >= 3
    report = score()["methods"]["visible"]
    assert report["n"] == 2 * len(scored)
    # Pixels under the untracked fish count as hidden: nothing is claimed there, so none are found.
    assert report["occluded"]["mean"] == pytest.approx(0, abs=1e-6)
    tiny_released.write_subset(root, [(3, FAR, scored[0], 1), (12, FAR, scored[1], 0)])
    assert score(subset="test2")["methods"]["visible"]["n"] == 1
    assert score(subset="test")["methods"]["visible"]["n"] == 2
    assert score(types=["BigFishA"])["methods"]["visible"]["n"] == 0
    assert score(types=["SmallFishA"])["methods"]["visible"]["n"] == 2 * len(scored)


def test_stored_clips_hold_the_released_flow(root, tmp_path):
    arguments = ["prepare", "fishbowl", "--data", str(root), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    clips = open_store(tmp_path / "out")
    assert [clip.name for clip in clips] == list(VIDEOS)
    rows = clips[0].arrays
    assert len(rows["flow"]) == 2 * (FRAMES - 1) and rows["known"].all()
    # Rows of one fish begin at frame 1, the flow of frame t is 4 + t px; the last has no next one.
    steps = np.float16([5, 6, 7, 8, 9, 10, 0])
    np.testing.assert_array_equal(rows["flow"][:7, 0, 16, 32], steps)
    np.testing.assert_array_equal(rows["flow_back"][:7, 0, 16, 32], -np.roll(steps, 1))
    others = np.asarray(rows["others"])[7:] > 127  # of the far fish: near fish and untracked one
    assert others.reshape(7, -1).any(1).all()


def test_a_species_can_be_left_out(root, tmp_path):
    arguments = ["--out", str(tmp_path / "out"), "--without", "SmallFishA"]
    result = CliRunner().invoke(app, ["prepare", "fishbowl", "--data", str(root), *arguments])
    assert result.exit_code == 0, result.output
    rows = open_store(tmp_path / "out")[0].arrays
    assert len(rows["visible"]) == FRAMES - 1
    assert (np.asarray(rows["others"]) > 127).reshape(FRAMES - 1, -1).any(1).all()


@pytest.mark.parametrize("gone", ["test_frames", "test_data.pkl"])
def test_missing_parts_are_named_with_source_and_licence(root, gone):
    part = root / gone
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    with lacks("fishbowl_test_data"):
        clip_paths(root)


def test_a_missing_video_or_list_is_named(root):
    with lacks("fishbowl_test_files"):
        read_subset(root, "test1")
    with refused("subset", "choices"):
        read_subset(root, "hard")
    shutil.rmtree(root / "test_frames" / VIDEOS[1])
    with lacks("fishbowl_test_data"):
        clip_paths(root)


def test_subset_of_other_clips_is_refused(tmp_path):
    tiny_fishbowl.write_clip(tmp_path)
    with refused("subset"):
        evaluate(Fishbowl(tmp_path, subset="test"), ["visible"], Setup())


def test_code_in_the_pickle_is_not_run(root, tmp_path):
    (root / "test_data.pkl").write_bytes(pickle.dumps({"00003_4": trap(tmp_path / "ran")}))
    with pytest.raises(UnsafePickleError):
        clip_paths(root)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"VM": [{"size": [64, 95], "counts": b"0"}]}, "[64, 95]"),
        ({"VM": []}, "IndexError"),
        ({"VM": [{"size": [64, 96], "counts": b"zz"}]}, ""),
    ],
)
def test_a_broken_mask_names_fish_and_frame(root, change, found):
    entries = {t: tiny_released.entry(t, 0) for t in (1, 2)}
    entries[2] |= change
    tiny_released.write_masks(root, {"00003_4": entries})
    clip = open_fishbowl(root / "test_frames" / "00003")
    assert len(clip.instances(1)) == 1
    with fails(FishbowlError, "mask", "VM of 00003_4", "frame 2", found):
        clip.instances(2)


def test_other_forms_are_refused(root):
    tiny_released.write_masks(root, {"00003": {}})
    with fails(FishbowlError, "layout", "test_data.pkl"):
        clip_paths(root)
    tiny_released.write_masks(root)
    (root / "test_frames" / VIDEOS[0] / "0002.png").write_bytes(b"no image")
    with fails(FishbowlError, "unreadable", "0002.png"):
        list(open_fishbowl(root / "test_frames" / VIDEOS[0]).frames())
