"""What Twilio's error codes mean: failure class, meaning and advice. The table is `codes.csv`.

One table covers both ways a code arrives, because a Messaging Service turns many rejections of the
create call into a `failed` callback. Twilio renames and splits codes, so an unknown code is never
an error here; its class depends on where it came from.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path  # noqa: TID251 - the table is read once, at import
from types import MappingProxyType
from typing import Final

from signedfor.contract.failures import FailureClass

REFUSED_CREATES: Final = range(10_000, 30_000)
"""Codes of rejected create calls; for most of them Twilio stores a failed message."""
_ACCOUNT_CODES = frozenset({10001, 20003, 20005, 20006, 20008, 20403})
_RESUBMISSIONS_AFTER_REJECTION = 2


class Undeliverable(StrEnum):
    """For whom a recipient is unreachable, after a code that says so."""

    SENDER = "sender"
    """For this sender: one of another kind may reach it."""
    ADDRESS = "address"
    """For every sender."""
    FOREVER = "forever"
    """For every sender, with no end."""


@dataclass(frozen=True, slots=True)
class TwilioCode:
    """One error code of Twilio's.

    `advice` is what an operator should do. `resubmissions` (0 to 2) is how often to submit again a
    message that failed with this code after acceptance. `delay_seconds` is the minimum wait before
    the next attempt, on either path.
    """

    code: int
    failure_class: FailureClass
    meaning: str
    advice: str
    resubmissions: int
    delay_seconds: int
    undeliverable: Undeliverable | None = None
    """For whom; None unless the class is RecipientUnreachable. The table says why."""


def _read_table() -> Iterator[TwilioCode]:
    with Path(__file__).with_name("codes.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            for code in range(int(row["code_from"]), int(row["code_to"]) + 1):
                yield TwilioCode(
                    code=code,
                    failure_class=FailureClass(row["failure_class"]),
                    meaning=row["meaning"],
                    advice=row["advice"],
                    resubmissions=int(row["resubmissions"]),
                    delay_seconds=int(row["delay_seconds"]),
                    undeliverable=Undeliverable(row["undeliverable"])
                    if row["undeliverable"]
                    else None,
                )


_TABLE: Mapping[int, TwilioCode] = MappingProxyType({row.code: row for row in _read_table()})

_CLASS_OF_STATUS: Mapping[int, FailureClass] = {
    # Credentials or permissions, whatever the code.
    HTTPStatus.UNAUTHORIZED: FailureClass.SENDER_MISCONFIGURED,
    HTTPStatus.FORBIDDEN: FailureClass.SENDER_MISCONFIGURED,
    # A proxy between us and Twilio timed out while the request was in flight.
    HTTPStatus.REQUEST_TIMEOUT: FailureClass.OUTCOME_UNKNOWN,
    # Like 20409: it may exist already.
    HTTPStatus.CONFLICT: FailureClass.OUTCOME_UNKNOWN,
    # RFC 8470: not processed, can be sent again.
    HTTPStatus.TOO_EARLY: FailureClass.TEMPORARILY_UNAVAILABLE,
}
"""The class of a 4xx without a code that the table knows."""


def find(code: int | None) -> TwilioCode | None:
    """Return the table's row for a code, or None if the table does not know it."""
    return None if code is None else _TABLE.get(code)


def classify_create(http_status: int, code: int | None) -> FailureClass:
    """Return the class of a create call that Twilio rejected.

    The status comes first: after a 5xx the outcome is unknown, after a 429 Twilio has not processed
    the request. Raises ValueError for a status that is not an error.
    """
    if not HTTPStatus.MULTIPLE_CHOICES <= http_status < 600:  # noqa: PLR2004 - the end of HTTP's statuses
        raise ValueError(f"HTTP status {http_status} is not an error; expected 300 to 599")
    if http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return FailureClass.OUTCOME_UNKNOWN
    # A redirect comes from something between us and Twilio, which has not seen the message.
    if http_status == HTTPStatus.TOO_MANY_REQUESTS or http_status < HTTPStatus.BAD_REQUEST:
        return FailureClass.TEMPORARILY_UNAVAILABLE
    row = find(code)
    if row is None:
        return _CLASS_OF_STATUS.get(http_status, FailureClass.REQUEST_REJECTED)
    if row.failure_class is FailureClass.DELIVERY_DELAYED:
        return FailureClass.TEMPORARILY_UNAVAILABLE  # not accepted, so the retry policy applies
    return row.failure_class


def concerns_account(http_status: int, code: int | None) -> bool:
    """Whether Twilio refused the account or its credentials, and so would refuse any message."""
    if code is None:
        return http_status == HTTPStatus.UNAUTHORIZED
    return code in _ACCOUNT_CODES


