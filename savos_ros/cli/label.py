"""The command `savos label`: arguments in, a table of the bags out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from savos_ros.cli.bags import SyncSlop, Track, clear_errors, given
from training.cli.options import ProcessesOption, WeightsOption


def label(
    bags: Annotated[list[Path], typer.Argument(metavar="BAG...", help="Folders or files.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("labels"),
    ray: Annotated[
        str, typer.Option(help="Ray cluster that does the work: HOST:PORT, auto or local.")
    ] = "",
    processes: ProcessesOption = 1,
    adapt: Annotated[bool, typer.Option(help="Adapt the weights to each bag.")] = True,
    weights: WeightsOption = None,
    backend: Annotated[
        str | None, typer.Option(help="auto, onnx, openvino, tensorrt or torch.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of a bag.")] = None,
    memory_mb: Annotated[
        int | None, typer.Option(help="Of the images of a bag that wait [MiB].")
    ] = None,
    image: Annotated[str, typer.Option(help="Image topic, if not a usual one.")] = "",
    instances: Annotated[str, typer.Option(help="Topic of the masks, if not a usual one.")] = "",
    truth: Annotated[str, typer.Option(help="Topic of whole objects, if not a usual one.")] = "",
    sync_slop: SyncSlop = 0.0,
    track: Track = False,
) -> None:
    """Label bags with whole objects at the best offline quality; finished bags are kept.

    Each frame by all frames of its bag, before and after, with weights adapted to the bag. Leaves
    OUT/BAG/labels.json (COCO, with amodal and visible RLE), result/ and summary.json.
    """
    with clear_errors():
        from savos_model.config import BackendConfig, SiteConfig
        from savos_ros.bags.fleet import label_bags
        from savos_ros.bags.label import LabelOptions
        from savos_ros.bags.reader import Topics
        from savos_ros.messages.settings import InputConfig

        engine = given(weights=weights, backend=backend, device=device, threads=threads)
        options = LabelOptions(
            BackendConfig(**engine),
            input=InputConfig(sync_slop_s=sync_slop, track=track),
            topics=Topics(image, instances, truth),
            iterations=SiteConfig().max_iterations if adapt else 0,
            **given(memory_mb=memory_mb),
        )
        results = label_bags(bags, out, options, processes=processes, ray=ray)
    raise typer.Exit(_print(results, out))


def _print(results: list[Any], out: Path) -> int:
    """Print what came of each bag; the exit code is 1 when something went wrong."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console, table = Console(), Table("bag", "", title=f"labels in {out}", title_justify="left")
    for name in ("frames", "masks", "seconds"):
        table.add_column(name, justify="right")
    for item in results:
        row = (str(item.frames), str(item.objects), f"{item.seconds:.1f}")
        table.add_row(escape(item.name), item.state, *row)
    console.print(table)
    wrong = [item for item in results if item.text]
    for item in results:
        for text in filter(None, (item.text, item.lost)):
            typer.echo(f"{item.name}: {text}", err=True)
    return 1 if wrong else 0
