# ruff: noqa: E402  (nothing below imports where matplotlib is absent)
from dataclasses import replace

import numpy as np
import pytest
from failing import fails, refused

pytest.importorskip("matplotlib")

from PIL import Image
from tiny_clip import FRAMES, write_clip
from typer.testing import CliRunner

from savos_model.backends.choose import make_backend
from savos_model.config import BackendConfig, ModelConfig, StreamConfig
from savos_model.network.layers import ALPHA_SCALE
from savos_model.network.weights import save_weights
from savos_model.results import read_results, write_results
from savos_model.stream.record import Record
from savos_model.stream.stream import AmodalStream
from savos_model.stream.video import Online, Setup
from savos_ros.cli.main import app
from tests.model.scenes import crossing
from tests.model.test_backends import random_weights
from training.data.fishbowl import FishbowlClip, FishbowlError
from training.data.store import ClipFrame
from training.report import collect, strips
from training.report.build import build_report
from training.report.figures import MAX_BYTES, drawing
from training.report.strips import Scene, scenes


@pytest.fixture
def setup(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_weights(path, random_weights(ModelConfig(width=0.0625)))
    return Setup(BackendConfig(weights=str(path), backend="onnx", threads=1), mode="bidirectional")


def size_of(path):
    assert path.stat().st_size < MAX_BYTES
    with Image.open(path) as image:
        assert len(image.getcolors(1 << 20)) > 4, f"{path.name} is blank"
        return image.size


def test_shares_are_those_of_the_merged_mask(setup):
    online = Online(setup)
    watcher = collect.Watcher(online.engine, setup.stream, {3: []})
    stream = AmodalStream(online.engine, setup.stream, records=True)
    stream.step(replace(next(iter(crossing(2))), stamp_ns=3 * collect.FRAME_NS))
    item = next(iter(stream.record.tracks.values()))
    values = np.zeros((8, 8, 2), np.float32)
    values[:4, :, 0] = 1  # the upper half is the object
    values[..., 1] = np.where(values[..., 0] > 0, 2.0, -5.0) / ALPHA_SCALE
    back = values.copy()
    back[..., 1] = 0
    box = item.box._replace(x1=item.box.x0 + 8, y1=item.box.y0 + 8)
    item = replace(item, box=box, forward=values)
    watcher.compose_track(Record(stream.record.seen, []), item, back)
    assert watcher.shares[3] == [pytest.approx(1 / (1 + np.exp(-2)))]


def test_trace_takes_h_where_an_object_is_most_hidden(tmp_path, setup):
    write_clip(tmp_path, "one")
    clip = FishbowlClip(tmp_path / "one")
    trace = collect.trace_clip(collect.TraceJob(tmp_path / "one", setup), lambda _: None)
    assert set(trace.types.values()) == {"BigFishA"}
    assert set(trace.shares) <= set(range(FRAMES)) and trace.shares
    rates = {k: collect.occlusion(clip, "1", k) for k in range(FRAMES)}
    best = max((k for k, rate in rates.items() if rate is not None), key=rates.get)
    rate, frame, h = trace.objects["1"]
    assert (rate, frame) == (rates[best], best) and rate > 0.1
    stream = AmodalStream(make_backend(setup.backend), StreamConfig(), records=True)
    for index, given in enumerate(collect.frames_of(clip)):
        stream.step(given)
        if index == frame:
            np.testing.assert_allclose(stream.tracks.get("1").h, h)


def traces(count=8):
    rng = np.random.default_rng(0)
    made = []
    for name in ("a", "b"):
        trace = collect.Trace(name, {"weights": "tiny"})
        for k in range(count):
            kind = ("SmallFishA", "BigFishB")[k % 2]
            trace.types[str(k)] = kind
            h = rng.normal(0, 0.1, 16) + (5 if kind == "BigFishB" else 0)
            trace.objects[str(k)] = (0.3, k, h.astype(np.float32))
        trace.shares[1] += [0.25]
        trace.shares[3] += [0.5, 0.75]
        made.append(trace)
    return made


@pytest.mark.timeout(400)  # loading scikit-learn takes minutes on a busy machine
@pytest.mark.slow
def test_alpha_and_tsne_figures_are_those_of_the_traces(tmp_path):
    pytest.importorskip("sklearn")
    alpha = collect.alpha_metrics(traces())
    assert alpha["forward"] == [None, 0.25, None, 0.625]
    assert alpha["backward"] == [None, 0.75, None, 0.375] and alpha["objects"] == [0, 2, 0, 4]
    tsne = collect.tsne_metrics(traces(), 0)
    assert tsne["neighbours"] == {"same_type": 1.0, "by_chance": 0.5}
    assert len(tsne["points"]) == 16 and tsne == collect.tsne_metrics(traces(), 0)
    with refused("data", "bounds"):
        collect.tsne_metrics(traces(4), 0)
    with refused("data"):
        collect.alpha_metrics([collect.Trace("a", {})])
    curve = {
        "clip": "c", "types": ["BigFishB"], "stop": 10, "iterations": [0, 5, 10],
        "loss": [3.0, 2.0, 1.5], "visible_iou": [0.5, 0.6, 0.605], "full": [0.4, 0.5, 0.5],
        "occluded": [None, 0.3, 0.2],
    }  # fmt: skip
    about = {"data": {"clips": ["a", "b"]}}
    for name, metrics in (("alpha", alpha), ("tsne", tsne), ("adapt_curve", curve)):
        write_results(tmp_path / f"{name}.json", {**about, **metrics}, seed=0)
    page = build_report(tmp_path, tmp_path / "out").read_text()
    assert "type for 100% of them; 50% would by chance" in page
    for name in ("alpha", "tsne", "adapt_curve"):
        assert f"]({name}.png)" in page
        assert size_of(tmp_path / "out" / f"{name}.png")[0] == 640


@pytest.mark.slow
def test_large_pictures_are_reduced(tmp_path):
    noise = np.random.default_rng(0).random((400, 640, 3))
    with drawing(tmp_path / "a.png", 6.4, 4.0) as (_, axes):
        axes.imshow(np.kron(noise[::4, ::4], np.ones((4, 4, 1))))
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P" and image.size == (640, 400)


def scene():
    frames = list(crossing(12, speed=4))
    whole = frames[0].instances

    def full(frame):
        return {item.id: (item.box, item.mask) for item in frame.instances}

    assert whole
    return [ClipFrame(f.image, f.instances, full(f)) for f in frames]


@pytest.mark.slow
def test_strip_shows_the_hidden_object(tmp_path, setup):
    found = scenes(None, [], ["0"], [])
    assert [item.set for item in found] == ["gum"]
    (path,) = strips.write_strips(found, setup, tmp_path / "out", tmp_path)
    assert size_of(path)[0] > 600
    (entry,) = read_results(tmp_path / "strips.json")["metrics"]["pictures"]
    assert entry["file"] == path.name and len(entry["frames"]) == strips.ROWS
    assert entry["frames"] == sorted(set(entry["frames"]))
    assert all(0.1 < rate < 0.7 for rate in entry["occlusion"])
    assert max(entry["occluded"]["visible"]) < 0.01 < max(entry["occluded"]["convex"])
    page = build_report(tmp_path, tmp_path / "out").read_text()
    assert f"]({path.name})" in page
    path.unlink()
    assert f"{path.name} is gone" in build_report(tmp_path, tmp_path / "out").read_text()


def test_strip_needs_a_hidden_object_and_named_clips(tmp_path):
    with refused("clips"):
        strips.choose(scene()[:2])
    with refused("--data"):
        scenes(None, ["x"], [], [])
    with fails(FishbowlError, "missing", "x.json.gz"):
        next(iter(scenes(tmp_path, ["x"], [], [])[0].frames()))
    with refused("--gum"):
        scenes(None, [], ["a"], [])
    assert Scene("street", "5", None).name == scenes(None, [], [], ["5"])[0].name


def test_commands(tmp_path):
    done = CliRunner().invoke(
        app, ["report", "--results", str(tmp_path), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0 and (tmp_path / "out" / "README.md").is_file()
    bad = CliRunner().invoke(app, ["report", "collect", "--data", str(tmp_path)])
    assert bad.exit_code == 2 and "holds no FISHBOWL clips" in bad.stderr
    (tmp_path / "strips.json").write_text("{")
    bad = CliRunner().invoke(
        app, ["report", "--results", str(tmp_path), "--out", str(tmp_path / "out")]
    )
    assert bad.exit_code == 2 and "is not JSON" in bad.stderr


@pytest.mark.slow
def test_stream_plot_and_its_caption(tmp_path):
    stages = {"flow": 3.0, "network": 5.0, "total": 9.0}
    rows = [
        {"network": network, "image": image, "tracks": tracks, "messages": messages, "hz": 110.0,
         "other_share": 0.4, "ms": {k: {"p50": v, "p99": v} for k, v in times.items()}}
        for network in ("small", "large")
        for image, tracks, messages, times in (
            ("1242x375", 1, False, stages),
            ("1242x375", 10, False, stages),
            ("640x480", 10, False, stages),
            ("1242x375", 10, True, stages | {"overhead": 2.0}),
        )
    ]  # fmt: skip
    jpeg = {name: {"p50": value} for name, value in (("overhead", 5.5), ("decoder", 3.2))}
    rows.append({**rows[-1], "jpeg": True, "ms": jpeg})
    write_results(tmp_path / "stream_bench.json", {"rows": rows}, seed=0)
    page = build_report(tmp_path, tmp_path / "out").read_text()
    assert "small, 1242x375: 110.0 Hz with 10 tracks, 40% of the time not the network" in page
    assert "With JPEG images of 1242x375 that part is 5.5 ms, OpenCV's decoder alone 3.2" in page
    assert size_of(tmp_path / "out/stream_bench.png") == (1000, 380)


@pytest.mark.slow
def test_soak_plot_and_its_caption(tmp_path):
    samples = [
        {"hours": k / 10, "rss_mb": 200.0 + k, "threads": 20, "handles": 26, "cpu_ms": 6.0,
         "latency_p50_ms": 12.0, "latency_p99_ms": None, "scores": {"iou": None},
         "base": {"iou": 0.7}}
        for k in range(1, 21)
    ]  # fmt: skip
    grown = {"early": 203.5, "late": 219.5, "growth": 0.0786, "limit": 0.02, "flat": False}
    metrics = {
        "options": {"width": 160, "height": 96, "tracks": 3, "adapt": True}, "ended": "interrupted",
        "hours": 2.0, "seconds": 600.0, "sent": 72000, "answered": {"masks": 71998},
        "lost": {"masks": 2}, "unmatched": 0, "samples": samples,
        "node": {"drops": {"queue_full": 1}, "adapt": {"accepted": 3, "rejected": 1}},
        "verdict": {"compared": {"rss_mb": grown}, "flat": False,
                    "against_base": {"recall": 0.9984, "base": 1.0},
                    "against_fresh": {"old_ms": 12.5, "fresh_ms": 12.0, "growth": 0.04,
                                      "low": 0.03, "high": 0.05, "flat": False}},
    }  # fmt: skip
    write_results(tmp_path / "soak.json", metrics, seed=0)
    page = build_report(tmp_path, tmp_path / "out").read_text()
    assert "in 10 min, interrupted: 72,000 sent, 71,998 processed, 2 lost, 0 unmatched" in page
    assert "memory 203.5 to 219.5 MB (+7.9%, NOT FLAT)" in page
    assert "latency 12.50 and 12.00 ms, +4.0% (95 % +3.0% to +5.0%, NOT FLAT)" in page
    assert "input masks 0.9984" in page and "3 accepted, 1 rejected" in page
    assert Image.open(tmp_path / "out" / "soak.png").size == (1200, 340)
