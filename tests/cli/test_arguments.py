import subprocess
import sys
from pathlib import Path

import pytest

from savos_model.commands import user_errors
from savos_model.hints import PIP

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "command",
    [
        "adapt fishbowl --data nowhere",
        "weights calibrate --weights best --data a --out b --name c",
        "bench train",
        "train",
    ],
)
@pytest.mark.slow
def test_commands_that_need_torch_name_it_in_one_line(command):
    code = "import sys; sys.modules['torch'] = None; from savos_ros.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    wanted = f"error: torch is not installed: {PIP['train']}"
    assert done.stderr.strip() == wanted, done.stderr


def test_a_missing_module_of_our_own_is_no_wrong_argument():
    with pytest.raises(ModuleNotFoundError), user_errors():
        raise ModuleNotFoundError("no module", name="training.nothing")
