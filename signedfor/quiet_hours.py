"""Quiet hours by name: when the law of the recipient's place allows marketing.

The rules are data: `quiet_hours.csv` has each with its statute and source. Only for activities and
the command line, not for workflows: a release may correct a rule, and a replay must not change.
"""

import csv
import functools
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from importlib import resources
from itertools import groupby
from operator import itemgetter
from typing import Final

from signedfor.contract import Day, SendWindow
from signedfor.places import recipient_places

_WEEK: Final = tuple(Day)
# More than any rule is closed without a break, holidays included.
_MAX_CLOSED_DAYS: Final = 14
_UNKNOWN: Final = "has a name that is not known; known are "


@dataclass(frozen=True, slots=True)
class Rule:
    """The hours of one place in which it may be sent to."""

    place: str
    """A country such as `FR`, or a part of one such as `US-FL`."""
    hours: tuple[tuple[tuple[timedelta, timedelta], ...], ...]
    """For each day from Monday: start and end, from midnight and in order."""
    closed_on: str | None
    """The place on whose public holidays it is closed, in the same form."""

    def wait(self, local: datetime) -> timedelta:
        """Time until it opens, in local wall-clock time; zero if it is open."""
        today = local.date()
        for day in (today + timedelta(days=n) for n in range(_MAX_CLOSED_DAYS)):
            if self.closed_on is not None and day in _holidays(self.closed_on, day.year):
                continue
            midnight = datetime.combine(day, time())
            for opens, closes in self.hours[day.weekday()]:
                if local < midnight + closes:
                    return max(midnight + opens - local, timedelta(0))
        return timedelta(days=_MAX_CLOSED_DAYS)  # the caller asks again then


def unknown_names_problem(names: Collection[str]) -> str | None:
    """What is wrong with names given as quiet hours, or None."""
    if all(name in QUIET_HOURS for name in names):
        return None
    return _UNKNOWN + ", ".join(sorted(QUIET_HOURS))


def rules_for(names: Collection[str], recipient: str) -> tuple[Rule, ...]:
    """The rules of these names that hold for a normalized recipient; all of them must be open.

    Those of each place in which the number may be. A number of a country for which none is named
    has the rules of whole countries: a name never means that every hour is allowed. The names must
    be known.
    """
    return _rules(tuple(names), recipient_places(recipient))


def with_quiet_hours(window: SendWindow | None, names: Collection[str]) -> SendWindow | None:
    """The window with these quiet hours besides its own."""
    if not names:
        return window
    if window is None:
        return SendWindow(quiet_hours=tuple(names))
    both = tuple(sorted({*window.quiet_hours, *names}))
    return window.model_copy(update={"quiet_hours": both})


@functools.lru_cache(maxsize=1024)
def _rules(names: tuple[str, ...], places: frozenset[str]) -> tuple[Rule, ...]:
    named = tuple(dict.fromkeys(rule for name in names for rule in QUIET_HOURS[name]))
    if not places:
        return named
    held = places | {place.partition("-")[0] for place in places}
    theirs = tuple(rule for rule in named if rule.place in held)
    return theirs or tuple(rule for rule in named if "-" not in rule.place)


@functools.cache
def _holidays(place: str, year: int) -> frozenset[date]:
    # It takes half a second and 12 MB, and most rules name no holidays.
    from holidays import country_holidays  # noqa: PLC0415

    country, _, part = place.partition("-")
    days = frozenset(country_holidays(country, subdiv=part or None, years=year))
    return days | _more_of_pennsylvania(year) if place == "US-PA" else days


def _more_of_pennsylvania(year: int) -> frozenset[date]:
    """Its legal holidays that the library does not have."""
    from holidays import country_holidays  # noqa: PLC0415 - as above

    good_friday = country_holidays("US", subdiv="NJ", years=year).get_named("Good Friday")
    flag_day = date(year, 6, 14)
    # The Tuesday after the first Monday in November.
    election_day = next(day for n in range(2, 9) if (day := date(year, 11, n)).weekday() == 1)
    return frozenset([*good_friday, flag_day, election_day])


def _read_table() -> Mapping[str, tuple[Rule, ...]]:
    text = resources.files("signedfor").joinpath("quiet_hours.csv").read_text(encoding="utf-8")
    found = defaultdict(list)
    for (names, place), rows in groupby(
        csv.DictReader(text.splitlines()), key=itemgetter("names", "place")
    ):
        rule = _rule(place, list(rows))
        for name in names.split():
            found[name].append(rule)
    return {name: tuple(rules) for name, rules in found.items()}


def _rule(place: str, rows: list[dict[str, str]]) -> Rule:
    hours: dict[Day, list[tuple[timedelta, timedelta]]] = defaultdict(list)
    for row in rows:
        for day in _days(row["days"]):
            hours[day].append((_clock(row["from"]), _clock(row["until"])))
    return Rule(
        place=place,
        hours=tuple(tuple(sorted(hours[day])) for day in _WEEK),
        closed_on=rows[0]["closed_on"] or None,
    )


def _days(text: str) -> Iterator[Day]:
    """The days of `mon-fri` or `sat`."""
    first, _, last = text.partition("-")
    yield from _WEEK[_WEEK.index(Day(first)) : _WEEK.index(Day(last or first)) + 1]


def _clock(text: str) -> timedelta:
    hours, minutes = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


QUIET_HOURS: Final = _read_table()
"""The rules of each name."""
