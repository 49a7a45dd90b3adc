"""Quiet hours by name: whose rules hold, when they open, and the table of the rules."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from holidays import country_holidays

from signedfor.contract import SendWindow
from signedfor.places import recipient_places
from signedfor.quiet_hours import (
    QUIET_HOURS,
    rules_for,
    unknown_names_problem,
    with_quiet_hours,
)
from signedfor.send_windows import NeverOpens, opening, window_problem
from tests.signedfor.quiet_hours_table import PLACES_OF_AREA_CODES, ROWS

NEW_YORK, MIAMI, DALLAS = "+12125550123", "+13055550123", "+12145550123"
PHILADELPHIA = "+12155550123"
PROVIDENCE, NEW_ORLEANS, HALIFAX = "+14015550123", "+15045550123", "+19025550123"
PARIS, BERLIN, TOLL_FREE = "+33612345678", "+4915112345678", "+18005550123"


def quiet(names: str, time_zone: str | None = None) -> SendWindow:
    """`quiet("us canada")`: a window of quiet hours only."""
    return SendWindow(quiet_hours=tuple(names.split()), time_zone=time_zone)


def opens_at(window: SendWindow, recipient: str, now: str) -> str:
    """When it opens after this time, both in the recipient's local time."""
    moment = datetime.fromisoformat(now)
    local = opening(window, recipient, moment).astimezone(moment.tzinfo)
    return f"{local:%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("names", "recipient", "now", "expected"),
    [
        # Monday, 23 November 2026.
        ("us-federal", NEW_YORK, "2026-11-23T07:59-05:00", "2026-11-23 08:00"),
        ("us-federal", NEW_YORK, "2026-11-23T20:59-05:00", "2026-11-23 20:59"),
        ("us-federal", NEW_YORK, "2026-11-23T21:00-05:00", "2026-11-24 08:00"),
        ("us-federal", MIAMI, "2026-11-23T20:30-05:00", "2026-11-23 20:30"),
        ("us", NEW_YORK, "2026-11-23T20:30-05:00", "2026-11-23 20:30"),
        ("us", MIAMI, "2026-11-23T20:30-05:00", "2026-11-24 08:00"),
        # Other hours on Saturday and Sunday, and none on Sunday.
        ("us", DALLAS, "2026-11-21T08:00-06:00", "2026-11-21 09:00"),
        ("us", DALLAS, "2026-11-22T08:00-06:00", "2026-11-22 12:00"),
        ("us", PROVIDENCE, "2026-11-20T18:00-05:00", "2026-11-21 10:00"),
        ("us", PROVIDENCE, "2026-11-21T17:00-05:00", "2026-11-23 09:00"),
        # Holidays: Thanksgiving, and Mardi Gras in Louisiana only.
        ("us", PROVIDENCE, "2026-11-26T09:00-05:00", "2026-11-27 09:00"),
        ("us", NEW_YORK, "2026-11-26T09:00-05:00", "2026-11-26 09:00"),
        ("us", NEW_ORLEANS, "2026-02-17T09:00-06:00", "2026-02-18 08:00"),
        # Pennsylvania's legal holidays: Good Friday, Flag Day, Election Day, and no Sundays.
        ("us", PHILADELPHIA, "2026-11-20T19:00-05:00", "2026-11-21 09:00"),
        ("us", PHILADELPHIA, "2026-11-21T19:00-05:00", "2026-11-23 09:00"),
        ("us", PHILADELPHIA, "2027-03-26T09:00-04:00", "2027-03-27 09:00"),
        ("us", PHILADELPHIA, "2027-06-14T09:00-04:00", "2027-06-15 09:00"),
        ("us", PHILADELPHIA, "2027-11-02T09:00-04:00", "2027-11-03 09:00"),
        ("us", NEW_YORK, "2027-11-02T09:00-04:00", "2027-11-02 09:00"),
        # France: no Sundays, no public holidays, and with the decree a break at noon.
        ("france-marketing", PARIS, "2026-07-13T22:00+02:00", "2026-07-15 08:00"),
        ("france-marketing", PARIS, "2026-11-21T22:00+01:00", "2026-11-23 08:00"),
        ("france-calls", PARIS, "2026-11-23T13:00+01:00", "2026-11-23 14:00"),
        ("france-calls", PARIS, "2026-12-24T20:00+01:00", "2026-12-28 10:00"),
        ("canada", HALIFAX, "2026-11-21T09:00-04:00", "2026-11-21 10:00"),
        # A Spanish mobile may be on the Canaries, an hour behind. 8 December is a holiday.
        ("spain", "+34612345678", "2026-12-07T21:00+01:00", "2026-12-09 10:00"),
        # Neither sends late on a Saturday, and only one of them on a Sunday or at Christmas.
        ("uk-guidance", "+447400123456", "2026-11-21T20:00+00:00", "2026-11-22 09:00"),
        ("germany-guidance", BERLIN, "2026-11-21T18:00+01:00", "2026-11-23 08:00"),
        ("germany-guidance", BERLIN, "2027-12-24T20:00+01:00", "2027-12-27 08:00"),
        ("india", "+919812345678", "2026-11-22T21:00+05:30", "2026-11-23 10:00"),
        ("uae", "+971501234567", "2026-11-22T18:00+04:00", "2026-11-23 09:00"),
    ],
)
def test_quiet_hours_open_at(names: str, recipient: str, now: str, expected: str) -> None:
    """The rules of the recipient's place, on the recipient's clock, by day and by holiday."""
    assert expected == opens_at(quiet(names), recipient, now)


