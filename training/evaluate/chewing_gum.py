"""Chewing Gum videos, scored by the paper's protocol."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from savos_model.masks import by_id
from savos_model.stream.video import Setup
from savos_model.types import AmodalObject
from training.data.chewing_gum import ChewingGumConfig, ReleasedVideos, videos
from training.data.chewing_gum import Video as GumVideo
from training.data.kitti_mots import PERIOD_NS
from training.evaluate.benchmark import Benchmark, data_of
from training.evaluate.metrics import Masks, bootstrap, by_occlusion, score_frame, summarise
from training.evaluate.settings import GumOptions
from training.evaluate.video import Scores, Video, VideoResult, stream_frames

BLOCK = 25  # videos of one job
FRAMES = 40  # of a video, for the progress bar
PROTOCOL = {
    "frames": "all but the first and the last of a video, as the released evaluation scores them",
    "full": "IoU after the visible mask replaced the prediction outside the other object",
    "occluded": "IoU inside the other object's visible mask",
    "lower_object": "the object that another one lies on, in frames where part of it is hidden",
    "all_objects": "every object of a frame, the upper one too, averaged by frame",
}
FLOWS = {"topic": "exact: the motion that the videos were drawn with"}


@dataclass(frozen=True)
class ChewingGum(GumOptions, Benchmark):
    """A set of videos, read or generated."""

    name: ClassVar[str] = "chewing_gum"
    flow: ClassVar[bool] = False

    def check(self, ours: Setup) -> None:
        """Refuse a stream that needs the exact flow of videos that do not hold it."""
        if ours.stream.flow.method == "topic" and self.data is not None:
            raise ValueError(
                "--flow topic needs videos of known motion, which files do not hold: leave --data "
                "out, or take --flow dis_fast"
            )

    def entries(self) -> list[tuple[range, int]]:
        """List the numbers of the videos in blocks."""
        numbers = range(self.videos if self.data is None else ReleasedVideos(self.data).count)
        blocks = [numbers[i : i + BLOCK] for i in range(0, len(numbers), BLOCK)]
        return [(block, FRAMES * len(block)) for block in blocks]

    def open(self, key: range) -> Iterator[Video]:
        """Open the videos of a block, one after the other."""
        if self.data is not None:
            return map(opened, ReleasedVideos(self.data).read(key.start, key.stop))
        return map(opened, videos(ChewingGumConfig(seed=self.video_seed), key.start, len(key)))

    def about(self, ours: Setup, results: Sequence[VideoResult]) -> dict:
        """Return protocol and data, for result files."""
        method = ours.stream.flow.method
        generated = {"source": "generated", "video_seed": self.video_seed}
        return {
            "protocol": {**PROTOCOL, "mode": ours.mode, "flow": FLOWS.get(method, method)},
            "data": {
                "set": self.name,
                **(generated if self.data is None else {"source": self.data.name}),
                "videos": len(results),
                "frames": data_of(self.name, results)["frames"],
            },
        }

    def report(self, scores: Scores, seed: int) -> dict:
        """Return means, 95 % intervals with videos drawn again, and means by occlusion rate.

        They are those of the lower objects, and of all.
        """
        groups = {group: scores.get(group, []) for group in ("lower_object", "all_objects")}
        return {
            group: {
                **summarise(found, None),
                "ci95": {field: bootstrap(found, field, seed) for field in ("full", "occluded")},
                "by_occlusion": by_occlusion(found),
            }
            for group, found in groups.items()
        }


def opened(video: GumVideo) -> Video:
    """Return a video whose inner frames are scored."""
    frames = list(video.clip_frames())
    visible = [by_id(frame.instances) for frame in frames]
    shape = frames[0].image.shape[:2]

    def score(index: int, masks: Masks | list[AmodalObject]) -> Scores:
        if not 0 < index < len(frames) - 1:
            return {}
        full, where = frames[index].full or {}, {"clip": video.name, "frame": index}
        found = score_frame(masks, full, visible[index], shape, **where)
        lower = [s for s in found if s.id in video.occluded and 0 < s.occlusion < 1]
        return {"lower_object": lower, "all_objects": found}

    # The set has no frame rate: that of KITTI keeps the stream's tracks alive.
    stamps = [index * PERIOD_NS for index in range(len(frames))]
    return Video(
        video.name,
        shape,
        range(len(frames)),
        lambda: stream_frames(frames, stamps),
        visible,
        [set(masks) for masks in visible],
        score,
    )
