"""The commands of `savos` that make bags: arguments in, printed result out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from savos_ros.cli.bags import Force, Track, clear_errors, given, print_counts, words_of
from training.cli.options import WeightsOption

BagOut = Annotated[Path, typer.Argument(help="Folder of the new bag.")]
Compressed = Annotated[bool, typer.Option("--compressed", help="JPEG instead of raw images.")]
Storage = Annotated[str, typer.Option(help="mcap or sqlite3.")]
Form = Annotated[str, typer.Option("--as", help="Masks as label_image or instance_masks.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for function in (kitti_to_bag, fishbowl_to_bag, masks_to_bag, street_bag):
        app.command()(function)


def kitti_to_bag(
    root: Annotated[
        Path, typer.Argument(help="Folder with training/image_02, or a drive of KITTI raw.")
    ],
    out: BagOut,
    sequence: Annotated[str, typer.Option(help="Sequence such as 0001 (tracking layout).")] = "",
    masks: Annotated[
        str, typer.Option(help="txt, png, tracker or none; txt (none for a raw drive) by default.")
    ] = "",
    mask_path: Annotated[
        Path | None, typer.Option(help="File or folder of the masks, if not at the usual place.")
    ] = None,
    timestamps: Annotated[
        Path | None,
        typer.Option(help="File of times by frame; else the drive's own, or 10 Hz."),
    ] = None,
    form: Form = "",
    compressed: Compressed = False,
    storage: Storage = "mcap",
    force: Force = False,
) -> None:
    """Make a bag from KITTI: tracking and MOTS layout, or a raw drive.

    Masks become a label image; predicted ones (--masks tracker) become instance_masks, since they
    may overlap.
    """
    with clear_errors():
        from savos_ros.bags.from_kitti import kitti_to_bag as convert
        from savos_ros.bags.recording import RecordOptions

        form = form or ("instance_masks" if masks == "tracker" else "label_image")
        options = RecordOptions(form, compressed=compressed, storage=storage, force=force)
        _print_recorded(
            convert(
                root,
                out,
                options,
                sequence=sequence,
                masks=masks,
                mask_path=mask_path,
                timestamps=timestamps,
            )
        )


def fishbowl_to_bag(
    clip: Annotated[Path, typer.Argument(help="A clip: NAME.mp4 next to NAME.json.gz.")],
    out: BagOut,
    compressed: Compressed = False,
    storage: Storage = "mcap",
    force: Force = False,
) -> None:
    """Make a bag from a FISHBOWL clip, with the whole fish on /truth/masks."""
    with clear_errors():
        from savos_ros.bags.from_fishbowl import fishbowl_to_bag as convert
        from savos_ros.bags.recording import RecordOptions

        options = RecordOptions(compressed=compressed, storage=storage, force=force)
        _print_recorded(convert(clip, out, options))


def masks_to_bag(
    out: BagOut,
    images: Annotated[Path, typer.Option(help="Folder of .jpg or .png images.")],
    masks: Annotated[Path, typer.Option(help="Folder of the masks, or their .json file.")],
    mask_format: Annotated[
        str, typer.Option("--format", help="auto, labels, objects, coco or ultralytics.")
    ] = "auto",
    rate: Annotated[float, typer.Option(help="Images per second.")] = 10.0,
    form: Form = "instance_masks",
    track: Track = False,
    weights: WeightsOption = None,
    compressed: Compressed = False,
    storage: Storage = "mcap",
    force: Force = False,
) -> None:
    """Make a bag from images and the tracked masks of another program, as docs/labelling.md says.

    labels: a PNG of ids per image. objects: a folder of PNG files per object (SAM 2). coco: RLE
    with track ids in a JSON file. ultralytics: what `yolo track` writes with save_txt. With --track
    masks need no ids (also what `yolo predict` writes); --weights predict what they are matched by.
    """
    with clear_errors():
        from savos_model.backends.choose import make_backend
        from savos_model.config import BackendConfig
        from savos_ros.bags.from_masks import masks_to_bag as convert
        from savos_ros.bags.recording import RecordOptions

        options = RecordOptions(form, compressed=compressed, storage=storage, force=force)
        backend = make_backend(BackendConfig(**given(weights=weights))) if track else None
        recorded, source = convert(images, masks, out, options, mask_format, rate, backend)
        _print_recorded(recorded)
        typer.echo(f"masks read as {source.form}")
        if any(source.skipped.values()):
            typer.echo(f"left out: {words_of(+source.skipped)}", err=True)


def street_bag(
    out: BagOut,
    seed: Annotated[int | None, typer.Option(help="Number that fixes the whole clip.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of the clip.")] = None,
    rate_hz: Annotated[float | None, typer.Option(help="Frames per second.")] = None,
    width: Annotated[int | None, typer.Option(help="Image columns.")] = None,
    height: Annotated[int | None, typer.Option(help="Image rows.")] = None,
    density: Annotated[float | None, typer.Option(help="Traffic: 0 empty .. 2 crowded.")] = None,
    style: Annotated[str | None, typer.Option(help="any, city, suburb or works.")] = None,
    form: Form = "label_image",
    compressed: Compressed = False,
    storage: Storage = "mcap",
    force: Force = False,
) -> None:
    """Make a bag of a generated street scene, with the whole objects on /truth/masks."""
    with clear_errors():
        from savos_ros.bags.from_street import street_to_bag
        from savos_ros.bags.recording import RecordOptions
        from training.street.config import StreetConfig

        picture = given(width=width, height=height, density=density, style=style)
        config = StreetConfig(**given(seed=seed, frames=frames, rate_hz=rate_hz), **picture)
        options = RecordOptions(form, compressed=compressed, storage=storage, force=force)
        _print_recorded(street_to_bag(config, out, options))


def _print_recorded(recorded: Any) -> None:
    print_counts(str(recorded.path), recorded.counts)
    if recorded.overlap_px:
        text = f"{recorded.overlap_px} mask pixels were covered by other masks in the label images"
        typer.echo(f"{text}: --as instance_masks keeps them", err=True)
