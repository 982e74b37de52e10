# ruff: noqa: E402  (nothing below imports where torch is absent)
import io
import os

import numpy as np
import pytest

from tests.failing import refused

torch = pytest.importorskip("torch")
pytest.importorskip("pycocotools")

from rich.console import Console
from typer.testing import CliRunner

from savos_model.network.released.geometry import Clip, Estimate
from savos_model.results import read_results
from savos_ros.cli.main import app
from tests.model.released import reference_arrays, reference_clip, reference_net, reference_tensor
from training.bench import train as bench
from training.bench.released_design import Batch, colour_loss, read_batch, released_loss
from training.bench.scene import clip_frames, make_scene, write_raw
from training.bench.settings import BenchTrainConfig
from training.bench.variants import (
    MIB,
    PAPER,
    VARIANTS,
    count_gflop,
    make_batch,
    measure,
    memory_now,
    memory_peak,
)
from training.data.store import store_clip

CONFIG = BenchTrainConfig(rounds=3, tracks=2, frames=3, seconds=0.0)
SIZE = (160, 240)


@pytest.fixture(scope="module")
def scene():
    return make_scene(SIZE, CONFIG.tracks, CONFIG.frames, seed=1)


@pytest.fixture(scope="module")
def folder(scene, tmp_path_factory):
    """The scene as both designs read it, under the name of the small image."""
    path = tmp_path_factory.mktemp("bench")
    write_raw(scene, path / "fishbowl" / "raw")
    frames = list(clip_frames(scene))
    for name in bench.OURS:
        model = VARIANTS[name].model
        store_clip(frames, path / "fishbowl" / bench.store_name(model), model.patch)
    return path


def test_scene_moves_as_its_flow_says(scene):
    flow, back = scene.flow(0, 1), scene.flow(1, -1)
    for track in (1, 2):
        masks = [labels == track for labels in scene.labels]
        assert min(mask.sum() for mask in masks) >= 200
        np.testing.assert_array_equal(
            flow[masks[0]], scene.velocity[None, track].repeat(masks[0].sum(), 0)
        )
        np.testing.assert_array_equal(back[masks[1]][0], -scene.velocity[track])
    # The last track is in front, so that nothing hides a part of it.
    centres = [np.argwhere(labels == 2).mean(0)[::-1] for labels in scene.labels]
    moved = centres[-1] - centres[0]
    np.testing.assert_allclose(moved, 2 * scene.velocity[2], atol=1.0)
    with pytest.raises(ValueError, match="^tracks .*20x20.* 2:"):
        make_scene((20, 20), 2, 3, seed=0)


def test_released_loader_gives_the_scene_in_whole_images(scene, folder):
    clip, weight = read_batch(folder / "fishbowl" / "raw")
    assert clip.patches.shape == (2, 3, 8, 64, 128)
    for track in (1, 2):
        own = torch.from_numpy(scene.labels == track)
        assert torch.equal(clip.visible[track - 1], own.float())
        others = torch.from_numpy((scene.labels != track) & (scene.labels != 0))
        assert torch.equal(weight[track - 1], 1 - others.float())
        x0, y0, x1, y1 = (int(v) for v in clip.boxes[track - 1, 0])
        assert own[0, y0:y1, x0:x1].sum() == own[0].sum()
        seen = clip.patches[track - 1, 0, 3]
        assert 0.2 < seen.mean() < 0.8
        inside = clip.patches[track - 1, 0, 4:6][:, seen > 0.99].mean(1)
        np.testing.assert_allclose(inside, scene.velocity[track], atol=1e-4)
    np.testing.assert_array_equal(clip.flow[0, 0].permute(1, 2, 0), scene.flow(0, 1))
    np.testing.assert_array_equal(clip.backward_flow[1, 2].permute(1, 2, 0), scene.flow(2, -1))
    np.testing.assert_array_equal(clip.flow[:, 2], clip.flow[:, 1])  # repeated at the end


def test_both_designs_do_equal_work(folder):
    released = make_batch("released_fishbowl", folder, CONFIG)
    ours = make_batch("paper_fp32", folder, CONFIG)
    assert ours.patches.shape[:2] == released.clip.patches.shape[:2] == (2, 3)
    assert ours.patches.shape[-2:] == released.clip.patches.shape[-2:] == PAPER.patch
    assert ours.flow_back is not None
    work = [count_gflop(name, folder, CONFIG) for name in ("released_fishbowl", "paper_fp32")]
    assert work[0] == pytest.approx(work[1], rel=1e-6)
    # 0.59 GFLOP a forward step, about three times that with its gradients, in two directions.
    assert work[0] / CONFIG.object_frames == pytest.approx(6 * 0.59, rel=0.05)


