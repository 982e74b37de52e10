"""Define what all readers of masks of other programs share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from savos_model.files import FileError
from savos_model.types import Instance
from training.data.outside import shown

Read = Callable[[str, tuple[int, int]], list[Instance]]


class MaskFolderError(FileError):
    """Masks that cannot be used."""


def by_name(files: Iterable[Path], names: Sequence[str], where: Path) -> dict[str, Path]:
    """Return files by the image whose name they have.

    Raises MaskFolderError: there is none, or one has no image.
    """
    found = {path.stem: path for path in shown(files)}
    strange = sorted(found.keys() - set(names))
    if strange or not found:
        what = f"{found[strange[0]].name} belongs to none" if strange else "there are no masks"
        raise MaskFolderError(
            f"{where}: {what} of the {len(names)} images ({names[0]} .. {names[-1]}): a mask must "
            "have the name of its image",
            "names",
        )
    return found
