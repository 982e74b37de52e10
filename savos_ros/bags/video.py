"""Writes a video of frames that keeps the pace of their stamps."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from savos_model.files import atomic
from savos_ros.bags.settings import BagError

# In a third of the time of veryfast at crf 20, for half as many bytes again. Without lookahead and
# B frames: with them x264 gave another file in 7 of 100 encodings of one clip.
X264 = {"crf": "21", "preset": "ultrafast"}
CODECS = (("libx264", X264), ("mpeg4", {"qscale": "3"}))
TICKS_PER_S = 1000
LONGEST_FRAME_S = 1.0  # a gap in the recording must not become minutes of one still picture


class VideoWriter:
    """An MP4 file (H.264, else MPEG-4) that gets its name when the block ends without an error."""

    def __init__(self, path: str | Path) -> None:
        """Prepare; the first picture opens the file, which replaces one that is there."""
        self.path = Path(path)
        self.frames = 0
        self._stream: Any = None
        self._opened = ExitStack()
        self._clock = 0
        self._stamp: int | None = None

    def __enter__(self) -> VideoWriter:
        import av

        self._av = av
        return self

    def write(self, stamp_ns: int, image: np.ndarray) -> None:
        """Add a picture: uint8 [H, W, 3], BGR; one of another size is scaled to the first."""
        height, width = image.shape[:2]
        if self._stream is None:
            self._start(height, width)
        if (height, width) != self._size:
            height, width = self._size
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        if self._stamp is not None:
            gap = min((stamp_ns - self._stamp) / 1e9, LONGEST_FRAME_S)
            self._clock += max(1, round(gap * TICKS_PER_S))  # stamps may fall back, a video cannot
        self._stamp = stamp_ns
        # 4:2:0 video has even sides: the last row and column are repeated where needed.
        padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(padded, format="bgr24")
        frame.pts, frame.time_base = self._clock, Fraction(1, TICKS_PER_S)
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def __exit__(self, *details: Any) -> None:
        """Finish the file and name it; after an error, or without a picture, none is left."""
        self._opened.__exit__(*details)

    def _flush(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())

    def _start(self, height: int, width: int) -> None:
        self._size = (height, width)
        part = self._opened.enter_context(atomic(self.path))
        container = self._av.open(str(part), "w", format="mp4")
        self._container = self._opened.enter_context(container)
        self._opened.push(self._flush)
        for name, options in CODECS:
            try:
                self._stream = self._container.add_stream(name, rate=TICKS_PER_S, options=options)
            except (self._av.codec.codec.UnknownCodecError, ValueError):
                continue
            break
        if self._stream is None:
            raise BagError(
                "PyAV has neither libx264 nor mpeg4: install the `av` wheel of PyPI", "codec"
            )
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        self._stream.codec_context.thread_count = 1
