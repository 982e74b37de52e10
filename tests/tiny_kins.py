"""KITTI raw, a tracker's masks, the devkit's mapping and KINS, each of a few small files."""

import json
import pickle

import cv2
import numpy as np
import tiny_kitti
from pycocotools import mask as coco

DATE, DRIVE = "2011_09_26", "2011_09_26_drive_0009_sync"
SHAPE = tiny_kitti.SHAPE
FRAMES = 6
IMAGE = {1: 2, 4: 0}  # object image by raw frame; image 1 belongs to another drive


def car(t):
    """The whole car behind the pole of `seen`; it moves 4 px a frame."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[20:40, 10 + 4 * t : 50 + 4 * t] = 1
    return mask


def walker(t):
    mask = np.zeros(SHAPE, np.uint8)
    mask[15:45, 40:52] = 1
    return mask


def seen(t):
    """Visible masks by id: a car partly behind a pedestrian."""
    return {"1": car(t) & ~walker(t) & 1, "7": walker(t)}


def write_raw(root, frames=FRAMES, drive=DRIVE):
    data = root / DATE / drive / "image_02" / "data"
    data.mkdir(parents=True)
    for t in range(frames):
        cv2.imwrite(str(data / f"{t:010d}.png"), tiny_kitti.image(t))
    return root


def write_masks(folder, frames=FRAMES, drive=DRIVE):
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for t in range(frames):
        for name, mask in seen(t).items():
            kind = "1" if name == "1" else "2"
            parts = tiny_kitti.mots_line(t, name, mask).split()
            lines.append(" ".join([*parts[:2], kind, *parts[3:]]))
    path = folder / f"{drive}.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_mapping(folder):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{DATE} {DRIVE} {t:010d}" for t in (4, 1)]
    lines.insert(1, f"{DATE} {DATE}_drive_0001_sync 0000000001")
    (folder / "train_mapping.txt").write_text("\n".join(lines) + "\n")
    (folder / "train_rand.txt").write_text("1,2,3")
    return folder


def runs(mask):
    encoded = coco.encode(np.asfortranarray(mask))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def polygon(mask):
    (x0, y0, width, height) = cv2.boundingRect(mask)
    return [[x0, y0, x0 + width, y0, x0 + width, y0 + height, x0, y0 + height]]


def kins_record():
    images, notes = [], []
    for frame, image in IMAGE.items():
        key = 500 + image
        height, width = SHAPE
        name = f"{image:06d}.png"
        images.append({"id": key, "file_name": name, "height": height, "width": width})
        whole = {"1": car(frame), "7": walker(frame)}
        for name, mask in seen(frame).items():
            note = {"id": len(notes), "image_id": key, "category_id": 4 if name == "1" else 2}
            notes.append(note | {"segmentation": polygon(whole[name]), "inmodal_seg": runs(mask)})
    categories = [{"id": 4, "name": "car"}, {"id": 2, "name": "pedestrian"}]
    return {"images": images, "annotations": notes, "categories": categories}


def write_kins(path, record=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record or kins_record()))
    return path


def write_released(root, frames=FRAMES, **changes):
    """The released layout: one tracked car; its loss mask holds the pedestrian, who is no track."""
    folder = root / "Kitti" / "raw_video" / DATE / DRIVE
    folder.mkdir(parents=True)
    times = {}
    for t in range(frames):
        cv2.imwrite(str(folder / f"{t:010d}.png"), tiny_kitti.image(t))
        masks = seen(t)
        rle = {kind: runs(m) for kind, m in (("VM", masks["1"]), ("loss_mask", masks["7"]))}
        for entry in rle.values():
            entry["counts"] = entry["counts"].encode()
        times[t] = {**rle, "VM_bbox": (np.int64(20), np.int64(39), 10, 49), **changes}
    data = {DRIVE: {3: times}}
    (root / "car_data").mkdir()
    (root / "car_data" / "test_data.pkl").write_bytes(pickle.dumps(data))
    return root
