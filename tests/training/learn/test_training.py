# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses
import json

import numpy as np
import pytest
from failing import fails

torch = pytest.importorskip("torch")

from savos_model.config import ModelConfig
from savos_model.network.layers import FLOW
from savos_model.network.losses import (
    LossConfig,
    Losses,
    Targets,
    carry_forward,
    compare,
    diff_iou,
    predict,
    run_windows,
    savos_losses,
    total_loss,
    weighted_bce,
)
from savos_model.network.net import Prediction
from savos_model.network.presets import make_net
from savos_model.network.unet_layers import stem
from savos_model.network.weights import Weights, WeightsError, load_weights, save_weights
from savos_model.settings import SettingError
from savos_model.types import Box
from tests.model.scenes import crossing
from tests.planted import MODEL as PLANTED
from tests.planted import planted_weights
from training.data.store import ClipFrame, open_store, store_clip
from training.learn.augment import crop_boxes, make_input, median_motion, tight_boxes
from training.learn.augment_config import AugmentConfig, plain
from training.learn.config import DataConfig, MachineConfig, RunConfig, TrainConfig
from training.learn.constraints import constrain
from training.learn.schedule import learning_rate
from training.learn.start import start_arrays
from training.learn.windows import StoredWindows, gather, list_places, random_batches
from training.train import train

