"""Run the node: `python -m savos_ros.node`."""

import sys

from savos_ros.node.main import main

if __name__ == "__main__":
    sys.exit(main())
