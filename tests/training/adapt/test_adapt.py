# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses
import json

import numpy as np
import pytest
import tiny_kitti
import tiny_released
from typer.testing import CliRunner

from tests.failing import fails, refused

torch = pytest.importorskip("torch")

from savos_model.config import ModelConfig
from savos_model.network.losses import LossConfig, Losses, Targets, predict
from savos_model.network.net import Prediction
from savos_model.network.presets import make_net
from savos_model.network.weights import Weights, WeightsError, load_weights, save_weights
from savos_model.results import read_results
from savos_model.stream.video import described
from savos_ros.cli.main import app
from tests.model.scenes import crossing
from tests.planted import planted_weights
from training.adapt.adapt import (
    adapt,
    check_batches,
    fill_unknown,
    finished,
    network,
    trained_with,
    visible_clip,
    visible_iou,
)
from training.adapt.settings import AdaptConfig
from training.data.store import ClipFrame
from training.learn.augment_config import AugmentConfig

# Without the prior mask, so that fresh weights know nothing of V yet.
MODEL = ModelConfig(width=0.0625, prior_mask=False)
SHORT = {"warmup": 0, "batch": 4, "length": 4, "min_px": 50, "checked": 6, "bf16": False}


def fresh(seed=0, **info):
    torch.manual_seed(seed)
    arrays = {name: value.numpy() for name, value in make_net(MODEL).state_dict().items()}
    return Weights("fresh", MODEL, arrays, info)


def distance(weights):
    """Squared distance to the weights of fresh()."""
    arrays = fresh().arrays
    return sum(np.square(value - arrays[name]).sum() for name, value in weights.arrays.items())


@pytest.fixture(scope="module")
def clip():
    frames = (ClipFrame(f.image, f.instances, full={}) for f in crossing(8, speed=4))
    return visible_clip("crossing", frames, MODEL)


def test_adaptation_raises_the_visible_iou_and_lowers_the_loss(clip):
    weights = planted_weights(-0.05)  # predicts all but V, until the gain has risen by 0.05
    kept = {name: array.copy() for name, array in weights.arrays.items()}
    config = AdaptConfig(learning_rate=3e-2, max_iterations=8, stop_gain=-1.0, ema=0.0, **SHORT)
    result = adapt(weights, clip, config)
    first, last = result.history[0], result.history[-1]
    assert (first["iteration"], result.iterations) == (0, 8)
    assert first["visible_iou"] < 0.1 and last["visible_iou"] > 0.5
    assert last["loss"] < first["loss"]
    assert result.weights.arrays["evidence_gain"][0] > 0
    assert set(first) == {"iteration", "visible_iou", "loss", *Losses._fields}
    for name, array in kept.items():  # the given weights stay as they were
        np.testing.assert_array_equal(weights.arrays[name], array)
    assert result.weights.name == "planted+crossing"
    assert result.weights.info["iterations"] == "8"


def test_same_seed_same_weights(clip):
    weights = fresh()
    options = {"learning_rate": 1e-3, "max_iterations": 4, "stop_window": 4, "measure_every": 2}
    one, two = (adapt(weights, clip, AdaptConfig(**options, **SHORT)) for _ in range(2))
    assert one.history == two.history
    for name, array in one.weights.arrays.items():
        np.testing.assert_array_equal(array, two.weights.arrays[name])
    other = adapt(weights, clip, AdaptConfig(seed=1, **options, **SHORT))
    assert other.history != one.history


def entries(values, every=5):
    return [{"iteration": i * every, "visible_iou": value} for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "stop"),
    [
        ([0.5, 0.5], False),  # five iterations are not enough
        ([0.5, 0.5, 0.509], True),
        ([0.5, 0.5, 0.511], False),
        ([0.5, 0.6, 0.7, 0.71, 0.709], True),
        ([0.1, 0.2, 0.15, 0.3], False),
    ],
)
def test_rule_of_section_4_3(values, stop):
    assert finished(entries(values), AdaptConfig(warmup=0)) is stop
    # Behind a warm-up the rule is the same; within it nothing stops.
    assert finished(entries([0.9] * 4 + values), AdaptConfig(warmup=20)) is stop
    assert not finished(entries(values), AdaptConfig(warmup=20))


