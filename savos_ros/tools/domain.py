"""A separate DDS domain for a command that starts nodes."""

import tempfile
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from savos_ros.tools.settings import DemoError

# Not those of robots and tests, and on Linux no connection takes their ports.
DOMAINS = range(215, 233)


@cache
def own_domain(place: int = 0) -> int:
    """Reserve a domain that no other command on this machine uses, until this process ends.

    Two commands in one domain would answer each other's frames; another `place` is another domain
    of this process. Raises DemoError: all of them are taken.
    """
    for number in DOMAINS:
        path = Path(tempfile.gettempdir()) / f"savos_domain_{number}.lock"
        try:
            lock = FileLock(path, mode=0o666)
            lock.acquire(timeout=0)
        except (Timeout, OSError):  # an OSError: the file of another user
            continue
        _held.append(lock)
        return number
    raise DemoError(
        f"ROS_DOMAIN_ID: all of {DOMAINS[0]} to {DOMAINS[-1]} are taken on this machine: "
        "end other savos commands"
    )


_held: list[FileLock] = []  # a lock that is collected is released
