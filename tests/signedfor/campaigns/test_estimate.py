"""What is shown of a campaign before it is sent."""

from datetime import timedelta
from decimal import Decimal

import pytest
from rich.console import Console

from signedfor.campaigns.checks import CheckedRow, Tally
from signedfor.campaigns.estimate import Estimate
from signedfor.cli.output import facts
from signedfor.message_limits import parse_rules
from signedfor.store.campaigns import CampaignRow
from signedfor.twilio.segments import Encoding
from tests.signedfor.campaigns.support import number


def _tally(*, suppressed: int = 0, rows: int = 5) -> Tally:
    tally = Tally()
    for index in range(rows):
        row = CampaignRow(number=index + 1, to=number(index), fields={}, segments=2)
        encoding = Encoding.UCS2 if index == 0 else Encoding.GSM7
        tally.add(CheckedRow(row=row, text=f"Text {index}\nsecond line", encoding=encoding))
    tally.suppressed, tally.suppressed_segments = suppressed, 2 * suppressed
    return tally


def _shown(estimate: Estimate) -> str:
    console = Console(width=100, no_color=True)
    with console.capture() as shown:
        console.print(facts(estimate.facts()))
    return " ".join(shown.get().split())


def test_a_price_is_written_as_people_write_it() -> None:
    """Never in scientific notation, however it was given."""
    estimate = Estimate(tally=_tally(), rate=1, price=Decimal("1e2"), currency="EUR")

    assert "EUR at 100 per segment" in _shown(estimate)


def test_the_summary() -> None:
    """Recipients, encodings, segments, time and cost; opted-out recipients cost nothing."""
    estimate = Estimate(
        tally=_tally(suppressed=1), rate=0.5, price=Decimal("0.0079"), currency="EUR"
    )

    assert (
        "Recipients 5 Opted out 1, or unreachable; nothing is sent to them "
        "Texts 4 in GSM-7, 1 in UCS-2 Segments 8 to send "
        "Time to send 16 s at 0.5 per second Cost 0.06 EUR at 0.0079 per segment"
    ) == _shown(estimate)
    assert {
        "rows": 5,
        "skipped": 0,
        "suppressed": 1,
        "too_late": 0,
        "segments": 8,
        "encodings": {"GSM-7": 4, "UCS-2": 1},
        "segments_per_second": 0.5,
        "seconds_to_send": 16,
        "cost": "0.06",
        "currency": "EUR",
    } == estimate.document()


def test_without_a_price_there_is_no_cost() -> None:
    """The summary names the ways to give one."""
    estimate = Estimate(tally=_tally(), rate=1, price=None, currency="USD")

    assert "Cost not known; give --price, or set PRICE_PER_SEGMENT" in _shown(estimate)
    assert (None, None) == (estimate.document()["cost"], estimate.document()["currency"])


def test_a_campaign_beyond_a_limit_is_warned_of() -> None:
    """By the rules that count its messages together."""
    limits = parse_rules("tenant=4/24h,category:news=5/1d")
    estimate = Estimate(tally=_tally(), rate=1, price=None, currency="USD", limits=limits)

    (warning,) = estimate.warnings(None)

    assert "MESSAGE_LIMITS has tenant=4/24h, and this is for 5 recipients" in warning


def test_three_messages_are_shown_with_masked_numbers() -> None:
    """The messages show their text and the last four digits of each number."""
    shown = Estimate(tally=_tally(), rate=1, price=None, currency="USD").messages()

    assert 3 == sum(line.startswith("To +*******") for line in shown)
    assert ["To +*******0000, 2 segments in UCS-2:", "  Text 0", "  second line", ""] == shown[:4]
    assert not [line for line in shown if number(0) in line or "Text 3" in line]


@pytest.mark.parametrize(
    ("backlog", "rows", "said"),
    [
        (timedelta(), 1, "2 s at 1 per second"),
        (timedelta(), 45, "1 min 30 s at 1 per second"),
        (timedelta(), 5010, "2 h 47 min at 1 per second"),
        (timedelta(days=2), 1, "2 d at 1 per second, 2 d of it for messages that already wait"),
    ],
)
def test_the_time_to_send(backlog: timedelta, rows: int, said: str) -> None:
    """In its two largest units, with the sender's backlog."""
    estimate = Estimate(
        tally=_tally(rows=rows), rate=1, backlog=backlog, price=None, currency="USD"
    )

    assert f"Time to send {said} Cost" in _shown(estimate)
