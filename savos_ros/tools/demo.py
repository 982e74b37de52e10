"""The demo: a generated street played to the node over real DDS, shown as pictures and numbers."""

import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from savos_model.files import write_file
from savos_model.progress import progress
from savos_model.types import AmodalObject
from savos_ros.bags.convert import street_to_bag
from savos_ros.bags.reader import BagFrame, BagFrames
from savos_ros.bags.review import (
    PARTS,
    BagScores,
    Row,
    hidden_px,
    keep_best,
    latency_table,
    pictures,
    score_table,
    true_objects,
)
from savos_ros.bags.run import write_json
from savos_ros.bags.settings import RecordOptions
from savos_ros.bags.types import typestore
from savos_ros.bags.video import VideoWriter
from savos_ros.bags.writer import BagWriter
from savos_ros.messages.overlay import draw
from savos_ros.messages.results import amodal_objects
from savos_ros.messages.settings import OverlayConfig
from savos_ros.tools.harness import environment, latencies, run_session
from savos_ros.tools.settings import DemoError, DemoOptions, StreetConfig

MASKS_TYPE = "savos_ros/msg/AmodalMaskArray"
SHEET_ROWS, SHEET_WIDTH, SHEET_GAP, TITLE_PX = 5, 640, 6, 26
COLUMNS = ("camera", "visible masks (input)", "amodal masks (result)", "ground truth")
STAMP_STAGE = "stamp"


@dataclass
class Findings:
    """Results of one pass over the bag."""

    answered: int = 0  # frames with a result
    # Mean IoU by method, "full" and "occluded"
    miou: dict[str, dict[str, float | None]] = field(default_factory=dict)
    scored: int = 0  # object-frames that count for it


def review(bag: Path, results: Mapping[int, bytes], video: Path, sheet: Path) -> Findings:
    """Score results (AmodalMaskArrays by stamp [ns]); draw video and contact sheet."""
    scores, findings = BagScores(), Findings()
    rows: list[Row] = []
    with VideoWriter(video) as movie:
        for item, objects in _answered(bag, results):
            findings.answered += 1
            movie.write(item.frame.stamp_ns, draw(item.frame.image, objects, OverlayConfig()))
            scores.add_frame(item, objects)
            if item.truth is not None:
                keep_best(rows, Row(hidden_px(true_objects(item)), item, objects), SHEET_ROWS)
    if rows:
        write_file(sheet, cv2.imencode(".png", contact_sheet(rows))[1].tobytes())
    for method, row in scores.summary().items():
        findings.miou[method] = {name: row[name] for name in ("full", "occluded")}
        findings.scored = row["n"]
    return findings


def _answered(
    bag: Path, results: Mapping[int, bytes]
) -> Iterator[tuple[BagFrame, list[AmodalObject]]]:
    """Pair the frames of the bag with the results of the same stamp."""
    with BagFrames(bag) as frames:
        for item in progress(frames, "drawing and scoring", frames.expected):
            data = results.get(item.frame.stamp_ns)
            if data is not None:
                message = typestore().deserialize_cdr(data, MASKS_TYPE)
                yield item, amodal_objects(message)


def contact_sheet(rows: list[Row]) -> np.ndarray:
    """Draw camera, visible masks, result and truth side by side, one line per frame (BGR)."""
    bar = np.full((TITLE_PX, SHEET_WIDTH + SHEET_GAP, 3), 255, np.uint8)
    at, font = (4, TITLE_PX - 8), cv2.FONT_HERSHEY_SIMPLEX
    lines = [
        [cv2.putText(bar.copy(), t, at, font, 0.55, (0, 0, 0), 1, cv2.LINE_AA) for t in COLUMNS]
    ]
    for row in sorted(rows, key=lambda r: r.item.frame.stamp_ns):
        lines.append([_framed(picture) for picture in pictures(row)])
    sheet = np.vstack([np.hstack(line) for line in lines])
    return np.pad(sheet, ((0, 0), (SHEET_GAP, 0), (0, 0)), constant_values=255)


