"""Says where each part of a data set comes from, under which licence."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

KITTI_LICENCE = "CC BY-NC-SA 3.0"


class Part(NamedTuple):
    """A part of a data set: what it is, where it comes from, its licence."""

    what: str
    source: str
    licence: str


PARTS = {
    "kitti_raw": Part(
        "a drive of KITTI raw (<date>/<drive>/image_02/data)",
        "https://www.cvlibs.net/datasets/kitti/raw_data.php",
        KITTI_LICENCE,
    ),
    "kitti_tracking": Part(
        "images of KITTI tracking (training/image_02)",
        "https://www.cvlibs.net/datasets/kitti/eval_tracking.php",
        KITTI_LICENCE,
    ),
    "kitti_mots": Part(
        "KITTI MOTS masks (instances_txt or instances)",
        "https://www.vision.rwth-aachen.de/page/mots",
        KITTI_LICENCE,
    ),
    "kitti_object_mapping": Part(
        "the mapping of KITTI object images (train_mapping.txt, train_rand.txt)",
        "folder mapping of devkit_object.zip, https://www.cvlibs.net/datasets/kitti/eval_object.php",
        KITTI_LICENCE,
    ),
    "kins": Part(
        "KINS annotations (instances_train.json or update_train_2020.json)",
        "https://github.com/qqlu/Amodal-Instance-Segmentation-through-KINS-Dataset",
        f"none stated; drawn on KITTI images, {KITTI_LICENCE}",
    ),
    "tracked_masks": Part(
        "tracked masks as MOTS text, <drive>.txt",
        "a tracker run over the drives, such as https://github.com/detectRecog/PointTrack",
        f"PointTrack CC BY-NC 4.0; masks of KITTI frames {KITTI_LICENCE}",
    ),
    "fishbowl_test_data": Part(
        "the released FISHBOWL test data (test_frames, test_data.pkl, test_flow[_reverse])",
        "FISHBOWL_test_data.zip, "
        "https://github.com/amazon-science/self-supervised-amodal-video-object-segmentation",
        "code MIT-0, none stated for the data; rendered by the Apache-2.0 common-fate-fishbowl",
    ),
    "fishbowl_test_files": Part(
        "the list of the released FISHBOWL test subsets (test_subtest.csv)",
        "test_files.zip, "
        "https://github.com/amazon-science/self-supervised-amodal-video-object-segmentation",
        "code MIT-0, none stated for the list",
    ),
    "kins_video_car": Part(
        "KINS-Video-Car as released (car_data, Kitti, Kins)",
        "https://github.com/amazon-science/self-supervised-amodal-video-object-segmentation",
        f"code MIT-0, none stated for the masks; KITTI frames {KITTI_LICENCE}",
    ),
}


class MissingPartError(FileNotFoundError):
    """A part of a data set is not there; one line gives its source and licence, `part` its key."""

    def __init__(self, name: str, path: Path) -> None:
        self.part, part = name, PARTS[name]
        super().__init__(
            f"{path} is missing: {part.what}; from {part.source}; licence: {part.licence}"
        )


def require(name: str, path: Path) -> Path:
    """Return the path of a part; raises MissingPartError where it is not there."""
    if not path.exists():
        raise MissingPartError(name, path)
    return path
