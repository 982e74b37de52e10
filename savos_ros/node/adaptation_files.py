"""Locate the folder of accepted weights and the newest of them."""

from __future__ import annotations

from pathlib import Path

from savos_model.network.weights import WeightsError
from savos_model.settings import SettingError, user_cache


def node_folder(folder: str, node: str) -> Path:
    """Return the folder of accepted weights of a node, such as /front/savos.

    It is below adapt.folder, "" for the user's cache. Raises SettingError: that starts with the
    home of a user without one.
    """
    try:
        base = Path(folder).expanduser() if folder else user_cache() / "adapted"
    except RuntimeError as error:
        raise SettingError(
            f"adapt.folder must be a path, got {folder!r} ({error}): give the full path"
        ) from None
    return base / node.strip("/")


def newest(folder: str, node: str = "") -> Path:
    """Return the weights that were accepted last, by a node or, without a name, by any.

    Raises WeightsError: there are none.
    """
    place = node_folder(folder, node)
    files = [*place.glob("*.safetensors" if node.strip("/") else "**/*.safetensors")]
    if not files:
        text = f"{place} contains no adapted weights: no node has accepted any yet"
        raise WeightsError(text, "missing")
    return max(files, key=lambda path: path.stat().st_mtime)
