"""Coverage-guided fuzzing of every reader: `python -m tests.fuzz.atheris_readers [OPTION...]`.

The first byte of an input chooses the reader, the rest is the mutator's recipe. Needs atheris
(requirements/fuzz.txt); the options are libFuzzer's and stand after those below.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))  # helper modules of the tests
with atheris.instrument_imports(include=["savos_model", "savos_ros", "training"]):
    from tests.fuzz.mutator import mutate
    from tests.fuzz.readers import READERS


# Seconds in all and for one input, memory, and inputs of several edits from the beginning.
OPTIONS = [
    "-max_total_time=60",
    "-timeout=20",
    "-rss_limit_mb=3000",
    "-max_len=64",
    "-len_control=0",
]


def main() -> None:
    """Fuzz until the time is over; an undocumented error ends the process with its trace."""
    with tempfile.TemporaryDirectory() as folder:
        ways = []
        for reader in READERS:
            place = Path(folder, reader.name)
            place.mkdir()
            path = reader.write(place)
            ways.append((reader, path, path.read_bytes()))

        def read(data: bytes) -> None:
            if not data:
                return
            reader, path, sample = ways[data[0] % len(ways)]
            path.write_bytes(mutate(sample, data[1:]))
            with contextlib.suppress(*reader.errors):
                reader.read(path)

        atheris.Setup([sys.argv[0], *OPTIONS, *sys.argv[1:]], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