@pytest.mark.parametrize(
    ("recipient", "sunday"),
    [
        ("+15025550123", ("10:00", "21:00")),  # Kentucky
        ("+14105550123", ("08:00", "20:00")),  # Maryland
        ("+13135550123", ("09:00", "21:00")),  # Michigan
        ("+16125550123", ("09:00", "21:00")),  # Minnesota
        ("+17025550123", ("09:00", "20:00")),  # Nevada
        ("+14055550123", ("08:00", "20:00")),  # Oklahoma
        ("+15035550123", ("08:00", "20:00")),  # Oregon
        (DALLAS, ("12:00", "21:00")),
        ("+13075550123", ("08:00", "20:00")),  # Wyoming
        ("+16045550123", ("10:00", "18:00")),  # British Columbia
        ("+919812345678", ("10:00", "21:00")),
        ("+971501234567", ("09:00", "18:00")),
        ("+447400123456", ("09:00", "20:00")),
    ],
)
def test_the_hours_of_a_sunday(recipient: str, sunday: tuple[str, str]) -> None:
    """Of each place whose statute's text was not seen: a wrong hour shows here, not with people."""
    names = ("us", "canada", "india", "uae", "uk-guidance")
    rules = rules_for(names, recipient)

    (opens, closes) = (
        max(rule.hours[6][0][0] for rule in rules),
        min(rule.hours[6][0][1] for rule in rules),
    )

    assert sunday == (_clock(opens), _clock(closes))


def _clock(after_midnight: timedelta) -> str:
    minutes = round(after_midnight.total_seconds()) // 60
    return f"{minutes // 60:02}:{minutes % 60:02}"


def test_a_number_that_may_be_in_several_states_keeps_the_rules_of_all() -> None:
    """A new area code may be anywhere: here Kentucky is the last to open, Rhode Island closes."""
    window = quiet("us", "America/New_York")

    for now, expected in [
        ("2026-11-23T08:00-05:00", "2026-11-23 10:00"),
        ("2026-11-23T18:00-05:00", "2026-11-24 10:00"),
        ("2026-11-21T17:00-05:00", "2026-11-23 10:00"),  # closed on Sunday
    ]:
        assert expected == opens_at(window, TOLL_FREE, now)


def test_a_number_in_two_time_zones_keeps_both() -> None:
    """Florida's Panhandle has two: it opens with the later and closes with the earlier one."""
    pensacola = "+18505550123"

    assert "2026-11-23 08:00" == opens_at(quiet("us"), pensacola, "2026-11-23T07:30-06:00")
    assert "2026-11-24 08:00" == opens_at(quiet("us"), pensacola, "2026-11-23T19:00-06:00")


def test_of_several_names_those_of_the_recipients_country_hold() -> None:
    """So a campaign to two countries can name both."""
    window = quiet("us france-marketing")
    sunday = "2026-11-22T12:00"

    assert "2026-11-22 12:00" == opens_at(window, NEW_YORK, f"{sunday}-05:00")
    assert "2026-11-23 08:00" == opens_at(window, PARIS, f"{sunday}+01:00")


def test_a_country_without_rules_keeps_those_of_all_named_countries() -> None:
    """A name never means that every hour is allowed; rules of single states do not hold there."""
    assert "2026-11-23 08:00" == opens_at(quiet("us"), BERLIN, "2026-11-22T21:00+01:00")
    assert "2026-11-22 20:00" == opens_at(quiet("us"), BERLIN, "2026-11-22T20:00+01:00")
    both = quiet("us france-marketing")
    assert "2026-11-23 08:00" == opens_at(both, BERLIN, "2026-11-22T20:00+01:00")


def test_a_recipient_without_a_number_keeps_all_rules() -> None:
    """It may be in any of the states."""
    assert len(QUIET_HOURS["us"]) == len(rules_for(["us"], "messenger:1234567"))


def test_a_window_of_its_own_is_kept_besides() -> None:
    """Both must be open."""
    window = SendWindow(opens="07:00", closes="12:00", days=("fri", "sun"), quiet_hours=("us",))

    assert "2026-11-22 12:00" < opens_at(window, DALLAS, "2026-11-21T12:00-06:00")
    assert "2026-11-27 09:00" == opens_at(window, DALLAS, "2026-11-21T12:00-06:00")


def test_quiet_hours_are_added_to_a_window() -> None:
    """Its own fields and names stay."""
    own = SendWindow(opens="09:00", closes="10:00", quiet_hours=("uae",), time_zone="Asia/Dubai")

    assert ("uae", "us") == (added := with_quiet_hours(own, ["us"]) or own).quiet_hours
    assert own == added.model_copy(update={"quiet_hours": ("uae",)})
    assert SendWindow(quiet_hours=("us",)) == with_quiet_hours(None, ["us"])
    assert own is with_quiet_hours(own, ())
    assert with_quiet_hours(None, ()) is None


