"""Addresses in one spelling each: recipients and senders, or a reason why they are none.

One person must be one key, whoever typed the number: consent, pacing and look-ups all compare
these strings. So the spelling is strict, nothing is guessed (a missing country code, a zero that is
dialled within the country only), and what a reader could not see in the number is refused.
"""

import re
import unicodedata
from enum import Enum

from signedfor.twilio.trunk import has_trunk_prefix

_LONGEST = 64
"""Characters looked at before anything else; more is no address and costs no work."""

_AROUND = " \t\r\n\u00a0"
_SPACES = " \u00a0\u2007\u2009\u202f\u3000"
_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"
_DOTS = ".\uff0e"
_FOLDED = str.maketrans(
    {"\uff0b": "+", "\uff08": "(", "\uff09": ")"}
    | dict.fromkeys(_SPACES, " ")
    | dict.fromkeys(_DASHES, "-")
    | dict.fromkeys(_DOTS, ".")
)

# ITU-T E.164 sets the upper bound of 15 digits and no lower one. The shortest mobile numbers in
# use have four digits after a country code of three (Tokelau, +690), so fewer than 7 is a typo.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_FEWEST_DIGITS, _MOST_DIGITS = 7, 15

_WRITTEN = re.compile(r"\+[0-9](?:[ .()-]*[0-9])*\)?")
_BALANCED = re.compile(r"[^()]*(?:\([^()]+\)[^()]*)*")
_GROUP_WITH_ZERO = re.compile(r"\([ .-]*0")

_CHANNEL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_CHANNEL_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*")

_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_MESSAGING_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
# As the AlphaSender resource documents it: letters, digits, space and - + & _, one a letter.
_LONGEST_NAME = 11
_ALPHANUMERIC = re.compile(rf"(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{{1,{_LONGEST_NAME}}}")


class AddressFault(Enum):
    """What is wrong with an address; the value is the text for the person who wrote it.

    The texts are constants, so that none can repeat the address.
    """

    EMPTY = "is empty"
    TOO_LONG = "is too long to be an address"
    NO_PLUS = "must begin with a plus and the country code"
    NO_DIGIT_AFTER_PLUS = "must have a digit of the country code right after the plus"
    LEADING_ZERO = "has a zero after the plus; no country code begins with zero"
    TOO_SHORT = f"has too few digits; an international number has at least {_FEWEST_DIGITS}"
    TOO_MANY_DIGITS = f"has too many digits; an international number has at most {_MOST_DIGITS}"
    TRUNK_PREFIX = (
        "has a group in parentheses that begins with zero; write the number as it is dialled "
        "from abroad, without parentheses"
    )
    NATIONAL_PREFIX = (
        "has digits after the country code that are dialled within the country only, such as a "
        "zero; write the number as it is dialled from abroad"
    )
    PARENTHESES = "has parentheses that do not match"
    SEVERAL = "has a comma, semicolon, slash or second plus; give exactly one number"
    LETTER = "has a letter; write digits only, without an extension"
    INVISIBLE = "has an invisible or control character; type the number instead of pasting it"
    NOT_A_DIGIT = "has a character that does not belong in a phone number"
    STRAY_SEPARATOR = "ends with a separator; it seems to be cut off"
    TEL_URI = "is a tel: URI; give the number alone, beginning with its plus"
    UNKNOWN_CHANNEL = "names a channel that is not whatsapp, rcs or messenger"
    CHANNEL_USER = (
        "needs an id after the channel name: letters, digits, underscore, dot, hyphen or @"
    )
    SHORT_CODE = (
        "has digits only but is no short code of 3 to 8 digits; a phone number begins with a plus"
    )
    MESSAGING_SERVICE = "is not a Messaging Service SID: MG and 32 hexadecimal digits"
    ALPHANUMERIC = (
        "is not a sender: a number with a plus, a short code, a Messaging Service SID, a channel "
        "address, or a name of up to 11 letters, digits, spaces and - + & _ with a letter in it"
    )


class InvalidAddress(ValueError):
    """The text is no address; `fault` says why, and neither it nor the message repeats the text."""

    def __init__(self, fault: AddressFault) -> None:
        super().__init__(fault)
        self.fault = fault

    def __str__(self) -> str:
        return self.fault.value


def normalize_recipient(raw: str) -> str:
    """Return the one spelling of a recipient, or raise `InvalidAddress`.

    A recipient is E.164 (`+15558675309`), `whatsapp:` or `rcs:` and E.164, or `messenger:` and a
    user id. White space around it is dropped, separators between digits too, and full-width and
    other decimal digits become ASCII.
    """
    if _is_plain(raw):
        return raw
    text = _trimmed(raw)
    channel, rest = _split_channel(text)
    if channel == "":
        return _normalize_number(rest)
    if channel == "messenger":
        return _normalize_channel_user(channel, rest)
    return f"{channel}:{_normalize_number(rest)}"


