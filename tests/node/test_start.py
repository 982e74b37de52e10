import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.modules[sys.argv.pop(1)] = None
from savos_ros.node.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("absent", ["rclpy", "savos_ros.msg"])
@pytest.mark.slow
def test_half_an_installation_ends_with_one_clear_text(absent):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, absent], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("savos_node: cannot start: ") and absent in done.stderr
    assert "`savos doctor`" in done.stderr
