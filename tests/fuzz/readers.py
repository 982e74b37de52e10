"""Every reader of files and messages from outside: a valid sample, and the errors it documents."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tiny_fishbowl
import tiny_flo
import tiny_kins
import tiny_kitti
import tiny_released
import tiny_scene
import tiny_weights

from savos_model.config import ModelConfig
from savos_model.settings import SettingError
from savos_model.weights import WeightsError, load_weights
from savos_ros import message_kit
from savos_ros.bags.reader import BagFrames
from savos_ros.bags.recording import RecordOptions, record
from savos_ros.bags.types import BagError, BagKit, typestore
from savos_ros.conversions import ConversionError
from savos_ros.frames import decode
from savos_ros.settings import InputConfig
from training.baselines.external import ExternalClip, ExternalError
from training.config import make_run
from training.data import fishbowl_released
from training.data.chewing_gum import ChewingGumConfig, videos
from training.data.chewing_gum_npz import NpzVideos, VideoFileError, write_npz
from training.data.chewing_gum_released import ReleasedVideos
from training.data.fishbowl import FishbowlClip, FishbowlError
from training.data.flow_files import FlowFileError, read_flo
from training.data.kins import KinsAnnotations, KinsError
from training.data.kins_video_car import KinsVideoCarError, ReleasedCars
from training.data.kitti_mots import KittiError, open_tracking, read_labels
from training.data.kitti_object import MappingError, read_mapping
from training.data.kitti_time import TimestampError, read_timestamps
from training.data.mask_folders import MaskFolderError, open_masks
from training.data.provenance import MissingPartError
from training.data.safe_pickle import UnsafePickleError
from training.data.store import ClipFrame, open_clip, store_clip
from training.results import ResultsError, read_results
from training.site_pipe import SiteError, receive

SHAPE = tiny_kitti.SHAPE


class Reader(NamedTuple):
    """One way in.

    write: puts a valid sample into an empty folder and returns the file that is damaged.
    read: reads all that the sample holds, given that file.
    errors: what may come out for any content.
    """

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]


def head(stamp_ns: int = 5) -> Any:
    return message_kit.header(BagKit(), stamp_ns, "camera")


def messages() -> dict[str, tuple[str, Any]]:
    """Type and message of each kind of input, all of one frame."""
    kit, scene = BagKit(), tiny_scene.frame(3)
    numbers = np.zeros(tiny_scene.SHAPE, np.uint16)
    flow = np.zeros((*tiny_scene.SHAPE, 2), np.float32)
    for item in scene.instances:
        box = item.box
        numbers[box.y0 : box.y1, box.x0 : box.x1][item.mask != 0] = int(item.id)
    png = cv2.imencode(".png", scene.image)[1].tobytes()
    jpeg = cv2.imencode(".jpg", scene.image)[1].tobytes()
    image = "sensor_msgs/msg/Image"
    packed = "sensor_msgs/msg/CompressedImage"
    return {
        "image": (image, message_kit.image(kit, head(), scene.image, "bgr8")),
        "jpeg": (packed, message_kit.compressed_image(kit, head(), jpeg, "jpeg")),
        "png": (packed, message_kit.compressed_image(kit, head(), png, "png")),
        "labels": (image, message_kit.image(kit, head(), numbers, "16UC1")),
        "flow": (image, message_kit.image(kit, head(), flow, "32FC2")),
        "masks": (
            "savos_ros/msg/InstanceMaskArray",
            message_kit.instance_array(kit, head(), tiny_scene.SHAPE, scene.instances),
        ),
    }


def message_reader(kind: str) -> Reader:
    """A message on the wire, its partners being good."""
    good = messages()
    type_name, sample = good[kind]

    def write(folder: Path) -> Path:
        (folder / "message").write_bytes(bytes(typestore().serialize_cdr(sample, type_name)))
        return folder / "message"

    def read(path: Path) -> None:
        try:
            message = typestore().deserialize_cdr(path.read_bytes(), type_name)
        except Exception:  # the middleware's matter: the node and the bag reader count these
            return
        image = message if kind in ("image", "jpeg", "png") else good["image"][1]
        masks = message if kind in ("labels", "masks") else good["labels"][1]
        flow = message if kind == "flow" else None
        config = InputConfig(
            image_transport="compressed" if kind in ("jpeg", "png") else "raw",
            mask_source="instance_masks" if kind == "masks" else "label_image",
        )
        decode(image, masks, config, flow)

    return Reader(f"message_{kind}", write, read, (ConversionError,))


def kitti_reader(what: str, of: str, masks: str) -> Reader:
    """A file of a sequence in the tracking layout, read with the rest of it."""

    def read(path: Path) -> None:
        clip = open_tracking(path.parents[len(Path(of).parts) - 1], tiny_kitti.SEQUENCE, masks)
        for frame in clip.frames:
            shape = clip.image(frame).shape[:2]
            clip.instances(frame, shape)
            clip.ignored(frame, shape)

    return Reader(
        f"kitti_{what}", lambda folder: tiny_kitti.write_tracking(folder) / of, read, (KittiError,)
    )


def write_labels(folder: Path) -> Path:
    return tiny_kitti.write_tracking(folder) / "training/label_02" / f"{tiny_kitti.SEQUENCE}.txt"


def read_kins_file(path: Path) -> None:
    kins = KinsAnnotations(path)
    for image in kins.images:
        kins.truth(image)


def write_mapping(name: str) -> Callable[[Path], Path]:
    return lambda folder: tiny_kins.write_mapping(folder) / name


def write_videos(folder: Path) -> Path:
    config = ChewingGumConfig(seed=4)
    write_npz(folder / "a.npz", videos(config, count=2), 2)
    return folder / "a.npz"


def write_gum(folder: Path) -> Path:
    from tests.training.test_chewing_gum_released import write_released

    write_released(folder, frames=2)
    return folder / "00000" / "00001.pkl"


def read_released_fishbowl(path: Path) -> None:
    fishbowl_released._videos.cache_clear()
    clip = fishbowl_released.ReleasedClip(path.parent / "test_frames" / tiny_released.VIDEOS[0])
    for frame, _ in enumerate(clip.frames()):
        clip.instances(frame)
        clip.truth(frame)
        clip.untracked(frame)


def read_subset(path: Path) -> None:
    fishbowl_released.read_subset.cache_clear()
    fishbowl_released.read_subset(path.parents[1], "test2")


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
    from savos_model.official_checkpoint import read_state

    read_state(path)


def write_checkpoint(folder: Path) -> Path:
    from training.checkpoint import Reached, save_checkpoint

    save_checkpoint(folder / "last.safetensors", learner(), Reached(3, 0.5), {"a": {"b": 1}})
    return folder / "last.safetensors"


def read_checkpoint(path: Path) -> None:
    from training.checkpoint import load_checkpoint

    load_checkpoint(path, learner(), {"a": {"b": 1}})


def learner() -> Any:
    import torch

    from training.checkpoint import Learner

    net = torch.nn.Linear(3, 2)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return Learner(net, average, optimiser)


def checkpoint_error() -> type[Exception]:
    from training.checkpoint import CheckpointError

    return CheckpointError


def bag_reader(what: str, of: str, storage: str) -> Reader:
    def write(folder: Path) -> Path:
        record(tiny_scene.frames(3), 3, folder / "bag", RecordOptions(truth=True, storage=storage))
        return next((folder / "bag").glob(of))

    def read(path: Path) -> None:
        with BagFrames(path.parent) as frames:
            list(frames)

    return Reader(f"bag_{what}", write, read, (BagError,))


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


SEQUENCE = tiny_kitti.SEQUENCE
READERS = (
    *(message_reader(kind) for kind in ("image", "jpeg", "png", "labels", "flow", "masks")),
    kitti_reader("mots", f"instances_txt/{SEQUENCE}.txt", "txt"),
    kitti_reader("png", f"instances/{SEQUENCE}/000006.png", "png"),
    kitti_reader("image", f"training/image_02/{SEQUENCE}/000006.jpg", "txt"),
    Reader("kitti_labels", write_labels, read_labels, (KittiError,)),
    Reader(
        "kitti_times",
        lambda folder: tiny_kitti.write_raw(folder) / "image_02" / "timestamps.txt",
        lambda path: read_timestamps(path, range(4)),
        (TimestampError,),
    ),
    *(
        Reader(f"kitti_{n}", write_mapping(n), lambda p: read_mapping(p.parent), (MappingError,))
        for n in ("train_mapping.txt", "train_rand.txt")
    ),
    Reader(
        "kins", lambda folder: tiny_kins.write_kins(folder / "a.json"), read_kins_file, (KinsError,)
    ),
    Reader(
        "kins_video_car",
        lambda folder: tiny_kins.write_released(folder, 2) / "car_data" / "test_data.pkl",
        read_cars,
        (KinsVideoCarError, UnsafePickleError, MissingPartError),
    ),
    Reader(
        "flo",
        lambda folder: tiny_flo.write_flo(folder / "0.flo", np.ones((6, 8, 2))),
        read_flo,
        (FlowFileError,),
    ),
    Reader("npz", write_videos, lambda path: list(NpzVideos(path).read()), (VideoFileError,)),
    Reader(
        "chewing_gum",
        write_gum,
        lambda path: list(ReleasedVideos(path.parents[1]).read()),
        (VideoFileError, UnsafePickleError),
    ),
    Reader(
        "fishbowl",
        write_clip,
        read_clip,
        (FishbowlError,),
    ),
    Reader(
        "fishbowl_released",
        lambda folder: tiny_released.write_released(folder) / "test_data.pkl",
        read_released_fishbowl,
        (FishbowlError, UnsafePickleError),
    ),
    Reader("fishbowl_subset", write_subset, read_subset, (FishbowlError,)),
    Reader(
        "weights",
        lambda folder: tiny_weights.save_random(folder / "w.safetensors"),
        lambda path: load_weights(str(path)),
        (WeightsError,),
    ),
    Reader("checkpoint_released", write_state, read_state, (WeightsError,)),
    Reader("checkpoint", write_checkpoint, read_checkpoint, (checkpoint_error(),)),
    Reader("run_yaml", write_yaml, make_run, (SettingError, OSError)),
    Reader("results_json", write_results, read_results, (ResultsError,)),
    Reader("external_json", write_external, read_external, (ExternalError,)),
    Reader("external_png", write_external_png, read_external, (ExternalError,)),
    Reader("masks_coco", write_coco, read_coco, (MaskFolderError,)),
    Reader("masks_yolo", write_yolo, read_mask_folder, (MaskFolderError,)),
    Reader("masks_png", write_label_png, read_mask_folder, (MaskFolderError,)),
    Reader("stored_clip", write_clip_store, read_clip_store, (FileNotFoundError, ValueError)),
    Reader("site_pipe", write_pipe, read_pipe, (SiteError, EOFError, OSError)),
    bag_reader("mcap", "*.mcap", "mcap"),
    bag_reader("sqlite", "*.db3", "sqlite3"),
    bag_reader("metadata", "metadata.yaml", "mcap"),
)
