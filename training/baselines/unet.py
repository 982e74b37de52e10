"""The U-Net of the image-level baselines: its weights as safetensors, and whole frames by it."""

import copy
import dataclasses
import json
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from savos_model.config import ComposeConfig, ModelConfig, TracksConfig
from savos_model.geometry import crop, enlarge, mask_box
from savos_model.instances import occupancy
from savos_model.network.geometry_torch import resample
from savos_model.network.weights import MAX_BYTES, WeightsError, save_tensors
from savos_model.settings import SettingError, Settings, setting
from savos_model.stream.compose import compose
from savos_model.stream.inputs import mask_channel
from savos_model.types import AmodalObject, Instance
from training.data.store import Clip, ClipFrame, context_row, stack_rows
from training.learn.augment import Window, make_input
from training.learn.augment_config import plain
from training.learn.windows import Place, StoredWindows, list_places

TASKS = ("deocclusion", "oracle")
BEHIND_WEIGHT = 5.0  # of the loss inside the eraser or the others' masks; 1 elsewhere
# How the baselines' windows are varied.
VARIED = {"jitter": 0.1, "colour": 0.3, "no_colour": 0.15}
INPUTS = 5  # colours, own visible mask, mask of the eraser or of all other objects


@dataclasses.dataclass(frozen=True)
class UNetConfig(Settings):
    """Shape and task of one U-Net; stored in the metadata of its weights."""

    task: str = setting(
        "deocclusion",
        "deocclusion: self-supervised partial completion; oracle: trained on amodal truth",
        choices=TASKS,
    )
    width: float = setting(
        0.5, "channel multiplier; 1.0 is the published PCNet-M", minimum=0.125, maximum=2.0
    )
    patch_height: int = setting(32, "patch rows [px]", choices=(32, 64))
    patch_width: int = setting(64, "patch columns [px]", choices=(64, 128))
    enlarge: float = setting(
        TracksConfig().enlarge, "crop box over visible box", minimum=1.0, maximum=2.5
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.model  # checks the patch

    @property
    def model(self) -> ModelConfig:
        """Return the patch and mask channel as SaVos with the occluder hint gets them."""
        return ModelConfig(patch_height=self.patch_height, patch_width=self.patch_width)

    @property
    def channels(self) -> list[int]:
        """Return the channels of the five levels, finest first: multiples of 8."""
        return [max(8, round(c * self.width / 8) * 8) for c in (32, 64, 128, 256, 256)]


class Batch(NamedTuple):
    """Patches to train on: inputs [B, 5, h, w]; target in [0, 1] and weight [B, h, w]."""

    inputs: Tensor
    target: Tensor
    weight: Tensor


class UNet(nn.Module):
    """Ronneberger et al. 2015, four levels down, padded convolutions, bilinear upsampling.

    Groups of 8 channels are normalised instead of batches, so that nothing depends on the batch
    when a single video is adapted to.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.channels
        self.enter = double(INPUTS, sizes[0])
        self.down = nn.ModuleList(double(a, b) for a, b in pairwise(sizes))
        # Each level up takes the level below and the skip, and leaves the channels of the next one.
        outs = [*sizes[:1], *sizes[:-2]]
        self.up = nn.ModuleList(
            double(2 * skip, out) for skip, out in zip(sizes[-2::-1], outs[::-1], strict=True)
        )
        self.leave = nn.Conv2d(sizes[0], 1, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map patches [B, 5, h, w] to logits of the whole object's mask [B, h, w]."""
        values, skips = self.enter(inputs), []
        for level in self.down:
            skips.append(values)
            values = level(F.max_pool2d(values, 2))
        for level, skip in zip(self.up, reversed(skips), strict=True):
            wide = F.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)
            values = level(torch.cat((skip, wide), 1))
        return self.leave(values)[:, 0]


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Return two 3x3 convolutions, each normalised and rectified."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(outputs // 8, outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def network_input(rgb: Tensor, signed: Tensor, task: str) -> Tensor:
    """Return the input [B, 5, h, w] of colours [B, 3, h, w] and the signed mask channel [B, h, w].

    The channel holds V minus the eraser (deocclusion) or minus the others' visible masks (oracle).
    Partial completion never sees the eraser's colours, as published.
    """
    seen, others = signed.clamp(min=0)[:, None], (-signed).clamp(min=0)[:, None]
    if task == "deocclusion":
        rgb = rgb * (1 - others)
    return torch.cat((rgb, seen, others), 1)