def _framed(picture: np.ndarray) -> np.ndarray:
    height = round(picture.shape[0] * SHEET_WIDTH / picture.shape[1])
    small = cv2.resize(picture, (SHEET_WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.pad(small, ((0, SHEET_GAP), (0, SHEET_GAP), (0, 0)), constant_values=255)


def summary(sent: int, findings: Findings, values: Mapping[str, str]) -> dict:
    """Return the contents of summary.json."""
    stages = latencies(values)
    whole = stages.pop(STAMP_STAGE, dict.fromkeys(PARTS))
    return {
        "frames_in": sent,
        "frames_out": findings.answered,
        "dropped": sent - findings.answered,
        "latency_ms": {**whole, "stages": stages},
        "miou": findings.miou,
    }


def report_table(result: dict, findings: Findings, values: Mapping[str, str]) -> str:
    """Return the tables of a summary as text."""
    console = Console(record=True, width=88, file=io.StringIO())
    engine = f"weights {values.get('weights', '?')}, engine {values.get('backend', '?')}"
    console.print(
        f"frames: {result['frames_in']} in, {result['frames_out']} out, "
        f"{result['dropped']} dropped; {engine}"
    )
    lost = {key: value for key, value in values.items() if key.startswith("drops.")}
    if lost:
        console.print(", ".join(f"{key} = {value}" for key, value in lost.items()))
    whole = {part: result["latency_ms"][part] for part in PARTS}
    stages = {"image stamp to masks": whole, **result["latency_ms"]["stages"]}
    console.print(latency_table("latency in ms", stages))
    console.print(score_table(result["miou"], findings.scored))
    return console.export_text()


def record_results(bag: Path, results: Mapping[int, bytes]) -> None:
    """Write the results into a bag, under the stamps of the bag that was played."""
    topic = "/savos/masks"
    with BagWriter(bag, force=True) as writer:
        writer.add_topic(topic, "savos_ros/AmodalMaskArray")
        for stamp in sorted(results):
            writer.write(topic, stamp, typestore().deserialize_cdr(results[stamp], MASKS_TYPE))


STREET_BAG, RESULT_BAG = "street", "result"
OVERLAY, SHEET = "overlay.mp4", "contact_sheet.png"
TABLE, SUMMARY, LOG = "table.txt", "summary.json", "node.log"


def run_demo(out: Path, options: DemoOptions) -> dict:
    """Make a street bag, play it to the node, and print the summary.

    Leaves street/ (the bag), result/ (a bag of what came out), overlay.mp4, contact_sheet.png,
    table.txt, summary.json and node.log in `out`, in place of those of an earlier demo. Returns the
    summary: frames_in, frames_out, dropped, latency_ms {p50, p95, p99, stages}, miou {ours,
    visible, convex} each {full, occluded}.

    Raises DemoError: something failed, or no frame has a result; BagError: the folder holds
    something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    # An old summary must not outlive a run that fails.
    for name in (OVERLAY, SHEET, TABLE, SUMMARY, LOG):
        (out / name).unlink(missing_ok=True)
    os.environ.update(environment())

    config = StreetConfig(seed=options.seed, frames=options.frames)
    street_to_bag(config, out / STREET_BAG, RecordOptions(force=True))

    print("playing it to the node, at 10 Hz over DDS ...", flush=True)
    session = run_session(out / STREET_BAG, out / LOG, options.parameters)
    record_results(out / RESULT_BAG, session.results)

    findings = review(out / STREET_BAG, session.results, out / OVERLAY, out / SHEET)
    result = summary(session.sent, findings, session.values)
    text = report_table(result, findings, session.values)
    write_file(out / TABLE, text)
    write_json(out / SUMMARY, result)
    print(text, end="")
    if not findings.answered:
        raise DemoError(f"no result fits a frame of the bag: see {out / LOG}")
    print(f"\nlook at {out / OVERLAY} and {out / SHEET}; the numbers are in {out / SUMMARY}")
    return result
