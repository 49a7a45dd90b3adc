"""Normalizes recipients and senders, or says why an address is invalid.

Consent, rate limits and look-ups compare these strings, so each address must have exactly one
spelling. The rules are strict: nothing is guessed (a missing country code, a zero that is dialled
only within the country), and invisible characters are rejected.
"""

import re
import unicodedata
from enum import Enum

_MAX_LENGTH = 128
"""Checked first, so that a very long text costs nothing. The database stores as much."""

_WHITE_SPACE = " \t\r\n\u00a0"
_SPACES = " \u00a0\u2007\u2009\u202f\u3000"
_DASHES = "-\u2010\u2011\u2012\u2013\u2014\u2212\uff0d"
_DOTS = ".\uff0e"
_ASCII_FORMS = str.maketrans(
    {"\uff0b": "+", "\uff08": "(", "\uff09": ")"}
    | dict.fromkeys(_SPACES, " ")
    | dict.fromkeys(_DASHES, "-")
    | dict.fromkeys(_DOTS, ".")
)

# ITU-T E.164 sets an upper bound of 15 digits and no lower one. The shortest mobile numbers in use
# have four digits after a three-digit country code (Tokelau, +690), so fewer than 7 is a typo.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_MIN_DIGITS, _MAX_DIGITS = 7, 15

_WRITTEN = re.compile(r"\+[0-9](?:[ .()-]*[0-9])*\)?")
_BALANCED = re.compile(r"[^()]*(?:\([^()]+\)[^()]*)*")
_GROUP_WITH_ZERO = re.compile(r"\([ .-]*0")

# Trunk prefixes are dialled before a number within its country, and never from abroad. They are a
# table of our own, compared with `phonenumbers` by a test: a workflow normalizes its recipient at
# every replay, so the result must not change with a release of that library.
#
# Country codes whose trunk prefix is a zero. Elsewhere a leading zero is part of the number (Italy,
# Ivory Coast), and two zeros start a freephone number in Japan or Korea.
_ZERO_PREFIX_CODES = """
    20 27 31 32 33 40 41 43 44 46 49 51 53 54 55 57 58 60 61 62 63 64 66 81 82 84 86 90 91 92 93 94
    95 98 211 212 213 218 231 232 233 234 243 249 251 252 254 255 256 260 261 262 263 264 265 291
    353 355 358 359 370 373 374 375 377 380 381 382 383 385 386 387 389 421 423 508 590 591 593 594
    595 596 598 686 850 855 856 880 886 961 962 963 964 966 967 970 971 972 976 977 994 995 996
"""
_ZERO_PREFIX = frozenset(_ZERO_PREFIX_CODES.split())
# Other numbers start with these digits too, so they are a prefix only before a complete number.
_OTHER_PREFIXES = re.compile(
    r"\+(?:1(?=1\d{10}$)"
    r"|7(?=8\d{10}$)"
    r"|36(?=06)"
    r"|54(?=\d{12}$)\d{2,4}15"  # mobile numbers have a 15 within Argentina, and a 9 from abroad
    r"|241(?=0\d{8}$)"
    r"|250(?=0\d{9}$)"
    r"|370(?=8\d{8}$)"
    r"|375(?=8(?:0?1[5-7]|0?[2-4]\d|[89]0\d)\d{7}$)"
    r"|692(?=1\d{7}$)"
    r"|993(?=8\d{8}$))",
    re.ASCII,
)

_CHANNEL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_CHANNEL_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]*")
# Meta's business-scoped user id (BSUID): a country and an opaque id, for one business or, with ENT,
# for a group of them. It is the only address of a person who hides the number.
_WHATSAPP_USER = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]+")

_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_MESSAGING_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
# From the documentation of the AlphaSender resource; at least one letter is required.
_MAX_NAME = 11
_ALPHANUMERIC = re.compile(rf"(?=.*[A-Za-z])[A-Za-z0-9 +&_-]{{1,{_MAX_NAME}}}")


class AddressFault(Enum):
    """What is wrong with an address; the value is the message for its author.

    The messages are constants, so none can repeat the address.
    """

    EMPTY = "is empty"
    TOO_LONG = "is too long to be an address"
    NO_PLUS = "must begin with a plus and the country code"
    NO_DIGIT_AFTER_PLUS = "must have a digit of the country code right after the plus"
    LEADING_ZERO = "has a zero after the plus; no country code begins with zero"
    TOO_SHORT = f"has too few digits; an international number has at least {_MIN_DIGITS}"
    TOO_MANY_DIGITS = f"has too many digits; an international number has at most {_MAX_DIGITS}"
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
    STRAY_SEPARATOR = "ends with a separator; it seems to be truncated"
    TEL_URI = "is a tel: URI; give only the number, beginning with its plus"
    UNKNOWN_CHANNEL = "names a channel that is not whatsapp, rcs or messenger"
    CHANNEL_USER = (
        "needs an id after the channel name: letters, digits, underscore, dot, hyphen or @"
    )
    SHORT_CODE = (
        "has digits only but is not a short code of 3 to 8 digits; "
        "a phone number begins with a plus"
    )
    MESSAGING_SERVICE = "is not a Messaging Service SID: MG and 32 hexadecimal digits"
    ALPHANUMERIC = (
        "is not a sender: a number with a plus, a short code, a Messaging Service SID, a channel "
        "address, or a name of up to 11 letters, digits, spaces and - + & _ with a letter in it"
    )


