"""Suppressions: who and what they cover, and their validation."""

from datetime import datetime
from typing import Any

import pytest

from signedfor.consent import (
    Reason,
    Scope,
    Source,
    Suppression,
    addresses_of,
    person,
    suppression_key,
)

NUMBER = "+15558675309"
VALID: dict[str, Any] = {
    "recipient": NUMBER,
    "reason": Reason.OPTED_OUT,
    "source": Source.INBOUND,
    "evidence": "SM1",
}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (NUMBER, NUMBER),
        (f"whatsapp:{NUMBER}", NUMBER),
        (f"rcs:{NUMBER}", NUMBER),
        (f"messenger:{NUMBER}", NUMBER),
        ("messenger:1234567890", "messenger:1234567890"),
        ("rcs:brand_agent", "rcs:brand_agent"),
        ("whatsapp:US.13491208655302741918", "whatsapp:US.13491208655302741918"),
        ("12345", "12345"),
        ("", ""),
        ("whatsapp:+5215512345678", "+525512345678"),
        ("+525512345678", "+525512345678"),
        ("whatsapp:+551187654321", "+5511987654321"),
        ("whatsapp:+5511987654321", "+5511987654321"),
        ("+551132345678", "+551132345678"),
        ("+15217654321", "+15217654321"),
    ],
)
def test_a_person_is_identified_by_their_number(address: str, expected: str) -> None:
    """Channel prefixes are removed from a number; an address without a number stays as it is.

    WhatsApp's ids of Mexico and Brazil differ from the dialed numbers of the same people.
    """
    assert person(address) == expected


@pytest.mark.parametrize("reason", Reason)
def test_what_a_person_said_covers_all_their_channels(reason: Reason) -> None:
    """Also what may be an opt-out; other reasons are about the exact address."""
    said = {Reason.OPTED_OUT, Reason.REVIEW}

    assert (suppression_key(f"whatsapp:{NUMBER}", reason) == NUMBER) == (reason in said)


def test_a_category_of_a_sender_needs_the_sender() -> None:
    """It would cover nothing."""
    with pytest.raises(ValueError, match="to_sender: "):
        Suppression(**VALID, scope=Scope.SENDER_CATEGORY, scope_value="marketing")


def test_every_address_of_a_person_is_known() -> None:
    """The number itself, and the number on every channel."""
    channels = ("whatsapp", "rcs", "messenger")

    assert {NUMBER, *(f"{channel}:{NUMBER}" for channel in channels)} == set(addresses_of(NUMBER))
    assert {NUMBER} == {person(each) for each in addresses_of(NUMBER)}
    assert ("messenger:123",) == addresses_of("messenger:123")


@pytest.mark.parametrize(
    ("dialed", "whatsapp_id"),
    [("+525512345678", "+5215512345678"), ("+5511987654321", "+551187654321")],
)
def test_the_addresses_of_a_person_include_their_whatsapp_id(dialed: str, whatsapp_id: str) -> None:
    """In both spellings, on every channel."""
    addresses = addresses_of(dialed)

    assert {dialed, whatsapp_id, f"whatsapp:{whatsapp_id}"} < set(addresses)
    assert {dialed} == {person(each) for each in addresses}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.OPTED_OUT, NUMBER),
        (Reason.UNDELIVERABLE, f"whatsapp:{NUMBER}"),
        (Reason.MANUAL, f"whatsapp:{NUMBER}"),
    ],
)
def test_only_opt_outs_cover_all_channels_of_a_person(reason: Reason, expected: str) -> None:
    """Other suppressions cover the exact address."""
    assert suppression_key(f"whatsapp:{NUMBER}", reason) == expected


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("recipient", {"recipient": ""}),
        ("recipient", {"recipient": NUMBER * 20}),
        ("recipient", {"recipient": f"{NUMBER}\n"}),
        ("scope_value", {"scope_value": "marketing-15558675309"}),
        ("scope_value", {"scope": Scope.CATEGORY}),
        ("scope_value", {"scope": Scope.SENDER, "scope_value": NUMBER * 20}),
        ("evidence", {"evidence": NUMBER * 50}),
        ("evidence", {"evidence": f"{NUMBER}\0"}),
        ("evidence", {"evidence": f"{NUMBER}\ud800"}),
        ("created_at", {"created_at": datetime(2026, 11, 21)}),  # noqa: DTZ001 - on purpose
    ],
)
def test_an_invalid_suppression_is_refused(field: str, change: dict[str, Any]) -> None:
    """The error names the field and does not repeat its value."""
    with pytest.raises(ValueError, match=f"^{field}: ") as caught:
        Suppression(**{**VALID, **change})

    assert "5558675309" not in str(caught.value)


def test_the_repr_contains_no_number() -> None:
    """A suppression that gets into a log does not reveal the person."""
    suppression = Suppression(**VALID, scope=Scope.SENDER, scope_value="+15005550006")

    assert "+1" not in repr(suppression)
