"""The words of consent, and what a suppression may hold."""

from datetime import datetime
from typing import Any

import pytest

from signedfor.consent import Reason, Scope, Source, Suppression, person, suppression_key

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
        ("12345", "12345"),
        ("", ""),
    ],
)
def test_person(address: str, expected: str) -> None:
    """The person is the number behind a channel address; without a number, the address."""
    assert person(address) == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.OPTED_OUT, NUMBER),
        (Reason.UNDELIVERABLE, f"whatsapp:{NUMBER}"),
        (Reason.MANUAL, f"whatsapp:{NUMBER}"),
    ],
)
def test_suppression_key(reason: Reason, expected: str) -> None:
    """Only an opt-out is the person's; the rest is known of the exact address."""
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
def test_what_cannot_be_kept_is_refused(field: str, change: dict[str, Any]) -> None:
    """A bad field is named, and its value is not repeated."""
    with pytest.raises(ValueError, match=f"^{field}: ") as caught:
        Suppression(**{**VALID, **change})

    assert "5558675309" not in str(caught.value)


def test_repr_has_no_number() -> None:
    """A suppression that lands in a log says nothing about the person."""
    suppression = Suppression(**VALID, scope=Scope.SENDER, scope_value="+15005550006")

    assert "+1" not in repr(suppression)
