"""Finds the messages, settings and launch files that come with the package."""

from __future__ import annotations

from pathlib import Path


def share_dir() -> Path:
    """Folder that holds msg/, config/ and launch/, in the source tree and in every kind of install.

    Raises:
        FileNotFoundError: the package was copied without its data.
    """
    # Not resolved: `colcon build --symlink-install` links the sources.
    here = Path(__file__).absolute()
    tree = here.parents[1]
    if (tree / "package.xml").is_file() and (tree / "msg").is_dir():
        return tree
    for prefix in here.parents[1:]:
        share = prefix / "share" / "savos_ros"
        if (share / "package.xml").is_file():
            return share
    raise FileNotFoundError(
        f"share/savos_ros is in no folder above {here.parent}: "
        "install the package again with pip or colcon"
    )


def message_files() -> list[Path]:
    """The .msg files of the package, for readers and writers of bags."""
    return sorted((share_dir() / "msg").glob("*.msg"))
