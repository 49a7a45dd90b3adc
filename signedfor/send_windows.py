"""When a send window is open for a recipient, and whether it ever is.

Not for workflows: the answers change with every release of the tables of zones, and a replay must
not. They are asked for in activities and on the command line.
"""

import bisect
import functools
from datetime import UTC, datetime, timedelta, tzinfo

from signedfor.contract.send_window import SendWindow
from signedfor.time_zones import TIME_ZONES, recipient_zones, zone

_DAY = timedelta(days=1)
_WEEK = timedelta(weeks=1)
_YEAR = timedelta(days=366)
# A window of one day a week may miss a week: where the clock is set forward over all of it.
_LONGEST_CLOSED = 3 * _WEEK
# Always the same one: what was accepted is not refused because it is next year.
_ANY_YEAR = datetime(2030, 1, 1, tzinfo=UTC)

_NO_SUCH_ZONE = "is not an IANA time zone; give a name such as Europe/Berlin"
_NO_ZONE = "needs a time_zone: the recipient's number does not tell where it is"
_NOT_OPEN = (
    "does not open, or not all year round: the recipient's number may be in any of several time "
    "zones, and these hours do not fall together in all of them; give time_zone or longer hours"
)


class NeverOpens(ValueError):
    """The window will not open for this recipient.

    The text says why and what to do, and goes with the field's name, `send_window`.
    """


def opening(window: SendWindow, recipient: str, now: datetime) -> datetime:
    """`now` when the window is open, else the next moment at which it is; in UTC.

    Raises:
        NeverOpens: there is none within a year; `window_problem` tells it before.
    """
    zones = _zones(window, recipient)
    moment = _common_opening(window, zones, now.astimezone(UTC), within=_YEAR)
    if moment is None:
        raise NeverOpens(_NOT_OPEN)
    return moment


def window_problem(window: SendWindow, recipient: str) -> str | None:
    """Why the window is of no use for a normalised recipient; None when it is.

    The text goes with the field's name, `send_window`. A window that stays closed for weeks is as
    bad as one that never opens: nobody who gives hours of the day wants to wait for winter.
    """
    try:
        zones = _zones(window, recipient)
    except NeverOpens as error:
        return str(error)
    return None if _opens_all_year(window, zones) else _NOT_OPEN


def time_zone_problem(name: str) -> str | None:
    """What is wrong with a name given as `time_zone`; None when there is such a zone."""
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
def _opens_all_year(window: SendWindow, zones: tuple[str, ...]) -> bool:
    moment = _ANY_YEAR
    while moment < _ANY_YEAR + _YEAR:
        found = _common_opening(window, zones, moment, within=_LONGEST_CLOSED)
        if found is None:
            return False
        moment = found + 4 * _WEEK
    return True


def _common_opening(
    window: SendWindow, zones: tuple[str, ...], start: datetime, *, within: timedelta
) -> datetime | None:
    """The first moment from `start` on at which it is open in all zones."""
    clocks = [zone(name) for name in zones]
    moment = start
    while moment - start <= within:
        latest = max(_opening_by(window, clock, moment) for clock in clocks)
        if latest == moment:
            return moment
        moment = latest
    return None


def _opening_by(window: SendWindow, clock: tzinfo, moment: datetime) -> datetime:
    """The first moment from `moment` on at which it is open by one clock."""
    while True:
        local = moment.astimezone(clock)
        wait = window.wait(local.replace(tzinfo=None))
        if not wait:
            return moment
        # Right as long as nobody sets the clock. Where one does, look again from that moment on:
        # the hour that is left out may have been the first, the hour that comes twice the last.
        changed = _clock_change(clock, moment, moment + wait)
        if changed is None:
            return moment + wait
        moment = changed


def _clock_change(clock: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """The first moment after `start`, up to `end`, from which the clock is set otherwise."""
    offset = start.astimezone(clock).utcoffset()
    while start < end:
        # No clock is set twice within a day.
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