def unet_loss(net: UNet, batch: Batch, *, bf16: bool = False) -> Tensor:
    """Return the weighted mean BCE; only the network may run in bfloat16."""
    with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=bf16):
        logits = net(batch.inputs)
    return F.binary_cross_entropy_with_logits(logits.float(), batch.target, batch.weight)


def save_unet(path: Path, net: UNet, info: dict[str, str]) -> None:
    """Write weights (float16) with the network's settings and `info`, whole or not at all."""
    metadata = {**info, "unet": json.dumps(dataclasses.asdict(net.config))}
    arrays = {name: value.half().numpy() for name, value in net.state_dict().items()}
    save_tensors(path, arrays, metadata)


def load_unet(path: Path) -> tuple[UNet, dict[str, str]]:
    """Read weights in evaluation mode and their metadata without running code in them.

    Raises WeightsError: missing, unreadable, too large, or not such a U-Net.
    """
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise WeightsError(
            f"{path} is no file of at most {MAX_BYTES} bytes: train a U-Net first", "missing"
        )
    try:
        with safe_open(path, framework="pt") as file:
            info = dict(file.metadata() or {})
            net = UNet(UNetConfig(**json.loads(info.pop("unet", "null"))))
            wanted = {name: list(value.shape) for name, value in net.state_dict().items()}
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            if found != wanted:
                names = sorted(n for n in wanted | found if wanted.get(n) != found.get(n))
                raise WeightsError(
                    f"{path}: {names[0]} does not fit {net.config}: train again", "shape"
                )
            arrays = {name: file.get_tensor(name).float() for name in wanted}
    except (SafetensorError, SettingError, TypeError, ValueError, OSError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{path} is not a U-Net of training.baselines.train_unet: {error}",
            "form",
        ) from error
    bad = [name for name, value in arrays.items() if not torch.isfinite(value).all()]
    if bad:
        raise WeightsError(
            f"{path}: {bad[0]} has values that are not finite: train again", "values"
        )
    net.load_state_dict(arrays)
    return net.eval(), info


# As published, behind other objects alone; our defaults are fitted to our network.
PLAIN_CUT = ComposeConfig(threshold=0.5, complete_into="others")


@torch.inference_mode()
def complete_frame(
    net: UNet, image: np.ndarray, instances: Sequence[Instance], ids: Collection[str] | None = None
) -> list[AmodalObject]:
    """Return the visible masks with the pixels predicted behind others, by the stream's own rules.

    `image` is uint8 [H, W, 3], BGR; of all its visible masks, every other one may be the eraser.
    `ids` are completed; all when None. The network is in evaluation mode.
    """
    model, count = net.config.model, occupancy(list(instances), *image.shape[:2])
    chosen, colours, masks = [], [], []
    for item in instances:
        tight = mask_box(item.mask, (int(item.box.x0), int(item.box.y0)))
        if tight is None or (ids is not None and item.id not in ids):
            continue
        box = enlarge(tight, net.config.enlarge)
        chosen.append((item, box))
        colours.append(crop(image, box, model.patch)[..., ::-1].transpose(2, 0, 1))
        masks.append(mask_channel(count, item, box, model))
    if not chosen:
        return []
    rgb = torch.from_numpy(np.stack(colours)).float() / 255
    inputs = network_input(rgb, torch.from_numpy(np.stack(masks)), net.config.task)
    chances = net(inputs).sigmoid().numpy()
    return [
        compose(item, chance, box, count, (0.0, 0.0), PLAIN_CUT)
        for (item, box), chance in zip(chosen, chances, strict=True)
    ]


