import re
from collections import Counter

import cv2
import numpy as np
import pytest
import tiny_fishbowl
import tiny_kins
import tiny_kitti
from failing import fails
from typer.testing import CliRunner

from savos_model.config import ModelConfig
from savos_model.types import Box, Instance
from savos_ros.cli.main import app
from training.data import prepare as jobs_of
from training.data.fishbowl import SUFFIXES
from training.data.prepare import Job, is_finished, prepare, run_job
from training.data.settings import FishbowlSource, GumSource, KinsSource, KittiSource, StreetSource
from training.data.store import ClipFrame, StoreError, open_clip, open_store

MODEL = ModelConfig()
PATCH = MODEL.patch


def still(count):
    """A square that rests."""
    box = Box(20, 10, 40, 30)
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for _ in range(count):
        yield ClipFrame(image, [Instance("1", box, np.ones((20, 20), np.uint8))])


def failing(count):
    yield from still(1)
    raise OSError(f"cannot read frame {count}")


def job(folder, name, frames=still, **options):
    return Job(folder / name, frames, (3,), PATCH, **options)


def test_a_stopped_run_continues_behind_what_is_finished(tmp_path):
    jobs = [job(tmp_path, "a"), job(tmp_path, "b", failing), job(tmp_path, "c")]
    with pytest.raises(OSError, match="cannot read frame 3"):
        prepare(jobs, 1)
    assert [clip.name for clip in open_store(tmp_path)] == ["a"]
    written = (tmp_path / "a" / "rgb.npy").stat().st_mtime_ns
    jobs[1] = job(tmp_path, "b")
    assert prepare(jobs, 1) == 6  # rows of b and c
    assert [clip.name for clip in open_store(tmp_path)] == ["a", "b", "c"]
    assert (tmp_path / "a" / "rgb.npy").stat().st_mtime_ns == written
    assert prepare(jobs, 1) == 0


def test_a_clip_cut_off_while_writing_is_done_again(tmp_path):
    run_job(job(tmp_path, "a"))
    (tmp_path / "a").rename(tmp_path / "a.part")  # as a killed run leaves it
    assert not is_finished(job(tmp_path, "a")) and open_store(tmp_path) == []
    assert run_job(job(tmp_path, "a")) == 3
    assert not (tmp_path / "a.part").exists()


def test_clips_made_otherwise_are_not_mixed(tmp_path):
    run_job(job(tmp_path, "a"))
    smaller = job(tmp_path, "a", min_px=9, flow="raft_small")
    others = {
        ("patch [32, 64]", "patch [64, 128]"): Job(tmp_path / "a", still, (3,), (64, 128)),
        ("count 3", "count 2"): Job(tmp_path / "a", still, (2,), PATCH),
        ("by 'still'", "by 'failing'"): job(tmp_path, "a", failing),
        ("min_px 64, flow 'dis'", "min_px 9, flow 'raft_small'"): smaller,
    }
    for (made, asked), other in others.items():
        with fails(StoreError, "other_origin", made, asked):
            run_job(other)
    assert is_finished(job(tmp_path, "a"))


@pytest.mark.parametrize("meta", ['{"rows": 3, "context": 2.5}', "[]", "{"])
def test_clips_that_do_not_say_how_they_were_made_are_not_trusted(tmp_path, meta):
    run_job(job(tmp_path, "a"))
    (tmp_path / "a" / "meta.json").write_text(meta)
    with fails(StoreError, "no_origin", str(tmp_path / "a")):
        is_finished(job(tmp_path, "a"))
    assert len(open_store(tmp_path)) == 1  # training reads it


def test_masks_below_the_job_s_limit_are_left_out(tmp_path):
    assert run_job(job(tmp_path, "a", min_px=401)) == 0
    assert run_job(job(tmp_path, "b", min_px=400)) == 3


@pytest.mark.slow
def test_processes_store_the_same(tmp_path):
    jobs = jobs_of.chewing_gum_jobs(GumSource(40, 2), tmp_path, MODEL)
    short = [Job(j.folder, j.frames, (2, j.arguments[1], 1), PATCH, j.min_px) for j in jobs]
    assert prepare(short, 2) == 160
    again = Job(tmp_path / "again", *(getattr(short[1], n) for n in ("frames", "arguments")), PATCH)
    run_job(again)
    one, two = open_clip(short[1].folder), open_clip(again.folder)
    for name, values in two.arrays.items():
        np.testing.assert_array_equal(values, one.arrays[name], err_msg=name)


