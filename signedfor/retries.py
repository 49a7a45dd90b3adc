"""How a message went on after its own report: its dead letter, and the messages that retried it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus

from signedfor.contract import (
    DeadLetterOutcome,
    dead_letter_workflow_id,
    message_workflow_id,
    next_retry_id,
)
from signedfor.search_attributes import MESSAGE_STATUS, TWILIO_ERROR_CODE, TWILIO_SID
from signedfor.workflow_calls import describe


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A message that was sent in place of another one."""

    message_id: str
    status: str | None
    """A stage or an outcome; None if its workflow ended without a report."""
    message_sid: str | None
    error_code: int | None
    ended_at: datetime | None

    def document(self) -> dict[str, Any]:
        """The retry for programs."""
        return {
            "message_id": self.message_id,
            "status": self.status,
            "message_sid": self.message_sid,
            "error_code": self.error_code,
            "ended_at": self.ended_at,
        }


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """How a message that opened a dead letter went on."""

    dead_letter: str | None
    """`open`, or how the dead letter of the newest message was closed; None if it has none."""
    retries: tuple[Retry, ...] = ()
    """The messages that retried it, and one another, in order."""


async def continuation(client: Client, message_id: str) -> Continuation:
    """Follow the message to its end, as far as Temporal still knows; no worker is needed.

    Raises:
        RPCError: Temporal did not answer.
    """
    retries: list[Retry] = []
    while True:
        letter = await describe(client.get_workflow_handle(dead_letter_workflow_id(message_id)))
        status = None if letter is None else letter.typed_search_attributes.get(MESSAGE_STATUS)
        if status != DeadLetterOutcome.RETRIED:
            return Continuation(dead_letter=status, retries=tuple(retries))
        message_id = next_retry_id(message_id)
        message = await describe(client.get_workflow_handle(message_workflow_id(message_id)))
        if message is None:  # deleted after its retention
            return Continuation(dead_letter=status, retries=tuple(retries))
        retries.append(_retry(message_id, message))


def _retry(message_id: str, message: WorkflowExecutionDescription) -> Retry:
    attributes = message.typed_search_attributes
    has_report = message.status in {
        WorkflowExecutionStatus.RUNNING,
        WorkflowExecutionStatus.COMPLETED,
    }
    return Retry(
        message_id=message_id,
        status=attributes.get(MESSAGE_STATUS) if has_report else None,
        message_sid=attributes.get(TWILIO_SID),
        error_code=attributes.get(TWILIO_ERROR_CODE),
        ended_at=message.close_time,
    )