def classify_delivery(code: int | None) -> FailureClass:
    """Return the class of a message that failed after Twilio had accepted it."""
    row = find(code)
    if row is None:
        return FailureClass.DELIVERY_FAILED
    if row.failure_class is FailureClass.TEMPORARILY_UNAVAILABLE:
        return FailureClass.DELIVERY_DELAYED  # not sent, but the send activity has completed
    return row.failure_class


def resubmissions_for(code: int | None) -> int:
    """Return how often to submit a message again that failed with this code after acceptance.

    Zero unless `classify_delivery` says DeliveryDelayed.
    """
    row = find(code)
    if row is None:
        return 0
    if row.failure_class is FailureClass.TEMPORARILY_UNAVAILABLE:
        return _RESUBMISSIONS_AFTER_REJECTION
    return row.resubmissions


def delay_for(code: int | None) -> int:
    """Return the minimum seconds to wait before the next attempt after this code."""
    row = find(code)
    return 0 if row is None else row.delay_seconds


def meaning_for(failure_class: FailureClass, code: int | None) -> str:
    """Return what happened, in a sentence: the code's own, or that of the class."""
    row = _row_of_class(failure_class, code)
    return _CLASS_TEXTS[failure_class][0] if row is None else row.meaning


def advice_for(failure_class: FailureClass, code: int | None) -> str:
    """Return what an operator should do: the code's own advice, or that of the class."""
    row = _row_of_class(failure_class, code)
    return _CLASS_TEXTS[failure_class][1] if row is None else row.advice


_TEMPORARY = {FailureClass.TEMPORARILY_UNAVAILABLE, FailureClass.DELIVERY_DELAYED}


def _row_of_class(failure_class: FailureClass, code: int | None) -> TwilioCode | None:
    """Return the code's row, unless the failure has another class, as a 5xx with code 21610 has."""
    row = find(code)
    if row is None or row.failure_class is failure_class:
        return row
    return row if {row.failure_class, failure_class} == _TEMPORARY else None


_CLASS_TEXTS = {
    FailureClass.TEMPORARILY_UNAVAILABLE: (
        "Twilio could not be reached or did not process the message, until the time ran out.",
        (
            "Check the network, proxies, TWILIO_API_BASE_URL and Twilio's status page; then retry "
            "the dead letter."
        ),
    ),
    FailureClass.OUTCOME_UNKNOWN: (
        "It is not known whether Twilio accepted the message.",
        (
            "Look for the message in Monitor > Logs > Messaging in the Twilio console; discard "
            "the dead letter if it is there, retry it if not."
        ),
    ),
    FailureClass.RECIPIENT_OPTED_OUT: (
        "The recipient has opted out.",
        "Nothing to do: the opt-out is recorded and lasts until the recipient sends START.",
    ),
    FailureClass.RECIPIENT_UNREACHABLE: (
        "The recipient's number cannot receive messages.",
        "Correct the number at its source and send a new message.",
    ),
    FailureClass.SENDER_MISCONFIGURED: (
        "The account, sender, region or registration does not allow this message.",
        (
            "Open Monitor > Logs > Errors in the Twilio console for the reason, fix it and "
            "retry the dead letter."
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
        "The message was not delivered for a temporary reason, and all retries failed.",
        "Retry the dead letter later, or reach the person another way.",
    ),
    FailureClass.DELIVERY_FAILED: (
        "Twilio accepted the message and later reported a failure with an unknown code.",
        (
            "Look the code up at twilio.com/docs/api/errors and the message up in Monitor > Logs > "
            "Messaging; retry the dead letter if a duplicate does no harm."
        ),
    ),
    FailureClass.REQUEST_REJECTED: (
        "Twilio rejected the request with an unknown code.",
        "Look the code up at twilio.com/docs/api/errors; correct the message or report a defect.",
    ),
    FailureClass.NO_RECEIPT: (
        "Twilio sent the message on, and no final status arrived in time.",
        (
            "Usually nothing to do: the message may have arrived. To check, open it in Monitor > "
            "Logs > Messaging; a late receipt closes the dead letter automatically."
        ),
    ),
    FailureClass.LIMIT_REACHED: (
        "A limit of MESSAGE_LIMITS left no place for the message within a whole window.",
        (
            "Find out what sends so many. If they are wanted, raise the limit and retry the dead "
            "letter, which waits for a place again; else discard it."
        ),
    ),
    FailureClass.DUPLICATE: (
        "A message with the same content had just been sent to the same person.",
        (
            "Discard the dead letter if once is enough. To send it all the same, retry it with a "
            "changed text, or when DUPLICATE_WINDOW_SECONDS have passed since the other message."
        ),
    ),
}
"""Meaning and advice of each class, for unknown codes."""
