"""Define what all readers of masks of other programs share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from savos_model.types import Instance

Read = Callable[[str, tuple[int, int]], list[Instance]]


class MaskFolderError(ValueError):
    """Masks that cannot be used; the text names the file, the rule, the value and what to do."""


def by_name(files: Iterable[Path], names: Sequence[str], where: Path) -> dict[str, Path]:
    """Files by the image that they have the name of.

    Raises:
        MaskFolderError: there is none, or one has no image.
    """
    found = {path.stem: path for path in sorted(files)}
    strange = sorted(found.keys() - set(names))
    if strange or not found:
        what = f"{found[strange[0]].name} belongs to none" if strange else "there are no masks"
        raise MaskFolderError(
            f"{where}: {what} of the {len(names)} images ({names[0]} .. {names[-1]}): a mask must "
            "have the name of its image"
        )
    return found
