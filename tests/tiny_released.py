"""The released FISHBOWL test data with two videos of a few small frames, written by the tests."""

import pickle

import cv2
import numpy as np
from pycocotools import mask as coco
from tiny_flo import write_flo

SIZE, FRAMES = (64, 96), 8
VIDEOS = ("00003", "00012")
NEAR, FAR = 4, 17  # fish as the data set numbers them; a third one is in no list


def rectangle(x0, y0, x1, y1):
    mask = np.zeros(SIZE, np.uint8)
    mask[y0:y1, max(x0, 0) : x1] = 1
    return mask


def scene(t):
    """Whole masks: a fish in front, one that passes behind it, and one that is not tracked."""
    return rectangle(50, 20, 70, 50), rectangle(4 * t, 24, 4 * t + 36, 48), rectangle(0, 40, 20, 60)


def seen(t):
    """Visible masks, nearest first: the untracked fish hides the far one too."""
    near, far, stray = scene(t)
    return near, far & ~near & ~stray & 1, stray


def picture(t):
    texture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    return np.where(scene(t)[1][..., None], np.roll(texture, 4 * t, 1), 90).astype(np.uint8)


def runs(mask):
    return coco.encode(np.asfortranarray(mask[..., None].astype(np.uint8)))


def box(mask):
    rows, columns = np.nonzero(mask)
    return [rows.min(), rows.max(), columns.min(), columns.max()]  # numpy numbers, as released


def entry(t, index):
    full, visible = scene(t)[index], seen(t)[index]
    return {
        "FM": runs(full),
        "FM_bx": box(full),
        "VM": runs(visible),
        "VM_bx": box(visible),
        "OCC_R": 1 - visible.sum() / full.sum(),
        "IoU": None,
        "loss_mask_weight": runs(1 - (sum(seen(t)) - visible)),
        "fish_type": ("BigFishA", "SmallFishA")[index],
    }


def write_masks(root, data=None):
    if data is None:
        data = {
            f"{video}_{name}": {t: entry(t, index) for t in range(1, FRAMES)}
            for video in VIDEOS
            for index, name in enumerate((NEAR, FAR))
        }
    (root / "test_data.pkl").write_bytes(pickle.dumps(data))


def write_subset(root, rows):
    """Rows are (video, fish, frame, test2)."""
    folder = root / "test_files"
    folder.mkdir()
    lines = ["Unnamed: 0,v_id,obj_id,frame_id,Type,OCC_R,test,test1,test2,test3,test4"]
    for video, fish, frame, listed in rows:
        lines.append(f"0,{video},{fish},{frame},BigFishA,0.3,1,0,{listed},True,False")
    (folder / "test_subtest.csv").write_text("\n".join(lines) + "\n")


def write_released(root, flow_columns=64):
    """Frame 0 has no masks. The flow files lack columns on either side, as FlowNet2's do."""
    for video in VIDEOS:
        folder = root / "test_frames" / video
        folder.mkdir(parents=True)
        for t in range(FRAMES):
            cv2.imwrite(str(folder / f"{t:04d}.png"), picture(t))
        for kind, sign in (("test_flow", 1), ("test_flow_reverse", -1)):
            for t in range(FRAMES - 1):
                flow = np.full((SIZE[0], flow_columns, 2), (sign * (4 + t), 0), np.float32)
                place = root / kind / "inference" / "run.epoch-0-flow-field" / video
                write_flo(place / f"{t:06d}.flo", flow)
    write_masks(root)
    return root
