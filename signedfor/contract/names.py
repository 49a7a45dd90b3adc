"""Names that others rely on: workflow types, task queues, ids, signals, queries and updates."""

from typing import Final

SEND_MESSAGE: Final = "SendMessage"
DEAD_LETTER: Final = "DeadLetter"
CAMPAIGN: Final = "Campaign"

MESSAGES_QUEUE: Final = "messages"
"""Workflows and bookkeeping."""
TWILIO_SENDS_QUEUE: Final = "twilio-sends"
"""The send activity alone, so that the account-wide ceiling binds nothing else."""

DELIVERY_STATUS_SIGNAL: Final = "delivery_status"
CANCEL_UPDATE: Final = "cancel"
PROGRESS_QUERY: Final = "progress"
RESOLVE_UPDATE: Final = "resolve"
DETAILS_QUERY: Final = "details"
PAUSE_UPDATE: Final = "pause"
RESUME_UPDATE: Final = "resume"

STATUS_PATH: Final = "/webhook/status"
INBOUND_PATH: Final = "/webhook/inbound"

OPEN: Final = "open"
"""`MessageStatus` of a dead letter that waits for a decision; afterwards it says how it ended."""

_MESSAGE_PREFIX = "message:"
_LETTER_PREFIX = "dead-letter:"
_CAMPAIGN_PREFIX = "campaign:"


def message_workflow_id(message_id: str) -> str:
    """The id of the workflow that carries this message."""
    return _MESSAGE_PREFIX + message_id


def dead_letter_workflow_id(message_id: str) -> str:
    """The id of the workflow that holds this message's dead letter."""
    return _LETTER_PREFIX + message_id


def campaign_workflow_id(campaign_id: str) -> str:
    """The id of the workflow that runs this campaign."""
    return _CAMPAIGN_PREFIX + campaign_id


def campaign_message_id(campaign_id: str, row: int) -> str:
    """The message id of a campaign's row: the same however often the row is handed over."""
    return f"{campaign_id}:{row}"


def message_id_of(workflow_id: str) -> str:
    """The message id in a message's or dead letter's workflow id; ValueError for any other."""
    for prefix in (_MESSAGE_PREFIX, _LETTER_PREFIX):
        if workflow_id.startswith(prefix) and len(workflow_id) > len(prefix):
            return workflow_id.removeprefix(prefix)
    raise ValueError(f"a message's workflow id must be {_MESSAGE_PREFIX}<message_id>")
