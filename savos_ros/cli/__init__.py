"""The `savos` command: parses arguments and hands over.

May import everything; nothing imports it.
"""

from savos_ros.paths import use_private_path

use_private_path()