def test_the_rate_rises_and_the_weights_are_averaged(clip):
    rates = [AdaptConfig(learning_rate=1e-3, warmup=4, stop_window=4, measure_every=4).rate(i)
             for i in (1, 2, 4, 9)]  # fmt: skip
    np.testing.assert_allclose(rates, [2.5e-4, 5e-4, 1e-3, 1e-3])
    options = {"learning_rate": 1e-3, "max_iterations": 4, "stop_window": 4, "measure_every": 2}
    last, mean = (
        adapt(fresh(), clip, AdaptConfig(ema=ema, **options, **SHORT)).weights for ema in (0, 0.9)
    )
    assert 0 < distance(mean) < distance(last)  # the average starts at the given weights


def test_stops_by_the_rule_or_at_the_limit(clip):
    seen = []
    options = {"stop_window": 4, "measure_every": 2, **SHORT}
    by_rule = adapt(
        fresh(),
        clip,
        AdaptConfig(learning_rate=0.0, max_iterations=50, **options),
        watch=lambda iteration, net: seen.append(iteration),
    )
    assert (by_rule.iterations, by_rule.stopped) == (4, "gain")
    assert seen == [0, 2, 4]
    limited = adapt(fresh(), clip, AdaptConfig(max_iterations=3, stop_gain=-1.0, **options))
    assert (limited.iterations, limited.stopped) == (3, "max_iterations")


def test_nothing_to_adapt_to_gives_the_weights_back(clip):
    weights = fresh()
    result = adapt(weights, clip, AdaptConfig(length=9))  # the clip has 8 frames
    assert result.weights is weights and result.iterations == 0
    assert "9 frames" in result.stopped


def test_settings_are_checked():
    with refused("stop_window"):
        AdaptConfig(measure_every=3)
    with refused("device"):
        AdaptConfig(device="banana")


def test_loss_and_crop_are_those_of_the_training():
    loss, augment = {"consistency": 0.7, "both_directions": False}, {"paste": 0.5, "enlarge": 1.5}
    expected = LossConfig(**loss), AugmentConfig(**augment)
    assert trained_with(fresh(settings=json.dumps({"loss": loss, "augment": augment}))) == expected
    first = trained_with(fresh(loss=json.dumps(loss), enlarge="1.5"))
    assert first == (expected[0], AugmentConfig(enlarge=1.5))
    assert trained_with(fresh()) == (LossConfig(), AugmentConfig())
    for wrong in ('{"loss": {"magic": 1}}', "[]", "{"):
        with fails(WeightsError, "settings"):
            trained_with(fresh(settings=wrong))


class Known:
    """A network that says a fixed mask, and that nothing moves beyond its base motion."""

    config = MODEL

    def __init__(self, mask):
        zeros = torch.zeros_like(mask)
        residual = torch.zeros(*mask.shape[:2], 2, *mask.shape[2:])
        self.said = Prediction((mask * 2 - 1) * 20, zeros, residual, zeros[..., 0])

    def sequence(self, patches):
        return self.said, None


def test_visible_iou_counts_inside_the_weight_only():
    visible = torch.zeros(1, 3, 32, 64)
    visible[..., 8:24, 20:40] = 1
    patches = torch.zeros(1, 3, 6, 32, 64)
    patches[:, :, 3] = visible
    boxes = torch.tensor([0.0, 0.0, 64.0, 32.0]).expand(1, 3, 4)
    targets = Targets(patches, visible, torch.ones_like(visible), boxes, torch.zeros(1, 3, 2))
    assert visible_iou(Known(visible), [targets], False) == pytest.approx(1)
    wider = visible.clone()
    wider[..., 8:24, 40:60] = 1  # twice as wide
    assert visible_iou(Known(wider), [targets], False) == pytest.approx(0.5)
    hidden = targets.weight.clone()
    hidden[..., 40:60] = 0
    behind = targets._replace(weight=hidden)
    assert visible_iou(Known(wider), [behind], False) == pytest.approx(1)


