"""Names that others rely on: workflow types, queues, ids, handlers, search attributes."""

from typing import Any, Final

from temporalio.common import SearchAttributeKey, WorkflowIDConflictPolicy, WorkflowIDReusePolicy

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

# Start a message with both, and its id is an idempotency key for as long as the namespace keeps
# closed runs: starting it again while it runs or after it ended sends nothing.
START_CONFLICT_POLICY: Final = WorkflowIDConflictPolicy.USE_EXISTING
START_REUSE_POLICY: Final = WorkflowIDReusePolicy.REJECT_DUPLICATE

STATUS_PATH: Final = "/webhook/status"
INBOUND_PATH: Final = "/webhook/inbound"

MESSAGE_STATUS: Final = SearchAttributeKey.for_keyword("MessageStatus")
MESSAGE_SENDER: Final = SearchAttributeKey.for_keyword("MessageSender")
TWILIO_SID: Final = SearchAttributeKey.for_keyword("TwilioSid")
TWILIO_ERROR_CODE: Final = SearchAttributeKey.for_int("TwilioErrorCode")
CAMPAIGN_ID: Final = SearchAttributeKey.for_keyword("CampaignId")
TENANT: Final = SearchAttributeKey.for_keyword("Tenant")
SEARCH_ATTRIBUTES: Final[tuple[SearchAttributeKey[Any], ...]] = (
    MESSAGE_STATUS,
    MESSAGE_SENDER,
    TWILIO_SID,
    TWILIO_ERROR_CODE,
    CAMPAIGN_ID,
    TENANT,
)
"""Registered once a namespace. Stored in clear, so none holds a number or a text."""

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