ERASER_BEHIND = 0.2  # share of erasers that lie behind the object
MIN_PX = 64  # smaller visible masks are not used for training


def deocclusion_batch(window: Window, config: UNetConfig, generator: torch.Generator) -> Batch:
    """Return erased masks of windows of one frame, and what they were; random by `generator` only.

    The other objects of the frame are left out, as published: the pasted one alone is the eraser,
    which with AugmentConfig's weights gives exactly the published weighting.
    """
    augment = plain(  # without a track there is no memory of the box either
        **VARIED,
        paste=1.0,
        behind=ERASER_BEHIND,
        pasted_weight=BEHIND_WEIGHT,
        enlarge=config.enlarge,
    )
    alone = window._replace(others=torch.zeros_like(window.others))
    made = make_input(alone, config.model, augment, generator)
    rgb, signed = made.patches[:, 0, :3], made.patches[:, 0, 3]
    inputs = network_input(rgb, signed, "deocclusion")
    return Batch(inputs, made.visible[:, 0], made.weight[:, 0])


def clip_rows(frames: Iterable[tuple[np.ndarray, list[Instance]]], patch: tuple[int, int]) -> Clip:
    """Return the rows of a video (BGR image and visible masks by frame) in memory, no truth."""
    rows = []
    for image, instances in frames:
        count = occupancy(instances, *image.shape[:2])
        frame = ClipFrame(image, instances)
        kept = [item for item in instances if int(item.mask.sum()) >= MIN_PX]
        rows += [context_row(frame, item, count, patch) for item in kept]
    return Clip("video", stack_rows(rows))


def adapt_unet(
    net: UNet, rows: Clip, iterations: int, learning_rate: float, *, batch: int = 32, seed: int = 0
) -> UNet:
    """Return a copy of a network trained further on the visible masks of one video (of clip_rows).

    Without any row the network itself comes back.
    """
    adapted = copy.deepcopy(net)
    source = StoredWindows([rows], list_places([rows], 1, MIN_PX), 1)
    if not source.places:
        return adapted
    adapted.train()
    optimiser = torch.optim.Adam(adapted.parameters(), lr=learning_rate)
    for step in range(iterations):
        window = source.draw(batch, np.random.default_rng((seed, step)))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        loss = unet_loss(adapted, deocclusion_batch(window, net.config, generator))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return adapted.eval()


def known_places(clips: list[Clip], places: list[Place]) -> list[Place]:
    """Return those of the places whose amodal truth is known."""
    arrays = [clip.arrays for clip in clips]
    return [p for p in places if "known" in arrays[p.clip] and arrays[p.clip]["known"][p.row]]


def oracle_batch(window: Window, config: UNetConfig, generator: torch.Generator) -> Batch:
    """Return the input as at inference, with noise, and the windows' amodal masks, which are known.

    Random by `generator` only.
    """
    assert window.amodal is not None
    augment = plain(**VARIED, mask_noise=0.3, noise_px=1.0, enlarge=config.enlarge)
    made = make_input(window._replace(amodal=None), config.model, augment, generator)
    inputs = network_input(made.patches[:, 0, :3], made.patches[:, 0, 3], "oracle")
    boxes = window.boxes[:, 0], made.boxes[:, 0]
    truth = resample(window.amodal.float() / 255, *boxes, config.model.patch)[:, 0].clamp(0, 1)
    weight = 1 + (BEHIND_WEIGHT - 1) * inputs[:, 4]  # where alone the prediction is used
    return Batch(inputs, truth, weight)


BATCHES = {"deocclusion": deocclusion_batch, "oracle": oracle_batch}  # by UNetConfig.task
