"""Let `pip install` build the messages where a ROS 2 message generator is available."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "scripts"))

from build_messages import build_messages  # noqa: E402  (scripts/ is on the path only now)


def generator_prefix() -> Path | None:
    """Return the prefix of the message generators: a sourced ROS 2, else wheels of this Python."""
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    spec = importlib.util.find_spec("ament_package")
    if spec and spec.origin:
        prefixes += list(Path(spec.origin).parents)
    for prefix in prefixes:
        if (prefix / "share" / "rosidl_default_generators").is_dir():
            return prefix
    return None


class BuildWithMessages(build_py):
    """Install `savos_ros.msg` and its libraries, too."""

    def run(self) -> None:
        """Copy the sources, then build the messages; warn if no generator is installed."""
        super().run()
        if self.editable_mode:  # the set-up script built them into the environment
            return
        prefix = generator_prefix()
        if prefix is None:
            self.warn(
                "no ROS 2 message generator found: savos_ros.msg is left out, the node cannot run"
            )
            return
        build = Path(self.get_finalized_command("build").build_base).resolve()
        installed = build / "messages-install"
        shutil.rmtree(installed, ignore_errors=True)
        build_messages(prefix, build / "messages", installed)
        self.take_python_package(installed)
        self.take_libraries(installed)

    def take_python_package(self, installed: Path) -> None:
        """Add the generated modules to our own."""
        (generated,) = installed.glob("**/savos_ros/msg/__init__.py")
        target = Path(self.build_lib).resolve() / "savos_ros"
        keep = shutil.ignore_patterns("__init__.py", "__pycache__", "*.c")
        shutil.copytree(generated.parents[1], target, ignore=keep, dirs_exist_ok=True)
        shutil.copytree(generated.parent, target / "msg", dirs_exist_ok=True)

    def take_libraries(self, installed: Path) -> None:
        """Install the type support libraries, plus the marks by which ROS finds the package."""
        data = {folder: list(files) for folder, files in self.distribution.data_files or []}
        for path in sorted(
            [*installed.glob("lib/*.so"), *installed.glob("share/ament_index/**/*")]
        ):
            if path.is_file():
                folder = str(path.parent.relative_to(installed))
                data.setdefault(folder, []).append(os.path.relpath(path, ROOT))
        self.distribution.data_files = sorted(data.items())


class BinaryDistribution(Distribution):
    """Tag the wheel with this platform, as it contains compiled type support."""

    def has_ext_modules(self) -> bool:
        """Return whether the messages can be built here."""
        return generator_prefix() is not None


setup(cmdclass={"build_py": BuildWithMessages}, distclass=BinaryDistribution)