@pytest.mark.slow
def test_errors_of_workers_come_through(tmp_path):
    with pytest.raises(OSError, match="cannot read frame 3"):
        prepare([job(tmp_path, name, failing) for name in "abcd"], 2)


def test_chewing_gum_videos_are_tracks_of_their_own(tmp_path):
    jobs = jobs_of.chewing_gum_jobs(GumSource(45, 7), tmp_path, MODEL)
    assert [j.arguments for j in jobs] == [(7, 0, 20), (7, 20, 20), (7, 40, 5)]
    assert len({j.folder for j in jobs}) == 3
    small = Job(tmp_path / "x", jobs_of.chewing_gum_frames, (7, 40, 2), PATCH, 16)
    assert run_job(small) == 160
    clip = open_clip(tmp_path / "x")
    assert clip.windows(40).tolist() == [0, 40, 80, 120]
    assert clip.arrays["known"].all()
    hidden = np.asarray(clip.arrays["truth"] > 127) & ~np.asarray(clip.arrays["visible"] > 127)
    lower = hidden.reshape(160, -1).any(1)
    assert lower.tolist() == ([True] * 40 + [False] * 40) * 2


def test_fishbowl_strides_and_truth(tmp_path):
    for name in ("a", "b"):
        tiny_fishbowl.write_clip(tmp_path)
        for path in tmp_path.glob("tiny.*"):
            path.rename(path.with_name(path.name.replace("tiny", name)))
    jobs = jobs_of.clip_jobs(FishbowlSource(tmp_path), tmp_path / "out", MODEL)
    assert [(j.folder.name, j.arguments[1]) for j in jobs] == [("a", 1), ("b", 2)]
    big = [[mask.sum() >= 64 for mask in tiny_fishbowl.scene(t)[::2]] for t in range(6)]
    assert [run_job(j) for j in jobs] == [np.sum(big), np.sum(big[::2])]
    assert open_clip(jobs[0].folder).arrays["known"].all()
    with pytest.raises(FileNotFoundError):
        jobs_of.clip_jobs(FishbowlSource(tmp_path / "out"), tmp_path, MODEL)


def test_clips_that_validate_have_every_stride(tmp_path):
    pytest.importorskip("torch")
    from training.learn.config import DataConfig

    every = DataConfig().held_out
    for number in range(6 * every):
        for end in SUFFIXES:
            (tmp_path / f"fishbowl_{number:04d}{end}").touch()
    jobs = jobs_of.clip_jobs(FishbowlSource(tmp_path), tmp_path / "out", MODEL)
    strides = [job.arguments[1] for job in jobs]
    assert Counter(strides[::every]) == {1: 2, 2: 2, 3: 2}
    assert Counter(strides) == dict.fromkeys((1, 2, 3), 2 * every)


def test_what_a_command_prepared_otherwise_is_refused(tmp_path):
    tiny_fishbowl.write_clip(tmp_path)
    arguments = ("fishbowl", "--data", tmp_path, "--out", tmp_path / "out")
    assert savos(*arguments).exit_code == 0
    cases = {"without": ("''", "BigFishB"), "flow": ("'dis'", "raft_small")}
    for name, (holds, asked) in cases.items():
        result = savos(*arguments, f"--{name}", asked)
        assert result.exit_code == 2
        assert f"prepared with {name} {holds}, asked for is {name} {asked!r}:" in result.stderr
    assert "1 of 1 clips are there already" in savos(*arguments).output


@pytest.mark.slow
def test_street_clips_by_seed(tmp_path):
    jobs = jobs_of.street_jobs(StreetSource(2, 2, seed=5), tmp_path, MODEL)
    assert [(j.folder.name, j.arguments) for j in jobs] == [
        ("street_0005", (5, 2)), ("street_0006", (6, 2))
    ]  # fmt: skip
    assert run_job(jobs[0]) > 0
    assert open_clip(jobs[0].folder).arrays["known"].all()


def test_kitti_sequences_have_no_truth_and_no_link_over_gaps(tmp_path):
    root = tiny_kitti.write_tracking(tmp_path / "kitti")
    jobs = jobs_of.kitti_jobs(KittiSource(root), tmp_path / "out", MODEL)
    assert [j.folder.name for j in jobs] == ["0042_txt_000000"]
    count = run_job(jobs[0])
    clip = open_clip(jobs[0].folder)
    assert count == len(clip.arrays["linked"]) and "truth" not in clip.arrays
    # Frames 5, 6, 7 and 9: three linked frames for each of the two cars, the last stands alone.
    assert len(clip.windows(3)) >= 1 and len(clip.windows(4)) == 0
    tracker = jobs_of.kitti_jobs(KittiSource(root, ("0042",), "tracker"), tmp_path / "out", MODEL)
    assert tracker[0].folder != jobs[0].folder and run_job(tracker[0]) == 8


