import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Sends a signal while the named module is imported, then runs the command.
PROGRAM = """
import os, signal, sys
class Sender:
    def find_spec(self, name, path, target=None):
        if name == MODULE and self in sys.meta_path:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), NUMBER)
sys.meta_path.insert(0, Sender())
from savos_ros.cli.entry import main
main()
"""


def ended(words, module, number):
    code = f"MODULE, NUMBER = {module!r}, {int(number)}\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("words", "status"),
    [(["play", "absent"], 0), (["view"], 0), (["bridge"], 0), (["doctor"], 130)],
)
def test_a_signal_during_the_imports_ends_the_command(words, status, number):
    assert ended(words, "savos_ros.cli.main", number) == (status, "")


@pytest.fixture
def entry(monkeypatch):
    from savos_ros.cli import entry

    monkeypatch.setattr(entry.gc, "freeze", lambda: None)  # this process continues
    return entry


def test_a_signal_between_imports_and_command_is_a_normal_end_too(monkeypatch, entry):
    import savos_ros.cli.main as program

    def interrupted():
        raise KeyboardInterrupt  # what SIGINT does there

    monkeypatch.setattr(program, "main", interrupted)
    found = {}
    for name in ("play", "view", "bridge", "run"):
        monkeypatch.setattr(sys, "argv", ["savos", name])
        with pytest.raises(SystemExit) as info:
            entry.main()
        found[name] = info.value.code
    assert found == {"play": 0, "view": 0, "bridge": 0, "run": entry.INTERRUPTED}


def test_other_statuses_are_kept(monkeypatch, entry):
    import savos_ros.cli.main as program

    monkeypatch.setattr(sys, "argv", ["savos", "play"])
    for status in (0, 1, 2, "text"):
        monkeypatch.setattr(program, "main", lambda code=status: sys.exit(code))
        with pytest.raises(SystemExit) as info:
            entry.main()
        assert info.value.code == status
