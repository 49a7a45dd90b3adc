"""How times, durations and numbers are shown."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from markupsafe import Markup

from signedfor.masks import masked_recipient, masked_sender

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def time_of(moment: datetime | None) -> str:
    """A moment in UTC, as a `time` element that also has it exactly."""
    if moment is None:
        return ""
    in_utc = moment.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        in_utc.isoformat(timespec="seconds"), in_utc.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def duration(value: timedelta | float | None) -> str:
    """The two largest units of a duration: `3 h 5 min`."""
    if value is None:
        return ""
    seconds = round(value.total_seconds() if isinstance(value, timedelta) else value)
    parts: list[str] = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def ago(moment: datetime | None) -> str:
    """How long ago it was."""
    if moment is None:
        return ""
    return f"{duration(max(timedelta(0), datetime.now(UTC) - moment))} ago"


def grouped(number: float) -> str:
    """A number with its thousands apart: `1,234`."""
    return f"{number:,}"


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "time": time_of,
    "duration": duration,
    "ago": ago,
    "grouped": grouped,
    "masked": masked_sender,
    "masked_recipient": masked_recipient,
}
