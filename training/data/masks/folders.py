"""Reads tracked masks that another program left in a folder: PNG files, COCO JSON or YOLO text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from savos_model.instances import InstanceError, check_instances
from savos_model.types import Instance
from training.data.masks.common import MaskFolderError, Read
from training.data.masks.pngs import label_images, object_folders
from training.data.masks.texts import coco_masks, ultralytics_masks
from training.data.outside import shown

FORMS = ("labels", "objects", "coco", "ultralytics")


@dataclass
class MaskFolder:
    """Tracked masks of the images of one video in one of FORMS.

    `skipped` counts frames and masks left out so far, by reason.
    """

    form: str
    skipped: Counter[str] = field(default_factory=Counter)
    _read: Read = lambda name, shape: []

    def instances(self, name: str, shape: tuple[int, int]) -> list[Instance]:
        """Return the masks of one image, overlaps kept, ids as the files have them.

        `name` is the image's file name without ending, `shape` its rows and columns.

        Raises:
            MaskFolderError: a file is damaged, or made for another image size.
        """
        found = self._read(name, shape)
        try:
            check_instances(found, *shape)
        except InstanceError as error:
            raise MaskFolderError(f"masks of image {name}: {error}", "instances") from None
        return found


def open_masks(
    path: Path, names: Sequence[str], form: str = "auto", tracked: bool = True
) -> MaskFolder:
    """Open the masks of one video.

    Args:
        path: folder of masks, or a JSON file.
        names: file names of the images without ending, in order.
        form: one of FORMS, or auto.
        tracked: whether masks without a track id are left out; else their ids mean nothing.

    Raises:
        MaskFolderError: nothing of this form is there, or it belongs to other images.
    """
    if not path.exists():
        text = f"{path} does not exist: give a folder of masks or a JSON file"
        raise MaskFolderError(text, "missing")
    form = _guess(path) if form == "auto" else form
    if form not in FORMS:
        text = f"--format must be auto or one of {', '.join(FORMS)}, got {form!r}"
        raise MaskFolderError(text, "form")
    openers = {
        "labels": label_images,
        "objects": object_folders,
        "coco": partial(coco_masks, tracked=tracked),
        "ultralytics": partial(ultralytics_masks, tracked=tracked),
    }
    folder = MaskFolder(form)
    folder._read = openers[form](path, names, folder.skipped)
    return folder


def _guess(path: Path) -> str:
    if path.is_file():
        return "coco"
    found = {
        "labels": bool(shown(path.glob("*.png"))),
        "objects": any(shown(sub.glob("*.png")) for sub in shown(path.iterdir()) if sub.is_dir()),
        "coco": bool(shown(path.glob("*.json"))),
        "ultralytics": bool(shown(path.glob("*.txt")) or shown(path.glob("labels/*.txt"))),
    }
    forms = [form for form, there in found.items() if there]
    if len(forms) != 1:
        raise MaskFolderError(
            f"{path} holds {' and '.join(forms) or 'no masks'}: a PNG per frame (labels), a folder "
            "of PNG files per object (objects), a .json file (coco) or a .txt file per frame "
            "(ultralytics) is needed; choose with --format",
            "form",
        )
    return forms[0]
