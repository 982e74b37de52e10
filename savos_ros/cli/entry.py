"""Start the `savos` command, whose modules take a while to import, with signals in order."""

import gc
import signal
import sys
from types import FrameType

ENDLESS = ("play", "view", "bridge")  # a signal is their normal end, also while they start
INTERRUPTED = 130


def main() -> None:
    """Run the console script.

    A signal during the imports neither prints a traceback nor cuts them short, which some packages
    cannot bear: the process ends after them, with status 0 for `ENDLESS` commands, else 130.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    from savos_ros.cli.main import main as run

    try:
        if came:
            sys.exit(INTERRUPTED)
        for number, old in before.items():
            signal.signal(number, old)
        run()
    except KeyboardInterrupt:
        sys.exit(_status(INTERRUPTED))
    except SystemExit as ended:  # Typer's status of a Ctrl-C that came before stop_on_signals
        sys.exit(_status(ended.code))
    finally:
        gc.freeze()  # else the interpreter searches all modules for garbage first: 0.2 s of a core


def _status(code: str | int | None) -> str | int | None:
    """Return the exit status of this command for that of its program."""
    return 0 if code == INTERRUPTED and sys.argv[1:2] and sys.argv[1] in ENDLESS else code
