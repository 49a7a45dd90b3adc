"""A send window from the command line's options."""

import re
from typing import Any

from signedfor.contract import Day
from signedfor.time_zones import TIME_ZONES

_WEEK = tuple(Day)


def send_window(
    between: str | None, days: str | None, time_zone: str | None
) -> tuple[dict[str, Any] | None, list[tuple[str, str]]]:
    """The contract's `send_window`, if any of the options is given, and what is wrong with them."""
    if between is None:
        named = (("--days", days), ("--time-zone", time_zone))
        return None, [(name, "needs --between beside it") for name, value in named if value]
    problems: list[tuple[str, str]] = []
    opens, hyphen, closes = between.partition("-")
    if not hyphen:
        problems.append(("--between", "must be two local times, such as 09:00-20:00"))
    window: dict[str, Any] = {"from": opens.strip(), "until": closes.strip()}
    if days is not None:
        try:
            window["days"] = _days(days)
        except ValueError as error:
            problems.append(("--days", str(error)))
    if time_zone is not None:
        window["time_zone"] = time_zone
        if time_zone not in TIME_ZONES:
            what = "is not an IANA time zone; give a name such as Europe/Berlin"
            problems.append(("--time-zone", what))
    return (None if problems else window), problems


def _days(text: str) -> list[Day]:
    """The days of `mon-fri`, `sat,sun` or both kinds together; a range may run past Sunday."""
    found: list[Day] = []
    for part in re.split(r"\s*,\s*", text.strip().lower()):
        first, hyphen, last = part.partition("-")
        try:
            start, end = (_WEEK.index(Day(each)) for each in (first, last if hyphen else first))
        except ValueError:
            raise ValueError("must be days such as mon-fri or sat,sun") from None
        found += [_WEEK[(start + n) % 7] for n in range((end - start) % 7 + 1)]
    return found
