"""Files that a file names are only searched in its own folder."""

import json

import pytest
import tiny_kins
import tiny_scene

from savos_model.adaptation_link import file_of
from savos_ros.bags.reader import BagFrames
from savos_ros.bags.recording import record
from savos_ros.bags.settings import BagError, RecordOptions
from tests.failing import fails
from training.baselines.external import ExternalClip, ExternalError
from training.data.kins_video_car import KinsAnnotations
from training.data.masks.common import MaskFolderError
from training.data.masks.folders import open_masks
from training.data.outside import is_file_name

ELSEWHERE = ["../secret", "/etc/passwd", "a/b", "..", ".", "", "a\0b", "a\ud800", "x" * 300]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_such_names_are_no_file_names(name):
    assert not is_file_name(name)
    assert is_file_name("2011_09_26_drive_0009_sync")


def test_a_bag_reads_no_data_of_another_folder(tmp_path):
    for name in ("mine", "other"):
        record(tiny_scene.frames(2), 2, tmp_path / name, RecordOptions())
    (data,) = (tmp_path / "other").glob("*.mcap")
    metadata = tmp_path / "mine" / "metadata.yaml"
    (own,) = (tmp_path / "mine").glob("*.mcap")
    for way in (f"../other/{data.name}", str(data)):
        metadata.write_text(metadata.read_text().replace(own.name, way))
        own.unlink(missing_ok=True)
        with fails(BagError, "not_a_bag"), BagFrames(tmp_path / "mine"):
            pass


@pytest.mark.parametrize("name", ELSEWHERE[:6])
def test_results_of_other_programs_stay_in_their_folder(tmp_path, name):
    (tmp_path / "secret.json").write_text('{"frames": {}}')
    (tmp_path / "results" / "clip").mkdir(parents=True)
    with fails(ExternalError, "name"):
        ExternalClip(tmp_path / "results", name)
    with fails(ExternalError, "name"):
        ExternalClip(tmp_path / "results", "clip").mask(0, name, (4, 4))


def test_file_names_in_annotations_are_numbers_or_names_alone(tmp_path):
    record = tiny_kins.kins_record()
    for row in record["images"]:
        row["file_name"] = f"../../elsewhere/{row['file_name']}"
    path = tiny_kins.write_kins(tmp_path / "a.json", record)
    assert KinsAnnotations(path).images == set(tiny_kins.IMAGE.values())
    note = {"image_id": 1, "category_id": 1, "track_id": 1, "segmentation": {}}
    images = [{"id": 1, "file_name": "../../etc/passwd", "height": 4, "width": 4}]
    path.write_text(json.dumps({"images": images, "annotations": [note]}))
    with fails(MaskFolderError, "document", "image_id"):
        open_masks(path, ["a", "b"], "coco")


def test_weights_are_kept_in_their_folder_whatever_they_are_called(tmp_path):
    assert file_of(tmp_path, "../../x/..").parent == tmp_path
