"""The magic numbers of Twilio's test credentials, which mean the same on every account here."""

GOOD_SENDER = "+15005550006"

_SENDERS = {
    "+15005550001": 21212,
    "+15005550007": 21606,
    "+15005550008": 21611,
}
_RECIPIENTS = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
_NOT_A_SENDER = 21606


def sender_error(sender: str, *, strict: bool) -> int | None:
    """Return the code that `sender` is refused with, if any.

    `strict` is the rule of the test credentials: every sender but the good one is refused.
    """
    if strict and sender != GOOD_SENDER:
        return _SENDERS.get(sender, _NOT_A_SENDER)
    return _SENDERS.get(sender)


def recipient_error(recipient: str) -> int | None:
    """Return the code that `recipient` is refused with, if any."""
    return _RECIPIENTS.get(recipient)
