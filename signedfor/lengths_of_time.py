"""Lengths of time as people write them: 90m, 24h, 7d."""

import re
from datetime import timedelta
from typing import Final

from signedfor.errors import BadInput

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def length_of_time(text: str, *, max_days: int) -> timedelta:
    """How far back to look.

    Raises:
        BadInput: `since` is no length of time, or a longer one.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text, re.ASCII)
    length = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    if length is None or length > timedelta(days=max_days):
        what = f"must be a length such as 90m, 24h or 7d, at most {max_days}d"
        raise BadInput([("since", what)])
    return length