def normalize_sender(raw: str) -> str:
    """Return the one spelling of a sender, or raise `InvalidAddress`.

    A sender is E.164, a short code of 3 to 8 digits, an alphanumeric id, a Messaging Service SID
    (kept as it is), `whatsapp:` and E.164, or `rcs:` or `messenger:` and an id.
    """
    if _is_plain(raw):
        return raw
    text = _trimmed(raw)
    channel, rest = _split_channel(text)
    if channel == "whatsapp":
        return f"{channel}:{_normalize_number(rest)}"
    if channel:
        return _normalize_channel_user(channel, rest)
    if text.translate(_FOLDED).startswith("+"):
        return _normalize_number(text)
    if text.isdecimal():
        return _normalize_short_code(text)
    if is_messaging_service(text) or _ALPHANUMERIC.fullmatch(text):
        return text
    if text.startswith("MG") and len(text) > _LONGEST_NAME:
        raise InvalidAddress(AddressFault.MESSAGING_SERVICE)
    raise InvalidAddress(AddressFault.ALPHANUMERIC)


def channel_of(address: str) -> str:
    """The channel that a normalised address names: `whatsapp`, `rcs`, `messenger`; else empty."""
    channel, colon, _ = address.partition(":")
    return channel if colon else ""


def is_messaging_service(sender: str) -> bool:
    """Return whether a normalised sender is the SID of a Messaging Service."""
    return _MESSAGING_SERVICE.fullmatch(sender) is not None


def _is_plain(raw: str) -> bool:
    """Whether nothing is to be done. Most are written so: ten times faster."""
    return _E164.fullmatch(raw) is not None and not has_trunk_prefix(raw)


def _trimmed(raw: str) -> str:
    if len(raw) > _LONGEST:
        raise InvalidAddress(AddressFault.TOO_LONG)
    text = raw.strip(_AROUND)
    if not text:
        raise InvalidAddress(AddressFault.EMPTY)
    return text


def _split_channel(text: str) -> tuple[str, str]:
    """Split `whatsapp:...` and its kin; the channel is lower case, or empty if none is named."""
    match = _CHANNEL.fullmatch(text)
    if match is None:
        return "", text
    channel = match[1].lower()
    if channel == "tel":
        raise InvalidAddress(AddressFault.TEL_URI)
    if channel not in {"whatsapp", "rcs", "messenger"}:
        raise InvalidAddress(AddressFault.UNKNOWN_CHANNEL)
    return channel, match[2]


def _normalize_channel_user(channel: str, user: str) -> str:
    if not _CHANNEL_USER.fullmatch(user):
        raise InvalidAddress(AddressFault.CHANNEL_USER)
    return f"{channel}:{user}"


def _normalize_short_code(text: str) -> str:
    digits = _ascii_digits(text)
    if not _SHORT_CODE.fullmatch(digits):
        raise InvalidAddress(AddressFault.SHORT_CODE)
    return digits


def _normalize_number(text: str) -> str:
    written = _ascii_digits(text.translate(_FOLDED))
    fault = _fault_of_characters(written.replace("+", "", 1)) or _fault_of_form(written)
    if fault:
        raise InvalidAddress(fault)
    number = "+" + re.sub(r"[^0-9]", "", written)
    if fault := _fault_of_digits(number):
        raise InvalidAddress(fault)
    return number


def _ascii_digits(text: str) -> str:
    """Fold decimal digits of every script; superscripts and circled digits are not decimal."""
    return "".join(
        character if (digit := unicodedata.decimal(character, None)) is None else str(digit)
        for character in text
    )


def _fault_of_characters(text: str) -> AddressFault | None:
    """Name the first character that no written number has."""
    for character in text:
        if character in "0123456789 -.()":
            continue
        category = unicodedata.category(character)
        if category.startswith("L"):
            return AddressFault.LETTER
        if character in ",;/+|&":
            return AddressFault.SEVERAL
        if category.startswith("C"):
            return AddressFault.INVISIBLE
        return AddressFault.NOT_A_DIGIT
    return None


def _fault_of_form(written: str) -> AddressFault | None:
    if not written.startswith("+"):
        return AddressFault.NO_PLUS
    if not written[1:2].isdigit():
        return AddressFault.NO_DIGIT_AFTER_PLUS
    if not _BALANCED.fullmatch(written):
        return AddressFault.PARENTHESES
    if _GROUP_WITH_ZERO.search(written):
        return AddressFault.TRUNK_PREFIX
    if not _WRITTEN.fullmatch(written):
        return AddressFault.STRAY_SEPARATOR
    return None


def _fault_of_digits(number: str) -> AddressFault | None:
    if _E164.fullmatch(number):
        return AddressFault.NATIONAL_PREFIX if has_trunk_prefix(number) else None
    if number[1] == "0":
        return AddressFault.LEADING_ZERO
    short = len(number) - 1 < _FEWEST_DIGITS
    return AddressFault.TOO_SHORT if short else AddressFault.TOO_MANY_DIGITS
