"""Options of `savos prepare`: which data are stored as clips, and how. Quick to load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from savos_model.commands import option
from savos_model.settings import Settings, setting

FLOWS = ("dis", "raft_small", "raft_large")


@dataclass(frozen=True)
class StoreOptions(Settings):
    """Where clips are stored, and how."""

    out: Path = option("folder of the stored clips")
    patch: int = setting(32, "rows of the network's patch, 32 or 64")
    processes: int = setting(1, "worker processes", minimum=1)
    flow: str = setting("dis", "dis, raft_small or raft_large", choices=FLOWS)


@dataclass(frozen=True)
class ClipSource:
    """Clips in the layout of FISHBOWL."""

    data: Path = option("folder of NAME.mp4 with NAME.json.gz")


@dataclass(frozen=True)
class FishbowlSource:
    """FISHBOWL clips, made with the generator or released."""

    data: Path = option("folder of NAME.mp4 with NAME.json.gz, or released test data")
    without: str = option("species left out, such as BigFishB; its fish only hide others", "")


@dataclass(frozen=True)
class StreetSource(Settings):
    """Generated street scenes with the seeds `seed`, `seed` + 1 and so on."""

    clips: int = setting(60, "clips to generate", minimum=1)
    frames: int = setting(60, "frames of a clip, at 10 Hz", minimum=2)
    seed: int = setting(0, "seed of the first clip", minimum=0)


@dataclass(frozen=True)
class GumSource(Settings):
    """Generated Chewing Gum videos."""

    videos: int = setting(500, "videos to generate", minimum=1)
    seed: int = setting(0, "seed of all videos", minimum=0)


@dataclass(frozen=True)
class KittiSource:
    """KITTI MOTS sequences."""

    data: Path = option("folder with training/image_02 and the masks")
    sequences: tuple[str, ...] = option("names with commas; none: all", ())
    masks: str = option("txt or png (ground truth), tracker (predicted)", "txt")


@dataclass(frozen=True)
class KinsSource:
    """Drives of KINS-Video-Car in either layout."""

    raw: Path | None = option("folder of KITTI raw, to build the set", None)
    masks: Path | None = option("folder of tracked masks, <drive>.txt, to build the set", None)
    released: Path | None = option("folder of the released set, in place of both", None)
    split: str = option("train, val or test of the released set", "train")
    kins: Path | None = option("KINS' instances_train.json: the ground truth", None)
    mapping: Path | None = option(
        "folder with the devkit's train_mapping.txt, train_rand.txt", None
    )
