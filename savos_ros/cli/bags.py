"""The commands of `savos` that take a bag: arguments in, printed result out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from savos_model.hints import PIP
from savos_ros.bags.stopping import stop_on_signals

BAG_MODULES = ("av", "jinja2", "mcap", "rosbags", "pycocotools", "rich", "PIL", "zstandard")
BagIn = Annotated[Path, typer.Argument(help="Folder of a bag, or its .mcap or .db3 file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is already there.")]
SyncSlop = Annotated[
    float, typer.Option(help="Largest difference of image and mask stamps that are paired [s].")
]

Track = Annotated[
    bool, typer.Option("--track", help="Give ids to masks by association: they need none.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for function in (play, run):
        app.command()(function)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn expected errors into one line and exit status 1."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in BAG_MODULES:
            raise
        _fail(f"{error.name} is not installed: {PIP['bags']}")
    except Exception as error:
        if not isinstance(error, _expected_errors()):
            raise
        _fail(str(error))


def _expected_errors() -> tuple[type[Exception], ...]:
    """Errors whose text helps a user; all others are bugs, which keep their traceback."""
    from savos_model.backends.interface import BackendError
    from savos_model.network.weights import WeightsError
    from savos_model.settings import SettingError
    from savos_ros.bags.types import BagError

    return BagError, SettingError, WeightsError, BackendError, OSError


def _fail(text: str) -> None:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)


def play(
    bag: BagIn,
    rate: Annotated[float, typer.Option(help="Speed, 2 is twice as fast.")] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Start again at the end.")] = False,
    clock: Annotated[bool, typer.Option("--clock", help="Publish bag time on /clock.")] = False,
    topic: Annotated[
        list[str] | None, typer.Option(help="Play this topic only (may be repeated).")
    ] = None,
    remap: Annotated[
        list[str] | None, typer.Option(help="OLD:=NEW, another topic (may be repeated).")
    ] = None,
    wait: Annotated[float, typer.Option(help="Longest wait for subscribers [s].")] = 0.0,
    restamp: Annotated[
        bool, typer.Option("--restamp", help="Move stamps to the present, as of a live camera.")
    ] = False,
    follow: Annotated[
        list[str] | None,
        typer.Option(
            help="Full name of an amodal node (may be repeated): wait until it is active, "
            "then play no faster than it answers."
        ),
    ] = None,
) -> None:
    """Play a bag onto ROS topics at its pace; Ctrl-C ends it."""
    # From before the imports to behind the last line: the launch system sends a second signal.
    with stop_on_signals() as stop, clear_errors():
        from savos_ros.bags.play import PlayOptions, parse_remaps
        from savos_ros.bags.play import play as play_bag

        options = PlayOptions(
            rate,
            loop,
            clock,
            parse_remaps(remap or ()),
            tuple(topic or ()),
            wait,
            restamp=restamp,
            follow=tuple(follow or ()),
        )
        _print_played(play_bag(bag, options, stop))


def _print_played(played: Any) -> None:
    for name, kind in played.skipped.items():
        typer.echo(f"not played: {name}, its type {kind} is not installed", err=True)
    for name in played.replaced:
        typer.echo(f"not played: {name}, --clock gives the time of the bag instead", err=True)
    for name in played.silent:
        typer.echo(f"nobody subscribed to {name} while waiting", err=True)
    if played.unanswered:
        typer.echo(f"{played.unanswered} frames were not answered in time", err=True)
    print_counts("stopped" if played.stopped else "played", played.counts)
    if played.damage:
        _fail(played.damage)


def run(
    bag: BagIn,
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    weights: Annotated[
        str | None, typer.Option(help="Name of shipped weights, or a .safetensors file.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="auto, onnx, openvino, tensorrt or torch.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32; fp16 on a GPU, bf16 on a CPU.")
    ] = None,
    max_frames: Annotated[int, typer.Option(help="Stop after so many; 0 for all.", min=0)] = 0,
    video: Annotated[bool, typer.Option(help="Write the overlay video.")] = True,
    report: Annotated[
        bool, typer.Option("--report", help="Write report.html: frames, tracks, latency, drops.")
    ] = False,
    refine: Annotated[
        bool, typer.Option("--refine", help="Also refine with later frames: /savos/masks_refined.")
    ] = False,
    window: Annotated[int | None, typer.Option(help="Frames of one pass of --refine.")] = None,
    stride: Annotated[int | None, typer.Option(help="Frames that a pass gives out.")] = None,
    image: Annotated[str, typer.Option(help="Image topic, if not a usual one.")] = "",
    instances: Annotated[str, typer.Option(help="Topic of the masks, if not a usual one.")] = "",
    truth: Annotated[str, typer.Option(help="Topic of whole objects, if not a usual one.")] = "",
    sync_slop: SyncSlop = 0.0,
    track: Track = False,
    force: Force = False,
) -> None:
    """Complete the masks of a bag without ROS: result bag, overlay video, scores, summary."""
    with clear_errors():
        from savos_model.config import BackendConfig, RefineConfig
        from savos_ros.bags.reader import Topics
        from savos_ros.bags.report import RunReport
        from savos_ros.bags.run import REPORT, RunOptions, run_bag
        from savos_ros.messages.settings import InputConfig

        engine = given(weights=weights, backend=backend, device=device, precision=precision)
        options = RunOptions(
            BackendConfig(**engine),
            refine=RefineConfig(refine, **given(window=window, stride=stride)),
            input=InputConfig(sync_slop_s=sync_slop, track=track),
            topics=Topics(image, instances, truth),
            max_frames=max_frames,
            video=video,
            force=force,
        )
        page = RunReport() if report else None
        summary = run_bag(bag, out, options, watch=page.watch if page else None)
        if page:
            page.write(out / REPORT, summary)
    _print_run(summary, out)
    for note in summary["notes"]:
        typer.echo(note, err=True)
    for reason, text in summary["examples"].items():
        typer.echo(f"{reason}: {text}", err=True)
    if summary["damage"]:
        _fail(summary["damage"])
    if not summary["frames_out"]:
        _fail("no frames were processed: fix the errors above, or select other topics of the bag")


def messages_text(counts: dict[str, int]) -> str:
    """Say what became of the messages of a topic."""
    return ", ".join(
        (
            f"{counts['index']} messages in the index",
            *(f"{counts[key]} {key}" for key in ("read", "joined", "lost")),
        )
    )


def print_counts(title: str, counts: dict[str, int]) -> None:
    """Print the messages by topic."""
    table = Table(title=title, title_justify="left")
    table.add_column("topic")
    table.add_column("messages", justify="right")
    for topic, count in sorted(counts.items()):
        table.add_row(topic, str(count))
    Console().print(table)


def _print_run(summary: dict, out: Path) -> None:
    from savos_ros.bags.scoring import score_table

    console = Console()
    console.print(
        f"{summary['frames_out']} of {summary['frames_in']} frames processed, "
        f"{summary['masks_in']} masks in, out: {words_of(summary['objects_out'])}"
    )
    for topic, counts in summary["messages"].items():
        console.print(f"{topic}: {messages_text(counts)}", soft_wrap=True)
    for key in ("refused", "masks_skipped", "not_completed", "resets"):
        if summary[key]:
            console.print(f"{key.replace('_', ' ')}: {words_of(summary[key])}")
    table = Table(title=f"time per frame in ms, {summary['model']} on {summary['backend']}")
    for name in ("stage", "p50", "p95", "p99"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage, row in summary["time_ms"].items():
        table.add_row(stage, *(f"{row[name]:.1f}" for name in ("p50", "p95", "p99")))
    console.print(table)
    if summary["miou"]:
        console.print(score_table(summary["miou"]))
    console.print(f"results in {out}")


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given; the others are None."""
    return {name: value for name, value in options.items() if value is not None}


def words_of(counts: dict[str, int]) -> str:
    """Counts in one line."""
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