def test_an_unknown_name_is_invalid() -> None:
    """The problem lists the known names, and does not repeat what was given."""
    window = quiet("us atlantis")

    problem = window_problem(window, NEW_YORK)

    assert problem is not None
    assert problem.startswith("quiet_hours has a name that is not known; known are canada, ")
    assert "atlantis" not in problem
    with pytest.raises(NeverOpens, match="is not known"):
        opening(window, NEW_YORK, datetime(2026, 6, 1, tzinfo=UTC))
    assert unknown_names_problem(["us", "uae"]) is None
    assert unknown_names_problem([""]) is not None


def test_every_area_code_has_hours_all_year() -> None:
    """So no campaign to American or Canadian numbers is refused for its quiet hours."""
    window = quiet("us canada")

    assert [] == [
        code for code in PLACES_OF_AREA_CODES if window_problem(window, f"+1{code}5550123")
    ]


def test_no_state_is_open_when_the_federal_rule_is_not() -> None:
    """Each state's rule is an addition: every number of the United States has the federal one."""
    federal = QUIET_HOURS["us-federal"]

    for code, places in PLACES_OF_AREA_CODES.items():
        rules = rules_for(["us"], f"+1{code}5550123")
        assert {*federal} <= {*rules}
        states = {rule.place for rule in rules} - {"US"}
        assert states <= places


def test_new_years_day_is_closed_where_it_is_observed_the_year_before() -> None:
    """1 January 2028 is a Saturday, and Utah observes it on Friday."""
    assert "2028-01-03 08:00" == opens_at(
        quiet("us"), "+18015550123", "2027-12-31T09:00-07:00"
    )  # fmt: skip


@pytest.mark.integration
def test_the_library_of_holidays_is_loaded_when_it_is_needed() -> None:
    """It takes 12 MB, which a worker without such rules need not spend."""
    script = (
        "import sys\n"
        "from datetime import UTC, datetime\n"
        "from signedfor.contract import SendWindow\n"
        "from signedfor.send_windows import opening\n"
        "for name, to in (('us', '+12125550123'), ('us', '+18015550123')):\n"
        "    opening(SendWindow(quiet_hours=(name,)), to, datetime.now(UTC))\n"
        "    print('holidays' in sys.modules)"
    )

    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ["False", "True"] == run.stdout.split()


# The table


def test_every_line_has_its_source() -> None:
    """Where the rule is, where it was read, when, and what was seen there."""
    for row in ROWS:
        assert row["statute"]
        assert row["source"].startswith(("https://", "http://"))
        assert row["source_has"] in {"text", "quotation", "guidance", "report"}
        if row["source_has"] in {"guidance", "report"}:
            assert "not seen" in row["note"]
        read, in_force = (row["as_of"], row["in_force"] or row["as_of"])
        assert date.fromisoformat(in_force) <= date.fromisoformat(read)


def test_the_hours_of_a_day_do_not_overlap() -> None:
    """A line that is repeated or contradicts another would be kept silently."""
    for rules in QUIET_HOURS.values():
        assert len(rules) == len({rule.place for rule in rules})
        for rule in rules:
            for hours in rule.hours:
                ends = [timedelta(0), *(end for each in hours for end in each)]
                assert sorted(ends) == ends
                assert max(ends) <= timedelta(hours=24)


def test_the_places_and_holidays_of_the_table_exist() -> None:
    """A misspelled state would have no numbers, or fail at the first message."""
    known = {place for places in PLACES_OF_AREA_CODES.values() for place in places}
    for row in ROWS:
        country, _, part = row["place"].partition("-")
        assert row["place"] in known if part else len(country) == 2
        if row["closed_on"]:
            assert row["place"] == row["closed_on"]
            assert country_holidays(country, subdiv=part or None, years=2026)


@pytest.mark.parametrize(
    ("recipient", "places"),
    [
        (MIAMI, {"US-FL"}),
        ("whatsapp:+13055550123", {"US-FL"}),
        (HALIFAX, {"CA-NS", "CA-PE"}),
        ("+17875550123", {"US-PR"}),
        ("+18765550123", {"JM"}),
        ("+12035550123", {"US-CT"}),  # this area code has a name only by its exchanges
        (PARIS, {"FR"}),
        ("+441534123456", {"GB", "GG", "IM", "JE"}),
        ("+77011234567", {"KZ"}),
        ("messenger:1234567", set()),
    ],
)
def test_the_places_of_a_number(recipient: str, places: set[str]) -> None:
    """By its area code or country code."""
    assert places == recipient_places(recipient)


def test_an_unknown_area_code_may_be_anywhere_in_north_america() -> None:
    """In each state and province, and in the other countries of country code 1."""
    assert {"US-RI", "CA-BC", "US-PR", "JM"} < recipient_places(TOLL_FREE)