def test_unknown_pixels_get_the_mask_of_a_network():
    visible = torch.zeros(1, 3, 32, 64)
    visible[..., 8:24, 20:40] = 1
    patches = torch.zeros(1, 3, 6, 32, 64)
    boxes = torch.tensor([0.0, 0.0, 64.0, 32.0]).expand(1, 3, 4)
    weight = torch.ones_like(visible)
    weight[..., 40:] = 0
    base = torch.zeros(1, 3, 2)
    targets = Targets(patches, visible, weight, boxes, base, patches[:, :, 4:], base)
    said = torch.zeros(2, 3, 32, 64)
    said[..., 30:60] = 1
    filled = fill_unknown(targets, Known(said), False)
    assert torch.equal(filled.visible[..., :40], visible[..., :40])
    assert torch.equal(filled.visible[..., 40:].round(), said[:1, ..., 40:])
    assert filled.weight.amin() == 1 and targets.weight.amin() == 0


def test_what_amodal_masks_taught_is_kept_behind_others(clip):
    def moved(**info):
        """How far adaptation moves the masks behind other objects, mean over pixels."""
        weights = dataclasses.replace(planted_weights(-0.05), info=info)
        config = AdaptConfig(learning_rate=3e-2, max_iterations=8, stop_gain=-1.0, ema=0.0, **SHORT)
        adapted = adapt(weights, clip, config).weights
        batches = check_batches(clip, MODEL, config, 2.0)
        before, after = (network(w, "cpu") for w in (weights, adapted))
        parts = []
        for targets in batches:
            said = (predict(net, targets).mask_logits.sigmoid() for net in (before, after))
            parts.append(torch.sub(*said).abs()[targets.weight == 0])
        return float(torch.cat(parts).detach().mean())

    with fails(WeightsError, "settings"):
        moved(settings='{"data": {"supervised": ["most"]}}')
    taught = json.dumps({"data": {"supervised": ["0", "0.8"]}})
    free = json.dumps({"data": {"supervised": []}})
    assert moved(settings=taught) < 0.8 * moved(settings=free)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "base.safetensors"
    save_weights(path, fresh())
    return path


QUICK = ["--iterations", "2", "--batch", "2", "--length", "3", "--learning-rate", "0.001"]


