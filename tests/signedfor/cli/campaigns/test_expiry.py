"""Whom the send window opens for too late."""

from datetime import UTC, datetime

import pytest

from signedfor.cli.campaigns.expiry import Lateness
from tests.signedfor.cli.campaigns.support import message

NOW = datetime(2026, 11, 21, 6, 30, tzinfo=UTC)
HOURS = {"from": "09:00", "until": "20:00"}
BERLIN, NEW_YORK = "+4915112345678", "+12125550123"
"""Where the window opens at eight and at two in the afternoon, by UTC."""


@pytest.mark.parametrize(
    ("expires_at", "time_zone", "late"),
    [
        ("2026-11-21T07:30:00Z", None, [True, True]),
        ("2026-11-21T08:00:00Z", None, [True, True]),
        ("2026-11-21T08:01:00Z", None, [False, True]),
        ("2026-11-21T14:01:00Z", None, [False, False]),
        ("2026-11-21T08:01:00Z", "Europe/Berlin", [False, False]),
        ("2026-11-21T08:00:00Z", "Europe/Berlin", [True, True]),
    ],
)
def test_each_by_his_own_clock(expires_at: str, time_zone: str | None, late: list[bool]) -> None:
    """Unless a time zone is given; who is asked about first makes no difference."""
    window = HOURS | ({"time_zone": time_zone} if time_zone else {})
    lateness = Lateness(message(send_window=window, expires_at=expires_at), now=NOW)

    assert late == [lateness.holds_for(each) for each in (BERLIN, NEW_YORK)]
    assert late == [lateness.holds_for(each) for each in (BERLIN, NEW_YORK)]


def test_without_both_nobody_is_late() -> None:
    """A window alone is waited for."""
    for fields in ({"send_window": HOURS}, {"expires_at": "2026-11-21T07:00:00Z"}):
        assert not Lateness(message(**fields), now=NOW).holds_for(BERLIN)
