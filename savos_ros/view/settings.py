"""Options of `savos view`. Quick to load, for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from savos_model.commands import option, part
from savos_model.config import BackendConfig
from savos_model.settings import SettingError, Settings, setting
from savos_ros.bags.settings import RunOptions, Topics
from savos_ros.messages.settings import InputConfig

if TYPE_CHECKING:
    from savos_ros.view.source import Source


@dataclass(frozen=True)
class ServeOptions(Settings):
    """Where and how the page is served."""

    host: str = setting(
        "127.0.0.1", "address to listen on; 0.0.0.0 serves the page to the whole network"
    )
    port: int = setting(8080, "port of the page", minimum=1, maximum=65535)
    control: bool = setting(False, "show buttons to reset, adapt and roll back")

    @property
    def address(self) -> str:
        """Address of the page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"


@dataclass(frozen=True)
class ViewOptions(Settings):
    """Choice of the node or bag that is shown."""

    bag: Path | None = option(
        "bag to play instead of a node: its folder, or .mcap or .db3 file", None, argument=True
    )
    node: str = setting("/savos", "full name of the node, such as /front/savos")
    masks: str = setting("", "of a bag: topic of recorded results, if there are several")
    compute: bool = setting(False, "of a bag: complete the masks here even if results are recorded")
    topics: Topics = part(Topics, image="", instances="")
    backend: BackendConfig = part(BackendConfig, weights="", backend="", device="")
    input: InputConfig = part(InputConfig, sync_slop_s="sync_slop", track="")

    def __post_init__(self) -> None:
        super().__post_init__()
        of_bags = {
            "masks": self.masks,
            "compute": self.compute,
            "instances": self.topics.instances,
            "weights": self._engine_chosen,  # or another of the engine's
            "sync-slop": self.input.sync_slop_s,
            "track": self.input.track,
        }
        wrong = [name for name, value in of_bags.items() if value]
        if self.bag is None and wrong:
            raise SettingError(f"--{wrong[0]} is for bags: name a bag, or leave the option out")

    def source(self, control: bool) -> Source:
        """Return what the server shows.

        Raises SettingError: a name is no name of ROS; ImportError: ROS 2, or a package for bags, is
        missing.
        """
        if self.bag is None:
            from savos_ros.view.live import LiveSource

            return LiveSource(self.node, self.topics.image, control)
        from savos_ros.view.playback import BagSource, Spool
        from savos_ros.view.recording import Opener

        run = RunOptions(self.backend, input=self.input, topics=self.topics)
        compute = self.compute or self.input.track or self._engine_chosen
        return BagSource(Opener(self.bag, self.masks, compute, run), Spool())

    @property
    def _engine_chosen(self) -> bool:
        return self.backend != BackendConfig()