def savos(*arguments):
    result = CliRunner().invoke(app, ["adapt", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_fishbowl_before_and_after(tmp_path, weights):
    root, out = tiny_released.write_released(tmp_path / "data"), tmp_path / "out.json"
    text = savos(
        "fishbowl", "--data", root, "--weights", weights, "--json", out, "--out", tmp_path / "kept",
        "--types", "SmallFishA", "--mode", "bidirectional", *QUICK,
    )  # fmt: skip
    assert "Adapted - base" in text
    metrics = read_results(out)["metrics"]
    assert metrics["protocol"]["mode"] == "bidirectional"
    assert metrics["protocol"]["types"] == ["SmallFishA"]
    base, adapted = metrics["methods"]["base"], metrics["methods"]["adapted"]
    assert base["n"] == adapted["n"] > 0
    for field, row in metrics["gain"].items():
        assert row["mean"] == pytest.approx(adapted[field]["mean"] - base[field]["mean"])
        assert row["ci95"][0] <= row["mean"] <= row["ci95"][1]
    kept = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert kept == [f"{video}.safetensors" for video in tiny_released.VIDEOS]
    first = load_weights(str(tmp_path / "kept" / kept[0]))
    assert first.info["adapted_from"] == "fresh" and first.info["iterations"] == "2"
    assert any((first.arrays[k] != a).any() for k, a in load_weights(str(weights)).arrays.items())
    assert [video["iterations"] for video in metrics["videos"].values()] == [2, 2]


def test_clips_in_which_nothing_is_scored_are_not_adapted_to(tmp_path, weights):
    root, out = tiny_released.write_released(tmp_path / "data"), tmp_path / "out.json"
    savos(
        "fishbowl", "--data", root, "--weights", weights, "--json", out, "--out", tmp_path / "kept",
        "--types", "BigFishB", *QUICK,
    )  # fmt: skip
    metrics = read_results(out)["metrics"]
    assert metrics["methods"]["base"]["n"] == metrics["methods"]["adapted"]["n"] == 0
    for course in metrics["videos"].values():
        assert (course["iterations"], course["stopped"]) == (0, "nothing of it is scored")
    assert len(metrics["videos"]) == len(tiny_released.VIDEOS) and not (tmp_path / "kept").exists()


def test_curve_has_lists_of_one_length(tmp_path, weights):
    root, out = tiny_released.write_released(tmp_path / "data"), tmp_path / "curve.json"
    clip = root / "test_frames" / tiny_released.VIDEOS[0]
    savos(
        "curve", "--clip", clip, "--weights", weights, "--json", out, "--every", "1", *QUICK
    )  # fmt: skip
    metrics = read_results(out)["metrics"]
    assert metrics["iterations"] == [0, 1, 2]
    assert {len(metrics[k]) for k in ("loss", "visible_iou", "full", "occluded")} == {3}
    assert metrics["stop"] is None  # two iterations are too few for the rule
    assert metrics["model"] == described(load_weights(str(weights)))


def test_kitti_before_and_after(tmp_path, weights):
    root, out = tiny_kitti.write_tracking(tmp_path / "kitti"), tmp_path / "out.json"
    savos(
        "kitti-boxes", "--data", root, "--sequences", tiny_kitti.SEQUENCE, "--weights", weights,
        "--json", out, "--out", tmp_path / "kept", *QUICK,
    )  # fmt: skip
    metrics = read_results(out)["metrics"]
    level = metrics["levels"]["2"]
    means = {name: row["iou_mean"] for name, row in level["methods"].items()}
    assert set(means) == {"visible", "ours", "adapted"}
    assert metrics["gain"]["2"]["mean"] == pytest.approx(means["adapted"] - means["ours"])
    assert metrics["videos"][tiny_kitti.SEQUENCE]["iterations"] == 2
    kept = load_weights(str(tmp_path / "kept" / f"{tiny_kitti.SEQUENCE}.safetensors"))
    assert "CC BY-NC-SA" in kept.info["licence"]


@pytest.mark.slow
def test_the_first_half_teaches_and_the_second_is_scored(tmp_path, weights):
    kitti, fish = tiny_kitti.write_tracking(tmp_path / "kitti"), tmp_path / "fish"
    tiny_released.write_released(fish)
    found = {}
    for half in ([], ["--half"]):
        out = tmp_path / "out.json"
        given = ["--weights", weights, "--json", out, *half, *QUICK]
        savos("kitti-boxes", "--data", kitti, "--sequences", tiny_kitti.SEQUENCE, *given)
        boxes = read_results(out)["metrics"]
        savos("fishbowl", "--data", fish, *given)
        masks = read_results(out)["metrics"]
        assert boxes["half"] is masks["half"] is bool(half)
        found[bool(half)] = boxes, masks
    (all_boxes, all_masks), (boxes, masks) = found[False], found[True]
    assert 0 < boxes["levels"]["2"]["n"] < all_boxes["levels"]["2"]["n"]
    assert 0 < masks["methods"]["base"]["n"] < all_masks["methods"]["base"]["n"]


def test_wrong_arguments_become_one_line(tmp_path):
    result = CliRunner().invoke(app, ["adapt", "fishbowl", "--data", str(tmp_path)])
    assert result.exit_code == 2 and "holds no FISHBOWL clips" in result.stderr
