"""Workflow types, task queues, workflow ids, signals, queries, updates and webhook paths."""

import re
from typing import Final

SEND_MESSAGE: Final = "SendMessage"
DEAD_LETTER: Final = "DeadLetter"
CAMPAIGN: Final = "Campaign"

MESSAGES_QUEUE: Final = "messages"
"""Workflows, and all activities but repeated sends."""
TWILIO_SENDS_QUEUE: Final = "twilio-sends"
"""Send attempts that the workflow's own worker could not settle, with slots of their own."""

DELIVERY_STATUS_SIGNAL: Final = "delivery_status"
CANCEL_UPDATE: Final = "cancel"
PROGRESS_QUERY: Final = "progress"
RESOLVE_UPDATE: Final = "resolve"
DETAILS_QUERY: Final = "details"
PAUSE_UPDATE: Final = "pause"
RESUME_UPDATE: Final = "resume"

STATUS_PATH: Final = "/webhook/status"
INBOUND_PATH: Final = "/webhook/inbound"
EVENTS_PATH: Final = "/webhook/events"

OPEN: Final = "open"
"""`MessageStatus` of a dead letter until it is resolved; then it is the `DeadLetterOutcome`."""

_MESSAGE_PREFIX = "message:"
_DEAD_LETTER_PREFIX = "dead-letter:"
_CAMPAIGN_PREFIX = "campaign:"
_INBOUND_PREFIX = "inbound:"
_RETRY_SUFFIX = re.compile(r"\.retry-(\d{1,6})$", re.ASCII)


def message_workflow_id(message_id: str) -> str:
    """The workflow id of this message."""
    return _MESSAGE_PREFIX + message_id


def dead_letter_workflow_id(message_id: str) -> str:
    """The workflow id of this message's dead letter."""
    return _DEAD_LETTER_PREFIX + message_id


def next_retry_id(message_id: str) -> str:
    """The id of the message that retries this one: `<id>.retry-1`, then `.retry-2` and so on."""
    match = _RETRY_SUFFIX.search(message_id)
    if match is None:
        return f"{message_id}.retry-1"
    return f"{message_id[: match.start()]}.retry-{int(match[1]) + 1}"


def retried_id(message_id: str) -> str | None:
    """The id of the message that this one retries, if it is a retry."""
    match = _RETRY_SUFFIX.search(message_id)
    if match is None or int(match[1]) < 1:
        return None
    first, number = message_id[: match.start()], int(match[1])
    return first if number == 1 else f"{first}.retry-{number - 1}"


def first_id(message_id: str) -> str:
    """The id of the message that was retried first, if this one is a retry; else its own."""
    return message_id if retried_id(message_id) is None else _RETRY_SUFFIX.sub("", message_id)


def campaign_workflow_id(campaign_id: str) -> str:
    """The workflow id of this campaign."""
    return _CAMPAIGN_PREFIX + campaign_id


def campaign_message_id(campaign_id: str, row: int) -> str:
    """The message id of a campaign's row; the same each time the row is dispatched."""
    return f"{campaign_id}:{row}"


def inbound_workflow_id(message_sid: str) -> str:
    """The workflow id of your own workflow for this inbound message."""
    return _INBOUND_PREFIX + message_sid


def message_id_of(workflow_id: str) -> str:
    """The message id in the workflow id of a message or dead letter.

    Raises:
        ValueError: it is neither.
    """
    for prefix in (_MESSAGE_PREFIX, _DEAD_LETTER_PREFIX):
        if workflow_id.startswith(prefix) and len(workflow_id) > len(prefix):
            return workflow_id.removeprefix(prefix)
    raise ValueError(f"the workflow id of a message must be {_MESSAGE_PREFIX}<message_id>")
