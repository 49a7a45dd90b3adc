"""What Twilio has said of a message so far, by SID; ranks keep a status from going back."""

from collections.abc import Collection
from dataclasses import dataclass

from signedfor.twilio.codes import REFUSED_CREATES
from signedfor.twilio.statuses import MessageStatus, is_receipt, parse_status, supersedes

_MOST_UNKNOWN = 10


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The highest status known of one Twilio message."""

    message_sid: str
    status: MessageStatus
    error_code: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether Twilio will say no more that matters."""
        return is_receipt(self.status)

    @property
    def says_refused(self) -> bool:
        """Whether it is a create that Twilio refused, which it keeps as a failed message."""
        return self.status is MessageStatus.FAILED and self.error_code in REFUSED_CREATES

    @property
    def says_delivered(self) -> bool:
        """Whether the message has reached the recipient."""
        return self.status in {MessageStatus.DELIVERED, MessageStatus.READ}


class Receipts:
    """Callbacks and look-ups of one message, in any order, any number of times each.

    A message may have several SIDs: one for each time it was submitted anew.
    """

    def __init__(self) -> None:
        self._by_sid: dict[str, Receipt] = {}
        self.unknown: tuple[str, ...] = ()
        """Statuses that Twilio has and we do not know, kept for whoever looks."""

    def note(self, message_sid: str, status: str, error_code: int | None) -> bool:
        """Take in what Twilio said; False if it changed nothing.

        A status we do not know is only kept: it has no rank, so it can neither end a message nor
        hide what is known. A lower or equal rank is old news.
        """
        parsed = parse_status(status)
        if parsed is None:
            if status not in self.unknown and len(self.unknown) < _MOST_UNKNOWN:
                self.unknown += (status,)
            return False
        known = self._by_sid.get(message_sid)
        if known is not None and not supersedes(parsed, known.status):
            return False
        self._by_sid[message_sid] = Receipt(
            message_sid=message_sid, status=parsed, error_code=error_code
        )
        return True

    def of(self, message_sid: str | None) -> Receipt | None:
        """What is known of this SID."""
        return None if message_sid is None else self._by_sid.get(message_sid)

    def delivered(self) -> Receipt | None:
        """A receipt that says delivered, for whichever SID."""
        return next((each for each in self._by_sid.values() if each.says_delivered), None)

    def newest_besides(self, known: Collection[str]) -> Receipt | None:
        """The newest one of a SID that we did not know: our own, its answer lost."""
        return next(
            (
                each
                for sid, each in reversed(self._by_sid.items())
                if sid not in known and not each.says_refused
            ),
            None,
        )
