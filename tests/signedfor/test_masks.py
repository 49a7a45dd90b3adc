import re

import pytest
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from signedfor.masks import (
    contains_an_end_of,
    contains_end_of_number,
    contains_number_of,
    contains_phone_number,
    masked_sender,
    national_number,
)


@pytest.mark.parametrize(
    ("sender", "masked"),
    [
        ("+15005550006", "+1500***0006"),
        ("+447700900123", "+4477***0123"),
        ("+12345678901234", "+1234***1234"),
        ("+1234567890", "+123***7890"),
        ("+12345678", "+1***5678"),
        ("+1234567", "+***4567"),
        ("whatsapp:+15005550006", "whatsapp:+1500***0006"),
    ],
)
def test_numbers_are_masked(sender: str, masked: str) -> None:
    """The first digits and the last four stay visible."""
    assert masked == masked_sender(sender)


@pytest.mark.parametrize("digits", range(7, 16))
def test_at_least_three_digits_are_hidden(digits: int) -> None:
    """This holds for numbers of every E.164 length."""
    masked = masked_sender("+" + "123456789012345"[:digits])

    assert digits - len(re.sub(r"\D", "", masked)) >= 3


@pytest.mark.parametrize("sender", ["12345", "ACME Ltd", "MG" + "0" * 32, "messenger:1234567890"])
def test_other_senders_are_not_masked(sender: str) -> None:
    """Short codes, names and services are not personal numbers."""
    assert sender == masked_sender(sender)


@pytest.mark.parametrize(
    ("text", "contains"),
    [
        ("order-15558675309", True),
        ("+1 (555) 867-5309", True),
        ("1.555.867.5309-x", True),
        ("order-17", False),
        ("", False),
        # Without the country's code: at the end of a row of digits, and not within a longer one.
        ("5558675309", True),
        ("order-5558675309", True),
        ("order-5558675309-2", True),
        ("05558675309:17", True),
        ("(555) 867-5309.retry-1", True),
        ("20261130T5558675309Z", True),
        ("55586753091", False),
        ("order-8675309", False),
        ("555x8675309", False),
    ],
)
@pytest.mark.parametrize("recipient", ["+15558675309", "whatsapp:+15558675309"])
def test_a_number_is_detected_in_a_text(text: str, recipient: str, *, contains: bool) -> None:
    """Punctuation and the recipient's channel do not matter."""
    assert contains == contains_number_of(text, recipient)


@pytest.mark.parametrize(
    ("text", "recipient", "contains"),
    [
        ("order-07400123456", "+447400123456", True),  # with the zero that is dialed at home
        ("612345678", "+33612345678", True),
        ("0612345678", "+390612345678", True),  # Italy's zero is a part of the number
        ("4791234", "+3544791234", True),  # seven digits: Iceland
        ("order-479123", "+354479123", False),  # six are too few to be told from another number
        ("5512345678", "whatsapp:+5215512345678", True),  # Mexico's old prefix is none of it
        ("order-4567890", "messenger:1234567890", False),  # no number, so no country
    ],
)
def test_a_number_is_detected_without_its_country(
    text: str, recipient: str, *, contains: bool
) -> None:
    """As people write it at home; from seven digits on."""
    assert contains == contains_number_of(text, recipient)


def test_country_codes_are_those_of_the_library() -> None:
    """All of them, and none that begins like another."""
    for code in COUNTRY_CODE_TO_REGION_CODE:
        assert "23456789" == national_number(f"{code}23456789")


@pytest.mark.parametrize(
    ("text", "contains"),
    [
        ("she is +1 (555) 867-5309", True),
        ("called from 555 867 5309", True),
        ("0555/8675309", True),
        ("867-5309", True),
        ("ends in 5309, ticket 4711", False),
        ("SM00000000000000000000000005309867", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("recipient", ["+15558675309", "whatsapp:+15558675309"])
def test_a_number_is_detected_as_people_write_it(
    text: str, recipient: str, *, contains: bool
) -> None:
    """Without the country's code too; the last four digits may be named."""
    assert contains == contains_end_of_number(text, recipient)


def test_an_id_has_no_number_to_detect() -> None:
    """Of what is no number, nothing is looked for."""
    assert not contains_end_of_number("", "messenger:123")


def test_numbers_of_many_people_are_detected() -> None:
    """Any of them; and if the text has no number, nobody's is looked at."""
    people = ["+15558675309", "whatsapp:+447700900123", "messenger:1"]

    assert contains_an_end_of("asked by 0900123 and 07700 900 123", people)
    assert not contains_an_end_of("ticket 1234567, 8 rows", people)
    assert not contains_an_end_of("since noon", iter(lambda: pytest.fail("read"), None))


@pytest.mark.parametrize(
    "text",
    [
        *("call +1 555 010-0123", "(555) 867-5309 called", "555.867.5309", "0171 1234567"),
        *("since 2026-11-29 12:00, 5558675309", "+4917112345"),
    ],
)
def test_anybodys_number_is_detected(text: str) -> None:
    """However people write it, and whoever it is of."""
    assert contains_phone_number(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "phoned them", "ticket 4711", "INC0012345", "order 1234567", "error 30007"),
        *("since 2026-11-29 12:00", "2026-11-29T12:00:30, 2026-11-30", "1,000,000 rows"),
        *("job 20300131-093000-4f2a1c", "message 6d9f1a3c-1234-4567-8901-123456789012"),
    ],
)
def test_what_is_no_number(text: str) -> None:
    """Times, tickets and IDs are what reasons are made of."""
    assert not contains_phone_number(text)
