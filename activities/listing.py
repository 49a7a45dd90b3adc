"""What Twilio's list of messages shows for a recipient and sender."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Final

from twilio.base import values
from twilio.rest.api.v2010.account.message import MessageInstance

from signedfor.twilio.client import TwilioClient
from signedfor.twilio.codes import REFUSED_CREATES
from signedfor.twilio.phone import is_messaging_service
from signedfor.twilio.statuses import MessageStatus

CLOCK_SKEW: Final = timedelta(minutes=1)
"""How far any two of Twilio's clock, Temporal's and ours may differ."""
_MAX_ROWS: Final = 1000
"""Rows of one recipient and sender since the POST; more than that are not read."""
_OUTBOUND: Final = "outbound-api"


def accepted_rows(
    twilio: TwilioClient, *, to: str, sender: str, since: datetime, except_sids: Collection[str]
) -> Iterator[MessageInstance]:
    """What Twilio has accepted for this recipient and sender since then, for any message.

    Raises what the SDK and `requests` raise.
    """
    service = sender if is_messaging_service(sender) else None
    # A service's row names the sender it chose, so for a service the list is filtered by recipient
    # only.
    # The list is not filtered by time: Twilio filters by the time of sending, which a new
    # message does not have yet.
    asked_from = values.unset if service else sender
    earliest = since - CLOCK_SKEW
    for row in twilio.messages.stream(to=to, from_=asked_from, limit=_MAX_ROWS):
        if not row.sid or row.date_created is None or row.date_created < earliest:
            continue
        if str(row.direction) != _OUTBOUND or row.sid in except_sids:
            continue
        if has_failed(row) and row.error_code in REFUSED_CREATES:
            continue
        # A service may have chosen the number that we send from directly.
        if (row.messaging_service_sid or None) != service:
            continue
        yield row


def has_failed(row: MessageInstance) -> bool:
    """Whether Twilio says that it could not send this one."""
    return str(row.status) == MessageStatus.FAILED
