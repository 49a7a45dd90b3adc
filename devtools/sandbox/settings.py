"""What can be changed while the sandbox runs: times, hold, rate and the URLs of webhooks."""

import asyncio
from typing import Any

from pydantic import Field

from devtools.sandbox.faults import Spec
from devtools.sandbox.magic import GOOD_SENDER


class Settings(Spec):
    """The settings of the ordinary account. Times are in seconds.

    `sent_after`: from creation to sent. `delivered_after`: from sent to the last status.
    `hold`: while true, queued messages stay queued (their validity runs on). `time_scale`: how
    much faster SendAt and ValidityPeriod pass than the clock. `inbound_url`: the webhook for
    inbound messages. `segments_per_second`: the rate of each sender, unlimited if null;
    `queue_segments`: the size of a sender's queue. `service_sender`: the sender that Messaging
    Services choose.

    `events_url`: the webhook sink of Event Streams. Events are collected for
    `events_collected_for`, then posted as one batch, `events_copies` times one after the other, and
    in reverse if `events_newest_first`.
    """

    sent_after: float = Field(default=0.05, ge=0)
    delivered_after: float = Field(default=0.1, ge=0)
    hold: bool = False
    time_scale: float = Field(default=1, gt=0)
    inbound_url: str | None = Field(default=None, pattern=r"^https?://[^/\s]+")
    segments_per_second: float | None = Field(default=None, gt=0)
    queue_segments: int = Field(default=36_000, gt=0)
    service_sender: str = GOOD_SENDER
    events_url: str | None = Field(default=None, pattern=r"^https?://[^/\s]+")
    events_collected_for: float = Field(default=0.05, ge=0)
    events_copies: int = Field(default=1, ge=1, le=10)
    events_newest_first: bool = False


class LiveSettings:
    """The current settings, and a way to wait until they change."""

    def __init__(self, initial: Settings) -> None:
        self._initial = initial
        self._changed = asyncio.Event()
        self.now = initial

    def change(self, changes: dict[str, Any]) -> None:
        """Apply `changes`; raises pydantic's ValidationError for a bad one."""
        self._apply(Settings.model_validate({**self.now.model_dump(), **changes}))

    def reset(self) -> None:
        """Restore the settings that the sandbox was started with."""
        self._apply(self._initial)

    async def changed(self, *, within: float) -> None:
        """Wait for the next change, at most `within` seconds."""
        try:
            async with asyncio.timeout(within):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _apply(self, settings: Settings) -> None:
        self.now = settings
        self._changed.set()
        self._changed = asyncio.Event()
