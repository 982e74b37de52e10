"""A disk on which no file can grow beyond some bytes."""

import contextlib
import resource


@contextlib.contextmanager
def full_disk(limit):
    """Writes beyond `limit` bytes of a file fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
