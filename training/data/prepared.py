"""Says what a stored clip was made from: one of other settings is not taken for finished."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

REMEDY = "give another --out, or remove that folder"


def origin(frames: Callable[..., Any], arguments: tuple, **how: Any) -> dict[str, Any]:
    """Return what decides a clip's content, as JSON has it.

    That is the function that yields the frames, its arguments and `how`, such as the patch. Of a
    path its place counts, so a data set that was moved is another one.
    """
    bound = inspect.signature(frames).bind(*arguments)
    bound.apply_defaults()
    made = {"by": frames.__name__, **bound.arguments, **how}
    return json.loads(json.dumps({name: _plain(value) for name, value in made.items()}))


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    if dataclasses.is_dataclass(value):
        names = (item.name for item in dataclasses.fields(value))
        return {name: _plain(getattr(value, name)) for name in names}
    return value


def is_made_so(folder: Path, wanted: dict[str, Any]) -> bool:
    """Return whether a clip made as `wanted` (by `origin`) is stored in a folder.

    Raises:
        ValueError: a clip is there, but made otherwise; or one that does not say how, as earlier
            versions left them. Training and evaluation read such clips all the same.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
    except FileNotFoundError:
        return False
    except (ValueError, RecursionError):
        meta = None
    made = meta.get("made") if isinstance(meta, dict) else None
    if not isinstance(made, dict):
        raise ValueError(f"{folder} does not say what it was prepared from: {REMEDY}")
    other = [name for name in (made | wanted) if made.get(name) != wanted.get(name)]
    if other:
        holds, asked = (
            ", ".join(f"{name} {by.get(name)!r}" for name in other) for by in (made, wanted)
        )
        raise ValueError(f"{folder} was prepared with {holds}, asked for is {asked}: {REMEDY}")
    return True
