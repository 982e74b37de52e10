"""The `savos prepare` commands: raw data sets in, stored clips for training out."""

import dataclasses
from typing import Any

import typer

from savos_model.commands import Options, command
from training.data import settings
from training.render.settings import AssetOptions, RenderOptions

app = typer.Typer(
    no_args_is_help=True,
    help="Turn data sets into stored clips; finished ones are kept, so a stopped run continues.",
)


LICENCE = "KITTI is CC BY-NC-SA 3.0: what is trained on it must not be shipped under other terms."
SOURCES = {
    "fishbowl": (settings.FishbowlSource, """
    FISHBOWL clips, taken at 30, 15 and 10 Hz in turn; released test data at 30 Hz.

    Example: savos prepare fishbowl --data fishbowl/train --out data/fishbowl
    """),
    "rendered": (settings.ClipSource, """
    Store rendered clips in FISHBOWL's layout; fast ones are subsampled, to 7 Hz or more.

    Example: savos prepare rendered --data rendered/train --out data/rendered
    """),
    "street": (settings.StreetSource, """
    Store generated street scenes.

    Example: savos prepare street --clips 60 --out data/street
    """),
    "chewing-gum": (settings.GumSource, """
    Store generated Chewing Gum videos.

    Example: savos prepare chewing-gum --videos 500 --out data/gum
    """),
    "kitti-mots": (settings.KittiSource, f"""
    KITTI MOTS sequences, without amodal ground truth.

    {LICENCE}

    Example: savos prepare kitti-mots --data kitti_mots --out data/kitti
    """),
    "kins-video-car": (settings.KinsSource, f"""
    KINS-Video-Car: the released set, or built from KITTI raw and a tracker's masks.

    Without --kins and --mapping no ground truth is stored.

    {LICENCE}

    Example: savos prepare kins-video-car --raw kitti_raw --masks pointtrack --kins
    instances_train.json --mapping mapping --out data/kins
    """),
}  # fmt: skip


def store(source: Any, options: settings.StoreOptions) -> None:
    """Store the clips of a source that are not finished."""
    from training.data.prepare import is_finished, jobs_of, prepare, run_job, unexpected

    jobs = jobs_of(source, options)
    missing = without_finished(jobs, is_finished)
    if others := unexpected(jobs, options.out):
        names = others if len(others) < 4 else [others[0], "..", others[-1]]
        typer.echo(
            f"{options.out} also holds clips that were not asked for now ({len(others)}: "
            f"{', '.join(names).replace(', .., ', ' .. ')}): training reads them too",
            err=True,
        )
    rows = prepare(missing, options.processes, run_job)
    typer.echo(f"{rows} rows of {len(missing)} clips written to {options.out}")


def add(name: str) -> None:
    """Add one of SOURCES."""

    def run(source: Any, options: settings.StoreOptions) -> None:
        store(source, options)

    kind, run.__doc__ = SOURCES[name]
    command(app, name, kind, settings.StoreOptions)(run)


for _name in SOURCES:
    add(_name)


def without_finished(jobs: list, is_finished: Any) -> list:
    """Return the jobs that are left, and report how many are not."""
    missing = [job for job in jobs if not is_finished(job)]
    if len(missing) < len(jobs):
        typer.echo(f"{len(jobs) - len(missing)} of {len(jobs)} clips are there already")
    return missing


@command(
    app,
    "models",
    RenderOptions,
    Options(AssetOptions, only=("scale", "size", "up")),
    extra="render",
)
def models(options: RenderOptions, assets: AssetOptions) -> None:
    """Render clips of 3D models with exact visible and amodal masks.

    A model's category is the folder it lies in below --assets; models in a folder named scenery
    only occlude. `savos prepare rendered` turns the clips into a store for training.

    Example: savos prepare models --assets cad --scale 0.001 --clips 60 --out clips
    """
    from training.data.prepare import prepare
    from training.render.assets import survey
    from training.render.jobs import allowed_sizes, is_rendered, render_jobs, run_render_job

    assets = dataclasses.replace(assets, allowed=allowed_sizes(options.kind))
    found = survey(options.assets, assets)
    for reason in found.skipped:
        typer.echo(f"skipped: {reason}", err=True)
    typer.echo(f"{len(found.usable)} models are used, {len(found.skipped)} were skipped")
    missing = without_finished(render_jobs(options, found.usable, assets), is_rendered)
    objects = prepare(missing, options.processes, run_render_job)
    typer.echo(f"{objects} objects in {len(missing)} clips written to {options.out}")
