"""Run the `savos` command from a source tree: `python -m savos_ros.cli`."""

from savos_ros.cli.entry import main

if __name__ == "__main__":
    main()
