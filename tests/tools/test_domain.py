import subprocess
import sys
import tempfile

import pytest

from savos_ros.tools import domain
from savos_ros.tools.settings import DemoError

ASK = """from savos_ros.tools.domain import own_domain
print(own_domain(), own_domain(), own_domain(1), flush=True)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Locks of this test alone; a process that this one starts sees them too."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_commands_at_the_same_time_get_domains_of_their_own(folder):
    command = [sys.executable, "-c", ASK + "input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        numbers = [process.stdout.readline().split() for process in (one, other)]
        one.communicate("\n")
        other.communicate("\n")
    assert all(first == again for first, again, _ in numbers), "a process keeps its domain"
    assert len({number for row in numbers for number in row}) == 4, "another place, another domain"
    after = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    assert int(after.stdout.split()[0]) == domain.DOMAINS[0], "it is free again"


def test_when_all_are_taken_it_says_so(folder, monkeypatch):
    monkeypatch.setattr(domain, "DOMAINS", range(215, 217))
    for number in domain.DOMAINS:
        (folder / f"savos_domain_{number}.lock").mkdir()  # cannot be opened as a file
    with pytest.raises(DemoError, match="^ROS_DOMAIN_ID"):
        domain.own_domain.__wrapped__()
