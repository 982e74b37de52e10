"""Renders clips of a folder of 3D models; finished clips are kept."""

import dataclasses
import functools
import gzip
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.data.store import StoreError
from training.render import street, table
from training.render.assets import read_model
from training.render.gl import Renderer
from training.render.meshes import Model
from training.render.scene import SceneError
from training.render.settings import AssetOptions, RenderOptions

SCENES = {"table": (table, table.TableScene), "street": (street, street.StreetScene)}
TRIES = 3  # piles that blew up are drawn again with another seed
CACHED = 64  # models of one clip, and kept in memory


def allowed_sizes(kind: str) -> tuple[float, float]:
    """Return the least and the greatest longest side of a model [m] for a kind of scene."""
    return SCENES[kind][0].ALLOWED


@dataclass(frozen=True)
class RenderJob:
    """One clip to render, `path` without ending; `files` are the usable models below `assets`."""

    path: Path
    kind: str
    seed: int
    frames: int
    assets: Path
    files: tuple[Path, ...]
    options: AssetOptions

    @property
    def origin(self) -> dict[str, Any]:
        """Return what decides the clip's content."""
        made = {
            "name": f"models_{self.kind}",
            "seed": self.seed,
            "frames": self.frames,
            "assets": [str(path.relative_to(self.assets)) for path in self.files],
            "options": dataclasses.asdict(self.options),
        }
        return json.loads(json.dumps(made))


def render_jobs(
    options: RenderOptions, files: list[Path], understood: AssetOptions
) -> list[RenderJob]:
    """Return one job per seed; clips are named models_<seed>_<kind>."""
    kind, rest = options.kind, (options.frames, options.assets, tuple(files), understood)
    return [
        RenderJob(options.out / f"models_{seed:05d}_{kind}", kind, seed, *rest)
        for seed in range(options.seed, options.seed + options.clips)
    ]


def is_rendered(job: RenderJob) -> bool:
    """Return whether a clip is there already; raises ValueError if made otherwise or damaged."""
    path = job.path.with_name(f"{job.path.name}.json.gz")
    if not path.is_file():
        return False
    try:
        made = json.loads(gzip.decompress(path.read_bytes()))["generator"]
        other = [name for name, value in job.origin.items() if made.get(name) != value]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError):
        other = ["all"]
    if other:
        raise StoreError(
            f"{path} was not made with these settings ({', '.join(other)} differ): give another "
            "--out, or remove that clip",
            "other_origin",
        )
    return True


@functools.lru_cache(maxsize=CACHED)
def _model(path: Path, assets: Path, options: AssetOptions) -> Model:
    return read_model(path, assets, options)


def models_of(job: RenderJob) -> list[Model]:
    """Return the models of a clip: all, or of very many some that the seed draws."""
    files = list(job.files)
    if len(files) > CACHED:
        chosen = np.random.default_rng(job.seed).choice(len(files), CACHED, replace=False)
        files = [files[i] for i in sorted(chosen)]
    return [_model(path, job.assets, job.options) for path in files]


def run_render_job(job: RenderJob) -> int:
    """Render one clip; returns the number of labelled objects.

    Raises RenderError: there is no OpenGL; SceneError, AssetError: the models make no scene.
    """
    models = models_of(job)
    for attempt in range(TRIES):
        try:
            return _render(job, models, job.seed + attempt * 2**32)
        except FloatingPointError:
            continue
    raise SceneError(f"the pile of seed {job.seed} is unstable in {TRIES} tries: leave this seed")


def _render(job: RenderJob, models: list[Model], seed: int) -> int:
    from training.render.clip_file import ClipWriter  # needs PyAV

    kind, make = SCENES[job.kind]
    scene = make(models, seed, job.frames)
    scale = scene.parameters.get("scale", 1.0)
    renderer = Renderer(kind.SIZE, kind.NEAR * scale, kind.FAR * scale, kind.BIAS)
    try:
        with ClipWriter(job.path, kind.SIZE, kind.FPS, scene.objects) as writer:
            for frame in scene.frames(renderer):
                writer.add(frame)
            generator = {**job.origin, "parameters": scene.parameters}
            return writer.finish(generator, [item.model.name for item in scene.objects])
    finally:
        renderer.close()
