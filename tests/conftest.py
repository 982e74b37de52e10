import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import settings

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


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the recorded data sets; the test is skipped where it is not there."""
    path = Path(os.environ.get("SAVOS_DATA") or ROOT.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"no data sets at {path}: set SAVOS_DATA to their folder")
    return path
