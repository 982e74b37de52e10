# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses
import math
import os
import socket
import threading
from multiprocessing.connection import Connection

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from savos_model.adaptation_link import SiteError, Start, file_of, hear, receive, report, send
from savos_model.network.weights import load_weights
from savos_model.types import Box, Frame, Instance
from tests.planted import planted_weights
from tests.tiny_site import CONFIG, MODEL, empty_frames, frames, fresh_weights
from training.adapt import site
from training.adapt.site import Score, Site, clip_of, first_better, joined, keep


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def at(folder, config=CONFIG, base=None, current=None, version=0):
    said = []
    base = base or fresh_weights(temperature="1.5")
    start = Start(base, current or base, version, config, folder)
    made = Site(start, lambda **facts: said.append(facts))
    made.config = dataclasses.replace(made.config, batch=4, checked=8, bf16=False, max_iterations=2)
    return made, said


def decisions(said):
    return [facts for facts in said if "decision" in facts]


@pytest.fixture
def given_scores(monkeypatch):
    """Scores in the order in which they are asked for.

    What a training does to random weights depends on the processor.
    """

    def give(*scores):
        following = iter(scores)
        monkeypatch.setattr(site, "score", lambda *_: next(following))

    return give


BASE, BETTER, BEST, WORSE = (Score(0.5, 0.8), Score(0.4, 0.82), Score(0.3, 0.85), Score(0.6, 0.8))


def test_what_is_better_on_held_out_frames_is_accepted_and_kept(tmp_path, given_scores):
    given_scores(BASE, BETTER)
    it, said = at(tmp_path)
    it.learn(frames(12))
    assert [facts["state"] for facts in said if "state" in facts] == [
        "checking", "adapting", "checking",
    ]  # fmt: skip
    (decision,) = decisions(said)
    assert decision["decision"] == "accepted" and decision["version"] == 1
    assert (decision["loss_before"], decision["loss_after"]) == (0.5, 0.4)
    assert (decision["visible_iou_before"], decision["visible_iou_after"]) == (0.8, 0.82)
    assert "loss 0.5000 -> 0.4000" in decision["reason"]
    kept = load_weights(str(file_of(tmp_path, "fresh+1")))
    assert (kept.name, kept.model, kept.temperature) == ("fresh+1", MODEL, 1.5)
    assert kept.info["adapted_from"] == "fresh"
    for name, array in it.current.arrays.items():
        np.testing.assert_array_equal(kept.arrays[name], array)
    assert any((array != it.start.base.arrays[k]).any() for k, array in kept.arrays.items())

    # The next burst continues from there, and uses the first one again.
    assert len(it.bursts) == 1 and it.current.name == "fresh+1"
    given_scores(BASE, BETTER, BEST)
    it.learn(frames(12, first=12))
    assert len(it.bursts) == 2
    later = decisions(said)[1]
    assert (later["loss_before"], later["loss_after"]) == (0.4, 0.3), "that of the weights in use"
    assert later["version"] == 2 and it.current.info["adapted_from"] == "fresh+1"


def test_what_is_worse_is_rejected(tmp_path, given_scores):
    given_scores(BASE, WORSE)
    it, said = at(tmp_path)
    it.learn(frames(12))
    (decision,) = decisions(said)
    assert decision["decision"] == "rejected" and "worse than the base" in decision["reason"]
    assert it.current is it.start.base and not list(tmp_path.iterdir())


def test_weights_in_use_that_fell_behind_the_base_are_rolled_back(tmp_path, given_scores):
    given_scores(BASE, WORSE, BETTER)
    base = fresh_weights()
    worse = dataclasses.replace(base, name="fresh+4")
    it, said = at(tmp_path, base=base, current=worse, version=4)
    it.learn(frames(12))
    first, second = decisions(said)
    assert first["decision"] == "rolled_back" and "worse than the base" in first["reason"]
    assert second["decision"] == "accepted" and second["version"] == 5
    assert load_weights(str(file_of(tmp_path, "fresh+5"))).info["adapted_from"] == "fresh"


def test_scores_tell_right_weights_from_wrong_ones(tmp_path):
    right, wrong = planted_weights(0.5), planted_weights(-0.5)  # V, and all but V
    held = clip_of(frames(6), right.model)
    config = dataclasses.replace(at(tmp_path)[0].config, length=4)
    good, bad = (site.score(weights, held, config) for weights in (right, wrong))
    assert good.visible_iou > 0.7 and bad.visible_iou < 0.1
    assert good.loss < 0.5 * bad.loss
    assert bad.worse_than(good) and not good.worse_than(bad)
    assert site.score(right, held, config) == good, "the same windows and occluders"


def test_without_a_track_nothing_is_learned(tmp_path):
    it, said = at(tmp_path)
    it.learn(empty_frames(12))
    assert said == [{"decision": "skipped", "reason": "no track is seen for 4 frames"}]


@pytest.mark.parametrize(
    ("score", "other", "worse"),
    [
        (Score(0.5, 0.8), Score(0.5, 0.8), False),
        (Score(0.5, 0.8), Score(0.4999, 0.8), True),
        (Score(0.4, 0.8 - site.SLACK + 1e-6), Score(0.5, 0.8), False),
        (Score(0.4, 0.8 - site.SLACK - 1e-6), Score(0.5, 0.8), True),
        (Score(math.nan, 0.8), Score(0.5, 0.8), True),
        (Score(0.4, math.nan), Score(0.5, 0.8), True),
    ],
)
def test_the_rule(score, other, worse):
    assert score.worse_than(other) is worse
    assert bool(first_better(score, {"the base": other})) is worse


