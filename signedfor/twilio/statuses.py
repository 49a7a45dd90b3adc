"""Twilio's message statuses and their order.

Callbacks arrive late, twice and out of order, so a status counts only if it ranks higher than the
known one.
"""

from enum import StrEnum


class MessageStatus(StrEnum):
    """Every status of Twilio's Message resource; the value is Twilio's."""

    SCHEDULED = "scheduled"
    """Held by Twilio until its SendAt."""
    ACCEPTED = "accepted"
    """Accepted by a Messaging Service that has not chosen the sender yet."""
    QUEUED = "queued"
    """In the sender's queue."""
    SENDING = "sending"
    """On its way to the carrier."""
    SENT = "sent"
    """Accepted by the carrier; some carriers never report more."""
    DELIVERED = "delivered"
    """The carrier, or the channel, confirmed delivery."""
    UNDELIVERED = "undelivered"
    """The carrier rejected it or could not deliver it."""
    FAILED = "failed"
    """Twilio could not send it."""
    CANCELED = "canceled"
    """Canceled while it was still scheduled."""
    READ = "read"
    """Opened by the recipient; WhatsApp and RCS only."""
    PARTIALLY_DELIVERED = "partially_delivered"
    """Deprecated by Twilio; equivalent to `sent`."""
    RECEIVING = "receiving"
    """An inbound message is being received."""
    RECEIVED = "received"
    """An inbound message was received."""


_INBOUND_RANK = -1

_RANKS = {
    MessageStatus.RECEIVING: _INBOUND_RANK,
    MessageStatus.RECEIVED: _INBOUND_RANK,
    MessageStatus.SCHEDULED: 0,
    MessageStatus.ACCEPTED: 1,
    MessageStatus.QUEUED: 2,
    MessageStatus.SENDING: 3,
    MessageStatus.SENT: 4,
    MessageStatus.PARTIALLY_DELIVERED: 4,
    MessageStatus.DELIVERED: 5,
    MessageStatus.UNDELIVERED: 5,
    MessageStatus.FAILED: 5,
    MessageStatus.CANCELED: 5,
    MessageStatus.READ: 6,
}

_FINAL_RANK = 5


def parse_status(raw: str) -> MessageStatus | None:
    """Return the status, or None for one that this version does not know.

    Twilio may add statuses at any time; an unknown one must change nothing.
    """
    try:
        return MessageStatus(raw)
    except ValueError:
        return None


def rank(status: MessageStatus) -> int:
    """Return the progress of an outbound message: 0 (scheduled) to 6 (read).

    The statuses of inbound messages rank below all others.
    """
    return _RANKS[status]


def is_receipt(status: MessageStatus) -> bool:
    """Return whether the status is final: delivered, undelivered, failed, canceled or read."""
    return rank(status) >= _FINAL_RANK


def supersedes(new: MessageStatus, old: MessageStatus | None) -> bool:
    """Return whether `new` may overwrite `old`: only if it ranks strictly higher.

    Of two final statuses of equal rank the first stays. `None` means no status yet.
    """
    return rank(new) > (_INBOUND_RANK if old is None else rank(old))
