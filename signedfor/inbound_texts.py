"""Which texts of inbound messages are stored."""

from dataclasses import dataclass
from typing import Final

from signedfor.contract import InboundKind


@dataclass(frozen=True, kw_only=True)
class TextPolicy:
    """Which inbound messages are stored with their text and media, and for how long."""

    dispatches: bool = False
    """A workflow of the service is started for each message: stored until it is."""
    keeps: bool = False
    """Stored until they are purged."""

    def stores(self, kind: InboundKind) -> bool:
        """Whether this message is stored with its text: for review always, until it was read."""
        return self.dispatches or self.keeps or kind is InboundKind.REVIEW


NO_TEXTS: Final = TextPolicy()
"""Only those for review."""
