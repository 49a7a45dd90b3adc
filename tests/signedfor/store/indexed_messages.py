"""Rows of the indexes."""

from datetime import UTC, datetime, timedelta
from typing import Any

from signedfor.store.dead_letter_index import IndexedDeadLetter
from signedfor.store.message_index import IndexedMessage

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def running(number: int = 1, **fields: Any) -> IndexedMessage:
    """A message that runs, started so many minutes after the start."""
    return IndexedMessage(
        **{
            "message_id": f"m{number}",
            "run_id": f"r{number}",
            "started_at": START + number * MINUTE,
            "closed_at": None,
            "status": "waiting",
            "sender": "+1500***0006",
            **fields,
        }
    )


def ended(number: int = 1, status: str = "delivered", **fields: Any) -> IndexedMessage:
    """A message that ended a minute after it was started."""
    return running(
        number, **{"closed_at": START + (number + 1) * MINUTE, "status": status, **fields}
    )


def open_letter(number: int = 1, **fields: Any) -> IndexedDeadLetter:
    """An open dead letter, opened so many minutes after the start."""
    return IndexedDeadLetter(
        **{
            "message_id": f"m{number}",
            "run_id": f"r{number}",
            "started_at": START + number * MINUTE,
            "closed_at": None,
            "failure_class": "SenderMisconfigured",
            "error_code": 21408,
            "may_have_arrived": False,
            "sender": "+1500***0006",
            **fields,
        }
    )


def closed(message_id: str, status: str, **fields: Any) -> IndexedDeadLetter:
    """A dead letter that was closed so."""
    closed_at = START + 2 * MINUTE
    return open_letter(message_id=message_id, status=status, closed_at=closed_at, **fields)
