"""Inbound messages in Temporal: names, ids, activity inputs and results. Internal."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final, Self

from pydantic import AfterValidator, ConfigDict, Field
from temporalio import activity
from temporalio.common import Priority

from signedfor.contract import InboundKind, InboundMedia
from signedfor.contract.base import ContractModel, OwnInput
from signedfor.contract.fields import ZonedTime, problem
from signedfor.message_activities import ActivityModel
from signedfor.twilio.phone import (
    InvalidAddress,
    channel_of,
    normalize_recipient,
    normalize_sender,
)

RECORD_INBOUND_WORKFLOW: Final = "RecordInbound"
CATCH_UP_WORKFLOW: Final = "CatchUpInbound"

CATCH_UP_ID: Final = "inbound-catch-up"
"""Id of the schedule and of the workflow that the command starts; the ids of the schedule's own
workflows begin with it."""

INBOUND_PRIORITY: Final = Priority(priority_key=1)
"""Workers process inbound messages before outbound ones: one may be a STOP."""


def record_inbound_workflow_id(message_sid: str) -> str:
    """The id of the workflow that records this inbound message."""
    return f"record-inbound:{message_sid}"


def normalize_from_address(raw: str) -> str:
    """Normalize the `From` of an inbound message: a person, a short code or an alphanumeric id.

    Raises:
        InvalidAddress: it is none of these; says what is wrong with it as a person's address.
    """
    try:
        return normalize_recipient(raw)
    except InvalidAddress as as_recipient:
        try:
            return normalize_sender(raw)
        except InvalidAddress:
            raise as_recipient from None


def is_recipient(address: str) -> bool:
    """Whether messages can be sent to it; a short code or a name cannot receive any."""
    try:
        normalize_recipient(address)
    except InvalidAddress:
        return False
    return True


def also_from(from_: str, *, user_ids: Iterable[str | None], wa_id: str | None) -> tuple[str, ...]:
    """The other addresses of a person who wrote by WhatsApp, normalized.

    `user_ids` are Twilio's ExternalUserId and ParentExternalUserId, with or without `whatsapp:`.
    `wa_id` has the digits of the number, if the person shows it. What cannot be read is left out:
    a message counts without them too.
    """
    if channel_of(from_) != "whatsapp":
        return ()
    candidates = [each.removeprefix("whatsapp:") for each in user_ids if each]
    # With a number in `from_`, `wa_id` is only another spelling of it.
    if wa_id and not from_.startswith("whatsapp:+"):
        candidates.append(f"+{wa_id}")
    found = []
    for each in candidates:
        try:
            found.append(normalize_recipient(f"whatsapp:{each}"))
        except InvalidAddress:
            continue
    return tuple(dict.fromkeys(each for each in found if each != from_))


def _from_address(raw: str) -> str:
    try:
        return normalize_from_address(raw)
    except InvalidAddress as error:
        raise problem(str(error)) from None


FromAddress = Annotated[str, AfterValidator(_from_address)]
"""A field for the `From` of an inbound message."""


class InboundRecord(OwnInput):
    """An inbound message to record, with normalized addresses."""

    message_sid: str
    from_: Annotated[str, Field(repr=False)]
    to: Annotated[str, Field(repr=False)]
    kind: InboundKind
    also_from: Annotated[tuple[str, ...], Field(repr=False)] = ()
    """Other addresses of the same person: WhatsApp may give the number and a user id."""
    messaging_service_sid: str | None = None
    body: Annotated[str, Field(repr=False)] = ""
    media: tuple[InboundMedia, ...] = ()
    received_at: ZonedTime | None = None
    """By Twilio's clock or Temporal's; None: now, by the database's. Never by the webhook's host's,
    which may be wrong: the order of a STOP and a START decides."""

    def without_text(self) -> Self:
        """The same without text and media, to be stored where they are not needed."""
        return self.model_copy(update={"body": "", "media": ()})


class CatchUp(ContractModel):
    """From when on to search for inbound messages that never arrived; None: the last search."""

    model_config = ConfigDict(extra="ignore")

    since: ZonedTime | None = None


class CatchUpResult(ActivityModel):
    """The result of searching Twilio's list."""

    since: datetime
    until: datetime
    """Every inbound message that Twilio listed between the two is recorded now."""
    listed: int = 0
    """All messages in the list, outbound ones included."""
    inbound: int = 0
    new: int = 0
    """Inbound messages that had not arrived before."""
    unusable: int = 0
    """Inbound messages with an invalid address; they were skipped."""


class InboundActivities(ABC):
    """Record inbound messages that the webhook could not record itself."""

    @activity.defn
    @abstractmethod
    def record_inbound(self, record: InboundRecord) -> bool:
        """Record it and apply its keyword; False if it was recorded before."""

    @activity.defn
    @abstractmethod
    def catch_up_inbound(self, request: CatchUp) -> CatchUpResult:
        """Record the messages in Twilio's list that the database lacks, oldest first."""
