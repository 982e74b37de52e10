"""A KITTI tracking and MOTS sequence of a few small frames, written by the tests."""

import cv2
import numpy as np
from pycocotools import mask as coco

SHAPE = (60, 100)
FRAMES = (5, 6, 7, 9)  # official numbers need not start at 0 or be without gaps
SEQUENCE = "0042"


def masks(frame):
    """Visible masks by id: a car behind a nearer one, with an ignore region."""
    near, far, ignored = (np.zeros(SHAPE, np.uint8) for _ in range(3))
    near[20:45, 10 + 3 * frame : 40 + 3 * frame] = 1
    far[15:35, 30:60] = 1
    ignored[2:8, 80:95] = 1
    return {"1003": near, "1017": far & ~near, "10000": ignored}


def image(frame):
    rng = np.random.default_rng(frame)
    return cv2.GaussianBlur(rng.integers(0, 256, (*SHAPE, 3), np.uint8), (0, 0), 3)


def mots_line(frame, name, mask):
    encoded = coco.encode(np.asfortranarray(mask))
    height, width = encoded["size"]
    return f"{frame} {name} {int(name) // 1000} {height} {width} {encoded['counts'].decode()}"


def label_line(frame, track, kind="Car", occluded=1, box=(30.0, 15.0, 60.0, 35.0)):
    left, top, right, bottom = box
    corners = f"{left} {top} {right} {bottom}"
    return f"{frame} {track} {kind} 0 {occluded} -1.5 {corners} 1.5 1.6 4 1 1 9 -0.8"


def write_tracking(root):
    base = root / "training"
    images = base / "image_02" / SEQUENCE
    pictures = root / "instances" / SEQUENCE
    for folder in (
        images,
        pictures,
        base / "label_02",
        root / "instances_txt",
        root / "tracker_masks_x",
    ):
        folder.mkdir(parents=True)
    lines, predicted, labels = [], [], []
    for frame in FRAMES:
        cv2.imwrite(str(images / f"{frame:06d}.jpg"), image(frame), [cv2.IMWRITE_JPEG_QUALITY, 95])
        label_image = np.zeros(SHAPE, np.uint16)
        for name, mask in masks(frame).items():
            label_image[mask != 0] = int(name)
            lines.append(mots_line(frame, name, mask))
        cv2.imwrite(str(pictures / f"{frame:06d}.png"), label_image)
        near = masks(frame)["1003"]
        predicted += [mots_line(frame, "1001", near), mots_line(frame, "1002", np.roll(near, 8, 1))]
        labels.append(label_line(frame, -1, "DontCare", -1, (80.0, 2.0, 95.0, 8.0)))
        labels.append(label_line(frame, 17, occluded=2))
    (root / "instances_txt" / f"{SEQUENCE}.txt").write_text("\n".join(lines) + "\n")
    (root / "tracker_masks_x" / f"{SEQUENCE}.txt").write_text("\n".join(predicted) + "\n")
    (base / "label_02" / f"{SEQUENCE}.txt").write_text("\n".join(labels) + "\n")
    return root


def write_raw(root, times=True, ending=".png"):
    drive = root / "2011_09_26_drive_0009_sync"
    data = drive / "image_02" / "data"
    data.mkdir(parents=True)
    for frame in range(4):
        cv2.imwrite(str(data / f"{frame:010d}{ending}"), image(frame))
    if times:
        text = "".join(f"2011-09-26 13:02:25.{900000000 + 3 + 25 * i}\n" for i in range(4))
        (drive / "image_02" / "timestamps.txt").write_text(text)
    return drive
