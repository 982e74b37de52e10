"""Opens a bag to look at: with the masks that were recorded in it, else with those of the model."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from savos_model.backends.choose import make_backend
from savos_model.stream.stream import AmodalStream
from savos_ros.bags.reader import IMAGE_KINDS, PATIENCE, BagFrames, find_topic
from savos_ros.bags.restamp import header_stamp
from savos_ros.bags.run import answers, stream_config
from savos_ros.bags.settings import BagError, RunOptions
from savos_ros.bags.storage import Bag, open_bag, topics_text
from savos_ros.messages.conversions import ConversionError
from savos_ros.messages.overlay import bgr_of
from savos_ros.node.sync import StampJoiner
from savos_ros.view.picture import Shown, pair_shown

MASKS_KIND = "savos_ros/msg/AmodalMaskArray"
REFINED = "_refined"  # end of the topic that gives each frame a second time


@dataclass(frozen=True)
class Recording:
    """An open bag, to be read once."""

    masks: str  # where the masks come from, in words
    expected: int  # images in the bag
    frames: Iterator[tuple[Shown, Mapping[str, float]]]  # frames with the time of each stage [ms]
    # Counts messages that could not be used so far, by reason
    losses: Callable[[], Mapping[str, int]]
    # Says why messages are missing from the bag, "" if none are known to be
    damage: Callable[[], str]


@dataclass(frozen=True)
class Opener:
    """Opens one bag, as often as it is called."""

    path: Path  # the bag
    masks: str = ""  # topic of recorded AmodalMaskArrays to show; "" for the first one there is
    # Complete the masks of the tracker by the model even if results are recorded
    compute: bool = False
    # Topics, weights and the rest, as of `savos run`
    options: RunOptions = field(default_factory=RunOptions)

    @contextmanager
    def __call__(self) -> Iterator[Recording]:
        """Open the bag; call, read and leave it in one thread.

        Raises BagError, WeightsError, BackendError: it cannot be read, or not completed.
        """
        with open_bag(self.path) as bag:
            topic = "" if self.compute else recorded_masks(bag, self.masks)
            if topic:
                yield self._recorded(bag, topic)
                return
        options, backend = self.options, self._backend
        with BagFrames(self.path, options.topics, options.input) as frames:
            where = f"computed by {backend.weights.name} on {backend.name}"
            report = frames.report
            yield Recording(
                where,
                frames.expected,
                self._computed(frames),
                lambda: report.refused,
                lambda: report.damage,
            )

    @cached_property
    def _backend(self) -> Any:
        return make_backend(self.options.backend)

    def _computed(self, bag: BagFrames) -> Iterator[tuple[Shown, Mapping[str, float]]]:
        stream = AmodalStream(self._backend, stream_config(self.options, self._backend))
        model = self._backend.weights.name
        for item, objects, times in answers(bag, bag, stream):
            yield Shown(item.frame.stamp_ns, bgr_of(item.frame), objects, model), times

    def _recorded(self, bag: Bag, masks: str) -> Recording:
        image, _ = find_topic(bag, "image", self.options.topics.image, IMAGE_KINDS)
        lost: Counter[str] = Counter()
        frames = _joined(bag, image, masks, lost, self.options.input.max_pixels)
        return Recording(
            f"recorded on {masks}",
            bag.topics[image].msgcount,
            frames,
            lambda: lost,
            lambda: "; ".join(bag.damage),
        )


def recorded_masks(bag: Bag, wanted: str) -> str:
    """Return the topic of the results in a bag; "" where it has none.

    Raises BagError: `wanted` is named, and is none.
    """
    found = [
        name
        for name, info in bag.topics.items()
        if info.msgtype == MASKS_KIND and info.msgcount and info.encoding == "cdr"
    ]
    if wanted and wanted not in found:
        raise BagError(
            f"{wanted} is no topic of {bag.path} with messages of type {MASKS_KIND}; "
            f"{topics_text(bag)}\nname another with --masks",
            "no_topic",
        )
    of_the_moment = [name for name in found if not name.endswith(REFINED)]
    return wanted or next(iter(of_the_moment or found), "")


def _joined(
    bag: Bag, image: str, masks: str, lost: Counter[str], max_pixels: int
) -> Iterator[tuple[Shown, Mapping[str, float]]]:
    """Yield the images of a bag that have masks, with them; others are counted."""
    channels = {image: "image", masks: "masks"}
    joiner = StampJoiner(("image", "masks"), PATIENCE)

    def sets() -> Iterator[tuple[Any, ...]]:
        for topic, _, data in bag.messages(channels):
            stamp = header_stamp(data)
            if stamp is None:
                lost[f"{channels[topic]}_broken"] += 1
            else:
                yield from joiner.feed(channels[topic], stamp, data)
        yield from joiner.flush()

    for pair in sets():
        try:
            head, body = (bag.deserialize(*item) for item in zip(channels, pair, strict=True))
            frame = pair_shown(head, body, max_pixels)
        except ConversionError as error:
            lost[error.reason] += 1
        except Exception:  # what the parser raises on damaged data is not documented
            lost["message_broken"] += 1
        else:
            yield frame, {}
    lost.update(joiner.losses)
