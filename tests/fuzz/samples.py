"""Valid samples of each kind of file, each with a function that reads all of it."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tiny_fishbowl
import tiny_kins
import tiny_kitti
import tiny_released
import tiny_scene

from savos_model.adaptation_link import receive
from savos_model.config import ModelConfig
from training.baselines.external import ExternalClip
from training.data import fishbowl
from training.data.fishbowl import FishbowlClip
from training.data.kins_video_car import KinsAnnotations, ReleasedCars
from training.data.masks.folders import open_masks
from training.data.store import ClipFrame, open_clip, store_clip

SHAPE = tiny_kitti.SHAPE


def write_labels(folder: Path) -> Path:
    return tiny_kitti.write_tracking(folder) / "training/label_02" / f"{tiny_kitti.SEQUENCE}.txt"


def read_kins_file(path: Path) -> None:
    kins = KinsAnnotations(path)
    for image in kins.images:
        kins.objects(image)


def write_mapping(name: str) -> Callable[[Path], Path]:
    return lambda folder: tiny_kins.write_mapping(folder) / name


def write_gum(folder: Path) -> Path:
    from tests.training.data.test_chewing_gum_released import write_released

    write_released(folder, frames=2)
    return folder / "00000" / "00001.pkl"


def read_released_fishbowl(path: Path) -> None:
    fishbowl._videos.cache_clear()
    clip = fishbowl.ReleasedClip(path.parent / "test_frames" / tiny_released.VIDEOS[0])
    for frame, _ in enumerate(clip.frames()):
        clip.instances(frame)
        clip.truth(frame)
        clip.untracked(frame)


def read_subset(path: Path) -> None:
    fishbowl.read_subset.cache_clear()
    fishbowl.read_subset(path.parents[1], "test2")


def write_subset(folder: Path) -> Path:
    tiny_released.write_subset(folder, [(3, 4, 1, 1), (3, 17, 2, 0)])
    return folder / "test_files" / "test_subtest.csv"


def read_cars(path: Path) -> None:
    cars = ReleasedCars(path.parents[1], "test")
    for video in cars.videos:
        list(cars.frames(video))


def write_clip(folder: Path) -> Path:
    tiny_fishbowl.write_clip(folder)
    (folder / "tiny.json").write_bytes(gzip.decompress((folder / "tiny.json.gz").read_bytes()))
    return folder / "tiny.json"


def read_clip(path: Path) -> None:
    path.with_suffix(".json.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    clip = FishbowlClip(path.parent / "tiny")
    for frame in range(clip.num_frames):
        clip.instances(frame)
        clip.truth(frame)


def write_external(folder: Path) -> Path:
    frames = {str(t): {n: tiny_kins.runs(m) for n, m in tiny_kins.seen(t).items()} for t in (0, 1)}
    (folder / "clip.json").write_text(json.dumps({"frames": frames}))
    return folder / "clip.json"


def write_external_png(folder: Path) -> Path:
    path = folder / "clip" / "1" / "000000.png"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), 255 * tiny_kins.car(0))
    return path


def read_external(path: Path) -> None:
    folder = next(up for up in path.parents if (up / "clip").exists() or (up / path.name).exists())
    clip = ExternalClip(path.parents[2] if path.suffix == ".png" else folder, "clip")
    for frame in (0, 1):
        clip.mask(frame, "1", SHAPE)


def write_coco(folder: Path) -> Path:
    record = tiny_kins.kins_record()
    notes = [
        {
            "image_id": n["image_id"],
            "track_id": i,
            "category_id": 4,
            "segmentation": n["inmodal_seg"],
        }
        for i, n in enumerate(record["annotations"])
    ]
    (folder / "masks.json").write_text(json.dumps(record | {"annotations": notes}))
    return folder / "masks.json"


def read_coco(path: Path) -> None:
    names = [f"{image:06d}" for image in tiny_kins.IMAGE.values()]
    masks = open_masks(path, names, "coco")
    for name in names:
        masks.instances(name, SHAPE)


def write_yolo(folder: Path) -> Path:
    (folder / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5 7\n2 0.6 0.6 0.9 0.6 0.9 0.9 12\n")
    return folder / "a.txt"


def write_label_png(folder: Path) -> Path:
    cv2.imwrite(str(folder / "a.png"), np.eye(*SHAPE, dtype=np.uint16) * 1007)
    return folder / "a.png"


def read_mask_folder(path: Path) -> None:
    open_masks(path.parent, ["a"]).instances("a", SHAPE)


def write_yaml(folder: Path) -> Path:
    text = "model: {width: 0.25, prior_mask: true}\ntrain: {steps: 100, learning_rate: 1e-3}\n"
    (folder / "run.yaml").write_text(text + "data: {stores: [a, b]}\nloss: {}\n")
    return folder / "run.yaml"


def write_state(folder: Path) -> Path:
    import torch

    from tests.model.released import released_state

    state = {key: torch.from_numpy(a[:1].copy()) for key, a in released_state(7).items()}
    torch.save(state, folder / "state.pt")
    return folder / "state.pt"


def read_state(path: Path) -> None:
    from savos_model.network.released.checkpoint import read_state

    read_state(path)


def write_checkpoint(folder: Path) -> Path:
    from training.learn.checkpoint import Reached, save_checkpoint

    save_checkpoint(folder / "last.safetensors", learner(), Reached(3, 0.5), begun())
    return folder / "last.safetensors"


def read_checkpoint(path: Path) -> None:
    from training.learn.checkpoint import load_checkpoint

    load_checkpoint(path, learner(), begun())


def begun() -> Any:
    from training.learn.config import RunConfig

    return RunConfig().learnt_from()


def learner() -> Any:
    import torch

    from training.learn.checkpoint import Learner

    net = torch.nn.Linear(3, 2)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return Learner(net, average, optimiser)


def checkpoint_error() -> type[Exception]:
    from training.learn.checkpoint import CheckpointError

    return CheckpointError


def write_clip_store(folder: Path) -> Path:
    frames = [tiny_scene.frame(index) for index in range(3)]
    made = [ClipFrame(f.image, f.instances) for f in frames]
    store_clip(made, folder / "clip", ModelConfig(width=0.0625).patch)
    return folder / "clip" / "boxes.npy"


def read_clip_store(path: Path) -> None:
    for array in open_clip(path.parent).arrays.values():
        np.asarray(array).sum()


def write_pipe(folder: Path) -> Path:
    image = {"frame": {"stamp_ns": 3, "order": "bgr", "instances": [["7", [1, 2, 3, 4], "", 0.5]]}}
    arrays = [["|u1", [8, 10, 3]], ["|u1", [2, 2]]]
    (folder / "head").write_text(json.dumps(image | {"arrays": arrays}))
    return folder / "head"


def read_pipe(path: Path) -> None:
    ours, theirs = (Connection(end.detach()) for end in socket.socketpair())
    with ours, theirs:
        for part in (path.read_bytes(), bytes(240), bytes(4)):
            ours.send_bytes(part)
        ours.close()
        receive(theirs)


def write_results(folder: Path) -> Path:
    source = Path(__file__).parents[2] / "docs" / "results" / "engine_build.json"
    (folder / "a.json").write_bytes(source.read_bytes())
    return folder / "a.json"
