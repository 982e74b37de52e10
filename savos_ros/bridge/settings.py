"""Options of the bridge. Quick to load, for the command line."""

import re
from dataclasses import dataclass

from savos_model.settings import SettingError, Settings, UserError, setting


class BridgeError(UserError):
    """The bridge cannot run; the text reports why and what to do."""


@dataclass(frozen=True)
class BridgeOptions(Settings):
    """Where viewers connect, and what they see."""

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0 for the whole network")
    port: int = setting(8765, "TCP port; 0 for a free one", minimum=0, maximum=65535)
    topics: str = setting("", "regular expression of the topics offered; empty for all")
    backlog: int = setting(
        32, "messages kept for a slow viewer, then the oldest is dropped", minimum=4, maximum=1024
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.topics)
        except re.error as error:
            raise SettingError(
                f"topics must be a regular expression, got {self.topics!r} ({error}): correct it"
            ) from None

    def offers(self, topic: str) -> bool:
        """Return whether a topic is offered; hidden ones never are."""
        hidden = any(part.startswith("_") for part in topic.split("/"))
        return not hidden and re.fullmatch(self.topics or ".*", topic) is not None
