"""Adapts weights to one video by the training loss unchanged, with early stopping (section 4.3)."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from savos_model.config import ModelConfig
from savos_model.network.losses import (
    LossConfig,
    Targets,
    both_directions,
    carry_forward,
    merge_estimates,
    predict,
    savos_losses,
    total_loss,
)
from savos_model.network.presets import Net, make_net
from savos_model.network.weights import Weights, WeightsError
from training.adapt.settings import AdaptConfig
from training.data.store import Clip, ClipFrame, collect_rows, stack_rows
from training.learn.augment import make_input
from training.learn.augment_config import AugmentConfig, plain
from training.learn.checkpoint import average_into
from training.learn.windows import StoredWindows, gather, list_places

PLAIN = plain()


@dataclass(frozen=True)
class AdaptResult:
    """Adapted weights, or those given when the video has no window, and why it ended (`stopped`).

    `history` has one entry per measurement: iteration, visible_iou, loss and its terms; these are
    means over the iterations since the entry before, in the first one those of its weights.
    """

    weights: Weights
    history: list[dict[str, float]]
    stopped: str

    @property
    def iterations(self) -> int:
        """Return the number of iterations made."""
        return int(self.history[-1]["iteration"]) if self.history else 0


Watch = Callable[[int, Net], None]


def visible_clip(name: str, frames: Iterable[ClipFrame], model: ModelConfig) -> Clip:
    """Return rows of a video in memory, without the amodal truth that its frames may bring."""
    blind = (dataclasses.replace(frame, full=None) for frame in frames)
    return Clip(name, stack_rows(collect_rows(blind, model.patch)))


def adapt(
    weights: Weights, clip: Clip, config: AdaptConfig, *, watch: Watch | None = None
) -> AdaptResult:
    """Train a copy of weights on the visible masks of one video, all that is read of `clip`.

    Loss and augmentation are those of the training, stored with the weights. If that had amodal
    masks, the given weights' own masks are the targets behind other objects, so that what was
    learned there is kept; others learn nothing there, as in training. `watch` is called with the
    iteration and the averaged network at every measurement, also before the first iteration; it
    must leave the network as it is.

    Raises WeightsError: the settings stored with the weights cannot be read.
    """
    loss, augment = trained_with(weights)
    anchored = learned_amodal(weights)
    places = list_places([clip], config.length, config.min_px)
    if not places:
        return AdaptResult(weights, [], f"no track is seen for {config.length} frames")
    source = StoredWindows([clip], places, config.length)
    net, average, given = (network(weights, config.device) for _ in range(3))
    checks = check_batches(clip, weights.model, config, augment.enlarge)
    optimiser = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    history = [{"iteration": 0, "visible_iou": visible_iou(net, checks, config.bf16)}]
    if watch:
        watch(0, average)
    parts: list[dict[str, float]] = []
    for iteration in range(1, config.max_iterations + 1):
        targets = drawn(source, weights.model, config, augment, iteration)
        if anchored:
            targets = fill_unknown(targets, given, config.bf16)
        optimiser.param_groups[0]["lr"] = config.rate(iteration)
        parts.append(learn(net, optimiser, targets, loss, config.bf16))
        average_into(average.state_dict(), net, config.ema)
        if iteration == 1:
            history[0] |= parts[0]  # the loss of the given weights, before any step

        if iteration % config.measure_every == 0 or iteration == config.max_iterations:
            value = visible_iou(average, checks, config.bf16)
            history.append({"iteration": iteration, "visible_iou": value, **means(parts)})
            parts.clear()
            if watch:
                watch(iteration, average)
            if finished(history, config):
                break
    stopped = "gain" if finished(history, config) else "max_iterations"
    return AdaptResult(taken(weights, clip.name, average, config, history), history, stopped)


def drawn(
    source: StoredWindows,
    model: ModelConfig,
    config: AdaptConfig,
    augment: AugmentConfig,
    iteration: int,
) -> Targets:
    """Return the batch of an iteration, which seed and iteration decide."""
    window = source.draw(config.batch, np.random.default_rng((config.seed, iteration)))
    generator = seeded(config.seed * 1_000_003 + iteration)
    return make_input(window, model, augment, generator).to(config.device)


@torch.no_grad()
def fill_unknown(targets: Targets, net: Net, bf16: bool) -> Targets:
    """Return targets with the masks of a network, both directions merged, where W is 0."""
    completed = merge_estimates(predict(net, both_directions(targets), bf16))
    unknown = targets.weight == 0
    return targets._replace(
        visible=torch.where(unknown, completed, targets.visible),
        weight=torch.where(unknown, torch.ones_like(completed), targets.weight),
    )


def learn(
    net: Net, optimiser: torch.optim.Optimizer, targets: Targets, loss: LossConfig, bf16: bool
) -> dict[str, float]:
    """Take one clipped step down the gradient; return the loss and its terms before it."""
    losses = savos_losses(net, targets, loss, bf16=bf16)
    total = total_loss(losses, loss)
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return {name: value.item() for name, value in {"loss": total, **losses._asdict()}.items()}


def means(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of every figure over some iterations."""
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}


