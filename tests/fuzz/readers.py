"""Every reader of files and messages from outside: a valid sample, and the errors it documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tiny_flo
import tiny_kins
import tiny_kitti
import tiny_released
import tiny_scene
import tiny_weights

from savos_model.adaptation_link import SiteError
from savos_model.network.weights import WeightsError, load_weights
from savos_model.results import ResultsError, read_results
from savos_model.settings import SettingError
from savos_ros.bags.reader import BagFrames
from savos_ros.bags.recording import record
from savos_ros.bags.settings import BagError, RecordOptions
from savos_ros.bags.types import BagKit, typestore
from savos_ros.messages import kit as message_kit
from savos_ros.messages.conversions import ConversionError
from savos_ros.messages.frames import decode
from savos_ros.messages.settings import InputConfig
from tests.fuzz.samples import (
    checkpoint_error,
    read_cars,
    read_checkpoint,
    read_clip,
    read_clip_store,
    read_coco,
    read_external,
    read_kins_file,
    read_mask_folder,
    read_pipe,
    read_released_fishbowl,
    read_state,
    read_subset,
    write_checkpoint,
    write_clip,
    write_clip_store,
    write_coco,
    write_external,
    write_external_png,
    write_gum,
    write_label_png,
    write_labels,
    write_mapping,
    write_pipe,
    write_results,
    write_state,
    write_subset,
    write_yaml,
    write_yolo,
)
from training.baselines.external import ExternalError
from training.data.chewing_gum import ReleasedVideos, VideoFileError
from training.data.fishbowl import FishbowlError
from training.data.flow_files import FlowFileError, read_flo
from training.data.kins_video_car import KinsError, read_mapping
from training.data.kitti_mots import (
    KittiError,
    open_tracking,
    read_labels,
    read_timestamps,
)
from training.data.masks.common import MaskFolderError
from training.data.provenance import MissingPartError
from training.data.safe_pickle import UnsafePickleError
from training.learn.config import make_run

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


def bag_reader(what: str, of: str, storage: str) -> Reader:
    def write(folder: Path) -> Path:
        record(tiny_scene.frames(3), 3, folder / "bag", RecordOptions(truth=True, storage=storage))
        return next((folder / "bag").glob(of))

    def read(path: Path) -> None:
        with BagFrames(path.parent) as frames:
            list(frames)

    return Reader(f"bag_{what}", write, read, (BagError,))


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
        (KittiError,),
    ),
    *(
        Reader(f"kitti_{n}", write_mapping(n), lambda p: read_mapping(p.parent), (KinsError,))
        for n in ("train_mapping.txt", "train_rand.txt")
    ),
    Reader(
        "kins", lambda folder: tiny_kins.write_kins(folder / "a.json"), read_kins_file, (KinsError,)
    ),
    Reader(
        "kins_video_car",
        lambda folder: tiny_kins.write_released(folder, 2) / "car_data" / "test_data.pkl",
        read_cars,
        (KinsError, UnsafePickleError, MissingPartError),
    ),
    Reader(
        "flo",
        lambda folder: tiny_flo.write_flo(folder / "0.flo", np.ones((6, 8, 2))),
        read_flo,
        (FlowFileError,),
    ),
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
    Reader("adaptation_link", write_pipe, read_pipe, (SiteError, EOFError, OSError)),
    bag_reader("mcap", "*.mcap", "mcap"),
    bag_reader("sqlite", "*.db3", "sqlite3"),
    bag_reader("metadata", "metadata.yaml", "mcap"),
)
