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
def test_kind(sender: str, kind: SenderKind) -> None:
    """Each form of a sender is of one kind, and every kind has a rate."""
    assert kind is kind_of(sender)
    assert DEFAULT_RATES[kind] == default_rate(sender)


def test_every_kind_has_a_sender_here() -> None:
    """No kind is left out above, nor in the table of rates."""
    assert set(SenderKind) == set(SENDERS.values()) == DEFAULT_RATES.keys()


def test_configured_rates() -> None:
    """A configured rate replaces its kind's default, and leaves the others."""
    rates = {SenderKind.SHORT_CODE: 30.0}

    assert 30 == default_rate("12345", rates)
    assert 1 == default_rate("+15005550006", rates)


def test_rate_limited_segments() -> None:
    """SMS goes by segments, a picture without a text as one; on channels each message is one."""
    assert [3, 1, 1] == [
        rate_limited_segments("+15558675309", 3),
        rate_limited_segments("+15558675309", 0),
        rate_limited_segments("whatsapp:+15558675309", 3),
    ]
