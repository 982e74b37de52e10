"""Definitions of message types, in the form of MCAP's and Foxglove's `ros2msg`."""

import re
from importlib import import_module
from pathlib import Path

from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from savos_ros.bags.types import typestore


class Schemas:
    """The definitions of what is installed, read once a package; else those that bags use."""

    def __init__(self) -> None:
        self._store = get_typestore(Stores.EMPTY)
        self._read: set[str] = set()

    def text(self, kind: str) -> str:
        """Return the definition of a type `package/msg/Type` with all that it contains.

        Raises LookupError: the definition of the type, or of one in it, is unknown here.
        """
        try:
            return self._installed(kind)
        except LookupError:
            try:
                return str(typestore().generate_msgdef(kind, ros_version=2)[0])
            except TypesysError as error:
                raise LookupError(str(error)) from error

    def _installed(self, kind: str) -> str:
        while True:
            try:
                return str(self._store.generate_msgdef(kind, ros_version=2)[0])
            except TypesysError as error:
                unknown = re.search(r"'(\w+)/msg/\w+'", str(error))
                if unknown is None or unknown[1] in self._read:
                    raise LookupError(str(error)) from error
                self._learn(unknown[1])

    def _learn(self, package: str) -> None:
        """Read all messages of a package; raises LookupError: missing, or unreadable."""
        self._read.add(package)
        types = {}
        for path in definitions(package):
            try:
                found = get_types_from_msg(path.read_text("utf-8"), f"{package}/msg/{path.stem}")
            except (TypesysError, ValueError) as error:
                raise LookupError(f"{path} cannot be read: {error}") from error
            types.update(found)
        self._store.register(types)


def definitions(package: str) -> list[Path]:
    """Return the .msg files of a package; raises LookupError: it is not installed."""
    try:
        module = import_module(f"{package}.msg")
    except ImportError as error:
        raise LookupError(f"messages of {package} are not installed") from error
    # The same prefix as the classes, without the ament index, which pip's ROS packages do not set.
    folders = (prefix / "share" / package / "msg" for prefix in Path(str(module.__file__)).parents)
    return sorted(next((path for path in folders if path.is_dir()), Path()).glob("*.msg"))
