"""When a send window opens: several zones, clocks that are set, ends of days and weeks."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from signedfor.contract import SendWindow
from signedfor.send_windows import NeverOpens, opening, time_zone_problem, window_problem
from signedfor.time_zones import TIME_ZONES, recipient_zones, zone

BERLIN = "+4915112345678"
NEW_YORK = "+12125550100"
TOLL_FREE = "+18005550100"
AUSTRALIAN_MOBILE = "+61412345678"
KIRIBATI = "+6861234567"
SATELLITE = "+882161234567"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def window(hours: str, days: str = "", time_zone: str | None = None) -> SendWindow:
    """`window("09:00-20:00", "mon fri", "Europe/Berlin")`."""
    opens, _, closes = hours.partition("-")
    fields: dict[str, Any] = {"from": opens, "until": closes, "time_zone": time_zone}
    return SendWindow.model_validate(fields | ({"days": days.split()} if days else {}))


def opened(asked: SendWindow, now: str, recipient: str = BERLIN) -> str:
    """When it opens, in UTC, to the minute; times are written without their zone."""
    found = opening(asked, recipient, datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert (UTC, 0, 0) == (found.tzinfo, found.second, found.microsecond)
    return f"{found:%Y-%m-%d %H:%M}"


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
def test_hours(hours: str, now: str, expected: str) -> None:
    """It is open from `from` until just before `until`; closed for today, it opens tomorrow."""
    assert expected == opened(window(hours), now)


def test_now_is_given_back_as_it_is() -> None:
    """When it is open nothing is rounded; a time in another zone comes back in UTC."""
    now = datetime(2026, 11, 23, 12, 34, 56, 789, tzinfo=ZoneInfo("Asia/Tokyo"))

    found = opening(window("00:00-24:00"), BERLIN, now)

    assert (now, UTC) == (found, found.tzinfo)


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
def test_days(days: str, now: str, expected: str) -> None:
    """Days are the recipient's, whose midnight is not UTC's."""
    assert expected == opened(window("09:00-20:00", days), now)


@pytest.mark.parametrize(
    ("hours", "days", "now", "expected"),
    [
        # Forward: on 29 March 2026, 02:00 in Berlin (01:00 UTC) is 03:00 at once.
        ("02:30-05:00", "", "2026-03-29 00:00", "2026-03-29 01:00"),  # its 02:30 does not exist
        ("02:00-05:00", "", "2026-03-29 00:59", "2026-03-29 01:00"),
        ("03:00-05:00", "", "2026-03-29 00:00", "2026-03-29 01:00"),
        ("02:00-03:00", "", "2026-03-29 00:00", "2026-03-30 00:00"),  # all of it is left out
        ("02:10-02:50", "sun", "2026-03-28 12:00", "2026-04-05 00:10"),
        ("09:00-20:00", "", "2026-03-28 19:00", "2026-03-29 07:00"),  # an hour earlier in UTC
        # Backward: on 25 October 2026, 03:00 in Berlin (01:00 UTC) is 02:00 again.
        ("02:30-02:45", "", "2026-10-25 00:00", "2026-10-25 00:30"),  # the first 02:30
        ("02:30-02:45", "", "2026-10-25 00:45", "2026-10-25 01:30"),  # and the second
        ("02:30-02:45", "", "2026-10-25 01:45", "2026-10-26 01:30"),
        ("01:00-02:15", "", "2026-10-25 00:15", "2026-10-25 01:00"),  # opens as clocks are set
        ("01:00-02:15", "", "2026-10-25 01:15", "2026-10-26 00:00"),
        ("09:00-20:00", "", "2026-10-24 18:00", "2026-10-25 08:00"),
    ],
)
def test_daylight_saving(hours: str, days: str, now: str, expected: str) -> None:
    """What the clock shows counts: hours it leaves out are not waited for, hours it repeats are."""
    assert expected == opened(window(hours, days), now)


@pytest.mark.parametrize(
    ("zone", "hours", "days", "now", "expected"),
    [
        ("Asia/Kolkata", "09:00-20:00", "", "2026-11-23 03:00", "2026-11-23 03:30"),
        ("Asia/Kathmandu", "09:00-20:00", "", "2026-11-23 03:00", "2026-11-23 03:15"),
        ("Pacific/Kiritimati", "09:00-10:00", "mon", "2026-11-22 00:00", "2026-11-22 19:00"),
        ("Etc/GMT+12", "09:00-10:00", "sun", "2026-11-23 00:00", "2026-11-29 21:00"),
        ("Etc/GMT+12", "20:00-24:00", "sun", "2026-11-23 00:00", "2026-11-23 08:00"),
        # Half an hour is left out of it on 4 October 2026.
        ("Australia/Lord_Howe", "02:15-04:00", "", "2026-10-03 15:00", "2026-10-03 15:30"),
        # Samoa had no 30 December 2011, a Friday.
        ("Pacific/Apia", "09:00-10:00", "fri", "2011-12-25 00:00", "2012-01-05 19:00"),
        # Midnight does not exist in Santiago on 6 September 2026: the day begins at 01:00.
        ("America/Santiago", "00:00-00:30", "sun", "2026-09-05 12:00", "2026-09-13 03:00"),
        ("America/Santiago", "00:00-09:00", "sun", "2026-09-05 12:00", "2026-09-06 04:00"),
        # Its Saturday's last hour comes twice, on 4 April 2026.
        ("America/Santiago", "23:00-23:30", "sat", "2026-04-05 02:30", "2026-04-05 03:00"),
        # Ruled otherwise since: Turkey has kept summer time since 2016.
        ("Europe/Istanbul", "09:00-10:00", "", "2015-11-23 00:00", "2015-11-23 07:00"),
        ("Europe/Istanbul", "09:00-10:00", "", "2026-11-23 00:00", "2026-11-23 06:00"),
    ],
)
def test_zones(zone: str, hours: str, days: str, now: str, expected: str) -> None:
    """Half-hour zones, both sides of the date line, midnights and whole days that do not exist."""
    assert expected == opened(window(hours, days, zone), now, SATELLITE)


@pytest.mark.parametrize(
    ("recipient", "hours", "days", "now", "expected"),
    [
        # Open in Kiritimati (+14) from 19:00 UTC, in Tarawa (+12) from 21:00; closed there first.
        (KIRIBATI, "09:00-20:00", "", "2026-11-22 12:00", "2026-11-22 21:00"),
        (KIRIBATI, "09:00-20:00", "", "2026-11-23 05:59", "2026-11-23 05:59"),
        (KIRIBATI, "09:00-20:00", "", "2026-11-23 06:00", "2026-11-23 21:00"),
        # A Monday in both is two hours shorter.
        (KIRIBATI, "00:00-24:00", "mon", "2026-11-22 09:00", "2026-11-22 12:00"),
        (KIRIBATI, "00:00-24:00", "mon", "2026-11-23 10:00", "2026-11-29 12:00"),
        # From Christmas Island's morning (+7, Cocos half an hour less) to Sydney's evening (+11).
        (AUSTRALIAN_MOBILE, "09:00-20:00", "", "2026-11-22 12:00", "2026-11-23 02:30"),
        (AUSTRALIAN_MOBILE, "09:00-20:00", "", "2026-11-23 09:00", "2026-11-24 02:30"),
    ],
)
def test_all_zones_of_a_number(
    recipient: str, hours: str, days: str, now: str, expected: str
) -> None:
    """Where a number has several zones, both the earliest and the latest have it open."""
    assert expected == opened(window(hours, days), now, recipient)


@pytest.mark.parametrize(
    ("recipient", "opens", "closes"),
    [
        # Countries for which the table of area codes has a foreign clock.
        ("+212612345678", "2026-01-12 08:00", "2026-01-12 19:00"),  # Morocco, not the Canaries
        ("+213551234567", "2026-07-13 08:00", "2026-07-13 19:00"),  # Algeria, not Paris
        ("+218911234567", "2026-07-13 07:00", "2026-07-13 18:00"),  # Libya, not Bucharest
        ("+50581234567", "2026-07-13 15:00", "2026-07-14 02:00"),  # Nicaragua, not Chicago
        ("+211912345678", "2026-07-13 07:00", "2026-07-13 18:00"),  # South Sudan, not Nairobi
        ("+970591234567", "2026-10-24 07:00", "2026-10-24 18:00"),  # Palestine, not Bucharest
        ("+74012345678", "2026-07-13 07:00", "2026-07-13 18:00"),  # Kaliningrad, the same
        # Mobiles, whose holders may be in a part of the country that the table leaves out.
        ("+79161234567", "2026-07-13 07:00", "2026-07-13 08:00"),  # Kaliningrad to Kamchatka
        ("+56912345678", "2026-07-13 15:00", "2026-07-13 23:00"),  # Easter Island, Punta Arenas
        ("+67570123456", "2026-07-12 23:00", "2026-07-13 09:00"),  # Port Moresby, Bougainville
        ("+6919201234", "2026-07-12 23:00", "2026-07-13 09:00"),  # Chuuk, Kosrae
    ],
)
def test_a_countrys_own_clock(recipient: str, opens: str, closes: str) -> None:
    """From 09:00 until 20:00 in the country itself, in all of it, in every season."""
    asked, minute = window("09:00-20:00"), timedelta(minutes=1)
    first, last = (datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (opens, closes))

    assert opening(asked, recipient, first - minute) == first
    assert opening(asked, recipient, last - minute) == last - minute
    assert opening(asked, recipient, last) > last


def test_a_given_zone_replaces_those_of_the_number() -> None:
    """Who knows where the recipient is says so."""
    asked = window("09:00-10:00", time_zone="America/New_York")

    assert "2026-11-23 14:00" == opened(asked, "2026-11-23 00:00", TOLL_FREE)


@pytest.mark.parametrize(
    ("hours", "days", "recipient", "text"),
    [
        ("09:00-10:00", "", TOLL_FREE, "several time zones"),
        ("09:00-13:00", "", AUSTRALIAN_MOBILE, "several time zones"),
        # For half an hour, from November to March, when Newfoundland has winter time: no hours.
        ("09:00-20:00", "", TOLL_FREE, "not all year round"),
        ("00:00-24:00", "mon", SATELLITE, "needs a time_zone"),
        ("09:00-20:00", "", "messenger:1234567", "needs a time_zone"),
    ],
)
def test_a_window_of_no_use(hours: str, days: str, recipient: str, text: str) -> None:
    """It is found out before anything waits for it, and nothing of the number is repeated."""
    asked = window(hours, days)

    found = window_problem(asked, recipient)

    assert found is not None
    assert text in found
    assert recipient.partition("+")[2] not in found or not recipient.startswith("+")


@pytest.mark.parametrize("name", ["Europe/Secret", "Localtime", "America", "Etc/GMT+15"])
def test_a_zone_that_is_none(name: str) -> None:
    """A name that is only spelt like a zone's is told so, and not repeated."""
    asked = window("09:00-20:00", time_zone=name)

    problem = time_zone_problem(name)

    assert problem is not None
    assert name not in problem
    assert f"time_zone {problem}" == window_problem(asked, BERLIN)
    with pytest.raises(NeverOpens, match=problem):
        opening(asked, BERLIN, datetime(2026, 6, 1, tzinfo=UTC))
    assert time_zone_problem("Europe/Berlin") is None


