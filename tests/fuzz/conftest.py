import resource

import pytest

MOST_MEMORY = 768 << 20  # beyond what is in use when a test begins


@pytest.fixture(autouse=True)
def bounded_memory():
    """Limits address space, so that the memory of every library counts; what goes beyond fails."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_MEMORY, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