MODEL = ModelConfig(width=0.0625, prior_mask=False, patch_height=32, patch_width=64)
PAPER = dataclasses.replace(MODEL, preset="paper")
both_kinds = pytest.mark.parametrize("model", [MODEL, PAPER], ids=["online", "paper"])
FORWARD = LossConfig(both_directions=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Four stored clips of a crossing: one to validate on, three to train on."""
    folder = tmp_path_factory.mktemp("store")
    for clip in range(4):
        frames = [ClipFrame(f.image, f.instances) for f in crossing(8, speed=3 + clip)]
        store_clip(frames, folder / f"clip{clip}", MODEL.patch)
    return folder


def batch(store, seed=0, model=MODEL, **changes):
    clips = open_store(store)
    places = list_places(clips, 4, 50)[:6]
    window = gather(clips, places, 4, np.zeros(len(places), bool))
    generator = torch.Generator().manual_seed(seed)
    config = plain(**changes) if changes else AugmentConfig()
    return window, make_input(window, model, config, generator)


def test_input_without_augmentation_is_the_stored_object(store):
    window, targets = batch(store, paste=0.0)
    assert targets.patches.shape == (*window.visible.shape[:2], 6, 32, 64)
    seen = targets.patches[:, :, 3].clamp(min=0)
    assert (seen - targets.visible).abs().mean() < 0.02
    # Enlarged twice, an object fills the middle half of its patch on both axes.
    filled = targets.visible.sum((-2, -1)) / (32 * 64)
    assert 0.1 < filled.mean() < 0.3


def test_pasted_occluder_hides_input_but_not_the_target(store):
    _, bare = batch(store, memory=1.0)
    _, pasted = batch(store, paste=1.0, memory=1.0)
    hidden = (pasted.visible > 0.5) & (pasted.patches[:, :, 3] < 0.5)
    assert (
        hidden.float().mean()
        > 2 * ((bare.visible > 0.5) & (bare.patches[:, :, 3] < 0.5)).float().mean()
    )
    known = hidden & (pasted.weight > 2)
    assert known.any(), "hidden pixels must carry weight: they are what is trained"


def test_other_objects_are_marked_and_carry_no_weight(store):
    _, targets = batch(store, paste=0.0)
    others = targets.patches[:, :, 3] < -0.9
    assert others.any()
    assert targets.weight[others].max() < 0.2


def test_tight_boxes_and_median_motion_by_hand():
    visible = torch.zeros(1, 1, 10, 20)
    visible[..., 2:6, 5:15] = 1
    boxes = torch.tensor([[[100.0, 50.0, 140.0, 70.0]]])
    assert tight_boxes(visible, boxes).flatten().tolist() == [110, 54, 130, 62]
    flow = torch.zeros(1, 1, 2, 10, 20)
    flow[:, :, 0], flow[:, :, 1] = 3, -1
    flow[..., 0, 0] = 99
    assert median_motion(flow, visible.numpy() > 0).flatten().tolist() == [3, -1]
    assert median_motion(flow, visible.numpy() > 1).flatten().tolist() == [0, 0]


def test_crop_boxes_are_enlarged_and_remember_the_true_extent():
    occluded = torch.tensor([[[10.0, 10.0, 20.0, 20.0]]]).repeat(64, 1, 1)
    true = torch.tensor([[[10.0, 10.0, 60.0, 20.0]]]).repeat(64, 1, 1)
    generator = torch.Generator().manual_seed(0)
    bare = crop_boxes(occluded, true, AugmentConfig(memory=0.0, jitter=0.0), generator)
    torch.testing.assert_close(bare[0, 0], torch.tensor([5.0, 5.0, 25.0, 25.0]))
    kept = crop_boxes(occluded, true, AugmentConfig(memory=1.0, jitter=0.0), generator)
    assert (kept[..., 2] >= 60).all()
    speck = torch.tensor([[[30.0, 30.0, 34.0, 50.0]]])
    box = crop_boxes(speck, speck, AugmentConfig(memory=0.0, jitter=0.0), generator)
    torch.testing.assert_close(box[0, 0], torch.tensor([24.0, 20.0, 40.0, 60.0]))  # 16 px wide


def test_batches_depend_on_seed_and_step_only(store):
    clips = open_store(store)
    source = StoredWindows(clips, list_places(clips, 4, 50), 4)

    def make(window, step):
        return make_input(window, MODEL, AugmentConfig(), torch.Generator().manual_seed(step))

    whole = list(random_batches(source, 2, 5, range(4), make))
    resumed = list(random_batches(source, 2, 5, range(2, 4), make))
    for a, b in zip(whole[2:], resumed, strict=True):
        assert torch.equal(a.patches, b.patches)
    assert not torch.equal(whole[0].patches, whole[1].patches)


def perfect_square(model, frames=4, step=2):
    """A square of 8x16 px that moves by `step` px per frame inside a fixed box, all visible."""
    towards = -step if model.same_frame else step  # flow leads into the frame before, or the next
    visible = torch.zeros(1, frames, 32, 64)
    for t in range(frames):
        visible[:, t, 12:20, 10 + step * t : 26 + step * t] = 1
    boxes = torch.tensor(Box(0, 0, 64, 32)).float().expand(1, frames, 4)
    patches = torch.zeros(1, frames, 6, 32, 64)
    patches[:, :, 3] = visible
    patches[:, :, 4] = towards
    base = torch.tensor([float(towards), 0.0]).expand(1, frames, 2)
    targets = Targets(patches, visible, torch.ones_like(visible), boxes, base)
    logits = (visible * 2 - 1) * 20
    zeros = torch.zeros_like(visible)
    return Prediction(logits, zeros, torch.zeros(1, frames, 2, 32, 64), zeros[..., 0]), targets


@both_kinds
def test_losses_vanish_on_perfect_prediction_and_see_a_wrong_motion(model):
    prediction, targets = perfect_square(model)
    right = compare(prediction, targets, FORWARD, model)
    assert max(right) < 1e-4
    still = targets._replace(patches=targets.patches.clone(), base=targets.base * 0)
    still.patches[:, :, 4] = 0
    wrong = compare(prediction, still, FORWARD, model)
    assert wrong.mask > 0.1 and wrong.consistency > 0.1
    assert wrong.direct == pytest.approx(float(right.direct))


@both_kinds
def test_weight_zero_hides_an_error_and_totals_add_up(model):
    prediction, targets = perfect_square(model)
    off = prediction._replace(mask_logits=prediction.mask_logits.clone())
    off.mask_logits[..., :4, :] = 20
    blind = targets._replace(weight=targets.weight.clone())
    blind.weight[..., :5, :] = 0
    assert compare(off, targets, FORWARD, model).mask > 0.5
    assert compare(off, blind, FORWARD, model).mask < 1e-4
    parts = Losses(*(torch.tensor(v) for v in (1.0, 2.0, 3.0, 4.0, 5.0)))
    config = LossConfig(mask=1.0, consistency=0.5, direct=2.0, photometric=0.25)
    assert total_loss(parts, config) == 14.0


def both_ways(prediction, targets):
    """A perfect square and the same reversed, as savos_losses stacks them."""
    back = targets.visible.flip(1)
    flow_back = -targets.patches[:, :, 4:]
    targets = targets._replace(flow_back=flow_back, base_back=-targets.base)
    pairs = zip(targets, targets.reversed(), strict=True)
    logits = torch.cat((prediction.mask_logits, (back * 2 - 1) * 20))
    zeros = torch.zeros_like(logits)
    residual = torch.zeros(2, *prediction.residual.shape[1:])
    doubled = Prediction(logits, zeros, residual, zeros[..., 0])
    return doubled, Targets(*(torch.cat(pair) for pair in pairs))


@both_kinds
def test_directions_meet_in_the_same_frames(model):
    """A moving square: any index shift between the directions would leave an error in the merge."""
    prediction, targets = both_ways(*perfect_square(model))
    assert compare(prediction, targets, LossConfig(), model).merged < 1e-4
    # The backward half is now a frame off: only the merge and its own terms see it.
    late = prediction._replace(mask_logits=prediction.mask_logits.clone())
    late.mask_logits[1:] = prediction.mask_logits[1:].roll(1, 1)
    assert compare(late, targets, LossConfig(), model).merged > 0.01


@both_kinds
def test_alpha_chooses_the_direction_that_is_right(model):
    prediction, targets = both_ways(*perfect_square(model))
    wrong = prediction._replace(
        mask_logits=prediction.mask_logits.clone(), alpha=prediction.alpha.clone()
    )
    wrong.mask_logits[1:] = -20  # the backward direction sees nothing
    assert compare(wrong, targets, LossConfig(), model).merged > 0.02
    wrong.alpha[:1] = 30  # so the forward one is trusted
    assert compare(wrong, targets, LossConfig(), model).merged < 1e-3


@both_kinds
def test_colour_term_sees_a_wrong_motion_only(model):
    prediction, targets = perfect_square(model)
    rng = np.random.default_rng(0)
    texture = torch.from_numpy(rng.random((3, 8, 16), np.float32))
    for t in range(4):
        targets.patches[0, t, :3, 12:20, 10 + 2 * t : 26 + 2 * t] = texture
    config = LossConfig(both_directions=False, photometric=1.0)
    assert compare(prediction, targets, config, model).photometric < 1e-4
    pushed = prediction._replace(residual=prediction.residual + 2)
    assert compare(pushed, targets, config, model).photometric > 0.05


@both_kinds
def test_detached_consistency_trains_no_motion(model):
    def gradient(detach):
        prediction, targets = perfect_square(model)
        residual = (prediction.residual + 0.5).requires_grad_()
        config = LossConfig(both_directions=False, detach_motion=detach)
        consistency = compare(
            prediction._replace(residual=residual), targets, config, model
        ).consistency
        if not consistency.requires_grad:
            return 0.0
        (grad,) = torch.autograd.grad(consistency, residual)
        return grad.abs().sum().item()

    assert gradient(False) > 0
    assert gradient(True) == 0


def convs_that_see_the_prior(net):
    if net.config.same_frame:
        return [net.enter.conv]
    return [net.mask_encoder.stages[0][0], net.embed_encoder.stages[0][0]]


@both_kinds
def test_warped_predictions_that_the_prior_needs_train_as_those_made_again(store, model):
    _, targets = batch(store, model=model)
    torch.manual_seed(0)
    net = make_net(dataclasses.replace(model, prior_mask=True))
    one_way = LossConfig(both_directions=False)
    found = []
    for again in (False, True):
        prediction, warped = run_windows(net, targets)
        torch.testing.assert_close(warped, carry_forward(prediction, targets, model))
        losses = compare(prediction, targets, one_way, model, None if again else warped)
        net.zero_grad()
        total_loss(losses, one_way).backward()
        found.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    assert found[0].abs().max() > 1e-3
    torch.testing.assert_close(*found)


@both_kinds
def test_prior_is_the_warped_prediction_and_adds_to_this_frames_evidence(store, model):
    _, targets = batch(store, model=model)
    torch.manual_seed(0)
    net = make_net(dataclasses.replace(model, prior_mask=True))
    with torch.no_grad():
        out = predict(net, targets)
        warped = carry_forward(out, targets, model)
        unknown = torch.full_like(warped[:, :1], 0.5)
        start = net.initial_state(len(warped))
        _, state = net.step(torch.cat((targets.patches[:, 0], unknown), 1), start)
        by_hand, _ = net.step(torch.cat((targets.patches[:, 1], warped[:, :1]), 1), state)
        torch.testing.assert_close(by_hand.mask_logits, out.mask_logits[:, 1])
        for conv in convs_that_see_the_prior(net):
            conv.weight.zero_()  # now nothing but the gain sees it
        sure = torch.cat((targets.patches[:, 0], torch.ones_like(unknown)), 1)
        unsure = torch.cat((targets.patches[:, 0], unknown), 1)
        gained = net.step(sure, start)[0].mask_logits - net.step(unsure, start)[0].mask_logits
        torch.testing.assert_close(gained, torch.full_like(gained, 4 * net.evidence_gain[1].item()))


@both_kinds
def test_a_network_with_prior_starts_from_weights_without(store, tmp_path, model):
    _, targets = batch(store, model=model)
    torch.manual_seed(0)
    plain = make_net(model)
    arrays = {k: v.numpy() for k, v in plain.state_dict().items()}
    save_weights(tmp_path / "plain.safetensors", Weights("plain", model, arrays, {}), "float32")
    grown = dataclasses.replace(model, prior_mask=True)
    net = make_net(grown)
    fitted = start_arrays(str(tmp_path / "plain.safetensors"), grown)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in fitted.items()})
    with torch.no_grad():  # the first frame's prior is unknown: it adds nothing
        net.evidence_gain[0] = 0
        first = predict(net, targets).mask_logits[:, 0]
        assert not any(c.weight[:, -1].any() for c in convs_that_see_the_prior(net))
        torch.testing.assert_close(first, predict(plain, targets).mask_logits[:, 0])
    with fails(WeightsError, "shape", "plain.safetensors"):
        start_arrays(str(tmp_path / "plain.safetensors"), ModelConfig(width=0.25))


def test_a_network_for_smaller_patches_starts_with_the_answers_of_enlarged_ones(tmp_path):
    coarse = dataclasses.replace(MODEL, prior_mask=True)
    fine = dataclasses.replace(coarse, patch_height=64, patch_width=128)
    torch.manual_seed(0)
    given, path = make_net(fine), tmp_path / "fine.safetensors"
    given.evidence_gain.data.zero_()  # evidence is not enlarged
    arrays = {k: v.numpy() for k, v in given.state_dict().items()}
    save_weights(path, Weights("fine", fine, arrays, {}), "float32")
    net = make_net(coarse)
    fitted = start_arrays(str(path), coarse)
    net.load_state_dict({k: torch.from_numpy(v) for k, v in fitted.items()})
    patches = torch.zeros(2, 7, *coarse.patch)
    patches[:, :, 4:-4, 4:-4] = torch.rand(2, 7, 24, 56)  # zeros at the border, as convolutions pad
    enlarged = torch.nn.functional.interpolate(patches, scale_factor=2, mode="bilinear")
    enlarged[:, FLOW] *= 2
    with torch.no_grad():
        found, state = net.step(patches, net.initial_state(2))
        wanted, wanted_state = given.step(enlarged, given.initial_state(2))
    for name, scale in (("mask_logits", 1), ("alpha", 1), ("residual", 0.5)):
        pooled = scale * torch.nn.functional.avg_pool2d(getattr(wanted, name), 2)
        torch.testing.assert_close(getattr(found, name), pooled, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state.h, wanted_state.h, rtol=1e-4, atol=1e-5)


def test_a_network_of_twice_the_width_starts_with_the_same_answers(store, tmp_path):
    narrower = dataclasses.replace(MODEL, width=0.5)
    _, targets = batch(store, model=narrower)
    torch.manual_seed(0)
    narrow = make_net(narrower)
    arrays = {k: v.numpy() for k, v in narrow.state_dict().items()}
    save_weights(
        tmp_path / "narrow.safetensors", Weights("narrow", narrower, arrays, {}), "float32"
    )
    twice = dataclasses.replace(narrower, width=1.0)
    wide = make_net(twice)
    fitted = start_arrays(str(tmp_path / "narrow.safetensors"), twice)
    wide.load_state_dict({k: torch.from_numpy(v) for k, v in fitted.items()})
    with torch.no_grad():
        wanted, found = predict(narrow, targets), predict(wide, targets)
    for name in ("mask_logits", "alpha", "residual"):
        torch.testing.assert_close(
            getattr(found, name), getattr(wanted, name), rtol=1e-3, atol=1e-3
        )
    first, second = np.split(fitted["mid.conv.weight"], 2, axis=1)
    assert not np.allclose(first, second)  # copies with equal shares would never differ


@both_kinds
def test_both_directions_train_and_reversing_twice_changes_nothing(store, model):
    _, targets = batch(store, model=model)
    twice = targets.reversed().reversed()
    for name, a, b in zip(targets._fields, targets, twice, strict=True):
        assert torch.equal(a, b), name
    torch.manual_seed(0)
    net = make_net(model)
    losses = savos_losses(net, targets, LossConfig())
    total_loss(losses, LossConfig()).backward()
    if model.same_frame:
        alpha_grad = net.leave.weight.grad.unflatten(0, (4, stem(model) ** 2))[1]
    else:
        alpha_grad = net.mask_decoder.stages[-1][-1].weight.grad[:, 1]
    assert alpha_grad.abs().sum() > 0, "the merge must train alpha"


@pytest.mark.parametrize("part", ["memory", "image", "flow", "residual"])
@both_kinds
def test_a_part_switched_off_changes_nothing_any_more(part, model):
    torch.manual_seed(0)
    net = make_net(model).eval()
    patches = torch.rand(2, 3, 6, 32, 64)
    other = patches.clone()
    if part == "memory":
        other[:, :2] = 0
    elif part == "image":
        other[:, :, :3] = 0
    elif part == "flow":
        other[:, :, 4:] = 0
    with torch.no_grad():
        before = net.sequence(other)[0].mask_logits - net.sequence(patches)[0].mask_logits
        constrain(net, part)
        out, same = net.sequence(patches)[0], net.sequence(other)[0]
    if part == "residual":
        assert not out.residual.any()
    else:
        assert before[:, 2].abs().max() > 1e-4
        torch.testing.assert_close(out.mask_logits[:, 2], same.mask_logits[:, 2])


@pytest.mark.parametrize("preset", ["online", "paper"])
def test_a_network_without_the_prior_does_not_see_it(preset):
    torch.manual_seed(0)
    net = make_net(ModelConfig(preset=preset, width=0.125, prior_mask=True)).eval()
    rows, columns = net.config.patch
    patches = torch.rand(2, 2, 7, rows, columns)
    other = torch.cat((patches[:, :, :6], torch.rand(2, 2, 1, rows, columns)), 2)
    with torch.no_grad():
        seen = [net.sequence(p)[0].mask_logits for p in (patches, other)]
        constrain(net, "prior")
        unseen = [net.sequence(p)[0].mask_logits for p in (patches, other)]
    assert (seen[0] - seen[1]).abs().max() > 1e-3
    torch.testing.assert_close(*unseen)


def test_a_network_that_has_no_prior_cannot_lose_it():
    net = make_net(ModelConfig(width=0.125, prior_mask=False))
    with pytest.raises(SettingError, match="prior_mask"):
        constrain(net, "prior")


def test_distances_by_hand():
    a, b = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    assert diff_iou(a, b) == pytest.approx(0.5)
    assert diff_iou(a, a) == pytest.approx(0)
    half = torch.full((1, 2), 0.5)
    assert weighted_bce(half, half * 0, torch.tensor([[2.0, 0.0]])) == pytest.approx(np.log(2))


def test_learning_rate_warms_up_then_falls_to_a_hundredth():
    config = TrainConfig(steps=1000, warmup=100, learning_rate=1e-3)
    rates = [learning_rate(step, config) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-5)
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-5, rel=0.01)
    assert all(a >= b for a, b in zip(rates[100:], rates[101:], strict=False))


def test_learning_rate_is_level_until_its_decay():
    config = TrainConfig(steps=1000, warmup=100, learning_rate=1e-3, decay=0.25)
    rates = [learning_rate(step, config) for step in range(1000)]
    assert rates[100:751] == [pytest.approx(1e-3)] * 651
    assert rates[875] == pytest.approx(1e-3 * (0.01 + 0.99 / 2), rel=0.01)
    assert rates[-1] == pytest.approx(1e-5, rel=0.05)
    assert all(a > b for a, b in zip(rates[751:], rates[752:], strict=False))
    level = dataclasses.replace(config, decay=0.0)
    assert learning_rate(999, level) == pytest.approx(1e-3)


def test_training_lowers_the_loss_and_leaves_loadable_weights(store, tmp_path):
    # Far from the optimum every step lowers the loss: V is denied with a logit of -4 at the start.
    save_weights(tmp_path / "planted.safetensors", planted_weights(-1.0), "float32")
    config = TrainConfig(
        steps=6,
        batch=4,
        group=4,
        length=4,
        warmup=0,
        learning_rate=0.1,
        validate_every=2,
        ema=0.5,
        name="tiny",
        bf16=False,
        start=str(tmp_path / "planted.safetensors"),
    )
    data = DataConfig(stores=(str(store),), held_out=4, min_px=50)
    machine = MachineConfig(device="cpu", tensorboard=False)
    path = train(RunConfig(data, PLANTED, config, machine=machine), tmp_path / "run")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [2, 4, 6]
    assert log[-1]["val"] < 0.9 * log[0]["val"]
    weights = load_weights(str(path))
    assert weights.name == "tiny" and weights.model == PLANTED
    assert weights.arrays["evidence_gain"][0] > -0.9
    assert float(weights.info["validation_loss"]) == pytest.approx(
        min(e["val"] for e in log), abs=1e-5
    )
