"""Define dataclass fields with description and bounds, and validate them."""

import dataclasses
import ipaddress
import math
import os
from pathlib import Path
from typing import Any


class UserError(Exception):
    """An expected error; its text is for the user and says what to do."""


class SettingError(ValueError):
    """A setting is outside its rule; the text begins with the field, then rule, value and remedy.

    Attributes:
        kind: the rule: "type", "finite", "choices", "bounds", or "rule" for another one.
    """

    def __init__(self, text: str, kind: str = "rule") -> None:
        super().__init__(text)
        self.kind = kind

    @property
    def field(self) -> str:
        """Return the name of the field, with its group if it has one."""
        return str(self).partition(" ")[0]


def setting(
    default: Any,
    text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple | None = None,
    live: bool = False,
) -> Any:
    """Declare one setting, the only place of its default, text and bounds.

    The type of the default (bool, int, float, str or tuple) is the setting's type; `text` is one
    sentence for a user, with the unit. Bounds are inclusive. `live` ones may change while the
    stream runs.
    """
    meta = {"text": text, "minimum": minimum, "maximum": maximum, "choices": choices, "live": live}
    return dataclasses.field(default=default, metadata=meta)


class Settings:
    """Base of dataclasses whose fields are settings; raises SettingError: a rule is broken."""

    def __post_init__(self) -> None:
        check_settings(self)


def check_settings(config: Any) -> None:
    """Check every field of a settings dataclass against its own rule; raises SettingError."""
    for field in dataclasses.fields(config):
        if "text" in field.metadata:
            check_value(field, getattr(config, field.name))


def check_value(field: dataclasses.Field, value: Any) -> None:
    """Check one value against the rule of its field; raises SettingError."""
    meta, kind = field.metadata, type(field.default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise SettingError(
            f"{field.name} must be of type {kind.__name__}, got {value!r} "
            f"({type(value).__name__}): give a {kind.__name__}, for example {field.default!r}",
            "type",
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(
            f"{field.name} must be finite, got {value}: give a number such as {field.default}",
            "finite",
        )
    if meta["choices"] is not None and value not in meta["choices"]:
        allowed = ", ".join(map(str, meta["choices"]))
        raise SettingError(
            f"{field.name} must be one of {allowed}, got {value!r}: choose one of them",
            "choices",
        )
    low, high = meta["minimum"], meta["maximum"]
    if (low is not None and value < low) or (high is not None and value > high):
        raise SettingError(
            f"{field.name} must be {bounds_text(low, high)}, got {value}: "
            f"the default is {field.default}",
            "bounds",
        )


def bounds_text(low: float | None, high: float | None) -> str:
    """Return inclusive bounds as text, for errors and tables."""
    if low is not None and high is not None:
        return f"between {low} and {high}"
    return f"at least {low}" if low is not None else f"at most {high}"


def user_cache() -> Path:
    """Return the user's cache folder of this package."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "savos_ros"


def is_loopback(host: str) -> bool:
    """Return whether a host that is bound to can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
