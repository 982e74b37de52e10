# ruff: noqa: E402  (nothing below imports where torch is absent)
import pytest

pytest.importorskip("torch")

from savos_model.config import ModelConfig
from training.data.prepare import GUM_BLOCK, chewing_gum_jobs, street_jobs
from training.data.settings import GumSource, StreetSource
from training.data.store import CHUNK, open_store, part_name, video_numbers, write_rows
from training.learn.windows import split_clips

MODEL = ModelConfig()


def drive(name, parts):
    return [part_name(name, CHUNK * part) for part in range(parts)]


def test_parts_of_a_video_share_its_number():
    drives = [*drive("0000_txt", 1), *drive("0001_txt", 3), *drive("0002_txt", 2)]
    assert video_numbers(drives) == [0, 1, 1, 1, 2, 2]
    assert video_numbers([]) == []
    assert video_numbers(["0001_txt_000200", "0001_txt_000600"]) == [0, 1]  # a part is missing


def test_clips_that_bear_a_number_are_videos_of_their_own(tmp_path):
    gum = chewing_gum_jobs(GumSource(15 * GUM_BLOCK), tmp_path, MODEL)
    streets = street_jobs(StreetSource(3, 5, 100_000), tmp_path, MODEL)
    for jobs in (gum, streets):
        assert video_numbers([job.folder.name for job in jobs]) == list(range(len(jobs)))
    fish = [f"fishbowl_{number:06d}" for number in range(500)]
    assert video_numbers(fish) == list(range(500))


def test_whole_videos_validate(tmp_path):
    for name in (*drive("a", 3), *drive("b", 2), *drive("c", 1)):
        write_rows([], tmp_path / name, None)
    train, held = ([clip.name for clip in part] for part in split_clips([tmp_path], 2))
    assert held == [*drive("a", 3), *drive("c", 1)] and train == drive("b", 2)
    assert len(open_store(tmp_path)) == 6
