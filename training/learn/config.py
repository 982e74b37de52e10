"""Settings of a training run, typed, and the YAML file that describes one."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from savos_model.commands import flag_of, help_of
from savos_model.config import ModelConfig
from savos_model.files import write_file
from savos_model.network.losses import LossConfig
from savos_model.settings import SettingError, check_settings, setting
from training.learn.augment_config import AugmentConfig
from training.learn.constraints import PARTS
from training.learn.stages import Stage, read_stages


@dataclass(frozen=True)
class DataConfig:
    """Training data."""

    source: str = setting(
        "stored",
        "stored clips, or Chewing Gum videos drawn as they are needed",
        choices=("stored", "chewing_gum"),
    )
    stores: tuple = setting((), "folders of stored clips, made by `savos prepare`")
    shares: tuple = setting(
        (), "relative numbers of windows from each store; none: every window counts the same"
    )
    supervised: tuple = setting(
        (),
        "share of each store's windows that learn from its amodal masks, as renderers know them, "
        "instead of pasted occluders; none: training is self-supervised",
    )
    min_px: int = setting(200, "smallest visible area of a stored window [px]", minimum=1)
    held_out: int = setting(12, "every n-th stored clip validates", minimum=2)
    validation: int = setting(256, "windows that validate, at most", minimum=2)

    def __post_init__(self) -> None:
        check_settings(self)
        shares = self.store_shares  # raises where they are no numbers
        if shares and (len(shares) != len(self.stores) or min(shares) <= 0):
            raise SettingError(
                f"shares must be a number above 0 for each of {len(self.stores)} stores, got "
                f"{list(self.shares)}: give as many, or none"
            )
        taught = self.supervised_shares
        if taught and (len(taught) != len(self.stores) or not 0 <= min(taught) <= max(taught) <= 1):
            raise SettingError(
                f"supervised must be a number in [0, 1] for each of {len(self.stores)} stores, got "
                f"{list(self.supervised)}: give as many, or none"
            )

    @property
    def store_shares(self) -> list[float]:
        """Share of each store, 1 together; none where every window counts the same."""
        numbers = _numbers("shares", self.shares)
        return [number / sum(numbers) for number in numbers]

    @property
    def supervised_shares(self) -> list[float]:
        """Share of each store's windows that learn from amodal masks; none where no window does."""
        return _numbers("supervised", self.supervised)


def _numbers(name: str, values: tuple) -> list[float]:
    try:
        return [float(value) for value in values]
    except ValueError as error:
        raise SettingError(f"{name} must be numbers: {error}") from error


@dataclass(frozen=True)
class TrainConfig:
    """Schedule and optimiser."""

    steps: int = setting(20000, "optimiser steps", minimum=1)
    batch: int = setting(64, "windows per step, of all processes together", minimum=2)
    group: int = setting(8, "windows drawn together; processes share out the groups", minimum=2)
    length: int = setting(
        4, "frames per window; where there are stages, of those that validate", minimum=2
    )
    stages: tuple = setting(
        (),
        "parts of the run, each FRAMESxWINDOWS:SHARE of its steps, with :both or :forward where "
        "its directions are not those of loss, as 2x128:0.6 8x32:0.4:both; none: length x batch",
    )
    learning_rate: float = setting(1e-3, "peak learning rate of Adam", minimum=0.0, maximum=1.0)
    warmup: int = setting(200, "steps of linear warm-up", minimum=0)
    decay: float = setting(
        1.0,
        "share of the steps, at the end, in which the learning rate decays; constant before, "
        "so that a run can be lengthened or branched",
        minimum=0.0,
        maximum=1.0,
    )
    ema: float = setting(0.999, "decay of the averaged weights", minimum=0.0, maximum=1.0)
    without: str = setting("", "part of the network that is switched off", choices=("", *PARTS))
    validate_every: int = setting(500, "steps between validations", minimum=1)
    seed: int = setting(0, "random seed", minimum=0)
    bf16: bool = setting(True, "bfloat16 convolutions, where the processor has that")
    start: str = setting("", "weights to start from: shipped name or .safetensors file")
    name: str = setting("trained", "short name stored with the weights")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.batch % self.group:
            raise SettingError(
                f"batch must be a whole number of groups of {self.group} windows, got "
                f"{self.batch}: change batch or group"
            )
        read_stages(self.stages, self.group)

    @property
    def plan(self) -> list[Stage]:
        """The stages of the run, one at least."""
        return read_stages(self.stages, self.group) or [Stage(self.length, self.batch)]


