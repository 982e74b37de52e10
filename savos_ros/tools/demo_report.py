"""What a run of the demo leaves behind: scores, a video, a contact sheet and a table."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from savos_model.files import write_file
from savos_model.tables import columned, number
from savos_model.types import AmodalObject
from savos_ros.bags.progress import progress
from savos_ros.bags.reader import BagFrame, BagFrames
from savos_ros.bags.scoring import BagScores, score_table
from savos_ros.bags.strips import Row, hidden_px, keep_best, pictures
from savos_ros.bags.types import typestore
from savos_ros.bags.video import VideoWriter
from savos_ros.bags.writer import BagWriter
from savos_ros.messages.overlay import draw
from savos_ros.messages.results import amodal_objects, whole_objects
from savos_ros.messages.settings import OverlayConfig
from savos_ros.tools.harness import latencies

MASKS_TYPE = "savos_ros/msg/AmodalMaskArray"
PARTS = ("p50", "p95", "p99")
SHEET_ROWS, SHEET_WIDTH, SHEET_GAP, TITLE_PX = 5, 640, 6, 26
COLUMNS = ("camera", "visible masks (input)", "amodal masks (result)", "truth")
STAMP_STAGE = "stamp"


@dataclass
class Findings:
    """What was found in one pass over the bag.

    Attributes:
        answered: frames with a result.
        miou: mean IoU by method, "full" and "occluded".
        scored: object-frames that count for it.
    """

    answered: int = 0
    miou: dict[str, dict[str, float | None]] = field(default_factory=dict)
    scored: int = 0


def review(bag: Path, results: Mapping[int, bytes], video: Path, sheet: Path) -> Findings:
    """Score the results, and draw video and contact sheet.

    Args:
        bag: the bag that was played; its /truth/masks are the truth.
        results: serialized AmodalMaskArray by stamp [ns].
        video: MP4 file to write.
        sheet: PNG file to write.
    """
    scores, findings = BagScores(), Findings()
    rows: list[Row] = []
    with VideoWriter(video) as movie:
        for item, objects in _answered(bag, results):
            findings.answered += 1
            movie.write(item.frame.stamp_ns, draw(item.frame.image, objects, OverlayConfig()))
            if item.truth is None:
                continue
            shape = item.frame.image.shape[:2]
            scores.add(objects, item.frame.instances, item.truth, shape)
            keep_best(rows, Row(_truth_hidden_px(item), item, objects), SHEET_ROWS)
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


def _truth_hidden_px(item: BagFrame) -> int:
    """Pixels of the truth that the tracked masks of the same ids do not show."""
    tracked = {instance.id for instance in item.frame.instances}
    whole = whole_objects(item.truth or [], item.frame.instances)
    return hidden_px([found for found in whole if found.id in tracked])


def contact_sheet(rows: list[Row]) -> np.ndarray:
    """Draw camera, visible masks, result and truth side by side, one line per frame (BGR)."""
    lines = []
    for row in sorted(rows, key=lambda r: r.item.frame.stamp_ns):
        lines.append(np.hstack([_framed(picture) for picture in pictures(row)]))
    sheet = np.vstack([_titles(), *lines])
    return np.pad(sheet, ((0, 0), (SHEET_GAP, 0), (0, 0)), constant_values=255)


def _framed(picture: np.ndarray) -> np.ndarray:
    height = round(picture.shape[0] * SHEET_WIDTH / picture.shape[1])
    small = cv2.resize(picture, (SHEET_WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.pad(small, ((0, SHEET_GAP), (0, SHEET_GAP), (0, 0)), constant_values=255)


def _titles() -> np.ndarray:
    bar = np.full((TITLE_PX, (SHEET_WIDTH + SHEET_GAP) * len(COLUMNS), 3), 255, np.uint8)
    for index, title in enumerate(COLUMNS):
        at = (index * (SHEET_WIDTH + SHEET_GAP) + 4, TITLE_PX - 8)
        cv2.putText(bar, title, at, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return bar


def summary(sent: int, findings: Findings, values: Mapping[str, str]) -> dict:
    """Return the contents of summary.json.

    Args:
        sent: frames published to the node.
        findings: of `review`.
        values: last diagnostics of the node.
    """
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
    rows = [(name, *(number(row[part], 1) for part in PARTS)) for name, row in stages.items()]
    console.print(columned("latency in ms", "stage", *PARTS, rows=rows))
    console.print(score_table(result["miou"], findings.scored))
    return console.export_text()


def record_results(bag: Path, results: Mapping[int, bytes]) -> None:
    """Write the results into a bag, under the stamps of the bag that was played."""
    topic = "/savos/masks"
    with BagWriter(bag, force=True) as writer:
        writer.add_topic(topic, "savos_ros/AmodalMaskArray")
        for stamp in sorted(results):
            writer.write(topic, stamp, typestore().deserialize_cdr(results[stamp], MASKS_TYPE))
