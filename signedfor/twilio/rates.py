"""How many segments per second each kind of sender may submit.

Twilio queues or silently filters anything faster. The defaults are its published ones; an account
with other limits configures them.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field


class SenderKind(StrEnum):
    """A kind of sender with its own default rate."""

    LONG_CODE = "long_code"
    """A number in the United States or Canada."""
    TOLL_FREE = "toll_free"
    INTERNATIONAL = "international"
    """A number in any other country."""
    SHORT_CODE = "short_code"
    ALPHANUMERIC = "alphanumeric"
    WHATSAPP = "whatsapp"
    RCS = "rcs"
    MESSENGER = "messenger"
    MESSAGING_SERVICE = "messaging_service"
    """Its rate is the sum of its senders' rates, which we do not know: the default is low."""


DEFAULT_RATES: Final[Mapping[SenderKind, float]] = {
    SenderKind.LONG_CODE: 1,
    SenderKind.TOLL_FREE: 3,
    SenderKind.INTERNATIONAL: 10,
    SenderKind.SHORT_CODE: 100,
    SenderKind.ALPHANUMERIC: 10,
    SenderKind.WHATSAPP: 80,
    SenderKind.RCS: 100,
    SenderKind.MESSENGER: 1,
    SenderKind.MESSAGING_SERVICE: 1,
}
"""Segments per second; messages per second for channels without segments."""

Rate = Annotated[float, Field(ge=0.001, le=1_000_000, allow_inf_nan=False)]
"""Segments per second."""

# The first match counts.
_SHAPES: Final = (
    (re.compile(r"\+1(800|833|844|855|866|877|888)"), SenderKind.TOLL_FREE),
    (re.compile(r"\+1"), SenderKind.LONG_CODE),
    (re.compile(r"\+"), SenderKind.INTERNATIONAL),
    (re.compile(r"[0-9]+$"), SenderKind.SHORT_CODE),
    (re.compile(r"MG[0-9a-fA-F]{32}$"), SenderKind.MESSAGING_SERVICE),
)
_CHANNELS: Final = {
    "whatsapp": SenderKind.WHATSAPP,
    "rcs": SenderKind.RCS,
    "messenger": SenderKind.MESSENGER,
}


def rate_limited_segments(to: str, segments: int) -> int:
    """The number of segments that a message counts against its sender's rate: at least one.

    Channels (WhatsApp, RCS, Messenger) have no segments: a message of any length counts as one.
    """
    return 1 if ":" in to else max(1, segments)


def kind_of(sender: str) -> SenderKind:
    """The kind of a normalized sender."""
    channel, colon, _ = sender.partition(":")
    if colon:
        return _CHANNELS[channel]
    for shape, kind in _SHAPES:
        if shape.match(sender):
            return kind
    return SenderKind.ALPHANUMERIC


def default_rate(sender: str, rates: Mapping[SenderKind, float] = DEFAULT_RATES) -> float:
    """The segments per second of a sender without a rate of its own."""
    kind = kind_of(sender)
    return rates.get(kind, DEFAULT_RATES[kind])
