"""What may be shown where everybody can read it."""

import re

from signedfor.consent import person

# At least three digits are hidden, so the beginning of a short number is shorter too.
_NUMBER = re.compile(r"(\+\d{0,4})\d{3,}(\d{4})$", re.ASCII)


def masked_sender(sender: str) -> str:
    """The sender as search attributes show it: a number keeps its beginning and its last four.

    `+15005550006` becomes `+1500***0006`, still enough to tell own senders apart and to filter by.
    Short codes, alphanumeric ids and Messaging Services are not personal and stay whole.
    """
    return _NUMBER.sub(r"\1***\2", sender)


_FEWEST_DIGITS = 7
"""No shorter run of digits is a phone number."""


def holds_number_of(text: str, recipient: str) -> bool:
    """Whether `text`, an id or a name, holds the recipient's number, however it is punctuated."""
    number = re.sub(r"\D", "", person(recipient))
    return len(number) >= _FEWEST_DIGITS and number in re.sub(r"[^0-9A-Za-z]", "", text)
