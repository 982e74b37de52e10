"""Fits confidence to visible pixels that pasted occluders hide; reads no truth."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit

from savos_model.network.losses import PROBABILITY_EPS, estimates, predict
from savos_model.network.presets import Net
from savos_model.network.weights import Weights, load_weights, save_weights
from savos_model.results import keep_results
from savos_model.settings import SettingError
from savos_model.stream.video import described
from training.adapt.adapt import network, trained_with
from training.data.store import Clip
from training.learn.augment import make_input
from training.learn.augment_config import AugmentConfig
from training.learn.config import DataConfig
from training.learn.windows import Place, gather, list_places, split_clips


class Hidden(NamedTuple):
    """Pixels under pasted occluders: logits of M^, float [K], and truth, bool [K]."""

    logits: np.ndarray
    truth: np.ndarray


@torch.inference_mode()
def hidden_pixels(
    net: Net,
    clips: Sequence[Clip],
    places: Sequence[Place],
    length: int,
    augment: AugmentConfig,
    batch: int = 16,
) -> Hidden:
    """Return logits and self-supervised truth of the pixels that pasted occluders hide.

    Raises ValueError: there are fewer than two windows, so nothing can be pasted.
    """
    if len(places) < 2:
        raise SettingError(
            f"data must hold two or more windows of {length} frames in clips that validate, got "
            f"{len(places)}: prepare more or longer clips"
        )
    parts: list[Hidden] = []
    for i in range(0, len(places) - 1, batch):
        some = list(places[i : i + batch])
        window = gather(clips, some, length, np.zeros(len(some), bool))
        targets = make_input(window, net.config, augment, torch.Generator().manual_seed(i))
        prediction = predict(net, targets)
        chance = estimates(prediction, targets, net.config)
        # More than the plain weight of 1 marks pixels under a pasted occluder.
        pasted = (targets.weight > (1 + augment.pasted_weight) / 2)[:, 1:]
        truth = targets.visible[:, 1:] > 0.5
        values = (chance.logit(PROBABILITY_EPS), truth)
        parts.append(Hidden(*(value[pasted].numpy() for value in values)))
    return Hidden(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def fit_temperature(hidden: Hidden) -> float:
    """Return the T of 0.2 to 5 that minimises the cross entropy of sigmoid(logits / T)."""
    sign = np.where(hidden.truth, 1.0, -1.0)

    def cross_entropy(log_t: float) -> float:
        return float(np.logaddexp(0, -sign * hidden.logits / np.exp(log_t)).mean())

    found = minimize_scalar(cross_entropy, bounds=(np.log(0.2), np.log(5)), method="bounded")
    return float(np.exp(found.x))


class Bin(NamedTuple):
    """Pixels of like probability: mean probability, share that is true, share of all pixels."""

    chance: float
    true: float
    share: float


def reliability(hidden: Hidden, temperature: float, bins: int = 15) -> list[Bin]:
    """Compare probability with truth in equal-width bins of the calibrated probability."""
    chance = expit(hidden.logits / temperature)
    which = np.minimum((chance * bins).astype(int), bins - 1)
    parts = (which == k for k in range(bins))
    return [
        Bin(float(chance[at].mean()), float(hidden.truth[at].mean()), float(at.mean()))
        for at in parts
        if at.any()
    ]


def expected_calibration_error(bins: Iterable[Bin]) -> float:
    """Return the mean gap of probability and true share, weighted with the pixels of each bin."""
    return sum(part.share * abs(part.chance - part.true) for part in bins)


def calibrate(
    weights: str,
    stores: list[Path],
    out: Path,
    name: str,
    results: Path | None = None,
    length: int = 12,
) -> Weights:
    """Fit the temperature on held-out clips of stores and save the weights with it (float16).

    Clips are held out, and objects cropped, by the settings stored with the weights. `results` is
    the file of the reliability plot, `length` the number of frames per window. Raises
    WeightsError: no such weights, or the settings stored with them cannot be read.
    """
    given = load_weights(weights)
    net = network(given, "cpu").eval()
    augment = AugmentConfig(behind=0.0, paste=1.0, enlarge=trained_with(given)[1].enlarge)
    trained, data = json.loads(given.info.get("settings", "{}")), DataConfig()
    every = trained.get("data", {}).get("held_out", data.held_out)  # n-th clips validated
    _, held = split_clips(stores, every)
    places = list_places(held, length, data.min_px)
    chosen = [places[i] for i in np.random.default_rng(11).permutation(len(places))[:256]]
    hidden = hidden_pixels(net, held, chosen, length, augment)
    temperature = fit_temperature(hidden)
    bins = {"before": reliability(hidden, 1.0), "after": reliability(hidden, temperature)}
    info = {
        **given.info,
        "temperature": f"{temperature:.4f}",
        "ece_before": f"{expected_calibration_error(bins['before']):.4f}",
        "ece": f"{expected_calibration_error(bins['after']):.4f}",
    }
    done = dataclasses.replace(given, name=name, info=info)
    save_weights(out, done)
    metrics = {
        "model": described(done),
        "data": [store.name for store in stores],
        "pixels": len(hidden.truth),
        "bins": {key: [part._asdict() for part in parts] for key, parts in bins.items()},
        **{key: float(info[key]) for key in ("temperature", "ece_before", "ece")},
    }
    keep_results(results, metrics, 11)
    return done