@pytest.mark.parametrize(
    ("recipient", "text"), [(TOLL_FREE, "does not open"), (SATELLITE, "needs a time_zone")]
)
def test_waiting_for_what_never_opens(recipient: str, text: str) -> None:
    """Who asks all the same is told so, at once and not after a search without end."""
    with pytest.raises(NeverOpens, match=text):
        opening(window("09:00-10:00"), recipient, datetime(2026, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "asked",
    [
        window("02:00-03:00", "sun", "Europe/Berlin"),  # left out once a year
        window("00:00-00:01", "mon"),
        window("23:59-24:00", "sun", "America/Santiago"),
    ],
)
def test_a_small_window_is_a_window(asked: SendWindow) -> None:
    """A minute a week will do, and so will a window that one week in the year leaves out."""
    assert window_problem(asked, BERLIN) is None


def _is_open(asked: SendWindow, recipient: str, moment: datetime) -> bool:
    """By the words of the contract, one clock after the other."""
    for name in [asked.time_zone] if asked.time_zone else recipient_zones(recipient):
        local = moment.astimezone(zone(name))  # the machine may have older rules
        minute = local.hour * 60 + local.minute
        opens, closes = (int(at[:2]) * 60 + int(at[3:]) for at in (asked.opens, asked.closes))
        if DAYS[local.weekday()] not in asked.days or not opens <= minute < closes:
            return False
    return True


_minutes = st.lists(st.integers(0, 1440), min_size=2, max_size=2, unique=True).map(sorted)
_windows = st.builds(
    lambda minutes, days, zone: window(
        "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in minutes), " ".join(days), zone
    ),
    _minutes,
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.none() | st.sampled_from(sorted(TIME_ZONES)),
)
_numbers = st.sampled_from(
    [BERLIN, NEW_YORK, TOLL_FREE, AUSTRALIAN_MOBILE, KIRIBATI, "+34612345678", "+77011234567"]
)
# Near where clocks are set somewhere, or anywhere at all; not long ago, when the zones of a number
# that is one country's now may have differed by more.
_set = st.sampled_from(
    ["2026-03-08", "2026-03-29", "2026-04-05", "2026-09-06", "2026-10-04",
     "2026-10-25", "2026-11-01", "2027-02-08"]
).map(lambda day: datetime.fromisoformat(day).replace(tzinfo=UTC))  # fmt: skip
_moments = st.one_of(
    st.builds(
        lambda day, minutes: day + timedelta(minutes=minutes), _set, st.integers(-2000, 4000)
    ),
    st.builds(
        lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes),
        st.integers(0, 10 * 366 * 1440),
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(asked=_windows, recipient=_numbers, now=_moments)
def test_the_first_moment_at_which_it_is_open(
    asked: SendWindow, recipient: str, now: datetime
) -> None:
    """It is open then in all zones, not a second before, and at no minute on the way."""
    assume(window_problem(asked, recipient) is None)

    found = opening(asked, recipient, now)

    assert found >= now
    assert _is_open(asked, recipient, found)
    if found > now:
        assert not _is_open(asked, recipient, found - timedelta(seconds=1))
    step = max(timedelta(minutes=1), (found - now) / 500)
    while now < found:
        assert not _is_open(asked, recipient, now)
        now += step