@dataclass(frozen=True)
class MachineConfig:
    """How a run is carried out; a resumed run may differ, but not in the kind of its device.

    Results of cpu and cuda differ by rounding, so that a run would not be that of its settings.
    """

    device: str = setting(
        "auto", "cpu, cuda, or auto: cuda where there is one", choices=("auto", "cpu", "cuda")
    )
    # One thread: under load two OpenMP threads spend their time waiting for each other.
    threads: int = setting(1, "CPU threads of the network", minimum=1)
    workers: int = setting(1, "threads of a process that make batches ahead", minimum=1)
    checkpoint_every: int = setting(500, "steps between checkpoints", minimum=1)
    log_every: int = setting(50, "steps between two lines of progress", minimum=1)
    tensorboard: bool = setting(True, "write scalars and pictures for TensorBoard")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class RunConfig:
    """All settings of one run, by group."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def learnt_from(self) -> dict[str, dict[str, Any]]:
        """Return the settings that determine the weights, as JSON values by group and field."""
        groups = json.loads(json.dumps(dataclasses.asdict(self)))
        del groups["machine"]
        return groups


MAX_DEPTH = 10  # of a file's values; groups of settings need three
GROUPS = {f.name: f.default_factory for f in dataclasses.fields(RunConfig)}


def setting_fields() -> dict[str, tuple[str, dataclasses.Field]]:
    """Return every setting's name -> its group and field; no name comes twice."""
    return {f.name: (group, f) for group, kind in GROUPS.items() for f in dataclasses.fields(kind)}


def make_run(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the settings of a YAML file, overridden by flags (setting name -> value or text).

    Raises:
        SettingError: a key or value is wrong; names it.
        OSError: the file cannot be read.
    """
    groups: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    for group, values in (read_groups(file) if file else {}).items():
        groups[group] |= values
    fields = setting_fields()
    for name, value in (flags or {}).items():
        group, _ = fields[name]
        groups[group][name] = value
    made = {}
    for group, values in groups.items():
        parsed = {name: parse(fields[name][1], value) for name, value in values.items()}
        made[group] = GROUPS[group](**parsed)
    return RunConfig(**made)


def write_run(file: Path, run: RunConfig) -> None:
    """Write all settings of a run as YAML that make_run reads."""
    groups = json.loads(json.dumps(dataclasses.asdict(run)))
    write_file(file, yaml.safe_dump(groups, sort_keys=False))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting, in the groups of the YAML file; make_run reads their texts."""
    titles = {group: parser.add_argument_group(group) for group in GROUPS}
    for name, (group, item) in setting_fields().items():
        many = isinstance(item.default, tuple)
        titles[group].add_argument(
            flag_of("data" if name == "stores" else name),
            dest=name,
            nargs="+" if many else None,
            metavar=name.upper() if many else type(item.default).__name__.upper(),
            help=f"{help_of(item)} (default: {item.default})".replace("%", "%%"),
        )


def read_groups(file: Path, above: tuple[Path, ...] = ()) -> dict[str, dict[str, Any]]:
    """Return the groups of a YAML file over those of its `base`, a path relative to the file.

    Raises as make_run.
    """
    file = file.resolve()
    if file in above:
        raise SettingError(f"base must not lead back to {file}: take one base out")
    try:
        text = file.read_text(encoding="utf-8")
        check_plain(text)
        content = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise SettingError(f"{file} must be YAML: {error}") from error
    if not isinstance(content, dict):
        raise SettingError(f"{file} must hold groups of settings, got {type(content).__name__}")
    base = content.pop("base", None)
    groups = read_groups(file.parent / str(base), (*above, file)) if base else {}
    for group, values in content.items():
        check_group(file, group, values)
        groups[group] = groups.get(group, {}) | values
    return groups


def check_plain(text: str) -> None:
    """Refuse YAML that takes endless time to read or to show: aliases, deep nesting; ValueError."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH:
            raise ValueError(f"aliases, or more than {MAX_DEPTH} levels: write the values out")


def check_group(file: Path, group: Any, values: Any) -> None:
    """Refuse an unknown group, or one with unknown settings."""
    if group not in GROUPS:
        raise SettingError(
            f"{file}: {group} is no group of settings: use base, {', '.join(GROUPS)}"
        )
    if not isinstance(values, dict):
        raise SettingError(f"{file}: {group} must hold settings (name: value), got {values!r}")
    known = [f.name for f in dataclasses.fields(GROUPS[group])]
    for name in values:
        if name not in known:
            raise SettingError(f"{file}: {group}.{name} is no setting: use {', '.join(known)}")


def parse(item: dataclasses.Field, value: Any) -> Any:
    """Turn text (a flag, or 1e-3 in YAML, which is text there) or a list into a field's type."""
    kind = type(item.default)
    if kind is tuple and isinstance(value, list):
        return tuple(map(str, value))
    if not isinstance(value, str) or kind is str:
        return value
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        return words.get(value.lower(), value)  # anything else is refused by the field's own check
    try:
        return kind(value) if kind in (int, float) else value
    except ValueError:
        return value
