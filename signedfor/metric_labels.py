"""Label values of metrics, each from a closed set: no number, id, text or free choice of a caller.

Every combination of label values is a time series that Prometheus keeps.
"""

from http import HTTPStatus
from typing import Final

from signedfor.twilio import codes
from signedfor.twilio.rates import kind_of

NONE: Final = "none"
"""There is no such thing: no failure class, no sender, no answer."""
OTHER: Final = "other"
"""One that is not in the closed set."""

_STATUSES: Final = frozenset(HTTPStatus)


def sender_kind(sender: str | None) -> str:
    """The kind of a normalized sender, such as `long_code`."""
    return NONE if sender is None else kind_of(sender).value


def http_status(status: int | None) -> str:
    """An HTTP status that the standard knows."""
    if status is None:
        return NONE
    return str(status) if status in _STATUSES else OTHER


def twilio_code(code: int | None) -> str:
    """An error code of Twilio's that our table knows."""
    if code is None:
        return NONE
    return OTHER if codes.find(code) is None else str(code)
