"""The search attributes by which messages and dead letters are found in Temporal.

They are registered once in each namespace. Temporal stores them in plain text, so none contains a
phone number or a text.
"""

from typing import Any, Final

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from signedfor.contract import MessageRequest, Stage
from signedfor.masks import masked_sender

MESSAGE_STATUS: Final = SearchAttributeKey.for_keyword("MessageStatus")
"""A message's stage while it runs, then its outcome. A dead letter's: `open`, then how it ended."""
MESSAGE_SENDER: Final = SearchAttributeKey.for_keyword("MessageSender")
"""The sender; of a number only the beginning and the last four digits."""
TWILIO_SID: Final = SearchAttributeKey.for_keyword("TwilioSid")
"""The SID of the latest submission."""
TWILIO_ERROR_CODE: Final = SearchAttributeKey.for_int("TwilioErrorCode")
"""Twilio's latest error code."""
CAMPAIGN_ID: Final = SearchAttributeKey.for_keyword("CampaignId")
"""The campaign."""
PRIOR_OUTCOME: Final = SearchAttributeKey.for_keyword("PriorOutcome")
"""Of a dead letter and of a retry: how the message before it had ended."""
TENANT: Final = SearchAttributeKey.for_keyword("Tenant")
"""The tenant on whose behalf it is sent."""

SEARCH_ATTRIBUTES: Final[tuple[SearchAttributeKey[Any], ...]] = (
    MESSAGE_STATUS,
    MESSAGE_SENDER,
    TWILIO_SID,
    TWILIO_ERROR_CODE,
    CAMPAIGN_ID,
    PRIOR_OUTCOME,
    TENANT,
)


def message_attributes(request: MessageRequest) -> TypedSearchAttributes:
    """The attributes with which a message is started; it is found by them from then on."""
    attributes = [SearchAttributePair(MESSAGE_STATUS, Stage.SENDING.value)]
    if request.sender is not None:
        attributes.append(SearchAttributePair(MESSAGE_SENDER, masked_sender(request.sender)))
    if request.tenant is not None:
        attributes.append(SearchAttributePair(TENANT, request.tenant))
    if request.campaign_id is not None:
        attributes.append(SearchAttributePair(CAMPAIGN_ID, request.campaign_id))
    return TypedSearchAttributes(attributes)