def finished(history: Sequence[dict[str, float]], config: AdaptConfig) -> bool:
    """Return whether visible IoU gained less than stop_gain over the last stop_window iterations.

    Those of the warm-up do not count: there Adam, which knows no gradient yet, rather loses.
    """
    values = {entry["iteration"]: entry["visible_iou"] for entry in history}
    now = history[-1]["iteration"]
    earlier = now - config.stop_window
    if earlier < config.warmup or earlier not in values:
        return False
    return values[now] - values[earlier] < config.stop_gain


def check_batches(
    clip: Clip, model: ModelConfig, config: AdaptConfig, enlarge: float
) -> list[Targets]:
    """Return fixed windows without augmentation, spread evenly over a video."""
    places = list_places([clip], config.length, config.min_px)
    count = min(config.checked, len(places))
    chosen = [places[i] for i in np.linspace(0, len(places) - 1, count).round().astype(int)]
    plain = dataclasses.replace(PLAIN, enlarge=enlarge)
    batches = []
    for i in range(0, count, config.batch):
        some = chosen[i : i + config.batch]
        window = gather([clip], some, config.length, np.zeros(len(some), bool))
        batches.append(make_input(window, model, plain, seeded(i)).to(config.device))
    return batches


@torch.no_grad()
def visible_iou(net: Net, batches: Sequence[Targets], bf16: bool) -> float:
    """Return the mean IoU of M^ with V inside W, 0..1; first frames of windows do not count."""
    found = []
    for targets in batches:
        prediction = predict(net, targets, bf16)
        known = targets.weight[:, 1:] > 0.5
        said = (carry_forward(prediction, targets, net.config) > 0.5) & known
        seen = (targets.visible[:, 1:] > 0.5) & known
        both, either = (part.sum((-2, -1)) for part in (said & seen, said | seen))
        found.append((both / either.clamp_min(1)).flatten())
    return float(torch.cat(found).mean()) if found else 0.0


def network(weights: Weights, device: str) -> Net:
    """Return a separate network with these weights."""
    net = make_net(weights.model)
    net.load_state_dict({name: torch.from_numpy(a) for name, a in weights.arrays.items()})
    return net.to(device, memory_format=torch.channels_last)


def taken(
    weights: Weights, name: str, net: Net, config: AdaptConfig, history: Sequence[dict[str, float]]
) -> Weights:
    """Return the network's parameters as weights that record what they were adapted to."""
    arrays = {k: v.detach().cpu().contiguous().numpy() for k, v in net.state_dict().items()}
    info = {
        **weights.info,
        "adapted_to": name,
        "adapted_from": weights.name,
        "adapt": json.dumps(dataclasses.asdict(config)),
        "iterations": str(history[-1]["iteration"]),
    }
    return Weights(f"{weights.name}+{name}", weights.model, arrays, info)


def learned_amodal(weights: Weights) -> bool:
    """Return whether weights were trained with amodal masks, which no video on site can repeat.

    Raises WeightsError: what is stored cannot be read.
    """
    try:
        data = json.loads(weights.info.get("settings", "{}")).get("data", {})
        return any(float(share) > 0 for share in data.get("supervised", ()))
    except (AttributeError, TypeError, ValueError) as error:
        raise unreadable(weights, error) from error


def unreadable(weights: Weights, error: Exception) -> WeightsError:
    """Return the error of settings stored with weights."""
    return WeightsError(
        f"{weights.name}: the stored settings cannot be read ({error}): train again", "settings"
    )


def seeded(seed: int) -> torch.Generator:
    """Return a separate generator."""
    return torch.Generator().manual_seed(seed)


def trained_with(weights: Weights) -> tuple[LossConfig, AugmentConfig]:
    """Return loss and augmentation that weights were trained with, defaults if none is stored.

    Raises WeightsError: what is stored cannot be read.
    """
    info = weights.info
    try:
        groups = json.loads(info.get("settings", "{}"))
        loss = groups.get("loss") or json.loads(info.get("loss", "{}"))
        crop = {"enlarge": float(info["enlarge"])} if "enlarge" in info else {}
        return LossConfig(**loss), AugmentConfig(**(groups.get("augment") or crop))
    except (AttributeError, TypeError, ValueError) as error:
        raise unreadable(weights, error) from error
