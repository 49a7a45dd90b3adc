"""The search attributes by which messages and dead letters are found in Temporal.

They are registered once in each namespace. Temporal keeps them in clear, so none holds a phone
number or a text.
"""

from typing import Any, Final

from temporalio.common import SearchAttributeKey

MESSAGE_STATUS: Final = SearchAttributeKey.for_keyword("MessageStatus")
"""A message's stage while it runs, then its outcome; `open`, or how it ended, of a dead letter."""
MESSAGE_SENDER: Final = SearchAttributeKey.for_keyword("MessageSender")
"""What it is sent from; of a number only its beginning and its last four digits."""
TWILIO_SID: Final = SearchAttributeKey.for_keyword("TwilioSid")
"""The SID of its newest submission."""
TWILIO_ERROR_CODE: Final = SearchAttributeKey.for_int("TwilioErrorCode")
"""The newest error code that Twilio gave for it."""
CAMPAIGN_ID: Final = SearchAttributeKey.for_keyword("CampaignId")
"""The campaign it belongs to."""
TENANT: Final = SearchAttributeKey.for_keyword("Tenant")
"""Whom it is sent for."""

SEARCH_ATTRIBUTES: Final[tuple[SearchAttributeKey[Any], ...]] = (
    MESSAGE_STATUS,
    MESSAGE_SENDER,
    TWILIO_SID,
    TWILIO_ERROR_CODE,
    CAMPAIGN_ID,
    TENANT,
)
