"""Build the messages with CMake, then install them into the Python that runs this file."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]


def repair_prefix(prefix: Path) -> int:
    """Point the CMake targets of the ROS wheels at this Python and NumPy; return the changed files.

    As they come they name the folders of the machine that built them, and CMake refuses those.
    """
    import numpy  # only here: the set-up script imports this module before anything is installed

    include = sysconfig.get_path("include")
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    python = f"/opt/python/cp{minor.replace('.', '')}-cp{minor.replace('.', '')}"
    replacements = {
        f"{python}/include/python{minor}": include,
        f"{python}/lib/python{minor}/site-packages/numpy/_core/include": numpy.get_include(),
    }
    changed = 0
    for path in prefix.glob("share/*/cmake/*.cmake"):
        old = path.read_text()
        new = old
        for found, wanted in replacements.items():
            new = new.replace(found, wanted)
        if new != old:
            partial = path.with_suffix(".cmake.part")
            partial.write_text(new)
            partial.replace(path)
            changed += 1
    return changed


def ros_environment(prefix: Path) -> dict[str, str]:
    """Return the environment in which CMake finds the ROS packages of `prefix`."""
    bin_dir = str(prefix / "bin")
    return os.environ | {
        "PATH": bin_dir + os.pathsep + os.environ.get("PATH", ""),
        "AMENT_PREFIX_PATH": str(prefix),
        "CMAKE_PREFIX_PATH": str(prefix),
    }


def cmake_commands(prefix: Path, build: Path, install: Path) -> list[list[str]]:
    """Return the CMake calls that configure, build and install the messages alone."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else ["-G", "Unix Makefiles"]
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), *generator, "-Wno-dev"]
    configure += [f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_INSTALL_PREFIX={install}"]
    configure += [f"-DPython3_EXECUTABLE={sys.executable}", "-DCMAKE_BUILD_TYPE=Release"]
    configure += ["-DBUILD_TESTING=OFF", "-DSAVOS_INSTALL_PYTHON=OFF"]
    jobs = str(os.cpu_count() or 1)
    compile_ = ["cmake", "--build", str(build), "--parallel", jobs]
    return [configure, compile_, ["cmake", "--install", str(build)]]


def build_messages(prefix: Path, build: Path, install: Path) -> None:
    """Build the messages and install lib/, share/ and `savos_ros.msg` into the prefix `install`.

    The ROS packages are in `prefix`; the working folder `build` is kept, so that an interrupted
    build resumes. Raises RuntimeError: a CMake step failed; the text holds the end of its output.
    """
    repair_prefix(prefix)
    if not str(build).isascii():
        # The CMake of rosidl drops all other letters from the paths of the files it generates.
        with TemporaryDirectory(prefix="savos_messages_") as folder:
            run_cmake(prefix, Path(folder), install)
        return
    cache = build / "CMakeCache.txt"
    if cache.exists() and f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}\n" not in cache.read_text():
        shutil.rmtree(build)  # the tree was moved or copied: CMake refuses such a folder
    run_cmake(prefix, build, install)


def run_cmake(prefix: Path, build: Path, install: Path) -> None:
    """Configure, build and install; arguments and errors as in build_messages."""
    for command in cmake_commands(prefix, build, install):
        done = subprocess.run(
            command, env=ros_environment(prefix), capture_output=True, text=True, check=False
        )
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
            raise RuntimeError(f"{' '.join(command[:3])} failed:\n{tail}")


def main() -> int:
    """Build into the running environment and return the exit status."""
    prefix = Path(sys.prefix)
    try:
        build_messages(prefix, ROOT / "build" / "messages", prefix)
    except RuntimeError as error:
        print(f"The messages could not be built: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    # The generator registers the messages with pip, which would remove them at its next install.
    for egg_info in Path(sysconfig.get_path("purelib")).glob("savos_ros-*.egg-info"):
        shutil.rmtree(egg_info)
    return 0


if __name__ == "__main__":
    sys.exit(main())