def test_released_step_meets_the_released_loss(shared_data):
    reference = reference_arrays(shared_data)
    batch = Batch(reference_clip(reference), reference_tensor(reference, "loss_mask"))
    net = reference_net(reference)
    with torch.inference_mode():
        loss = released_loss(net, batch, colours=False)
        more = released_loss(net, batch, colours=True)
    assert float(loss) == pytest.approx(float(reference["loss_total"]), rel=1e-4)
    assert more > loss


def test_colour_loss_counts_changed_colours_inside_both_masks():
    visible = torch.zeros(1, 3, 80, 140)
    visible[:, :, 30:40, 50:70] = 1
    patches = torch.full((1, 3, 8, 64, 128), 0.25)
    patches[:, 2, :3] += 0.5  # the second of two pairs disagrees
    boxes = torch.tensor([[[10.0, 10.0, 120.0, 70.0]]]).repeat(1, 3, 1)
    still = torch.zeros(1, 3, 2, 80, 140)
    clip = Clip(patches, visible, boxes, still, still)
    loss = colour_loss(clip, Estimate(visible, visible, still))
    assert float(loss) == pytest.approx(0.1 * 0.5 * 3 * 10 * 20 / 2, rel=1e-4)


def test_measures_time_and_memory_of_a_step(folder):
    result = measure("small_bf16", folder, CONFIG)
    assert set(result) == {"wall_s", "cpu_s", "peak_mib", "data_s"}
    assert min(result["wall_s"], result["cpu_s"], result["data_s"]) > 0


def test_batches_of_windows_are_made_as_training_does(folder):
    variant = VARIANTS["short"]
    batch = make_batch("short", folder, CONFIG)
    assert batch.patches.shape[:2] == variant.windows == (128, 2)
    assert variant.object_frames(CONFIG) == 256
    assert VARIANTS["default"].object_frames(CONFIG) == CONFIG.tracks * CONFIG.frames
    again = make_batch("forward", folder, CONFIG)
    assert torch.equal(batch.patches, again.patches)
    assert len(torch.unique(batch.boxes[:, 0, 0])) > 16  # different crops of few objects


def test_peak_remembers_memory_that_was_given_back():
    before = memory_now("cpu")
    taken = torch.ones(256 * MIB // 4)
    del taken
    assert memory_peak("cpu") - before > 250 * MIB


def test_measurements_run_in_processes_of_their_own():
    assert bench.in_fresh_process("x", os.getpid) not in (os.getpid(), None)
    with pytest.raises(ValueError, match="process of x "):
        bench.in_fresh_process("x", os.abort)


def test_report_gives_medians_and_ratios_within_rounds(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "IMAGES", {"fishbowl": SIZE})
    rounds = iter((1.0, 10.0, 4.0))  # the machine's load: ratios within a round do not see it
    state = {"load": 0.0}

    def fake(name, work, *_):
        if work is bench.measure_limit:
            return {"fp32": 50.0, "bf16": 100.0}
        if work is bench.count_gflop:
            return 12.0
        if name == "released_fishbowl":
            state["load"] = next(rounds)
        seconds = state["load"] * (2.4 if name in bench.PEERS else 0.2)
        memory = 900.0 if name in bench.PEERS else 100.0
        return {"wall_s": seconds, "cpu_s": seconds / 2, "peak_mib": memory, "data_s": seconds}

    monkeypatch.setattr(bench, "in_fresh_process", fake)
    metrics = bench.bench_train(CONFIG, tmp_path / "out.json")
    ours = metrics["variants"]["small_bf16"]
    assert ours["wall_s"] == pytest.approx(0.8)
    assert ours["object_frames_per_s"] == pytest.approx(6 / 0.8)
    assert ours["object_frames_per_s_with_data"] == pytest.approx(6 / 1.6)
    assert ours["share_of_limit"] == pytest.approx(12 / 0.8 / 100)
    ratio = metrics["ratios"]["paper_fp32"]["released_kitti"]
    windows = metrics["ratios"]["short"]["released_kitti"]  # 256 object-frames in the time of six
    assert windows["step"] == pytest.approx(12 * 256 / 6) and windows["memory"] == pytest.approx(9)
    assert ratio == pytest.approx({"step": 12, "with_data": 12, "cpu": 12, "memory": 9})
    assert read_results(tmp_path / "out.json")["metrics"] == metrics
    console = Console(width=100, record=True, file=io.StringIO())
    bench.print_bench(metrics, console)
    assert "12.0" in console.export_text()


def test_wrong_settings_are_refused_by_name():
    with refused("frames", "bounds"):
        BenchTrainConfig(frames=2)
    result = CliRunner().invoke(app, ["bench", "train", "--tracks", "1"])
    assert result.exit_code == 2
    assert "--tracks" in result.output
