"""What Twilio has said of a message so far, by SID; ranks keep a status from going back."""

from collections.abc import Collection
from dataclasses import dataclass

from signedfor.twilio.codes import REFUSED_CREATES
from signedfor.twilio.statuses import MessageStatus, is_receipt, parse_status, supersedes

_MAX_UNKNOWN = 10


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The highest status known of one Twilio message."""

    message_sid: str
    status: MessageStatus
    error_code: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether no later status matters."""
        return is_receipt(self.status)

    @property
    def is_refused_create(self) -> bool:
        """Whether it is a create that Twilio refused, which it keeps as a failed message."""
        return self.status is MessageStatus.FAILED and self.error_code in REFUSED_CREATES

    @property
    def is_delivered(self) -> bool:
        """Whether the message has reached the recipient."""
        return self.status in {MessageStatus.DELIVERED, MessageStatus.READ}


class Receipts:
    """Callbacks and fetched statuses of one message, in any order, any number of times each.

    A message may have several SIDs: one for each time it was submitted.
    """

    def __init__(self) -> None:
        self._by_sid: dict[str, Receipt] = {}
        self.unknown_statuses: tuple[str, ...] = ()
        """Statuses that Twilio has and this version does not know, kept for operators."""

    def record(self, message_sid: str, status: str, error_code: int | None) -> bool:
        """Take in what Twilio said; False if it changed nothing.

        An unknown status has no rank: it is kept for operators, and neither ends a message nor
        replaces a known status. A status of lower or equal rank changes nothing.
        """
        parsed = parse_status(status)
        if parsed is None:
            if status not in self.unknown_statuses and len(self.unknown_statuses) < _MAX_UNKNOWN:
                self.unknown_statuses += (status,)
            return False
        known = self._by_sid.get(message_sid)
        if known is not None and not supersedes(parsed, known.status):
            return False
        self._by_sid[message_sid] = Receipt(
            message_sid=message_sid, status=parsed, error_code=error_code
        )
        return True

    def of(self, message_sid: str) -> Receipt | None:
        """What is known of this SID."""
        return self._by_sid.get(message_sid)

    @property
    def all(self) -> tuple[Receipt, ...]:
        """What is known of each SID."""
        return tuple(self._by_sid.values())

    def delivered(self) -> Receipt | None:
        """A receipt that says delivered, for any SID."""
        return next((each for each in self._by_sid.values() if each.is_delivered), None)

    def newest_besides(self, known: Collection[str]) -> Receipt | None:
        """The newest receipt of an unknown SID: a submission of ours whose answer was lost."""
        return next(
            (
                each
                for sid, each in reversed(self._by_sid.items())
                if sid not in known and not each.is_refused_create
            ),
            None,
        )