def test_rows_are_of_the_largest_tracks_whatever_the_colours():
    image = np.arange(60 * 99 * 3, dtype=np.uint8).reshape(60, 99, 3)
    items = [
        Instance(str(i), Box(4 * i, 5, 4 * i + 10 + i, 25), np.ones((20, 10 + i), np.uint8))
        for i in range(site.MOST_TRACKS + 2)
    ]
    bgr, rgb = (
        clip_of([Frame(0, pixels, items, order)], MODEL)
        for pixels, order in ((image, "bgr"), (image[..., ::-1], "rgb"))
    )
    assert len(bgr.arrays["boxes"]) == site.MOST_TRACKS
    np.testing.assert_array_equal(bgr.arrays["rgb"], rgb.arrays["rgb"])
    grey = clip_of([Frame(0, image[..., 0], items[:1])], MODEL)
    assert (grey.arrays["rgb"][:, 0] == grey.arrays["rgb"][:, 2]).all()


def test_clips_joined_are_linked_to_nothing_new():
    one, two = (clip_of(frames(6, first), MODEL) for first in (0, 6))
    both = joined([one, two])
    assert len(both.arrays["boxes"]) == len(one.arrays["boxes"]) + len(two.arrays["boxes"])
    assert len(both.windows(4)) == len(one.windows(4)) + len(two.windows(4)) > 0


def test_clips_without_rows_are_joined_to_others():
    empty = clip_of(empty_frames(4), MODEL)
    one = clip_of(frames(6), MODEL)
    both = joined([empty, one, empty])
    np.testing.assert_array_equal(both.arrays["rgb"], one.arrays["rgb"])
    assert len(joined([empty, empty]).windows(4)) == 0


def test_only_the_newest_files_are_kept(tmp_path):
    (tmp_path / "left.part").write_bytes(b"of a crash")
    for version in range(site.KEPT + 3):
        weights = dataclasses.replace(fresh_weights(), name=f"a/b+{version}")
        keep(tmp_path, weights)
        os.utime(file_of(tmp_path, weights.name), (version, version))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"a_b+{version}.safetensors" for version in range(3, site.KEPT + 3)]


@pytest.fixture
def pipe():
    ends = [Connection(end.detach()) for end in socket.socketpair()]
    yield ends
    for end in ends:
        end.close()


def test_frames_and_weights_go_through_the_pipe_unchanged(pipe):
    start = Start(fresh_weights(), fresh_weights(), 3, CONFIG, "folder")
    start = dataclasses.replace(start, current=start.base)
    frame = dataclasses.replace(frames(1)[0], order="rgb")
    frame.image.flags.writeable = False
    frame.instances.append(Instance("far", Box(1, 1, 1, 1), np.empty((0, 0), np.uint8)))
    frame = dataclasses.replace(frame, flow=np.zeros((*frame.image.shape[:2], 2), np.float32))
    sender = threading.Thread(target=lambda: [send(pipe[0], x) for x in (start, frame, None)])
    sender.start()
    got, seen, broken = (receive(pipe[1]) for _ in range(3))
    sender.join()
    assert got.base is got.current and (got.version, got.config) == (3, CONFIG)
    assert (got.base.model, got.base.info) == (start.base.model, start.base.info)
    np.testing.assert_array_equal(
        got.base.arrays["lstm.bias_ih_l0"], start.base.arrays["lstm.bias_ih_l0"]
    )
    np.testing.assert_array_equal(seen.image, frame.image)
    assert (seen.order, seen.stamp_ns, broken) == ("rgb", 0, None)
    assert seen.image.flags.writeable and seen.flow is None
    for mine, theirs in zip(frame.instances, seen.instances, strict=True):
        assert (mine.id, mine.box) == (theirs.id, theirs.box)
        np.testing.assert_array_equal(mine.mask, theirs.mask)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04garbage",
        b"[1, 2]",
        b'{"state": "dancing"}',
        b'{"state": ["collecting"]}',
        b'{"version": "3"}',
        b'{"magic": 1}',
        b'{"loss_before": 1}',
    ],
)
def test_only_known_facts_are_heard(pipe, data):
    pipe[0].send_bytes(data)
    with pytest.raises(SiteError):
        hear(pipe[1])
    report(pipe[0], state="adapting", iterations=3, loss_after=math.nan)
    if not pipe[1].closed:
        facts = hear(pipe[1])
        assert facts["iterations"] == 3 and math.isnan(facts["loss_after"])


@pytest.mark.parametrize(
    "head",
    [
        b"\x80\x04garbage",
        b"[]",
        b"[" * 100_000,
        b'{"arrays": [["|O", [1]]]}',
        b'{"arrays": [["|u1", [-1]]]}',
        b'{"arrays": [["|u1", [%d]]]}' % (1 << 40),
        b'{"arrays": [], "frame": {"stamp_ns": 0, "order": "bgr", "instances": []}}',
        b'{"arrays": [], "start": {"weights": [["a", {}, ["x"], {}]], "version": 0, "config": {}, '
        b'"folder": ""}}',
        b'{"arrays": [], "start": {"code": "exit()"}}',
    ],
)
def test_only_frames_and_weights_are_received(pipe, head):
    pipe[0].send_bytes(head)
    with pytest.raises(SiteError):
        receive(pipe[1])


def test_what_is_too_long_is_not_read(pipe):
    threading.Thread(target=lambda: pipe[0].send_bytes(b"x" * 20_000), daemon=True).start()
    with pytest.raises(OSError, match="bad message length"):
        hear(pipe[1])
