"""Find the messages, settings, launch files and the offline code of the package."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def share_dir() -> Path:
    """Return the folder of msg/, config/ and launch/, in the source tree or an installation.

    Raises FileNotFoundError: the package was installed without its data.
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
        "reinstall the package with pip or colcon"
    )


def version() -> str:
    """Return the version from package.xml."""
    return ElementTree.parse(share_dir() / "package.xml").getroot().findtext("version", "")


def message_files() -> list[Path]:
    """Return the .msg files of the package, for readers and writers of bags."""
    return sorted((share_dir() / "msg").glob("*.msg"))


def private_path() -> list[str]:
    """Return the folder with `training` in an install by colcon, as entries of sys.path.

    There it is in lib/savos_ros, hidden from other packages of the workspace; in a source
    tree or after `pip install` it can be imported directly, and the list is empty.
    """
    folders = (prefix / "lib" / "savos_ros" for prefix in Path(__file__).absolute().parents)
    return [str(folder) for folder in folders if (folder / "training" / "__init__.py").is_file()]


def use_private_path() -> None:
    """Let this process import `training`; called by the packages that need it."""
    sys.path[:0] = [folder for folder in private_path() if folder not in sys.path]
