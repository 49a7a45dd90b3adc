"""Keeps phone numbers out of what is shown: ids, search attributes, and what people look at."""

import re
from collections.abc import Iterable
from typing import Final

from signedfor.consent import person, reference_in
from signedfor.errors import BadInput

# At least three digits are hidden; of a short number, less than four at the beginning are shown.
_NUMBER = re.compile(r"(\+\d{0,4})\d{3,}(\d{4})$", re.ASCII)
_HIDDEN = re.compile(r"\d(?=\d{4})", re.ASCII)

_MIN_DIGITS = 7
"""Phone numbers have at least so many digits."""


def masked_sender(sender: str) -> str:
    """The sender as search attributes show it: `+15005550006` becomes `+1500***0006`.

    That is enough to distinguish and filter by one's own senders. Short codes, alphanumeric ids and
    Messaging Services are not personal and stay unchanged.
    """
    return _NUMBER.sub(r"\1***\2", sender)


def masked_recipient(address: str) -> str:
    """`address` with all but the last four digits of its number hidden, or all of an ID.

    A sender's number shows more digits (`masked_sender`), since it is yours. Of a person who was
    erased, it says that.
    """
    if reference_in(address) is not None:
        return "(erased)"
    channel, colon, rest = address.rpartition(":")
    shown = _HIDDEN.sub("*", rest) if rest.startswith("+") else "***"
    return channel + colon + shown


_ENDS = re.compile(rf"(?=(\d{{{_MIN_DIGITS}}}))", re.ASCII)
"""So many digits, wherever they begin."""


_LIKE_AN_ID = re.compile(r"[\x21-\x7e]{1,200}")
_LIKE_A_NUMBER = re.compile(r"(\w+:)?[-+().\d]*", re.ASCII)


def named(kind: str, id: str) -> str:
    """What to call something of this id in a sentence: `message order-17`.

    What cannot be an id, or may be a phone number in its place, is not repeated: `such message`.
    """
    digits = sum(character.isdigit() for character in id)
    is_number = digits >= _MIN_DIGITS and _LIKE_A_NUMBER.fullmatch(id)
    return f"{kind} {id}" if _LIKE_AN_ID.fullmatch(id) and not is_number else f"such {kind}"


_COUNTRY_CODE: Final = re.compile(
    r"[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|\d{3}", re.ASCII
)
"""At the beginning of a number (E.164). Not from a library: workflows check IDs, and must find the
same after an update of its data."""


def contains_number_of(text: str, recipient: str) -> bool:
    """Whether `text`, an id or a name, contains the recipient's number, in any punctuation.

    Without its country code it must be the end of the digits there: `order-5558675309-2` contains
    +15558675309, and a longer row of digits in which it stands by chance does not.
    """
    owner = person(recipient)
    number = re.sub(r"\D", "", owner)
    written = re.sub(r"[^0-9A-Za-z]", "", text)
    if len(number) >= _MIN_DIGITS and number in written:
        return True
    national = national_number(number) if owner.startswith("+") else ""
    if len(national) < _MIN_DIGITS or national not in written:
        return False
    return re.search(r"[^0-9A-Za-z]*".join(national) + r"(?![0-9])", text) is not None


def national_number(digits: str) -> str:
    """A number's digits without those of its country code."""
    return _COUNTRY_CODE.sub("", digits, count=1)


def contains_end_of_number(text: str, recipient: str) -> bool:
    """Whether `text`, which a person wrote, contains the recipient's number or its last digits.

    People leave out the country's code, or write a zero for it.
    """
    return contains_an_end_of(text, [recipient])


def contains_an_end_of(text: str, recipients: Iterable[str]) -> bool:
    """As `contains_end_of_number`, for any of many; if there can be none, it reads no recipient."""
    written = set(_ENDS.findall(re.sub(r"[^0-9A-Za-z]", "", text)))
    return bool(written) and any(_end_of(each) in written for each in recipients)


def has_digits_of_number(text: str) -> bool:
    """Whether `text` has so many digits that they may be the end of a phone number."""
    return _ENDS.search(re.sub(r"[^0-9A-Za-z]", "", text)) is not None


def _end_of(recipient: str) -> str:
    return re.sub(r"\D", "", person(recipient))[-_MIN_DIGITS:]


_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?", re.ASCII)
_ANY_NUMBER = re.compile(
    r"\+[\s(]*\d(?:[\s().\-/]*\d){6,14}"
    # Without a plus only from ten digits on, and not as the beginning of an ID.
    r"|(?<![0-9A-Za-z])(?<![0-9A-Za-z]-)\d(?:[\s().\-]{0,2}\d){9,14}(?!-?[0-9A-Za-z])",
    re.ASCII,
)


def contains_phone_number(text: str) -> bool:
    """Whether `text`, which a person wrote, has something that may be anybody's phone number.

    Times and IDs such as those of jobs are none.
    """
    return _ANY_NUMBER.search(_MOMENT.sub(" ", text)) is not None


def check_no_number(text: str | None, *, field: str) -> None:
    """Refuse a text with anybody's phone number, when it is not known whom it is about.

    Raises:
        BadInput: names the field.
    """
    if text and contains_phone_number(text):
        raise BadInput([(field, "must not contain a phone number, or ten digits in a row")])
