"""The search attributes by which messages and dead letters are found in Temporal.

They are registered once in each namespace. Temporal stores them in plain text, so none contains a
phone number or a text.
"""

from typing import Any, Final

from temporalio.common import SearchAttributeKey

MESSAGE_STATUS: Final = SearchAttributeKey.for_keyword("MessageStatus")
"""A message's stage while it runs, then its outcome. A dead letter's: `open`, then how it ended."""
MESSAGE_SENDER: Final = SearchAttributeKey.for_keyword("MessageSender")
"""The sender; of a number only the beginning and the last four digits."""
TWILIO_SID: Final = SearchAttributeKey.for_keyword("TwilioSid")
"""The SID of the latest submission."""
TWILIO_ERROR_CODE: Final = SearchAttributeKey.for_int("TwilioErrorCode")
"""Twilio's latest error code."""
FAILURE_CLASS: Final = SearchAttributeKey.for_keyword("FailureClass")
"""A dead letter's failure class."""
CAMPAIGN_ID: Final = SearchAttributeKey.for_keyword("CampaignId")
"""The campaign."""
TENANT: Final = SearchAttributeKey.for_keyword("Tenant")
"""The tenant on whose behalf it is sent."""

SEARCH_ATTRIBUTES: Final[tuple[SearchAttributeKey[Any], ...]] = (
    MESSAGE_STATUS,
    MESSAGE_SENDER,
    TWILIO_SID,
    TWILIO_ERROR_CODE,
    FAILURE_CLASS,
    CAMPAIGN_ID,
    TENANT,
)
