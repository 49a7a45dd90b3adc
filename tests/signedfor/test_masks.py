import re

import pytest

from signedfor.masks import contains_number_of, masked_sender


@pytest.mark.parametrize(
    ("sender", "shown"),
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
def test_numbers_are_masked(sender: str, shown: str) -> None:
    """A number keeps its beginning and its last four digits."""
    assert shown == masked_sender(sender)


@pytest.mark.parametrize("digits", range(7, 16))
def test_three_digits_are_always_hidden(digits: int) -> None:
    """From no number of E.164's lengths are fewer than three digits hidden."""
    shown = masked_sender("+" + "123456789012345"[:digits])

    assert digits - len(re.sub(r"\D", "", shown)) >= 3


@pytest.mark.parametrize("sender", ["12345", "ACME Ltd", "MG" + "0" * 32, "messenger:1234567890"])
def test_the_rest_stays_whole(sender: str) -> None:
    """Short codes, names and services are nobody's number."""
    assert sender == masked_sender(sender)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("order-15558675309", True),
        ("+1 (555) 867-5309", True),
        ("1.555.867.5309-x", True),
        ("order-17", False),
        ("5558675309", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("recipient", ["+15558675309", "whatsapp:+15558675309"])
def test_a_number_is_seen_in_a_text(text: str, recipient: str, *, holds: bool) -> None:
    """However it is punctuated, and whatever the channel."""
    assert holds == contains_number_of(text, recipient)
