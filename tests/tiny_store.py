"""A few stored clips and a run so small that a step takes milliseconds."""

from pathlib import Path

from savos_model.config import ModelConfig
from tests.model.scenes import crossing
from training.data.store import ClipFrame, store_clip
from training.learn.config import DataConfig, MachineConfig, RunConfig, TrainConfig

MODEL = ModelConfig(width=0.0625)


def write_store(folder: Path, clips: int = 4) -> Path:
    """Stored clips of a crossing."""
    for clip in range(clips):
        frames = [ClipFrame(f.image, f.instances) for f in crossing(6, speed=3 + clip)]
        store_clip(frames, folder / f"clip{clip}", MODEL.patch)
    return folder


def tiny_run(store: Path, **train: object) -> RunConfig:
    """Settings of a run of six steps; the first of four clips validates."""
    settings = {
        "steps": 6,
        "batch": 4,
        "group": 2,
        "length": 3,
        "warmup": 2,
        "validate_every": 3,
        "bf16": False,
    }
    return RunConfig(
        DataConfig(stores=(str(store),), held_out=4, min_px=50, validation=4),
        MODEL,
        TrainConfig(**{**settings, **train}),
        machine=MachineConfig(device="cpu", checkpoint_every=2, log_every=1, tensorboard=False),
    )
