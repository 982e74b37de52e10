# ruff: noqa: E402  (nothing below imports where torch is absent)
import dataclasses
import json

import cv2
import numpy as np
import pytest
from failing import fails, refused

torch = pytest.importorskip("torch")

from savos_model.masks import look_at
from savos_model.network.weights import WeightsError, save_tensors
from savos_model.types import Box, Instance
from training.baselines.train_unet import UNetTraining, list_rows, train_unet
from training.baselines.unet import (
    Batch,
    UNet,
    UNetConfig,
    adapt_unet,
    clip_rows,
    complete_frame,
    deocclusion_batch,
    known_places,
    load_unet,
    oracle_batch,
    save_unet,
    unet_loss,
)
from training.data.store import ClipFrame, open_store, store_clip
from training.evaluate.metrics import score_frame
from training.learn.windows import gather, list_places

SHAPE = (96, 160)
QUICK = UNetTraining(
    steps=100, batch=12, learning_rate=2e-2, ema=0.9, held_out=4, validate_every=10, bf16=False
)


def boxed(mask):
    x, y, width, height = cv2.boundingRect(mask)
    return Box(x, y, x + width, y + height), mask[y : y + height, x : x + width]


def rectangles(rng, occluded):
    """Image, visible masks and whole masks of four rectangles, each behind a square if asked."""
    image = np.full((*SHAPE, 3), 60, np.uint8)
    seen, full = {}, {}
    for cell in range(4):
        width, height = rng.integers(24, 44), rng.integers(18, 28)
        x, y = 80 * (cell % 2) + rng.integers(4, 24), 48 * (cell // 2) + rng.integers(2, 14)
        whole = np.zeros(SHAPE, np.uint8)
        whole[y : y + height, x : x + width] = 1
        image[whole > 0] = rng.integers(80, 255, 3)
        full[f"r{cell}"] = seen[f"r{cell}"] = whole
        if occluded:
            side, cover = rng.integers(10, 16), np.zeros(SHAPE, np.uint8)
            at_x = x - 4 if rng.random() < 0.5 else x + width - side + 4
            cover[y + 2 : y + 2 + side, max(at_x, 0) : at_x + side] = 1
            image[cover > 0] = (10, 10, 10)
            full[f"s{cell}"] = seen[f"s{cell}"] = cover
            seen[f"r{cell}"] = whole & ~cover
    return image, seen, full


def instances(masks):
    return [Instance(name, *boxed(mask)) for name, mask in masks.items()]


def write_store(folder, occluded):
    """Eight clips of frames whose objects have new ids in each, so that nothing is linked."""
    rng = np.random.default_rng(0)
    for clip in range(8):
        frames = []
        for frame in range(6):
            image, seen, full = rectangles(rng, occluded)
            seen = {f"{frame}/{name}": mask for name, mask in seen.items()}
            whole = {f"{frame}/{name}": boxed(mask) for name, mask in full.items()}
            frames.append(ClipFrame(image, instances(seen), whole if occluded else None))
        store_clip(frames, folder / f"clip{clip}", (32, 64))
    return folder


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("whole"), occluded=False)


@pytest.fixture(scope="module")
def known_store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("known"), occluded=True)


