"""How a sender may be shown where everybody can read it."""

import re

# At least three digits are hidden, so the beginning of a short number is shorter too.
_NUMBER = re.compile(r"(\+\d{0,4})\d{3,}(\d{4})$", re.ASCII)


def masked_sender(sender: str) -> str:
    """The sender as search attributes show it: a number keeps its beginning and its last four.

    `+15005550006` becomes `+1500***0006`, still enough to tell own senders apart and to filter by.
    Short codes, alphanumeric ids and Messaging Services are not personal and stay whole.
    """
    return _NUMBER.sub(r"\1***\2", sender)
