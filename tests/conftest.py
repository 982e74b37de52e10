import contextlib
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter
from hypothesis import settings
from kinds import MARKS, kind_of_skip, marks_of_file, marks_of_tests

# No deadlines: a machine under load is slow, not wrong.
settings.register_profile("usual", deadline=None)
settings.register_profile("long", max_examples=10_000, deadline=None)  # --hypothesis-profile long
settings.load_profile("usual")

# Tests are small: a second OpenMP thread costs more than it gains, ten times so on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


def private_domain(stack: contextlib.ExitStack) -> str:
    """A DDS domain that no other test run on this machine uses."""
    try:
        from domain_coordinator import domain_id
    except ImportError:
        return str(1 + os.getpid() % 100)
    return str(stack.enter_context(domain_id()))


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests' ROS traffic to themselves; set before any test imports rclpy."""
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    os.environ["ROS_DOMAIN_ID"] = private_domain(stack)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(ROOT / "config" / "fastdds.xml")
    os.environ.pop("ROS_LOCALHOST_ONLY", None)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files alone that `-m fast` would load only to deselect all their tests."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if config.option.markexpr == "fast" and is_test and marks_of_file(collection_path):
        return True
    return None


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they import; what is neither dds, torch nor slow is fast."""
    for item in items:
        name = getattr(item, "originalname", item.name)
        found = marks_of_file(item.path) | marks_of_tests(item.path).get(name, set())
        for mark in sorted(found):
            item.add_marker(mark)
        if not any(map(item.get_closest_marker, ("slow", *MARKS.values()))):
            item.add_marker("fast")


@pytest.fixture(autouse=True)
def keeps_to_its_mark(request):
    """With `-m fast`, where nothing else loads them: no test loads DDS or PyTorch."""
    absent = {name: mark for name, mark in MARKS.items() if name not in sys.modules}
    yield
    if request.config.option.markexpr == "fast":
        loaded = sorted(mark for name, mark in absent.items() if name in sys.modules)
        assert not loaded, f"not fast: give it the mark {loaded[0]}"


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say how much of the suite this machine does not run, and what it lacks."""
    skipped = terminalreporter.stats.get("skipped", [])
    kinds = Counter(kind_of_skip(str(report.longrepr[-1])) for report in skipped)
    if kinds:
        parts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        terminalreporter.write_line(f"{len(skipped)} skipped (tests or whole files): {parts}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the recorded data sets; the test is skipped where it is not there."""
    path = Path(os.environ.get("SAVOS_DATA") or ROOT.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"no data sets at {path}: set SAVOS_DATA to their folder")
    return path