def test_ignored_regions_hide(tmp_path):
    root = tiny_kitti.write_tracking(tmp_path)
    (frame, *_) = jobs_of.kitti_frames(root, tiny_kitti.SEQUENCE, "txt", 0, 1)
    assert [item.id for item in frame.instances] == ["5/1003", "5/1017"]
    assert [item.id for item in frame.untracked] == ["10000"]


def test_long_videos_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_of, "CHUNK", 3)
    root = tiny_kitti.write_tracking(tmp_path / "kitti")
    jobs = jobs_of.kitti_jobs(KittiSource(root), tmp_path / "out", MODEL)
    assert [j.arguments[3:] for j in jobs] == [(0, 3), (3, 4)]
    released = tiny_kins.write_released(tmp_path / "released")
    source = KinsSource(released=released, split="test")
    jobs = jobs_of.kins_jobs(source, tmp_path / "out", MODEL)
    assert [j.arguments[4:] for j in jobs] == [(0, 3), (3, 6)]


@pytest.fixture
def kins(tmp_path):
    return [
        "--kins", str(tiny_kins.write_kins(tmp_path / "k.json")),
        "--mapping", str(tiny_kins.write_mapping(tmp_path / "mapping")),
    ]  # fmt: skip


def savos(*arguments):
    return CliRunner().invoke(app, ["prepare", *map(str, arguments)])


@pytest.mark.parametrize("built", [True, False])
def test_kins_video_car_by_command(tmp_path, kins, built):
    if built:
        tiny_kins.write_masks(tmp_path / "masks")
        source = ["--raw", tiny_kins.write_raw(tmp_path / "raw"), "--masks", tmp_path / "masks"]
    else:
        source = ["--released", tiny_kins.write_released(tmp_path / "r"), "--split", "test"]
    out = tmp_path / "out"
    result = savos("kins-video-car", "--out", out, *source, *kins)
    assert result.exit_code == 0, result.output
    (clip,) = open_store(out)
    known = [t in tiny_kins.IMAGE for t in range(tiny_kins.FRAMES)]
    assert clip.arrays["known"].tolist() == known
    assert clip.arrays["linked"].tolist() == [1] * (tiny_kins.FRAMES - 1) + [0]
    whole = clip.arrays["truth"][1] > 127
    assert (whole & (clip.arrays["others"][1] > 127)).any()
    assert "1 of 1 clips are there already" in savos(
        "kins-video-car", "--out", out, *source, *kins
    ).output  # fmt: skip


def test_chewing_gum_by_command_continues(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_of, "GUM_BLOCK", 1)
    arguments = ("chewing-gum", "--out", tmp_path / "out", "--videos")
    assert "80 rows of 1 clips written" in savos(*arguments, 1).output
    output = savos(*arguments, 2).output
    assert "1 of 2 clips are there already" in output and "80 rows of 1 clips" in output
    fewer = savos(*arguments, 1)
    assert "also holds clips that were not asked for now (1: gum_0_000001)" in fewer.stderr
    assert cv2.getNumThreads() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fishbowl", "--data", "nowhere"], "no clips"),
        (["kitti-mots", "--data", "nowhere"], "image_02.*CC BY-NC-SA"),
        (["street", "--flow", "best"], "flow .*best"),
        (["street", "--patch", "48"], "patch_height .*48"),
        (["kins-video-car"], "--released "),
        (["kins-video-car", "--released", "a", "--raw", "b"], "--released "),
        (["kins-video-car", "--released", "nowhere"], "car_data.*MIT-0"),
        (["kins-video-car", "--kins", "a"], "--mapping.*train_mapping.txt"),
        (["kins-video-car", "--kins", "a", "--mapping", "b"], "instances_train.json"),
    ],
)
def test_wrong_arguments_and_missing_parts_become_one_line(tmp_path, arguments, message):
    result = savos(*arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert re.search(message, result.stderr)


def test_masks_of_kitti_mots_are_named_when_missing(tmp_path):
    root = tiny_kitti.write_tracking(tmp_path)
    (root / "instances_txt").rename(root / "elsewhere")
    result = savos("kitti-mots", "--data", root, "--out", tmp_path / "out")
    assert result.exit_code == 2 and "KITTI MOTS masks" in result.stderr
