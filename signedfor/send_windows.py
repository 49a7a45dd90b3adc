"""When a send window opens for a recipient, and whether it opens at all.

Only for activities and the command line, not for workflows: the results change with each release of
the time zone data and of the quiet hours, and a replay must not.
"""

import bisect
import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from signedfor.contract.send_window import SendWindow
from signedfor.quiet_hours import Rule, rules_for, unknown_names_problem
from signedfor.time_zones import TIME_ZONES, recipient_zones, zone

_DAY = timedelta(days=1)
_WEEK = timedelta(weeks=1)
_YEAR = timedelta(days=366)
# Longer than a week: a window on one day a week can fall into the hour that a clock change skips.
_MAX_CLOSED = 3 * _WEEK
# Always the same year, so that a window is not accepted in one year and refused in the next.
_REFERENCE_YEAR = datetime(2030, 1, 1, tzinfo=UTC)

_NO_SUCH_ZONE = "is not an IANA time zone; give a name such as Europe/Berlin"
_NO_ZONE = "needs a time_zone: the recipient's number does not show one"
_NOT_OPEN = (
    "does not open, or not all year round: the recipient's number may be in any of several time "
    "zones, and these hours do not overlap in all of them; give time_zone or longer hours"
)


class NeverOpens(ValueError):
    """The window will not open for this recipient.

    The text says why and what to do, and goes with the field's name, `send_window`.
    """


@dataclass(frozen=True)
class LocalHours:
    """The hours that hold for a recipient, on each clock that may be theirs."""

    hours: tuple[SendWindow | Rule, ...]
    """It is open while all of these are."""
    zones: tuple[str, ...]
    """Time zones; it is open while it is open in each."""

    def opening(self, now: datetime) -> datetime:
        """`now` if it is open, otherwise the next time at which it opens; in UTC.

        Raises:
            NeverOpens: not within a year. `window_problem` reports this in advance.
        """
        moment = _common_opening(self, now.astimezone(UTC), within=_YEAR)
        if moment is None:
            raise NeverOpens(_NOT_OPEN)
        return moment


def local_hours(window: SendWindow, recipient: str) -> LocalHours:
    """The hours of a window for a normalized recipient, its quiet hours included.

    Raises:
        NeverOpens: a name in the window is not known, or the recipient has no time zone.
    """
    unknown = unknown_names_problem(window.quiet_hours)
    if unknown is not None:
        raise NeverOpens(f"quiet_hours {unknown}")
    return LocalHours(
        hours=(window, *rules_for(window.quiet_hours, recipient)), zones=_zones(window, recipient)
    )


def opening(window: SendWindow, recipient: str, now: datetime) -> datetime:
    """`now` if the window is open, otherwise the next time at which it opens; in UTC.

    Raises:
        NeverOpens: not within a year. `window_problem` reports this in advance.
    """
    return local_hours(window, recipient).opening(now)


def window_problem(window: SendWindow, recipient: str) -> str | None:
    """What is wrong with the window for a normalized recipient, or None.

    The text goes with the field's name, `send_window`. A window that stays closed for weeks is
    refused as well: a caller who gives hours of the day does not want to wait until winter.
    """
    try:
        hours = local_hours(window, recipient)
    except NeverOpens as error:
        return str(error)
    return None if _opens_all_year(hours) else _NOT_OPEN


def time_zone_problem(name: str) -> str | None:
    """What is wrong with a name given as `time_zone`, or None."""
    return None if name in TIME_ZONES else _NO_SUCH_ZONE


def _zones(window: SendWindow, recipient: str) -> tuple[str, ...]:
    if window.time_zone is None:
        zones = recipient_zones(recipient)
        if not zones:
            raise NeverOpens(_NO_ZONE)
        return zones
    problem = time_zone_problem(window.time_zone)
    if problem is not None:
        raise NeverOpens(f"time_zone {problem}")
    return (window.time_zone,)


@functools.lru_cache(maxsize=1024)
def _opens_all_year(hours: LocalHours) -> bool:
    moment = _REFERENCE_YEAR
    while moment < _REFERENCE_YEAR + _YEAR:
        found = _common_opening(hours, moment, within=_MAX_CLOSED)
        if found is None:
            return False
        moment = found + 4 * _WEEK
    return True


def _common_opening(hours: LocalHours, start: datetime, *, within: timedelta) -> datetime | None:
    """The first moment at or after `start` at which all are open in all zones."""
    clocks = [zone(name) for name in hours.zones]
    moment = start
    while moment - start <= within:
        latest = max(_opening_by(each, clock, moment) for each in hours.hours for clock in clocks)
        if latest == moment:
            return moment
        moment = latest
    return None


def _opening_by(hours: SendWindow | Rule, clock: tzinfo, moment: datetime) -> datetime:
    """The first moment at or after `moment` at which these are open in one zone."""
    while True:
        local = moment.astimezone(clock)
        wait = hours.wait(local.replace(tzinfo=None))
        if not wait:
            return moment
        # Correct unless the clock changes in between. If it does, compute again from the change on:
        # it may skip the window's first hour or repeat its last.
        changed = _clock_change(clock, moment, moment + wait)
        if changed is None:
            return moment + wait
        moment = changed


def _clock_change(clock: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """The first moment after `start`, up to `end`, with another UTC offset."""
    offset = start.astimezone(clock).utcoffset()
    while start < end:
        # No zone changes its offset twice within a day.
        later = min(start + _DAY, end)
        if later.astimezone(clock).utcoffset() != offset:
            seconds = range(int(start.timestamp()), int(later.timestamp()) + 1)
            found = bisect.bisect_left(
                seconds,
                True,
                key=lambda second: datetime.fromtimestamp(second, clock).utcoffset() != offset,
            )
            return datetime.fromtimestamp(seconds[found], UTC)
        start = later
    return None
