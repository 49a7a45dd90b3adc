"""The ledger: every create accepted, every create refused, every callback posted."""

from collections import Counter
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from devtools.sandbox.messages import Message


@dataclass(frozen=True, slots=True)
class Accepted:
    """The `n`th create accepted, with the text it came with (the resource may be redacted)."""

    n: int
    message: Message
    body: str

    def row(self) -> dict[str, Any]:
        """Return what the ledger shows: the message as it stands now."""
        message = self.message
        return {
            "n": self.n,
            "sid": message.sid,
            "to": message.to,
            "from": message.sender,
            "messaging_service_sid": message.messaging_service_sid,
            "body": self.body,
            "body_sha256": _digest(self.body),
            "segments": message.segments,
            "status": message.status,
            "error_code": message.error_code,
            "status_callback": message.status_callback,
            "arrived": message.arrived,
            "created": message.created,
            "sent": message.sent,
            "finished": message.finished,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One create that was not accepted. `arrived` and `at` are epoch times.

    `reason`: `invalid` (Twilio's checks), `scripted` (an error on request), `dropped` or `hung`.
    `sid` is set when it is listed as a failed message.
    """

    to: str
    sender: str | None
    body: str
    reason: str
    code: int | None
    http_status: int | None
    sid: str | None
    arrived: float
    at: float

    def row(self) -> dict[str, Any]:
        """Return what the ledger shows."""
        fields = asdict(self)
        return {**fields, "from": fields.pop("sender"), "body_sha256": _digest(self.body)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One attempt to post one status callback. `error` is set when there was no answer."""

    sid: str
    to: str
    status: str
    attempt: int
    http_status: int | None
    error: str | None
    at: float


class Ledger:
    """The three lists, in the order things happened."""

    def __init__(self) -> None:
        self.accepted: list[Accepted] = []
        self.refused: list[Refused] = []
        self.callbacks: list[Callback] = []
        self._numbered = 0

    def accept(self, message: Message, *, n: int | None = None) -> int:
        """Add `message` and return its number: the next one, or the given one of a replay."""
        self._numbered = self._numbered + 1 if n is None else n
        self.accepted.append(Accepted(self._numbered, message, message.body))
        return self._numbered

    def view(self, *, to: str | None, since: float) -> dict[str, list[dict[str, Any]]]:
        """Return the three lists, limited to `to`, if given, and to what happened since."""
        return {
            "accepted": [
                entry.row()
                for entry in self.accepted
                if entry.message.created >= since and to in {None, entry.message.to}
            ],
            "refused": [
                entry.row()
                for entry in self.refused
                if entry.at >= since and to in {None, entry.to}
            ],
            "callbacks": [
                asdict(entry)
                for entry in self.callbacks
                if entry.at >= since and to in {None, entry.to}
            ],
        }

    def summary(self) -> dict[str, Any]:
        """Return counts: in all, and by status, reason and answer."""
        return {
            "accepted": len(self.accepted),
            "refused": len(self.refused),
            "callbacks": len(self.callbacks),
            "unfinished": sum(not entry.message.finished for entry in self.accepted),
            "by_status": dict(Counter(entry.message.status for entry in self.accepted)),
            "by_reason": dict(Counter(entry.reason for entry in self.refused)),
            "by_answer": dict(
                Counter(str(entry.http_status or entry.error) for entry in self.callbacks)
            ),
        }

    def clear(self) -> None:
        """Empty the three lists; numbering continues."""
        self.accepted.clear()
        self.refused.clear()
        self.callbacks.clear()


def _digest(body: str) -> str:
    return sha256(body.encode()).hexdigest()
