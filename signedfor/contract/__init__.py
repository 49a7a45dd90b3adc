"""What other services rely on: names, ids, inputs and results. Changing any of it breaks somebody.

Import it from here; the modules inside only divide it by subject. `docs/contract.md` explains
it, and its JSON Schema is generated from these models.
"""

from signedfor.contract.base import (
    ContractModel,
    DeadLetterOutcome,
    OnUnknownOutcome,
    Outcome,
    Priority,
    Stage,
)
from signedfor.contract.campaign import (
    CampaignDecision,
    CampaignMessage,
    CampaignProgress,
    CampaignReport,
    CampaignRequest,
    CampaignState,
)
from signedfor.contract.dead_letter import (
    Changes,
    DeadLetterDetails,
    DeadLetterReport,
    DeadLetterRequest,
    Resolution,
)
from signedfor.contract.message import (
    CancelRequest,
    CancelResult,
    DeliveryStatus,
    MessageReport,
    Progress,
)
from signedfor.contract.names import (
    CAMPAIGN,
    CANCEL_UPDATE,
    DEAD_LETTER,
    DELIVERY_STATUS_SIGNAL,
    DETAILS_QUERY,
    INBOUND_PATH,
    MESSAGES_QUEUE,
    OPEN,
    PAUSE_UPDATE,
    PROGRESS_QUERY,
    RESOLVE_UPDATE,
    RESUME_UPDATE,
    SEND_MESSAGE,
    STATUS_PATH,
    TWILIO_SENDS_QUEUE,
    campaign_message_id,
    campaign_workflow_id,
    dead_letter_workflow_id,
    message_id_of,
    message_workflow_id,
)
from signedfor.contract.request import (
    MessageRequest,
)
from signedfor.contract.send_window import Day, SendWindow

__all__ = [
    "SEND_MESSAGE",
    "DEAD_LETTER",
    "CAMPAIGN",
    "MESSAGES_QUEUE",
    "TWILIO_SENDS_QUEUE",
    "DELIVERY_STATUS_SIGNAL",
    "CANCEL_UPDATE",
    "PROGRESS_QUERY",
    "RESOLVE_UPDATE",
    "DETAILS_QUERY",
    "PAUSE_UPDATE",
    "RESUME_UPDATE",
    "STATUS_PATH",
    "INBOUND_PATH",
    "OPEN",
    "message_workflow_id",
    "dead_letter_workflow_id",
    "message_id_of",
    "campaign_workflow_id",
    "campaign_message_id",
    "ContractModel",
    "Priority",
    "OnUnknownOutcome",
    "Outcome",
    "Stage",
    "DeadLetterOutcome",
    "MessageRequest",
    "DeliveryStatus",
    "CancelRequest",
    "CancelResult",
    "Progress",
    "MessageReport",
    "DeadLetterRequest",
    "Changes",
    "Resolution",
    "DeadLetterReport",
    "DeadLetterDetails",
    "Day",
    "SendWindow",
    "CampaignState",
    "CampaignMessage",
    "CampaignRequest",
    "CampaignDecision",
    "CampaignProgress",
    "CampaignReport",
]
