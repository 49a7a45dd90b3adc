"""The forms of recipients and senders that Twilio accepts, regardless of who owns them.

Intentionally independent of the product's own rules: a bug there must not be repeated here.
"""

import re

_E164 = re.compile(r"\+[1-9]\d{6,14}")
_NORTH_AMERICAN = re.compile(r"\+1\d{10}")
_SHORT_CODE = re.compile(r"\d{3,8}")
_ALPHANUMERIC = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 +\-_&]{1,11}")
_CHANNEL = re.compile(r"(whatsapp|messenger|rcs):(.+)")
_WHATSAPP_USER = re.compile(r"whatsapp:[A-Z]{2}(\.ENT)?\.[A-Za-z0-9]{1,128}")
_PUNCTUATION = str.maketrans("", "", " ()-.")
_TOLL_FREE = re.compile(r"\+1(800|833|844|855|866|877|888)\d{7}")


def channel_of(address: str) -> str:
    """Return the channel prefix of `address`, or an empty text for SMS and MMS."""
    match = _CHANNEL.fullmatch(address)
    return match[1] if match else ""


def is_e164(address: str) -> bool:
    """Whether `address` is a number."""
    return _E164.fullmatch(address) is not None


def is_short_code(address: str) -> bool:
    """Whether `address` is a short code."""
    return _SHORT_CODE.fullmatch(address) is not None


def is_toll_free(address: str) -> bool:
    """Whether `address` is a North American toll-free number."""
    return _TOLL_FREE.fullmatch(address) is not None


def normalized(address: str) -> str:
    """Return a number without the punctuation that Twilio ignores; anything else unchanged."""
    if address.startswith("+"):
        return address.translate(_PUNCTUATION)
    return address


def is_recipient(address: str) -> bool:
    """Whether `address` (normalized) can be sent to: E.164 or a channel address."""
    channel = _CHANNEL.fullmatch(address)
    if channel:
        return (
            channel[1] == "messenger"
            or _WHATSAPP_USER.fullmatch(address) is not None
            or _is_phone_number(channel[2])
        )
    return _is_phone_number(address)


def is_sender(address: str) -> bool:
    """Whether `address` can be sent from: number, short code, alphanumeric id or channel."""
    if _CHANNEL.fullmatch(address):
        return True
    return (
        _is_phone_number(address)
        or is_short_code(address)
        or _ALPHANUMERIC.fullmatch(address) is not None
    )


def _is_phone_number(address: str) -> bool:
    if address.startswith("+1"):
        return _NORTH_AMERICAN.fullmatch(address) is not None
    return _E164.fullmatch(address) is not None
