"""Says which bag and which weights labels were made of, wherever the two lie."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from savos_model.network.weights import find_weights
from savos_ros.bags.storage import FILE_ENDINGS, open_bag

SAMPLES = 16  # of a data file: a bag of an hour is not read for its name
SAMPLE_BYTES = 1 << 20


def bag_identity(path: Path) -> dict[str, Any]:
    """Return what distinguishes a bag: names, sizes and samples of its data files, and counts.

    Args:
        path: folder of the bag, or its .mcap or .db3 file; where it lies does not count.

    Raises:
        BagError: it cannot be read.
        OSError: a file cannot be read.
    """
    with open_bag(path) as bag:
        counts = {name: info.msgcount for name, info in bag.topics.items()}
    files = [path] if path.is_file() else sorted(path.iterdir())
    data = [file for file in files if file.is_file() and {*FILE_ENDINGS} & {*file.suffixes}]
    return {
        "files": {file.name: [file.stat().st_size, _sampled(file)] for file in data},
        "messages": counts,
    }


def weights_identity(name_or_path: str) -> str:
    """Return the SHA-256 of the file of weights.

    Raises:
        WeightsError: there is none.
    """
    digest = hashlib.sha256()
    with find_weights(name_or_path).open("rb") as file:
        while part := file.read(SAMPLE_BYTES):
            digest.update(part)
    return digest.hexdigest()


def _sampled(path: Path) -> str:
    """Return the SHA-256 of a file, of evenly spread parts where it is large."""
    digest, size = hashlib.sha256(), path.stat().st_size
    step = max(SAMPLE_BYTES, (size - SAMPLE_BYTES) // (SAMPLES - 1))
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
