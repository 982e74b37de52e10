"""The `savos prepare` commands: raw data sets in, stored clips for training out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from savos_model.commands import names_of, user_errors
from training.cli.options import (
    CarMasksOption,
    KinsOption,
    MappingOption,
    ProcessesOption,
    RawOption,
    ReleasedOption,
    SplitOption,
)

if TYPE_CHECKING:
    from savos_model.config import ModelConfig
    from training.data.prepare import Job

app = typer.Typer(
    no_args_is_help=True,
    help="Turn data sets into stored clips; what is finished is kept, so a stopped run goes on.",
)

OutOption = Annotated[Path, typer.Option(help="Folder of the stored clips.")]
PatchOption = Annotated[int, typer.Option(help="Rows of the network's patch, 32 or 64.")]
FlowOption = Annotated[str, typer.Option(help="dis, raft_small or raft_large.")]


def _run(
    make: Callable[[ModelConfig], list[Job]], out: Path, patch: int, processes: int, flow: str
) -> None:
    """Make the jobs and store their clips; wrong arguments or files end as one line."""
    with user_errors():
        from dataclasses import replace

        from savos_model.config import ModelConfig
        from training.data.prepare import FLOWS, is_finished, prepare, strangers

        if flow not in FLOWS:
            raise ValueError(f"--flow must be one of {', '.join(FLOWS)}, got {flow!r}")
        model = ModelConfig(patch_height=patch, patch_width=2 * patch)
        jobs = [replace(job, flow=flow) for job in make(model)]
        missing = [job for job in jobs if not is_finished(job)]
        if len(missing) < len(jobs):
            typer.echo(f"{len(jobs) - len(missing)} of {len(jobs)} clips are there already")
        if others := strangers(jobs, out):
            typer.echo(
                f"{out} also holds clips that were not asked for now ({len(others)}: "
                f"{_some(others)}): training reads them too",
                err=True,
            )
        rows = prepare(missing, processes)
        typer.echo(f"{rows} rows of {len(missing)} clips written to {out}")


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{names[0]} .. {names[-1]}"


@app.command("fishbowl")
def prepare_fishbowl(
    data: Annotated[
        Path, typer.Option(help="Folder of NAME.mp4 with NAME.json.gz, or released test data.")
    ],
    out: OutOption,
    without: Annotated[str, typer.Option(help="Species left out, such as BigFishB.")] = "",
    patch: PatchOption = 32,
    processes: ProcessesOption = 1,
    flow: FlowOption = "dis",
) -> None:
    """FISHBOWL clips, taken at 30, 15 and 10 Hz in turn; released test data at 30 Hz.

    Example: savos prepare fishbowl --data fishbowl/train --out data/fishbowl
    """
    from training.data.prepare import fishbowl_jobs

    _run(lambda model: fishbowl_jobs(data, out, model, without), out, patch, processes, flow)


@app.command("rendered")
def prepare_rendered(
    data: Annotated[Path, typer.Option(help="Folder of NAME.mp4 with NAME.json.gz.")],
    out: OutOption,
    patch: PatchOption = 32,
    processes: ProcessesOption = 1,
    flow: FlowOption = "dis",
) -> None:
    """Rendered clips in the layout of FISHBOWL; fast ones are thinned, to 7 Hz or more.

    Example: savos prepare rendered --data rendered/train --out data/rendered
    """
    from training.data.prepare import rendered_jobs

    _run(lambda model: rendered_jobs(data, out, model), out, patch, processes, flow)


@app.command("models")
def prepare_models(
    assets: Annotated[Path, typer.Option(help="Folder of .glb, .gltf, .obj, .ply, .stl files.")],
    out: Annotated[Path, typer.Option(help="Folder of the rendered clips.")],
    kind: Annotated[str, typer.Option(help="table (piles) or street.")] = "table",
    clips: Annotated[int, typer.Option(min=1, help="Clips to render.")] = 60,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Seed of the first clip.")] = 0,
    frames: Annotated[int, typer.Option(min=2, max=1000, help="Frames of a clip.")] = 60,
    scale: Annotated[float, typer.Option(help="Metres of a unit of the files.")] = 1.0,
    size: Annotated[
        float | None, typer.Option(help="Longest side of every model [m], instead of --scale.")
    ] = None,
    up: Annotated[str, typer.Option(help="Axis up in the files: y, z; auto: y in glTF.")] = "auto",
    processes: ProcessesOption = 1,
) -> None:
    """Rendered clips of your own 3D models with exact visible and whole masks.

    A model's category is the folder it lies in below --assets; models in a folder named scenery
    only occlude. `savos prepare rendered` turns the clips into a store for training.

    Example: savos prepare models --assets cad --scale 0.001 --clips 60 --out clips
    """
    with user_errors():
        from training.data.prepare import prepare
        from training.render.assets import AssetOptions, survey
        from training.render.jobs import (
            KINDS,
            allowed_sizes,
            is_rendered,
            render_jobs,
            run_render_job,
        )

        if kind not in KINDS:
            raise ValueError(f"--kind must be one of {', '.join(KINDS)}, got {kind!r}")
        options = AssetOptions(scale, size, up, allowed_sizes(kind))
        found = survey(assets, options)
        for reason in found.skipped:
            typer.echo(f"skipped: {reason}", err=True)
        typer.echo(f"{len(found.usable)} models are used, {len(found.skipped)} were skipped")
        seeds = range(seed, seed + clips)
        jobs = render_jobs(assets, found.usable, out, options, kind, seeds, frames)
        missing = [job for job in jobs if not is_rendered(job)]
        if len(missing) < len(jobs):
            typer.echo(f"{len(jobs) - len(missing)} of {len(jobs)} clips are there already")
        objects = prepare(missing, processes, run_render_job)
        typer.echo(f"{objects} objects in {len(missing)} clips written to {out}")


@app.command("street")
def prepare_street(
    out: OutOption,
    clips: Annotated[int, typer.Option(min=1, help="Clips to generate.")] = 60,
    frames: Annotated[int, typer.Option(min=2, help="Frames of a clip, at 10 Hz.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first clip.")] = 0,
    patch: PatchOption = 32,
    processes: ProcessesOption = 1,
    flow: FlowOption = "dis",
) -> None:
    """Generated street scenes.

    Example: savos prepare street --clips 60 --out data/street
    """
    from training.data.prepare import street_jobs

    _run(lambda model: street_jobs(clips, frames, out, model, seed), out, patch, processes, flow)


@app.command("chewing-gum")
def prepare_chewing_gum(
    out: OutOption,
    videos: Annotated[int, typer.Option(min=1, help="Videos to generate.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all videos.")] = 0,
    patch: PatchOption = 32,
    processes: ProcessesOption = 1,
    flow: FlowOption = "dis",
) -> None:
    """Generated Chewing Gum videos.

    Example: savos prepare chewing-gum --videos 500 --out data/gum
    """
    from training.data.prepare import chewing_gum_jobs

    _run(lambda model: chewing_gum_jobs(videos, out, model, seed), out, patch, processes, flow)


@app.command("kitti-mots")
def prepare_kitti_mots(
    data: Annotated[Path, typer.Option(help="Folder with training/image_02 and the masks.")],
    out: OutOption,
    sequences: Annotated[str, typer.Option(help="Names with commas; none: all.")] = "",
    masks: Annotated[str, typer.Option(help="txt or png (truth), tracker (predicted).")] = "txt",
    patch: PatchOption = 32,
    processes: ProcessesOption = 1,
    flow: FlowOption = "dis",
) -> None:
    """KITTI MOTS sequences, without amodal truth.

    KITTI is CC BY-NC-SA 3.0: what is trained on it must not be shipped under other terms.

    Example: savos prepare kitti-mots --data kitti_mots --out data/kitti
    """
    from training.data.prepare import kitti_jobs

    names = names_of(sequences) or None
    _run(lambda model: kitti_jobs(data, out, model, names, masks), out, patch, processes, flow)


@app.command("kins-video-car")
def prepare_kins_video_car(
    out: OutOption,
    raw: RawOption = None,
    masks: CarMasksOption = None,
    released: ReleasedOption = None,
    split: SplitOption = "train",
    kins: KinsOption = None,
    mapping: MappingOption = None,
    patch: PatchOption = 32,
    processes: ProcessesOption = 1,
    flow: FlowOption = "dis",
) -> None:
    """KINS-Video-Car: the released set, or built from KITTI raw and a tracker's masks.

    Without --kins and --mapping no truth is stored.

    KITTI is CC BY-NC-SA 3.0: what is trained on it must not be shipped under other terms.

    Example: savos prepare kins-video-car --raw kitti_raw --masks pointtrack --kins
    instances_train.json --mapping mapping --out data/kins
    """
    from training.data.kins_drives import takes_released, truth_source
    from training.data.prepare import built_jobs, released_jobs

    def make(model: ModelConfig) -> list[Job]:
        truth = None if kins is mapping is None else truth_source(kins, mapping)
        if takes_released(raw, masks, released):
            return released_jobs(cast(Path, released), split, out, model, truth)
        return built_jobs(cast(Path, raw), cast(Path, masks), out, model, truth)

    _run(make, out, patch, processes, flow)
