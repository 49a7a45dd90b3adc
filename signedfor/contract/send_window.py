"""The hours and days in which a message may be sent, in the recipient's local time."""

import re
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from signedfor.contract.base import ContractModel
from signedfor.contract.fields import problem

_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]|24:00"
_NAME = "[A-Z][A-Za-z0-9_+-]*"
_TIME_ZONE = f"{_NAME}(/{_NAME}){{0,2}}"
_QUIET_HOURS = "[a-z][a-z0-9-]{0,31}"


def _clock(value: str) -> str:
    if not re.fullmatch(_CLOCK, value):
        raise problem("must be HH:MM, such as 09:00; the end of the day is 24:00")
    return value


def _name(value: str) -> str:
    # Only its syntax, as with the time zone: a release may add or remove a name.
    if not re.fullmatch(_QUIET_HOURS, value):
        raise problem("does not look like the name of quiet hours; give a name such as us")
    return value


def _time_zone(value: str) -> str:
    # Only its syntax: workflows validate this model at every replay, and the list of zones may have
    # changed by then. The admission activity checks that the zone exists.
    if not re.fullmatch(_TIME_ZONE, value):
        raise problem("does not look like an IANA time zone; give a name such as Europe/Berlin")
    return value


class Day(StrEnum):
    """A day of the week in the recipient's time zone."""

    MON = "mon"
    """Monday."""
    TUE = "tue"
    """Tuesday."""
    WED = "wed"
    """Wednesday."""
    THU = "thu"
    """Thursday."""
    FRI = "fri"
    """Friday."""
    SAT = "sat"
    """Saturday."""
    SUN = "sun"
    """Sunday."""


_WEEK = tuple(Day)


def _in_order(days: tuple[Day, ...]) -> tuple[Day, ...]:
    if not days:
        raise problem("must name at least one day")
    return tuple(day for day in _WEEK if day in days)


_Clock = Annotated[
    str, AfterValidator(_clock), Field(json_schema_extra={"pattern": f"^({_CLOCK})$"})
]
_TimeZone = Annotated[
    str,
    Field(max_length=64, json_schema_extra={"pattern": f"^{_TIME_ZONE}$"}),
    AfterValidator(_time_zone),
]


_QuietHours = Annotated[
    str, AfterValidator(_name), Field(json_schema_extra={"pattern": f"^{_QUIET_HOURS}$"})
]


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


class SendWindow(ContractModel):
    """The local hours and days in which a message may be submitted; outside them it waits.

    It has `from` and `until`, or `quiet_hours`, or all of them: then each must be open.
    """

    opens: Annotated[_Clock | None, Field(alias="from")] = None
    """Start, `HH:MM`, in the recipient's local time."""
    closes: Annotated[_Clock | None, Field(alias="until")] = None
    """End, `HH:MM`, exclusive and later than `from`; `24:00` is midnight."""
    days: Annotated[
        tuple[Day, ...], AfterValidator(_in_order), Field(json_schema_extra={"minItems": 1})
    ] = _WEEK
    """Days of the week. Default: all."""
    quiet_hours: Annotated[
        tuple[_QuietHours, ...], Field(max_length=16), AfterValidator(_once)
    ] = ()
    """Names of quiet hours to keep, such as `us`: those of the recipient's country hold."""
    time_zone: _TimeZone | None = None
    """IANA name, such as `Europe/Berlin`. Default: derived from the recipient's number; if the
    number may be in several zones, the window is open only while it is open in all of them."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if isinstance(data, SendWindow):
            return data
        if not isinstance(data, dict):
            raise problem("must be an object with from and until, or quiet_hours")
        # Some clients send null for the fields that they leave out.
        return {name: value for name, value in data.items() if value is not None}

    @model_validator(mode="after")
    def _has_hours(self) -> Self:
        if self.opens is None and self.closes is None and not self.quiet_hours:
            raise problem("must have from and until, or quiet_hours")
        if (self.opens is None) != (self.closes is None):
            raise problem("must have both from and until, or neither")
        if self.opens is not None and self.closes is not None and self.opens >= self.closes:
            raise problem("from must be earlier than until; a window does not span midnight")
        return self

    def wait(self, local: datetime) -> timedelta:
        """Time until its own hours, in local wall-clock time; zero within them."""
        opens, closes = self.opens or "00:00", self.closes or "24:00"
        today, at = local.date(), f"{local:%H:%M}"
        if at < closes and _WEEK[today.weekday()] in self.days:
            if opens <= at:
                return timedelta(0)
            ahead = 0
        else:
            ahead = next(n for n in range(1, 8) if _WEEK[(today.weekday() + n) % 7] in self.days)
        return datetime.combine(today + timedelta(days=ahead), time.fromisoformat(opens)) - local