@pytest.fixture(scope="module")
def partial(whole_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("partial")
    return train_unet([whole_store], out, UNetConfig("deocclusion", 0.125), QUICK)


def occluded_iou(path):
    """Mean IoU in the hidden parts of new scenes."""
    net, _ = load_unet(path)
    rng, scores = np.random.default_rng(99), []
    for _ in range(6):
        image, seen, full = rectangles(rng, occluded=True)
        found = complete_frame(net, image, instances(seen))
        truth, visible = ({k: boxed(m) for k, m in part.items()} for part in (full, seen))
        ids = [name for name in seen if name.startswith("r")]
        scores += score_frame(found, truth, visible, SHAPE, ids=ids)
    return np.mean([score.occluded for score in scores])


@pytest.mark.slow
def test_partial_completion_recovers_hidden_rectangles_without_any_truth(partial):
    log = [json.loads(line) for line in (partial.parent / "log.jsonl").read_text().splitlines()]
    assert log[-1]["val"] < 0.8 * log[0]["val"], "0.45 to 0.6 times with seeds 0 to 3"
    _, info = load_unet(partial)
    assert float(info["validation_loss"]) == pytest.approx(min(e["val"] for e in log), abs=1e-5)
    assert occluded_iou(partial) > 0.5, "visible masks score 0, trainings 0.81 to 0.91"


@pytest.mark.slow
def test_oracle_learns_from_truth(known_store, tmp_path):
    config = dataclasses.replace(QUICK, steps=60, learning_rate=1e-2)
    path = train_unet([known_store], tmp_path, UNetConfig("oracle", 0.125), config)
    assert occluded_iou(path) > 0.5, "visible masks score 0, trainings 0.87 to 0.92"


def test_training_refuses_stores_that_teach_nothing(whole_store, tmp_path):
    with refused("data"):
        train_unet([whole_store], tmp_path, UNetConfig("oracle", 0.125), QUICK)


def first_windows(store, count=16):
    clips = open_store(store)
    places = list_places(clips, 1, 50)[:count]
    return clips, places, gather(clips, places, 1, np.zeros(len(places), bool))


def test_eraser_hides_colours_and_carries_five_times_the_weight(whole_store):
    *_, window = first_windows(whole_store, 48)
    batch = deocclusion_batch(window, UNetConfig(), torch.Generator().manual_seed(0))
    rgb, seen, eraser = batch.inputs.split((3, 1, 1), 1)
    inside = eraser[:, 0] > 0.99
    assert inside.flatten(1).any(1).float().mean() > 0.8
    assert rgb.abs().sum(1)[inside].max() < 0.1
    assert batch.weight[inside].min() > 4.9
    outside = (eraser[:, 0] == 0) & (batch.weight < 1.01)
    assert outside.float().mean() > 0.5
    # In front the eraser hides what has to be recovered; behind it hides nothing.
    hidden = (inside & (batch.target > 0.5)).flatten(1).any(1)
    assert 0.5 < hidden.float().mean() < 0.95
    assert (seen[:, 0][inside] < 0.01).all()


def test_oracle_input_marks_the_others_and_its_target_is_the_truth(known_store):
    clips, places, _ = first_windows(known_store)
    assert known_places(clips, places) == places
    every = np.ones(len(places), bool)
    window = gather(clips, places, 1, ~every, every)
    batch = oracle_batch(window, UNetConfig("oracle"), torch.Generator().manual_seed(0))
    seen, others = batch.inputs[:, 3], batch.inputs[:, 4]
    hidden = (others > 0.9) & (batch.target > 0.9)
    assert hidden.any() and (seen[hidden] < 0.1).all()
    # Masks are eroded or dilated by about a pixel in part of the windows.
    assert ((batch.target < 0.1) & (seen > 0.9)).float().mean() < 0.02
    assert batch.weight[others > 0.99].min() > 4.9 and (batch.weight[others == 0] == 1).all()


def test_adaptation_lowers_the_loss_of_its_video_and_leaves_the_network_alone():
    torch.manual_seed(0)
    net = UNet(UNetConfig(width=0.125)).eval()
    torch.nn.init.zeros_(net.leave.weight)
    torch.nn.init.constant_(net.leave.bias, -3.0)  # denies every pixel: each step must raise it
    rng = np.random.default_rng(5)
    video = []
    for _ in range(3):
        image, seen, _ = rectangles(rng, occluded=False)
        discs = {}  # another shape than those trained on
        for name, mask in seen.items():
            (x, y), (w, h) = boxed(mask)[0][:2], boxed(mask)[1].shape[::-1]
            discs[name] = cv2.ellipse(
                np.zeros(SHAPE, np.uint8), ((x + w / 2, y + h / 2), (w, h), 0), 1, -1
            )
        video.append((image, instances(discs)))
    rows = clip_rows(video, (32, 64))
    assert "truth" not in rows.arrays and len(rows.arrays["rgb"]) == 12
    before = {name: value.clone() for name, value in net.state_dict().items()}
    adapted = adapt_unet(net, rows, 10, 3e-2, batch=12)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    window = gather([rows], list_places([rows], 1, 50), 1, np.zeros(12, bool))
    seeds = (torch.Generator().manual_seed(77 + i) for i in range(8))
    batches = [deocclusion_batch(window, net.config, seed) for seed in seeds]
    with torch.no_grad():
        after, at_first = (sum(unet_loss(n, b) for b in batches) for n in (adapted, net))
    assert after < 0.97 * at_first and adapted.leave.bias > net.leave.bias


def test_adaptation_to_nothing_changes_nothing():
    net = UNet(UNetConfig(width=0.125)).eval()
    empty = clip_rows([(np.zeros((*SHAPE, 3), np.uint8), [])], (32, 64))
    adapted = adapt_unet(net, empty, 3, 1e-3)
    assert torch.equal(adapted.leave.weight, net.leave.weight)


def test_only_what_lies_behind_others_is_completed():
    net = UNet(UNetConfig(width=0.125)).eval()
    torch.nn.init.zeros_(net.leave.weight)
    torch.nn.init.constant_(net.leave.bias, 9.0)  # claims every pixel of every patch
    image, seen, _ = rectangles(np.random.default_rng(1), occluded=True)
    found = complete_frame(net, image, instances(seen), {"r0"})
    assert [item.id for item in found] == ["r0"]
    whole = look_at((found[0].box, found[0].mask), Box(0, 0, SHAPE[1], SHAPE[0]))
    others = np.logical_or.reduce([m for name, m in seen.items() if name != "r0"])
    near = cv2.dilate(others.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0  # a rim of 3 px
    assert whole[seen["r0"] > 0].all() and (whole & others).any()
    assert not (whole & (seen["r0"] == 0) & ~near).any()


def test_frames_without_objects_and_masks_without_pixels():
    net = UNet(UNetConfig(width=0.125)).eval()
    image = np.zeros((*SHAPE, 3), np.uint8)
    assert complete_frame(net, image, []) == []
    nothing = Instance("a", Box(0, 0, 4, 4), np.zeros((4, 4), np.uint8))
    assert complete_frame(net, image, [nothing]) == []


def test_outputs_have_the_size_of_the_patch():
    for patch in ((32, 64), (64, 128)):
        net = UNet(UNetConfig(width=0.25, patch_height=patch[0], patch_width=patch[1]))
        assert net(torch.zeros(2, 5, *patch)).shape == (2, *patch)
    loss = unet_loss(net, Batch(torch.zeros(1, 5, 32, 64), *torch.zeros(2, 1, 32, 64)))
    assert loss == 0  # weight 0 everywhere


def arrays_and_info(net):
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    return arrays, {"unet": json.dumps({"task": "oracle", "width": 0.125})}


def wrong_shape(arrays, info):
    arrays["leave.bias"] = np.zeros(2, np.float32)


def not_finite(arrays, info):
    arrays["leave.bias"] = np.full(1, np.nan, np.float32)


def missing(arrays, info):
    del arrays["leave.bias"]


def no_settings(arrays, info):
    del info["unet"]


def wrong_settings(arrays, info):
    info["unet"] = json.dumps({"task": "both"})


@pytest.mark.parametrize(
    ("damage", "kind", "found"),
    [
        (wrong_shape, "shape", "leave.bias"),
        (missing, "shape", "leave.bias"),
        (not_finite, "values", "leave.bias"),
        (no_settings, "form", ""),
        (wrong_settings, "form", "task"),
    ],
)
def test_damaged_weights_are_refused_by_name(tmp_path, damage, kind, found):
    arrays, info = arrays_and_info(UNet(UNetConfig("oracle", 0.125)))
    damage(arrays, info)
    save_tensors(tmp_path / "u.safetensors", arrays, info)
    with fails(WeightsError, kind, "u.safetensors", found):
        load_unet(tmp_path / "u.safetensors")


def test_weights_come_back_and_other_files_do_not(tmp_path):
    net = UNet(UNetConfig("oracle", 0.125)).to(memory_format=torch.channels_last)
    save_unet(tmp_path / "u.safetensors", net, {"step": "3"})
    loaded, info = load_unet(tmp_path / "u.safetensors")
    assert loaded.config == net.config and info == {"step": "3"} and not loaded.training
    torch.testing.assert_close(loaded.down[0][0].weight, net.down[0][0].weight, atol=1e-3, rtol=0)
    (tmp_path / "text.safetensors").write_text("no weights")
    with fails(WeightsError, "form", "text.safetensors"):
        load_unet(tmp_path / "text.safetensors")
    with fails(WeightsError, "missing", "absent.safetensors"):
        load_unet(tmp_path / "absent.safetensors")


def test_rows_of_the_oracle_are_those_with_truth(known_store, whole_store):
    known, whole = open_store(known_store), open_store(whole_store)
    assert len(list_rows(known, "oracle", 50)) == len(list_rows(known, "deocclusion", 50))
    both = list_rows(known + whole, "oracle", 50)
    assert {place.clip for place in both} == set(range(len(known)))
