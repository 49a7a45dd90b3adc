import pytest

from signedfor.twilio.rates import (
    DEFAULT_RATES,
    SenderKind,
    default_rate,
    kind_of,
    rate_limited_segments,
)

SENDERS = {
    "+15005550006": SenderKind.LONG_CODE,
    "+18005550100": SenderKind.TOLL_FREE,
    "+18885550100": SenderKind.TOLL_FREE,
    "+18015550100": SenderKind.LONG_CODE,
    "+447700900123": SenderKind.INTERNATIONAL,
    "12345": SenderKind.SHORT_CODE,
    "Acme": SenderKind.ALPHANUMERIC,
    "MGM": SenderKind.ALPHANUMERIC,
    "whatsapp:+15005550006": SenderKind.WHATSAPP,
    "rcs:acme_agent": SenderKind.RCS,
    "messenger:1234": SenderKind.MESSENGER,
    "MG" + "0a" * 16: SenderKind.MESSAGING_SERVICE,
}


@pytest.mark.parametrize(("sender", "kind"), SENDERS.items())
def test_a_sender_has_a_kind_and_its_default_rate(sender: str, kind: SenderKind) -> None:
    """The kind is derived from the form of the address."""
    assert kind is kind_of(sender)
    assert DEFAULT_RATES[kind] == default_rate(sender)


def test_every_kind_has_an_example_and_a_rate() -> None:
    """No kind is missing in the examples above or in the table of rates."""
    assert set(SenderKind) == set(SENDERS.values()) == DEFAULT_RATES.keys()


def test_a_configured_rate_replaces_the_default_of_its_kind() -> None:
    """The defaults of other kinds stay."""
    rates = {SenderKind.SHORT_CODE: 30.0}

    assert 30 == default_rate("12345", rates)
    assert 1 == default_rate("+15005550006", rates)


def test_sms_are_rate_limited_by_segments() -> None:
    """Media without text counts as one segment, and so does any message on other channels."""
    assert [3, 1, 1] == [
        rate_limited_segments("+15558675309", 3),
        rate_limited_segments("+15558675309", 0),
        rate_limited_segments("whatsapp:+15558675309", 3),
    ]
