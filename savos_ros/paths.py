"""Find the messages, settings, launch files and the offline code that come with the package."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
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


def version() -> str:
    """Version of the package, as its package.xml says."""
    return ElementTree.parse(share_dir() / "package.xml").getroot().findtext("version", "")


def message_files() -> list[Path]:
    """The .msg files of the package, for readers and writers of bags."""
    return sorted((share_dir() / "msg").glob("*.msg"))


def private_path() -> list[str]:
    """Return the folder with `training` in an install by colcon, as entries of sys.path.

    There it lies in lib/savos_ros, out of reach of other packages of the workspace; in a source
    tree or after `pip install` it can be imported as it is, and the list is empty.
    """
    folders = (prefix / "lib" / "savos_ros" for prefix in Path(__file__).absolute().parents)
    return [str(folder) for folder in folders if (folder / "training" / "__init__.py").is_file()]


def use_private_path() -> None:
    """Let this process import `training`; called by the packages that need it."""
    sys.path[:0] = [folder for folder in private_path() if folder not in sys.path]
