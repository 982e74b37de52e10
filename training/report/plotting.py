"""How plots look, and how they are saved."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from savos_model.files import write_file

# Okabe and Ito's colours, distinguishable with any kind of colour blindness.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#7F7F7F",
)  # fmt: skip
METHOD_COLOURS = {
    "ours": BLUE, "visible": GREY, "convex": ORANGE, "flow3": SKY, "flow5": GREEN,
    "deocclusion": RED, "oracle": PURPLE,
}  # fmt: skip
OTHERS = (BLUE, ORANGE, GREEN, RED, SKY, PURPLE)
MAX_BYTES = 200_000
STYLE = {
    "font.size": 11, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 11, "axes.titlelocation": "left", "figure.dpi": 100, "savefig.dpi": 100,
}  # fmt: skip


def colour_of(method: str, index: int) -> str:
    """Colour of a method, the same in all plots where it is known."""
    return METHOD_COLOURS.get(method, OTHERS[index % len(OTHERS)])


@contextmanager
def drawing(
    path: Path, width: float, height: float, columns: int = 1
) -> Iterator[tuple[Figure, Axes]]:
    """Yield axes to draw on; the picture is written when the block ends, whole or not at all.

    Args:
        path: PNG file.
        width: of the image [inch of 100 px].
        height: of the image [inch of 100 px].
        columns: axes side by side; an array of them with more than one.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained")
        try:
            yield figure, axes
            save(figure, path)
        finally:
            plt.close(figure)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; in 256 colours where it would be larger than MAX_BYTES.

    The file depends on the figure alone: no date, no version is written into it.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    if buffer.tell() > MAX_BYTES:
        buffer.seek(0)
        reduced = (
            Image.open(buffer)
            .convert("RGB")
            .quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        )
        buffer = io.BytesIO()
        reduced.save(buffer, format="png", optimize=True)
    write_file(path, buffer.getvalue())
