"""When a send window opens: several time zones, clock changes, ends of days and weeks."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from holidays import country_holidays
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from signedfor.contract import SendWindow
from signedfor.send_windows import NeverOpens, opening, time_zone_problem, window_problem
from signedfor.time_zones import TIME_ZONES, recipient_zones, zone
from tests.signedfor.quiet_hours_table import ROWS, rows_for

BERLIN = "+4915112345678"
NEW_YORK = "+12125550100"
TOLL_FREE = "+18005550100"
AUSTRALIAN_MOBILE = "+61412345678"
KIRIBATI = "+6861234567"
SATELLITE = "+882161234567"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def window(
    hours: str, days: str = "", time_zone: str | None = None, quiet_hours: str = ""
) -> SendWindow:
    """`window("09:00-20:00", "mon fri", "Europe/Berlin", "us")`; empty hours are none."""
    opens, _, closes = hours.partition("-")
    fields: dict[str, Any] = {
        "from": opens or None,
        "until": closes or None,
        "time_zone": time_zone,
        "days": days.split() or None,
        "quiet_hours": quiet_hours.split(),
    }
    return SendWindow.model_validate(fields)


def opens_at(window_: SendWindow, now: str, recipient: str = BERLIN) -> str:
    """When the window opens, to the minute; all times are in UTC and written without zone."""
    opens = opening(window_, recipient, datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert (UTC, 0, 0) == (opens.tzinfo, opens.second, opens.microsecond)
    return f"{opens:%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("hours", "now", "expected"),
    [
        ("09:00-20:00", "2026-11-23 07:59", "2026-11-23 08:00"),
        ("09:00-20:00", "2026-11-23 08:00", "2026-11-23 08:00"),  # open from its first minute
        ("09:00-20:00", "2026-11-23 18:59", "2026-11-23 18:59"),
        ("09:00-20:00", "2026-11-23 19:00", "2026-11-24 08:00"),  # closed from its last
        ("00:00-24:00", "2026-11-23 23:00", "2026-11-23 23:00"),
        ("22:00-24:00", "2026-11-23 22:59", "2026-11-23 22:59"),
        ("22:00-24:00", "2026-11-23 23:00", "2026-11-24 21:00"),
        ("00:00-00:01", "2026-11-23 12:00", "2026-11-23 23:00"),
    ],
)
def test_a_window_opens_at_its_hours(hours: str, now: str, expected: str) -> None:
    """It is open from `from` until just before `until`; after that, it opens the next day."""
    assert expected == opens_at(window(hours), now)


def test_an_open_window_opens_now() -> None:
    """The time is not rounded, and is returned in UTC."""
    now = datetime(2026, 11, 23, 12, 34, 56, 789, tzinfo=ZoneInfo("Asia/Tokyo"))

    opens = opening(window("00:00-24:00"), BERLIN, now)

    assert (now, UTC) == (opens, opens.tzinfo)


@pytest.mark.parametrize(
    ("days", "now", "expected"),
    [
        ("mon", "2026-11-23 18:59", "2026-11-23 18:59"),  # a Monday
        ("mon", "2026-11-23 19:00", "2026-11-30 08:00"),
        ("mon tue", "2026-11-23 23:30", "2026-11-24 08:00"),  # Tuesday in Berlin already
        ("sun", "2026-11-23 00:00", "2026-11-29 08:00"),
        ("sat sun", "2026-11-20 12:00", "2026-11-21 08:00"),
        ("mon tue wed thu fri", "2026-11-20 19:00", "2026-11-23 08:00"),
    ],
)
def test_days_are_in_the_recipients_time_zone(days: str, now: str, expected: str) -> None:
    """A day starts at the recipient's midnight, not at UTC's."""
    assert expected == opens_at(window("09:00-20:00", days), now)


@pytest.mark.parametrize(
    ("hours", "days", "now", "expected"),
    [
        # Forward: on 29 March 2026, 02:00 in Berlin (01:00 UTC) is 03:00 at once.
        ("02:30-05:00", "", "2026-03-29 00:00", "2026-03-29 01:00"),  # its 02:30 does not exist
        ("02:00-05:00", "", "2026-03-29 00:59", "2026-03-29 01:00"),
        ("03:00-05:00", "", "2026-03-29 00:00", "2026-03-29 01:00"),
        ("02:00-03:00", "", "2026-03-29 00:00", "2026-03-30 00:00"),  # all of it is skipped
        ("02:10-02:50", "sun", "2026-03-28 12:00", "2026-04-05 00:10"),
        ("09:00-20:00", "", "2026-03-28 19:00", "2026-03-29 07:00"),  # an hour earlier in UTC
        # Backward: on 25 October 2026, 03:00 in Berlin (01:00 UTC) is 02:00 again.
        ("02:30-02:45", "", "2026-10-25 00:00", "2026-10-25 00:30"),  # the first 02:30
        ("02:30-02:45", "", "2026-10-25 00:45", "2026-10-25 01:30"),  # and the second
        ("02:30-02:45", "", "2026-10-25 01:45", "2026-10-26 01:30"),
        ("01:00-02:15", "", "2026-10-25 00:15", "2026-10-25 01:00"),  # opens when clocks change
        ("01:00-02:15", "", "2026-10-25 01:15", "2026-10-26 00:00"),
        ("09:00-20:00", "", "2026-10-24 18:00", "2026-10-25 08:00"),
    ],
)
def test_clock_changes(hours: str, days: str, now: str, expected: str) -> None:
    """Local time decides: a skipped hour never comes, and a repeated hour comes twice."""
    assert expected == opens_at(window(hours, days), now)


@pytest.mark.parametrize(
    ("zone", "hours", "days", "now", "expected"),
    [
        ("Asia/Kolkata", "09:00-20:00", "", "2026-11-23 03:00", "2026-11-23 03:30"),
        ("Asia/Kathmandu", "09:00-20:00", "", "2026-11-23 03:00", "2026-11-23 03:15"),
        ("Pacific/Kiritimati", "09:00-10:00", "mon", "2026-11-22 00:00", "2026-11-22 19:00"),
        ("Etc/GMT+12", "09:00-10:00", "sun", "2026-11-23 00:00", "2026-11-29 21:00"),
        ("Etc/GMT+12", "20:00-24:00", "sun", "2026-11-23 00:00", "2026-11-23 08:00"),
        # Half an hour is skipped on 4 October 2026.
        ("Australia/Lord_Howe", "02:15-04:00", "", "2026-10-03 15:00", "2026-10-03 15:30"),
        # Samoa had no 30 December 2011, a Friday.
        ("Pacific/Apia", "09:00-10:00", "fri", "2011-12-25 00:00", "2012-01-05 19:00"),
        # Midnight does not exist in Santiago on 6 September 2026: the day starts at 01:00.
        ("America/Santiago", "00:00-00:30", "sun", "2026-09-05 12:00", "2026-09-13 03:00"),
        ("America/Santiago", "00:00-09:00", "sun", "2026-09-05 12:00", "2026-09-06 04:00"),
        # The last hour of Saturday, 4 April 2026, comes twice.
        ("America/Santiago", "23:00-23:30", "sat", "2026-04-05 02:30", "2026-04-05 03:00"),
        # The rules changed: Turkey has had summer time all year since 2016.
        ("Europe/Istanbul", "09:00-10:00", "", "2015-11-23 00:00", "2015-11-23 07:00"),
        ("Europe/Istanbul", "09:00-10:00", "", "2026-11-23 00:00", "2026-11-23 06:00"),
    ],
)
def test_unusual_time_zones(zone: str, hours: str, days: str, now: str, expected: str) -> None:
    """Half-hour offsets, both sides of the date line, midnights and days that do not exist."""
    assert expected == opens_at(window(hours, days, zone), now, SATELLITE)


@pytest.mark.parametrize(
    ("recipient", "hours", "days", "now", "expected"),
    [
        # Kiritimati (+14) opens at 19:00 UTC and closes first; Tarawa (+12) opens at 21:00.
        (KIRIBATI, "09:00-20:00", "", "2026-11-22 12:00", "2026-11-22 21:00"),
        (KIRIBATI, "09:00-20:00", "", "2026-11-23 05:59", "2026-11-23 05:59"),
        (KIRIBATI, "09:00-20:00", "", "2026-11-23 06:00", "2026-11-23 21:00"),
        # It is Monday in both for 22 hours only.
        (KIRIBATI, "00:00-24:00", "mon", "2026-11-22 09:00", "2026-11-22 12:00"),
        (KIRIBATI, "00:00-24:00", "mon", "2026-11-23 10:00", "2026-11-29 12:00"),
        # From morning in the Cocos Islands (+6:30) to evening in Sydney (+11).
        (AUSTRALIAN_MOBILE, "09:00-20:00", "", "2026-11-22 12:00", "2026-11-23 02:30"),
        (AUSTRALIAN_MOBILE, "09:00-20:00", "", "2026-11-23 09:00", "2026-11-24 02:30"),
    ],
)
def test_the_window_must_be_open_in_all_zones_of_a_number(
    recipient: str, hours: str, days: str, now: str, expected: str
) -> None:
    """With several time zones, it opens when the last one opens and closes with the first."""
    assert expected == opens_at(window(hours, days), now, recipient)


@pytest.mark.parametrize(
    ("recipient", "opens", "closes"),
    [
        # Countries for which the table of area codes has another country's time zone.
        ("+212612345678", "2026-01-12 08:00", "2026-01-12 19:00"),  # Morocco, not the Canaries
        ("+213551234567", "2026-07-13 08:00", "2026-07-13 19:00"),  # Algeria, not Paris
        ("+218911234567", "2026-07-13 07:00", "2026-07-13 18:00"),  # Libya, not Bucharest
        ("+50581234567", "2026-07-13 15:00", "2026-07-14 02:00"),  # Nicaragua, not Chicago
        ("+211912345678", "2026-07-13 07:00", "2026-07-13 18:00"),  # South Sudan, not Nairobi
        ("+970591234567", "2026-10-24 07:00", "2026-10-24 18:00"),  # Palestine, not Bucharest
        ("+74012345678", "2026-07-13 07:00", "2026-07-13 18:00"),  # Kaliningrad, the same
        # Mobile numbers, which may be in a part of the country that the table does not list.
        ("+79161234567", "2026-07-13 07:00", "2026-07-13 08:00"),  # Kaliningrad to Kamchatka
        ("+56912345678", "2026-07-13 15:00", "2026-07-13 23:00"),  # Easter Island, Punta Arenas
        ("+67570123456", "2026-07-12 23:00", "2026-07-13 09:00"),  # Port Moresby, Bougainville
        ("+6919201234", "2026-07-12 23:00", "2026-07-13 09:00"),  # Chuuk, Kosrae
    ],
)
def test_a_window_follows_the_recipients_own_country(
    recipient: str, opens: str, closes: str
) -> None:
    """It is open while it is between 09:00 and 20:00 in all parts of that country."""
    window_, minute = window("09:00-20:00"), timedelta(minutes=1)
    first, last = (datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (opens, closes))

    assert opening(window_, recipient, first - minute) == first
    assert opening(window_, recipient, last - minute) == last - minute
    assert opening(window_, recipient, last) > last


def test_a_given_time_zone_replaces_those_of_the_number() -> None:
    """The caller may know where the recipient is."""
    window_ = window("09:00-10:00", time_zone="America/New_York")

    assert "2026-11-23 14:00" == opens_at(window_, "2026-11-23 00:00", TOLL_FREE)


@pytest.mark.parametrize(
    ("hours", "days", "recipient", "text"),
    [
        ("09:00-10:00", "", TOLL_FREE, "several time zones"),
        ("09:00-13:00", "", AUSTRALIAN_MOBILE, "several time zones"),
        # Open only from November to March, for half an hour, when Newfoundland has winter time.
        ("09:00-20:00", "", TOLL_FREE, "not all year round"),
        ("00:00-24:00", "mon", SATELLITE, "needs a time_zone"),
        ("09:00-20:00", "", "messenger:1234567", "needs a time_zone"),
    ],
)
def test_a_window_that_never_opens_is_invalid(
    hours: str, days: str, recipient: str, text: str
) -> None:
    """So is one that is closed for months; the problem does not repeat the number."""
    problem = window_problem(window(hours, days), recipient)

    assert problem is not None
    assert text in problem
    assert recipient.partition("+")[2] not in problem or not recipient.startswith("+")


@pytest.mark.parametrize("name", ["Europe/Secret", "Localtime", "America", "Etc/GMT+15"])
def test_an_unknown_time_zone_is_invalid(name: str) -> None:
    """The problem does not repeat the name."""
    window_ = window("09:00-20:00", time_zone=name)

    problem = time_zone_problem(name)

    assert problem is not None
    assert name not in problem
    assert f"time_zone {problem}" == window_problem(window_, BERLIN)
    with pytest.raises(NeverOpens, match=problem):
        opening(window_, BERLIN, datetime(2026, 6, 1, tzinfo=UTC))
    assert time_zone_problem("Europe/Berlin") is None


@pytest.mark.parametrize(
    ("recipient", "text"), [(TOLL_FREE, "does not open"), (SATELLITE, "needs a time_zone")]
)
def test_a_window_that_never_opens_has_no_opening(recipient: str, text: str) -> None:
    """The error is raised at once; the search for an opening is limited."""
    with pytest.raises(NeverOpens, match=text):
        opening(window("09:00-10:00"), recipient, datetime(2026, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "window_",
    [
        window("02:00-03:00", "sun", "Europe/Berlin"),  # skipped once a year
        window("00:00-00:01", "mon"),
        window("23:59-24:00", "sun", "America/Santiago"),
    ],
)
def test_a_small_window_is_valid(window_: SendWindow) -> None:
    """It may be a minute a week, or skipped in one week of the year."""
    assert window_problem(window_, BERLIN) is None


def _is_open(window_: SendWindow, recipient: str, moment: datetime) -> bool:
    """A literal implementation of the contract: check the local time in each time zone."""
    own = [(" ".join(window_.days), window_.opens or "00:00", window_.closes or "24:00", "")]
    quiet = [
        [(" ".join(each["days"]), each["from"], each["until"], each["closed_on"]) for each in rows]
        for rows in rows_for(window_.quiet_hours, recipient)
    ]
    return all(
        any(_is_within(hours, moment.astimezone(zone(name))) for hours in alternatives)
        for name in ([window_.time_zone] if window_.time_zone else recipient_zones(recipient))
        for alternatives in [own, *quiet]
    )


def _is_within(hours: tuple[str, str, str, str], local: datetime) -> bool:
    days, opens, closes, closed_on = hours
    at = f"{local:%H:%M}"
    if DAYS[local.weekday()] not in days.split() or not opens <= at < closes:
        return False
    country, _, part = closed_on.partition("-")
    return not country or local.date() not in country_holidays(country, part or None)


_minutes = st.lists(st.integers(0, 1440), min_size=2, max_size=2, unique=True).map(sorted)
_names = st.sampled_from(sorted({row["name"] for row in ROWS}))
_hours = _minutes.map(
    lambda minutes: "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in minutes)
)
_zones = st.none() | st.sampled_from(sorted(TIME_ZONES))
_days = st.sets(st.sampled_from(DAYS), min_size=1).map(" ".join)
_windows = st.builds(window, _hours, _days, _zones) | st.builds(
    window, st.just("") | _hours, st.just(""), _zones, st.sets(_names, min_size=1).map(" ".join)
)
_numbers = st.sampled_from(
    [BERLIN, NEW_YORK, TOLL_FREE, AUSTRALIAN_MOBILE, KIRIBATI, "+34612345678", "+77011234567",
     "+33612345678", "+919812345678", "+12145550100", "+14015550100", "+15045550100",
     "+18505550100", "+19025550100", "+16045550100"]
)  # fmt: skip
# Close to clock changes, or any time in the next years. Not the past: the time zones of a country
# may have differed more than now.
_clock_changes = st.sampled_from(
    ["2026-03-08", "2026-03-29", "2026-04-05", "2026-09-06", "2026-10-04",
     "2026-10-25", "2026-11-01", "2027-02-08"]
).map(lambda day: datetime.fromisoformat(day).replace(tzinfo=UTC))  # fmt: skip
_moments = st.one_of(
    st.builds(
        lambda day, minutes: day + timedelta(minutes=minutes),
        _clock_changes,
        st.integers(-2000, 4000),
    ),
    st.builds(
        lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes),
        st.integers(0, 10 * 366 * 1440),
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(window_=_windows, recipient=_numbers, now=_moments)
def test_the_opening_is_the_first_moment_at_which_the_window_is_open(
    window_: SendWindow, recipient: str, now: datetime
) -> None:
    """It is open then in all time zones, not a second before, and not in between."""
    assume(window_problem(window_, recipient) is None)

    opens = opening(window_, recipient, now)

    assert opens >= now
    assert _is_open(window_, recipient, opens)
    if opens > now:
        assert not _is_open(window_, recipient, opens - timedelta(seconds=1))
    step = max(timedelta(minutes=1), (opens - now) / 200)
    while now < opens:
        assert not _is_open(window_, recipient, now)
        now += step
