"""An inbound message: what a workflow of yours receives for each, if one is configured."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from signedfor.contract.base import OutputModel


class InboundKind(StrEnum):
    """What an inbound message asks for."""

    STOP = "stop"
    """Opt out."""
    START = "start"
    """Opt in again."""
    YES = "yes"
    """Opt in again, or the answer to a question: it concerns the sender it was sent to only."""
    HELP = "help"
    """Asks for help; Twilio answers it."""
    REVIEW = "review"
    """Perhaps an opt-out in the person's own words; an operator must read it."""
    OTHER = "other"
    """Anything else."""


class InboundMedia(OutputModel):
    """A picture or file in an inbound message."""

    url: str
    """Where Twilio keeps it. Fetch it with the account's credentials."""
    content_type: str = ""
    """Its MIME type, such as `image/jpeg`; empty if Twilio did not say."""


class InboundMessage(OutputModel):
    """A message from a person: the one argument of the workflow `INBOUND_WORKFLOW`."""

    message_sid: str
    """Twilio's SID of it: `SM…` or `MM…`."""
    from_: Annotated[str, Field(alias="from", repr=False)]
    """The person: E.164, or a channel address such as `whatsapp:+15558675309`."""
    to: Annotated[str, Field(repr=False)]
    """Your number that they wrote to. Send your answer from it."""
    messaging_service_sid: str | None = None
    """The Messaging Service that the number belongs to, if Twilio named one."""
    text: Annotated[str, Field(repr=False)] = ""
    """What they wrote; empty if they sent media only."""
    media: tuple[InboundMedia, ...] = ()
    """Pictures and files."""
    kind: InboundKind
    """How the text was read. Its effect on opt-outs is recorded already."""
    received_at: datetime
    """When it arrived."""
    last_message_id: str | None = None
    """The ID of the last message that was sent to this person from this number or its Messaging
    Service: perhaps what they answer. Null if none is on record."""
