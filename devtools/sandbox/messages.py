"""The Message resource: its fields, its JSON, and the list of an account's messages."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from uuid import uuid4

from devtools.sandbox.errors import text_for
from devtools.sandbox.faults import NORMAL, Step

API_VERSION = "2010-04-01"

_SEGMENT_PRICE = 0.0079
"""US dollars a segment, Twilio's list price for the US; only its shape matters here."""


def new_sid(prefix: str) -> str:
    """Return a new Twilio SID with the two-letter `prefix`."""
    return prefix + uuid4().hex


def rfc2822(moment: float) -> str:
    """Return the epoch time `moment` as Twilio writes dates, such as `... 05:01:45 +0000`."""
    return formatdate(moment)[:-5] + "+0000"


@dataclass(slots=True, kw_only=True)
class Message:
    """One message with everything the sandbox knows about it. Times are epoch seconds.

    `segments` is the true count; `num_segments` is what the API shows so far. `finished` means
    that no status will follow. `step` is the script it follows; `late_error` the code that a
    Messaging Service fails it with. `arrived` is when the head of its create had arrived, before
    its body was read. `media` are the content types by media SID, of inbound messages only.
    """

    account_sid: str
    to: str
    sender: str | None
    body: str
    status: str
    created: float
    arrived: float = 0.0
    direction: str = "outbound-api"
    sid: str = field(default_factory=lambda: new_sid("SM"))
    messaging_service_sid: str | None = None
    num_media: int = 0
    media: dict[str, str] = field(default_factory=dict)
    segments: int = 1
    num_segments: int = 1
    updated: float = 0.0
    sent: float | None = None
    send_at: float | None = None
    validity: int = 36_000
    status_callback: str | None = None
    error_code: int | None = None
    late_error: int | None = None
    finished: bool = False
    step: Step = NORMAL

    @property
    def scope(self) -> str:
        """What an opt-out applies to: the Messaging Service, or else the sender."""
        return self.messaging_service_sid or self.sender or ""

    @property
    def listed_from(self) -> float:
        """The time from which the list contains it."""
        return self.created + self.step.listed_after

    @property
    def uri(self) -> str:
        """The path of the resource."""
        return f"/{API_VERSION}/Accounts/{self.account_sid}/Messages/{self.sid}.json"

    def media_uri(self, media_sid: str) -> str:
        """The path of one of its media, without an extension: the file itself."""
        return f"{self.uri.removesuffix('.json')}/Media/{media_sid}"

    def media_resources(self) -> list[dict[str, Any]]:
        """Return its media as the API lists them."""
        return [
            {
                "account_sid": self.account_sid,
                "content_type": content_type,
                "date_created": rfc2822(self.created),
                "date_updated": rfc2822(self.created),
                "parent_sid": self.sid,
                "sid": media_sid,
                "uri": f"{self.media_uri(media_sid)}.json",
            }
            for media_sid, content_type in self.media.items()
        ]

    def resource(self) -> dict[str, Any]:
        """Return the resource as the API shows it: counts as text, dates in RFC 2822."""
        base = self.uri.removesuffix(".json")
        return {
            "account_sid": self.account_sid,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": rfc2822(self.created),
            "date_sent": None if self.sent is None else rfc2822(self.sent),
            "date_updated": rfc2822(self.updated or self.created),
            "direction": self.direction,
            "error_code": self.error_code,
            "error_message": None if self.error_code is None else text_for(self.error_code),
            "from": self.sender,
            "messaging_service_sid": self.messaging_service_sid,
            "num_media": str(self.num_media),
            "num_segments": str(self.num_segments),
            "price": None if self.sent is None else f"-{self.segments * _SEGMENT_PRICE:.5f}",
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {
                "media": f"{base}/Media.json",
                "feedback": f"{base}/Feedback.json",
            },
            "to": self.to,
            "uri": self.uri,
        }


class MessageList:
    """The messages of one account, in order of creation."""

    def __init__(self) -> None:
        self._all: list[Message | None] = []
        self._by_to: dict[str, list[int]] = {}
        self._positions: dict[str, int] = {}

    def add(self, message: Message) -> None:
        """Add `message`."""
        position = len(self._all)
        self._all.append(message)
        self._by_to.setdefault(message.to, []).append(position)
        self._positions[message.sid] = position

    def get(self, sid: str) -> Message | None:
        """Return the message `sid`, or None when there is none or it was deleted."""
        position = self._positions.get(sid)
        return None if position is None else self._all[position]

    def remove(self, sid: str) -> None:
        """Delete the message `sid`; its position stays known, so that paging past it works."""
        self._all[self._positions[sid]] = None

    def knows(self, sid: str) -> bool:
        """Whether `sid` is or was one of the messages."""
        return sid in self._positions

    def older(self, *, to: str | None, than: str | None = None) -> Iterator[Message]:
        """Yield messages newest first; only those to `to`, only those older than the sid `than`."""
        places = self._places(to)
        end = len(places) if than is None else bisect_left(places, self._positions[than])
        return self._present(places[place] for place in range(end - 1, -1, -1))

    def newer(self, *, to: str | None, than: str) -> Iterator[Message]:
        """Yield messages oldest first, starting after the sid `than`."""
        places = self._places(to)
        start = bisect_left(places, self._positions[than] + 1)
        return self._present(places[place] for place in range(start, len(places)))

    def _places(self, to: str | None) -> list[int] | range:
        return range(len(self._all)) if to is None else self._by_to.get(to, [])

    def _present(self, positions: Iterator[int]) -> Iterator[Message]:
        for position in positions:
            message = self._all[position]
            if message is not None:
                yield message
