import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.node.rig import HEIGHT, WIDTH, Rig, wait_for

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("savos_model/**/*.md")])
LINK = re.compile(r"(?<!`)!?\[[^]\[]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```", re.S | re.M)
FOLDERS = ("savos_model", "savos_ros", "training", "scripts", "launch", "tests")
SOURCES = [path.as_posix() for folder in FOLDERS for path in (ROOT / folder).glob("**/*.py")]
SOURCE = re.compile(r"`(?:(?:savos_model|savos_ros|training|scripts)/)?([\w/]+/\w+\.py)\b[^`]*`")


def slug(heading: str) -> str:
    """Anchor that GitHub gives a heading."""
    text = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower())
    return text.strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match("[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            text = CODE.sub("", target.read_text(encoding="utf-8"))
            headings = re.findall(r"^#+ (.*)$", text, re.M)
            assert anchor in map(slug, headings), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sources_that_a_page_names_exist(page):
    for name in SOURCE.findall(page.read_text(encoding="utf-8")):
        assert any(f"/{source}".endswith(f"/{name}") for source in SOURCES), name


def pages_of(tree):
    for item in tree:
        for value in item.values() if isinstance(item, dict) else [item]:
            yield from pages_of(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_site():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    docs = ROOT / "docs"
    there = {str(path.relative_to(docs)) for path in docs.glob("**/*.md")}
    assert there <= set(pages_of(site["nav"])), "name the page under nav in mkdocs.yml"


def blocks(name: str) -> list[str]:
    """The Python examples of a page."""
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)


def test_the_example_tracker_feeds_the_node(tmp_path):
    script = tmp_path / "label_publisher.py"
    script.write_text(blocks("your_tracker.md")[0])
    topics = {"image": "/camera/image_raw", "instances": "/tracker/labels"}
    remaps = [part for a, b in topics.items() for part in ("-r", f"{a}:={b}")]
    rig = Rig(arguments=["--ros-args", *remaps])
    tracker = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "ROS_DOMAIN_ID": str(rig.number)},
        stderr=subprocess.PIPE,
    )
    try:
        rig.activate()
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[5:25, 10:30, 0], picture[10:40, 40:70, 2] = 200, 200
        sender = rig.publisher(type(rig.image(0)), "image")
        wait_for(lambda: sender.get_subscription_count() == 2, what="the example listens")
        until, index = time.monotonic() + 20, 0
        while not rig.masks and time.monotonic() < until:
            assert tracker.poll() is None, tracker.stderr.read().decode()[-1000:]
            sender.publish(rig.image(index, picture, "rgb8"))
            index += 1
            time.sleep(0.1)
        answer = rig.masks[0]
        assert {item.id: item.mask.data.tobytes().count(255) for item in answer.masks} == {
            "1": 20 * 20,
            "2": 30 * 30,
        }
        read: dict = {}
        exec(blocks("first_steps.md")[0], read)  # the example that reads what comes out
        inside = read["whole_mask"](answer.masks[0], answer.height, answer.width)
        assert inside.shape == (HEIGHT, WIDTH) and inside.sum() == 400 and inside[5:25, 10:30].all()
    finally:
        tracker.kill()
        tracker.communicate(timeout=10)
        rig.close()
