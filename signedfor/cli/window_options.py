"""The options that become the contract's `send_window`."""

import re
from typing import Annotated, Any, Final

import typer

from signedfor.cli.options import OPTIONS, Problems
from signedfor.contract import Day, SendWindow
from signedfor.quiet_hours import unknown_names_problem
from signedfor.time_zones import TIME_ZONES

BetweenOption = Annotated[
    str | None,
    typer.Option(
        "--between",
        metavar="HH:MM-HH:MM",
        help="Submit only between these hours of the recipient's local time; wait until then.",
    ),
]
DaysOption = Annotated[
    str | None,
    typer.Option(
        "--days",
        metavar="DAYS",
        help="With --between or --quiet-hours: days, such as mon-fri or sat,sun.",
    ),
]
TimeZoneOption = Annotated[
    str | None,
    typer.Option(
        "--time-zone",
        metavar="ZONE",
        help="With --between or --quiet-hours: IANA name, such as Europe/Berlin. Default: from the "
        "phone number.",
    ),
]
QuietHoursOption = Annotated[
    str | None,
    typer.Option(
        "--quiet-hours",
        metavar="NAMES",
        help="Keep the quiet hours of the recipient's country, by name, such as "
        "us,france-marketing. Also with --between: then both are kept.",
    ),
]

_WEEK: Final = tuple(Day)


def send_window(
    between: str | None,
    days: str | None,
    time_zone: str | None,
    quiet_hours: str | None,
    problems: Problems,
) -> dict[str, Any] | None:
    """The contract's `send_window`, if any of the options is given; adds to `problems`."""
    if between is None and quiet_hours is None:
        named = (("--days", days), ("--time-zone", time_zone))
        problems += [(name, "needs --between or --quiet-hours") for name, value in named if value]
        return None
    # Without what is refused here, so that the contract still checks the rest of it.
    window: dict[str, Any] = {}
    if between is not None:
        opens, hyphen, closes = between.partition("-")
        if hyphen:
            window |= {"from": opens.strip(), "until": closes.strip()}
        else:
            problems.append(("--between", "must be two local times, such as 09:00-20:00"))
    if quiet_hours is not None:
        names = [name.strip() for name in quiet_hours.split(",")]
        if (unknown := unknown_names_problem(names)) is None:
            window["quiet_hours"] = names
        else:
            problems.append(("--quiet-hours", unknown))
    has_hours = bool(window)
    if days is not None and (named_days := _days(days, problems)):
        window["days"] = named_days
    if time_zone is not None:
        if time_zone not in TIME_ZONES:
            what = "is not an IANA time zone; give a name such as Europe/Berlin"
            problems.append(("--time-zone", what))
            time_zone = "UTC"  # not the recipient's, in which the window may not open
        window["time_zone"] = time_zone
    return window if has_hours else None


def window_option(window: SendWindow) -> str:
    """The option that a problem with this window is about."""
    return OPTIONS["send_window"] if window.opens else OPTIONS["send_window.quiet_hours"]


def _days(text: str, problems: Problems) -> list[Day]:
    """The days of `mon-fri`, `sat,sun` or both kinds together; a range may run past Sunday.

    None, if there is a problem.
    """
    found: list[Day] = []
    for part in re.split(r"\s*,\s*", text.strip().lower()):
        first, hyphen, last = part.partition("-")
        try:
            start, end = (_WEEK.index(Day(each)) for each in (first, last if hyphen else first))
        except ValueError:
            problems.append(("--days", "must be days such as mon-fri or sat,sun"))
            return []
        found += [_WEEK[(start + n) % 7] for n in range((end - start) % 7 + 1)]
    return found
