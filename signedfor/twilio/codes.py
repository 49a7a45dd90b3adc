"""What Twilio's error codes mean to us: class, meaning, action. The table is `codes.csv`.

One table serves both ways a code reaches us, because a Messaging Service turns many refusals of
the create call into a `failed` callback. Twilio renames and splits codes, so an unknown one is
never an error here; its class follows from where it came from.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path  # noqa: TID251 - the table is read once, at import
from types import MappingProxyType
from typing import Final

from signedfor.contract.failures import FailureClass

REFUSED_CREATES: Final = range(10_000, 30_000)
"""Codes of creates that Twilio refuses; most of those it keeps, as messages that have failed."""
_LATER_TRIES_OF_A_REFUSAL = 2


@dataclass(frozen=True, slots=True)
class TwilioCode:
    """One error code of Twilio's.

    `action` is what an operator should do. `later_tries` (0 to 2) is how often a message that
    failed with it after acceptance is worth a new one. `delay_seconds` is the least wait before
    the next try, on either path.
    """

    code: int
    failure_class: FailureClass
    meaning: str
    action: str
    later_tries: int
    delay_seconds: int


def _read_table() -> Iterator[TwilioCode]:
    with Path(__file__).with_name("codes.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            for code in range(int(row["code_from"]), int(row["code_to"]) + 1):
                yield TwilioCode(
                    code=code,
                    failure_class=FailureClass(row["failure_class"]),
                    meaning=row["meaning"],
                    action=row["action"],
                    later_tries=int(row["later_tries"]),
                    delay_seconds=int(row["delay_seconds"]),
                )


_TABLE: Mapping[int, TwilioCode] = MappingProxyType({row.code: row for row in _read_table()})

_CLASS_OF_STATUS: Mapping[int, FailureClass] = {
    # Credentials or permissions, whatever the code.
    HTTPStatus.UNAUTHORIZED: FailureClass.SENDER_MISCONFIGURED,
    HTTPStatus.FORBIDDEN: FailureClass.SENDER_MISCONFIGURED,
    # Something between us and Twilio gave up while the request was under way.
    HTTPStatus.REQUEST_TIMEOUT: FailureClass.OUTCOME_UNKNOWN,
    # As 20409: it may be there already.
    HTTPStatus.CONFLICT: FailureClass.OUTCOME_UNKNOWN,
    # RFC 8470: not processed, may be sent again.
    HTTPStatus.TOO_EARLY: FailureClass.TEMPORARILY_UNAVAILABLE,
}
"""What a 4xx means that comes without a code of the table."""


def find(code: int | None) -> TwilioCode | None:
    """Return the table's row for a code, or None if the table does not know it."""
    return None if code is None else _TABLE.get(code)


def classify_create(http_status: int, code: int | None) -> FailureClass:
    """Return the class of a create call that Twilio answered with a refusal.

    The status comes first: after a 5xx nobody knows, after a 429 Twilio has not processed it.
    Raises ValueError for a status that is no refusal, which is the caller's mistake.
    """
    if not HTTPStatus.MULTIPLE_CHOICES <= http_status < 600:  # noqa: PLR2004 - the end of HTTP's statuses
        raise ValueError(f"HTTP status {http_status} is not a refusal; expected 300 to 599")
    if http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return FailureClass.OUTCOME_UNKNOWN
    if http_status == HTTPStatus.TOO_MANY_REQUESTS:
        return FailureClass.TEMPORARILY_UNAVAILABLE
    if http_status < HTTPStatus.BAD_REQUEST:
        return FailureClass.SENDER_MISCONFIGURED
    row = find(code)
    if row is None:
        return _CLASS_OF_STATUS.get(http_status, FailureClass.REQUEST_REJECTED)
    if row.failure_class is FailureClass.DELIVERY_DELAYED:
        return FailureClass.TEMPORARILY_UNAVAILABLE  # nothing was accepted: the policy may retry
    return row.failure_class


def classify_delivery(code: int | None) -> FailureClass:
    """Return the class of a message that failed after Twilio had accepted it."""
    row = find(code)
    if row is None:
        return FailureClass.DELIVERY_FAILED
    if row.failure_class is FailureClass.TEMPORARILY_UNAVAILABLE:
        return FailureClass.DELIVERY_DELAYED  # known not sent, but the send activity is long over
    return row.failure_class