class InvalidAddress(ValueError):
    """The text is not an address; `fault` says why, and the message does not repeat the text."""

    def __init__(self, fault: AddressFault) -> None:
        super().__init__(fault)
        self.fault = fault

    def __str__(self) -> str:
        return self.fault.value


def normalize_recipient(raw: str) -> str:
    """Return the normalized recipient, or raise `InvalidAddress`.

    A recipient is E.164 (`+15558675309`), `whatsapp:` or `rcs:` and E.164, `whatsapp:` and a
    business-scoped user id (`US.13491208655302741918`), or `messenger:` and a user id. Surrounding
    white space and separators between digits are removed, and full-width and other decimal digits
    become ASCII.
    """
    if _is_plain(raw):
        return raw
    text = _trimmed(raw)
    channel, rest = _split_channel(text)
    if channel == "":
        return _normalize_number(rest)
    if channel == "messenger":
        return _normalize_channel_user(channel, rest)
    if channel == "whatsapp" and _WHATSAPP_USER.fullmatch(rest):
        return f"{channel}:{rest}"
    return f"{channel}:{_normalize_number(rest)}"


def normalize_sender(raw: str) -> str:
    """Return the normalized sender, or raise `InvalidAddress`.

    A sender is E.164, a short code of 3 to 8 digits, an alphanumeric id, a Messaging Service SID
    (unchanged), `whatsapp:` and E.164, or `rcs:` or `messenger:` and an id.
    """
    if _is_plain(raw):
        return raw
    text = _trimmed(raw)
    channel, rest = _split_channel(text)
    if channel == "whatsapp":
        return f"{channel}:{_normalize_number(rest)}"
    if channel:
        return _normalize_channel_user(channel, rest)
    if text.translate(_ASCII_FORMS).startswith("+"):
        return _normalize_number(text)
    if text.isdecimal():
        return _normalize_short_code(text)
    if is_messaging_service(text) or _ALPHANUMERIC.fullmatch(text):
        return text
    if text.startswith("MG") and len(text) > _MAX_NAME:
        raise InvalidAddress(AddressFault.MESSAGING_SERVICE)
    raise InvalidAddress(AddressFault.ALPHANUMERIC)


def channel_of(address: str) -> str:
    """The channel of a normalized address: `whatsapp`, `rcs`, `messenger`, or empty."""
    channel, colon, _ = address.partition(":")
    return channel if colon else ""


def is_messaging_service(sender: str) -> bool:
    """Return whether a normalized sender is the SID of a Messaging Service."""
    return _MESSAGING_SERVICE.fullmatch(sender) is not None


def _is_plain(raw: str) -> bool:
    """Whether it is normalized already, as most are. This check is ten times as fast."""
    return _E164.fullmatch(raw) is not None and not has_trunk_prefix(raw)


def _trimmed(raw: str) -> str:
    if len(raw) > _MAX_LENGTH:
        raise InvalidAddress(AddressFault.TOO_LONG)
    text = raw.strip(_WHITE_SPACE)
    if not text:
        raise InvalidAddress(AddressFault.EMPTY)
    return text


def _split_channel(text: str) -> tuple[str, str]:
    """Split off the channel prefix; the channel is in lower case, or empty if there is none."""
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
    written = _ascii_digits(text.translate(_ASCII_FORMS))
    fault = _fault_of_characters(written.replace("+", "", 1)) or _fault_of_form(written)
    if fault:
        raise InvalidAddress(fault)
    number = "+" + re.sub(r"[^0-9]", "", written)
    if fault := _fault_of_digits(number):
        raise InvalidAddress(fault)
    return number


def _ascii_digits(text: str) -> str:
    """Convert decimal digits of every script; superscripts and circled digits are not decimal."""
    return "".join(
        character if (digit := unicodedata.decimal(character, None)) is None else str(digit)
        for character in text
    )


def _fault_of_characters(text: str) -> AddressFault | None:
    """The fault of the first character that cannot be part of a written number."""
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
    short = len(number) - 1 < _MIN_DIGITS
    return AddressFault.TOO_SHORT if short else AddressFault.TOO_MANY_DIGITS


def has_trunk_prefix(number: str) -> bool:
    """Whether an E.164 number has a trunk prefix after its country code.

    `+4407911123456` has one; the number from abroad is +447911123456.
    """
    for end in (3, 4):
        if number[end] == "0" != number[end + 1] and number[1:end] in _ZERO_PREFIX:
            return True
    return _OTHER_PREFIXES.match(number) is not None
