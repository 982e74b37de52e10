"""The commands of `savos` that read or make a bag: options in, printed result out."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import typer

from savos_model.commands import Options, Value, command, option, stop_on_signals
from savos_model.config import BackendConfig, SiteConfig
from savos_model.files import write_file
from savos_model.settings import setting
from savos_ros.bags.settings import (
    BagError,
    KittiSource,
    LabelOptions,
    MaskSource,
    PlayOptions,
    RecordOptions,
    RunOptions,
)
from training.street.config import StreetConfig

BAG = Value("bag", Path, option("folder of a bag, or its .mcap or .db3 file", argument=True))
NEW = Value("out", Path, option("folder of the new bag", argument=True))
CLIP = Value("clip", Path, option("a clip: NAME.mp4 next to NAME.json.gz", argument=True))
OUT = Value("out", Path, option("folder of the results"))
REPORT = Value("report", bool, setting(False, "write report.html: frames, tracks, latency, drops"))


@dataclass(frozen=True)
class LabelFiles:
    """Bags to label, and by which machines."""

    bags: tuple[Path, ...] = option("folders or files", argument=True)
    out: Path = option("folder of the results", Path("labels"))
    ray: str = option("Ray cluster that does the work: HOST:PORT, auto or local", "")
    processes: int = setting(1, "worker processes", minimum=1)
    adapt: bool = setting(True, "adapt the weights to each bag")


@dataclass(frozen=True)
class TrackOptions:
    """Ids of masks that have none."""

    track: bool = setting(False, "assign IDs to the masks by association")
    weights: str = setting(
        BackendConfig().weights, "weights whose predictions --track matches masks with"
    )


app = typer.Typer()  # its commands become those of `savos` itself
bag_command = partial(command, app, status=1, extra="bags")

RECORD = Options(RecordOptions, names={"form": "as_"})
PLAIN_RECORD = Options(RecordOptions, only=("compressed", "storage", "force"))
PICTURE = ("seed", "frames", "rate_hz", "width", "height", "density", "style")
PLAY_NAMES = {"topics": "topic", "remaps": "remap", "wait_s": "wait"}
MASK_NAMES = {"form": "format", "rate_hz": "rate"}


@bag_command("kitti-to-bag", KittiSource, NEW, RECORD)
def kitti_to_bag(source: KittiSource, out: Path, options: RecordOptions) -> None:
    """Convert KITTI to a bag: tracking and MOTS layout, or a raw drive.

    Masks are stored as a label image; predicted ones (--masks tracker), which may overlap, as
    instance_masks.
    """
    from savos_ros.bags import convert

    _print_recorded(convert.kitti_to_bag(source, out, options))


@bag_command("fishbowl-to-bag", CLIP, NEW, PLAIN_RECORD)
def fishbowl_to_bag(clip: Path, out: Path, options: RecordOptions) -> None:
    """Convert a FISHBOWL clip to a bag, with amodal ground truth on /truth/masks."""
    from savos_ros.bags import convert

    _print_recorded(convert.fishbowl_to_bag(clip, out, options))


@bag_command("masks-to-bag", NEW, Options(MaskSource, names=MASK_NAMES), TrackOptions, RECORD)
def masks_to_bag(out: Path, source: MaskSource, ids: TrackOptions, options: RecordOptions) -> None:
    """Make a bag from images and the masks of another program (see docs/labelling.md).

    labels: a PNG of IDs per image. objects: a folder of PNG files per object (SAM 2). coco: RLE
    with track IDs in a JSON file. ultralytics: output of `yolo track` with save_txt. With --track,
    masks need no IDs, so the output of `yolo predict` can be used, too.
    """
    from savos_model.backends.choose import make_backend
    from savos_ros.bags import convert

    backend = make_backend(BackendConfig(ids.weights)) if ids.track else None
    recorded, masks = convert.masks_to_bag(source, out, options, backend)
    _print_recorded(recorded)
    typer.echo(f"masks read as {masks.form}")
    if any(masks.skipped.values()):
        typer.echo(f"left out: {_words(+masks.skipped)}", err=True)


@bag_command("street-bag", NEW, Options(StreetConfig, PICTURE), RECORD)
def street_bag(out: Path, config: StreetConfig, options: RecordOptions) -> None:
    """Make a bag of a generated street scene, with amodal ground truth on /truth/masks."""
    from savos_ros.bags import convert

    _print_recorded(convert.street_to_bag(config, out, options))


def _print_recorded(recorded: Any) -> None:
    _print_counts(str(recorded.path), recorded.counts)
    if recorded.overlap_px:
        text = f"{recorded.overlap_px} mask pixels were covered by other masks in the label images"
        typer.echo(f"{text}: --as instance_masks keeps them", err=True)


@bag_command("play", BAG, Options(PlayOptions, names=PLAY_NAMES))
def play(bag: Path, options: PlayOptions) -> None:
    """Publish a bag on ROS topics at its recorded pace; stop with Ctrl-C."""
    # From before the imports to behind the last line: the launch system sends a second signal.
    with stop_on_signals() as stop:
        from savos_ros.bags.play import play as play_bag

        played = play_bag(bag, options, stop)
        for name, kind in played.skipped.items():
            typer.echo(f"not played: {name}, its type {kind} is not installed", err=True)
        for name in played.replaced:
            typer.echo(f"not played: {name}, --clock gives the time of the bag instead", err=True)
        for name in played.silent:
            typer.echo(f"no node subscribed to {name} while waiting", err=True)
        if played.unanswered:
            typer.echo(f"{played.unanswered} frames were not answered in time", err=True)
        _print_counts("stopped" if played.stopped else "played", played.counts)
        if played.damage:
            raise BagError(played.damage)


@bag_command("run", BAG, OUT, REPORT, RunOptions)
def run(bag: Path, out: Path, report: bool, options: RunOptions) -> None:
    """Complete the masks of a bag without ROS: result bag, overlay video, scores, summary."""
    from savos_ros.bags import report as reports
    from savos_ros.bags import run as runs

    page = reports.RunReport() if report else None
    summary = runs.run_bag(bag, out, options, watch=page.watch if page else None)
    if page:
        write_file(out / runs.REPORT, page.page(summary))
    _print_run(summary, out)
    for note in summary["notes"]:
        typer.echo(note, err=True)
    for reason, text in summary["examples"].items():
        typer.echo(f"{reason}: {text}", err=True)
    if summary["damage"]:
        raise BagError(summary["damage"])
    if not summary["frames_out"]:
        raise BagError(
            "no frames were processed: fix the errors above, or select other topics of the bag"
        )


def _print_run(summary: dict, out: Path) -> None:
    from rich.console import Console

    from savos_ros.bags.review import latency_table, score_table

    console = Console()
    console.print(
        f"{summary['frames_out']} of {summary['frames_in']} frames processed, "
        f"{summary['masks_in']} masks in, out: {_words(summary['objects_out'])}"
    )
    for topic, counts in summary["messages"].items():
        others = ", ".join(f"{counts[key]} {key}" for key in ("read", "joined", "lost"))
        console.print(f"{topic}: {counts['index']} messages in the index, {others}", soft_wrap=True)
    for key in ("refused", "masks_skipped", "not_completed", "resets"):
        if summary[key]:
            console.print(f"{key.replace('_', ' ')}: {_words(summary[key])}")
    title = f"time per frame in ms, {summary['model']} on {summary['backend']}"
    console.print(latency_table(title, summary["time_ms"]))
    if summary["miou"]:
        objects = next(iter(summary["miou"].values()))["n"]
        console.print(score_table(summary["miou"], objects, digits=2))
    console.print(f"results in {out}")


def _print_counts(title: str, counts: dict[str, int]) -> None:
    from rich.console import Console

    from savos_model.tables import columned

    rows = [(topic, str(count)) for topic, count in sorted(counts.items())]
    Console().print(columned(title, "topic", "messages", rows=rows))


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"


@bag_command("label", LabelFiles, LabelOptions)
def label(files: LabelFiles, options: LabelOptions) -> bool:
    """Label bags with amodal masks at the highest offline quality; finished bags are skipped.

    Each frame is completed using all frames of its bag, with weights adapted to the bag. Writes
    OUT/BAG/labels.json (COCO, with amodal and visible RLE), result/ and summary.json.
    """
    from rich.console import Console
    from rich.markup import escape

    from savos_model.tables import columned
    from savos_ros.bags.fleet import label_bags

    if files.adapt:
        options = dataclasses.replace(options, iterations=SiteConfig().max_iterations)
    results = label_bags(files.bags, files.out, options, processes=files.processes, ray=files.ray)
    rows = [
        (escape(item.name), item.state, str(item.frames), str(item.objects), f"{item.seconds:.1f}")
        for item in results
    ]
    heads = ("bag", "", "frames", "masks", "seconds")
    Console().print(columned(f"labels in {files.out}", *heads, names=2, rows=rows))
    for item in results:
        for text in filter(None, (item.text, item.lost)):
            typer.echo(f"{item.name}: {text}", err=True)
    return any(item.text for item in results)