def later_tries_for(code: int | None) -> int:
    """Return how often to try again, as a new message, what failed with this code after acceptance.

    Zero unless `classify_delivery` says DeliveryDelayed.
    """
    row = find(code)
    if row is None:
        return 0
    if row.failure_class is FailureClass.TEMPORARILY_UNAVAILABLE:
        return _LATER_TRIES_OF_A_REFUSAL
    return row.later_tries


def delay_for(code: int | None) -> int:
    """Return the least seconds to wait before trying again after this code; 0 where it is free."""
    row = find(code)
    return 0 if row is None else row.delay_seconds


def meaning_for(failure_class: FailureClass, code: int | None) -> str:
    """Return what happened, in a sentence: the code's own, or its class's."""
    row = _row_of_class(failure_class, code)
    return _CLASS_TEXTS[failure_class][0] if row is None else row.meaning


def action_for(failure_class: FailureClass, code: int | None) -> str:
    """Return what an operator should do: the code's own advice, or its class's."""
    row = _row_of_class(failure_class, code)
    return _CLASS_TEXTS[failure_class][1] if row is None else row.action


_PASSING = {FailureClass.TEMPORARILY_UNAVAILABLE, FailureClass.DELIVERY_DELAYED}


def _row_of_class(failure_class: FailureClass, code: int | None) -> TwilioCode | None:
    """Return the row, unless the failure was classed otherwise: a 5xx that carries 21610."""
    row = find(code)
    if row is None or row.failure_class is failure_class:
        return row
    return row if {row.failure_class, failure_class} == _PASSING else None


_CLASS_TEXTS = {
    FailureClass.TEMPORARILY_UNAVAILABLE: (
        "Twilio could not be reached or did not process the message, until the time ran out.",
        "Check the network and Twilio's status page; then retry the letter.",
    ),
    FailureClass.OUTCOME_UNKNOWN: (
        "It could not be found out whether Twilio took the message.",
        (
            "Look for the message in Monitor > Logs > Messaging in the Twilio console; discard the "
            "letter if it is there, retry it if not."
        ),
    ),
    FailureClass.RECIPIENT_OPTED_OUT: (
        "The recipient has opted out.",
        "Nothing to do: the opt-out is recorded and lasts until the recipient sends START.",
    ),
    FailureClass.RECIPIENT_UNREACHABLE: (
        "The recipient's number cannot receive messages.",
        "Correct the number where it came from; the new number is a new message.",
    ),
    FailureClass.SENDER_MISCONFIGURED: (
        "Account, sender, region or registration does not allow this message.",
        (
            "Open Monitor > Logs > Errors in the Twilio console for the reason, put it right and "
            "retry the letter."
        ),
    ),
    FailureClass.CONTENT_REJECTED: (
        "The message's content is not acceptable.",
        "Change the content and send it as a new message.",
    ),
    FailureClass.CARRIER_FILTERED: (
        "Twilio or a carrier filtered the message.",
        (
            "Change the text and check the sender's registration under Messaging > Regulatory "
            "Compliance; the same text would be filtered again."
        ),
    ),
    FailureClass.DELIVERY_DELAYED: (
        "The message was not delivered for a passing reason, and the later tries ran out.",
        "Retry the letter when the reason has passed, or reach the person another way.",
    ),
    FailureClass.DELIVERY_FAILED: (
        "Twilio accepted the message and later reported a failure that the table does not know.",
        (
            "Look the code up at twilio.com/docs/api/errors and the message up in Monitor > Logs > "
            "Messaging; retry the letter if a second copy does no harm."
        ),
    ),
    FailureClass.REQUEST_REJECTED: (
        "Twilio refused the request for a reason that the table does not know.",
        "Look the code up at twilio.com/docs/api/errors; correct the message or report a defect.",
    ),
    FailureClass.NO_RECEIPT: (
        "Twilio handed the message on and no final status came in time.",
        (
            "Nothing to do unless it matters: the message may have arrived. Open it in Monitor > "
            "Logs > Messaging; a late receipt closes the letter by itself."
        ),
    ),
}
"""Meaning and action of each class, for codes that the table does not know."""
