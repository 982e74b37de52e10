import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import tiny_scene as scene

from savos_model.types import Frame, Instance
from savos_ros.bags.reader import BagFrame
from savos_ros.bags.recording import record
from savos_ros.bags.report import MOST_POINTS, RunReport, course, histogram
from savos_ros.bags.run import run_bag
from savos_ros.bags.settings import RecordOptions, RunOptions

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Checks that every element is closed; keeps addresses, and the text by tag."""

    def __init__(self, text):
        super().__init__()
        self.open, self.addresses, self.texts = [], [], {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.addresses += [v for k, v in attributes if k in ("src", "href") and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    record(scene.frames(25), 25, folder / "bag", RecordOptions(truth=True))
    gathered = RunReport()
    options = RunOptions(video=False)
    summary = run_bag(
        folder / "bag", folder / "out", options, scene.EchoBackend(), watch=gathered.watch
    )
    summary["refused"] = {"mask_empty": 3}
    summary["examples"] = {"mask_empty": "mask has no pixel <b>"}
    return gathered.page(summary), summary, gathered


def test_page_needs_no_other_file_and_is_well_formed(report):
    text, summary, gathered = report
    page = Page(text)
    assert page.addresses and all(a.startswith("data:image/jpeg;base64,") for a in page.addresses)
    assert not re.search(r"https?://|@import|url\(|<script", text)
    assert len(page.addresses) == 3 * len(gathered.rows)  # visible, amodal, truth
    picture = base64.b64decode(page.addresses[0].partition(",")[2])
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), 1).shape[:2] == scene.SHAPE


def test_numbers_are_those_of_the_run(report):
    text, summary, gathered = report
    page = Page(text)
    assert summary["bag"] in page.texts["h1"]
    assert "25" in page.texts["strong"] and " of 25" in " " + " ".join(page.texts["small"])
    assert f"{summary['miou']['ours']['full']:.3f}" in page.texts["span"]
    assert {"2001 · class 2"} <= set(page.texts["h3"])
    assert len(gathered.times_ms["network"]) == 25
    assert "mask has no pixel <b>" in page.texts["small"], "escaped, and shown as it is"
    counts = [int(n) for n in re.findall(r"ms: (\d+) frames", text)]
    assert sum(counts) == 6 * 25  # every frame once in the histogram of each stage


def test_names_from_outside_cannot_write_into_the_page():
    evil = '"><script>alert(1)</script>'
    gathered = RunReport()
    mask = np.ones((8, 8), np.uint8)
    thing = Instance(evil, type(scene.frame(0).instances[0].box)(0, 0, 8, 8), mask, evil)
    item = BagFrame(Frame(5, np.zeros((32, 32, 3), np.uint8), [thing]), evil, None)
    from savos_ros.messages.results import whole_objects

    (whole,) = whole_objects([thing])
    gathered.watch("/savos/masks", item, [whole], {})
    empty = dict.fromkeys(("refused", "masks_skipped", "not_completed", "resets", "examples"), {})
    summary = empty | {
        "bag": evil, "model": evil, "backend": evil, "topics": {"image": evil},
        "frames_in": 1, "masks_in": 1, "frames_out": 1, "objects_out": {"visible": 1},
        "time_ms": {}, "miou": None, "damage": evil,
        "messages": {evil: dict.fromkeys(("index", "read", "joined", "lost"), 1)},
    }  # fmt: skip
    text = gathered.page(summary)
    assert "<script" not in text
    Page(text)


def test_histogram_holds_every_value_once():
    values = [0.5] * 7 + [9.5] * 3
    bars, top = histogram(values, bins=10)
    assert top == pytest.approx(9.5)
    assert [bar.count for bar in bars] == [7, 3]
    assert [bar.height for bar in bars] == pytest.approx([100, 300 / 7])
    assert [bar.index for bar in bars] == [0, 9]
    assert [bar.low for bar in bars] == pytest.approx([0.0, 8.55])


def test_line_breaks_where_a_track_was_gone_and_long_runs_stay_small():
    paths = course([0, 1, 4], [1.0, 0.5, 0.0], 10)
    assert paths == ["M0 0.0 1 50.0 2 50.0", "M4 100.0 5 100.0"]
    assert course([4], [0.0], 10, filled=True) == ["M4 100.0 4 100.0 5 100.0 5 100.0"]
    assert course([], [], 10) == []
    (long,) = course(range(100_000), np.linspace(0, 1, 100_000), 100_000)
    assert long.count(" ") <= 2 * MOST_POINTS + 10
