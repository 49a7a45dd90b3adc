"""Recording inbound messages that the webhook did not record itself."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final

from temporalio.exceptions import ApplicationError
from twilio.base.exceptions import TwilioRestException
from twilio.rest.api.v2010.account.message import MessageInstance

from activities.threads import heartbeat, in_thread
from signedfor.consent import Scope
from signedfor.contract import InboundMedia
from signedfor.inbound import (
    CATCH_UP_ID,
    CatchUp,
    CatchUpResult,
    InboundActivities,
    InboundRecord,
    is_recipient,
    normalize_from_address,
)
from signedfor.store.inbound import InboundMessages, Watermarks
from signedfor.twilio.classifier import classify_inbound
from signedfor.twilio.client import TWILIO_ERRORS, TwilioClient, http_status_of
from signedfor.twilio.messaging_services import MessagingServices, TooManyServices
from signedfor.twilio.phone import InvalidAddress, normalize_sender

_logger = logging.getLogger("signedfor.inbound")

OVERLAP: Final = timedelta(hours=1)
"""How much each look repeats of the last one, because Twilio may list late and clocks differ."""
FIRST_LOOK: Final = timedelta(hours=24)
"""How far back the first look goes."""
MAX_LOOK_BACK: Final = timedelta(days=30)
_WINDOW = timedelta(hours=1)
"""Listed as a whole, because Twilio lists newest first and the oldest must be recorded first."""
_PAGE_SIZE = 500
MAX_LISTED: Final = 200_000
"""The maximum number of messages in one run; the next run continues."""
_NO_ACCESS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
_LAST_MICROSECOND = timedelta(microseconds=999_999)


class InboundRecorder(InboundActivities):
    """Writes inbound messages into the database, wherever they come from; each SID counts once."""

    def __init__(
        self,
        inbound_messages: InboundMessages,
        *,
        watermarks: Watermarks,
        twilio: TwilioClient,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_listed: int = MAX_LISTED,
    ) -> None:
        self._inbound_messages = inbound_messages
        self._watermarks = watermarks
        self._twilio = twilio
        self._now = now
        self._max_listed = max_listed

    @in_thread
    def record_inbound(self, record: InboundRecord) -> bool:
        """Record it with its opt-out or opt-in, if any; False if it was recorded before.

        Raises:
            DatabaseUnavailable: to be retried until the database is back.
        """
        return self._inbound_messages.receive(record)

    @in_thread
    def catch_up_inbound(self, request: CatchUp) -> CatchUpResult:
        """Record the inbound messages in Twilio's list that never reached us, oldest first.

        By default it starts where the last look ended, with an overlap. The watermark advances
        after every window, so that an interrupted look continues from there.

        Raises:
            ApplicationError: `ListFailed`, retryable; without Twilio's text. Or see `heartbeat`.
            DatabaseUnavailable: the messages cannot be recorded now.
        """
        until = self._now()
        since = max(request.since or self._last_look(until), until - MAX_LOOK_BACK)
        known_until = seen_until = self._watermarks.read(CATCH_UP_ID) or until - FIRST_LOOK
        done = CatchUpResult(since=since, until=since)
        services = _Services(self._twilio, is_needed=self._inbound_messages.scope is Scope.SENDER)
        # Each run gets further than the last, however many messages the overlap contains.
        while done.until < until and (done.listed < self._max_listed or done.until <= known_until):
            begin, end = done.until, min(done.until + _WINDOW, until)
            done = self._catch_up_window(done, begin, end, services)
            # A look at a later span must not move the watermark past what was not looked at.
            if begin <= seen_until:
                self._watermarks.advance(CATCH_UP_ID, end)
                seen_until = max(seen_until, end)
        return done

    def _last_look(self, now: datetime) -> datetime:
        last = self._watermarks.read(CATCH_UP_ID)
        return now - FIRST_LOOK if last is None else min(last, now) - OVERLAP

    def _catch_up_window(
        self, before: CatchUpResult, begin: datetime, end: datetime, services: "_Services"
    ) -> CatchUpResult:
        listed, inbound, new, unusable = 0, [], 0, 0
        for message in self._listed(begin, end):
            listed += 1
            if str(message.direction) == MessageInstance.Direction.INBOUND:
                inbound.append(message)
        inbound.reverse()
        # Those with media last: asking for it may fail, and the others may have a STOP.
        inbound.sort(key=_has_media)
        for message in inbound:
            try:
                record = _record(message, sent_by=end)
            except InvalidAddress:
                unusable += 1
                continue
            # Most are known, as looks overlap; a service is searched for the others only.
            if record is not None and not self._inbound_messages.is_recorded(record.message_sid):
                completed = self._with_media(services.completed(record), message)
                new += self._inbound_messages.receive(completed)
            heartbeat()
        return CatchUpResult(
            since=before.since,
            until=end,
            listed=before.listed + listed,
            inbound=before.inbound + len(inbound),
            new=before.new + new,
            unusable=before.unusable + unusable,
        )

    def _with_media(self, record: InboundRecord, message: MessageInstance) -> InboundRecord:
        """The record with its media, which Twilio lists for each message on its own."""
        if not _has_media(message) or not self._inbound_messages.texts.stores(record.kind):
            return record
        return record.model_copy(update={"media": self._media(record.message_sid)})

    def _media(self, message_sid: str) -> tuple[InboundMedia, ...]:
        """The media of a message: at most ten, so there is one page. None if they are deleted."""
        base_url = self._twilio.api.base_url
        path = f"{base_url}/2010-04-01/Accounts/{self._twilio.account_sid}/Messages/{message_sid}"
        with _list_errors():
            # The SDK's lists do not say why they failed.
            response = self._twilio.request("GET", f"{path}/Media.json")
            if response.status_code == HTTPStatus.NOT_FOUND:
                return ()
            if response.status_code != HTTPStatus.OK:
                raise TwilioRestException(response.status_code, path)
            listed = json.loads(response.text)["media_list"]
        return tuple(
            InboundMedia(
                url=f"{path}/Media/{each['sid']}", content_type=each.get("content_type") or ""
            )
            for each in listed
        )

    def _listed(self, begin: datetime, end: datetime) -> Iterator[MessageInstance]:
        """Twilio's messages of that time, newest first."""
        with _list_errors():
            messages = self._twilio.messages.stream(
                # The SDK writes "Z" whatever the zone, and drops what is below a second.
                date_sent_after=begin.astimezone(UTC),
                date_sent_before=end.astimezone(UTC) + timedelta(seconds=1),
                page_size=_PAGE_SIZE,
            )
            for number, message in enumerate(messages):
                if number % _PAGE_SIZE == 0:
                    heartbeat()
                yield message


@contextmanager
def _list_errors() -> Iterator[None]:
    """Turn the SDK's errors into `ListFailed`, without Twilio's text."""
    try:
        yield
    except TwilioRestException as error:
        raise ApplicationError(
            f"Twilio answered HTTP {error.status} when asked for its list of messages.",
            type="ListFailed",
        ) from None
    # As in `fetch_status`.
    except TWILIO_ERRORS as error:
        raise ApplicationError(
            f"Twilio could not be asked for its messages ({type(error).__name__}).",
            type="ListFailed",
        ) from None


def _has_media(message: MessageInstance) -> bool:
    return message.num_media not in {None, "", "0"}


class _Services:
    """Adds the Messaging Service, which Twilio's list often omits, to records of one look.

    The webhook is told the service, and a STOP is one to all of its senders. If the service cannot
    be found, a STOP still has to be recorded, and covers everything anyway unless `is_needed`.
    """

    def __init__(self, twilio: TwilioClient, *, is_needed: bool) -> None:
        self._services = MessagingServices(twilio, progress=heartbeat)
        self._is_needed = is_needed
        self._is_available = True
        self._has_warned = False

    def completed(self, record: InboundRecord) -> InboundRecord:
        """The record with its sender's service, if there is one.

        Raises:
            ApplicationError: `ListFailed`, retryable. Or see `heartbeat`.
        """
        if record.messaging_service_sid is not None or not self._is_available:
            return record
        try:
            service = self._services.service_of(record.to)
        except TooManyServices:
            self._warn("there are too many")  # another number may be in one that was read
            return record
        except TWILIO_ERRORS as error:
            status = http_status_of(error)
            why = type(error).__name__ if status is None else f"HTTP {status}"
            if self._is_needed and status not in _NO_ACCESS:
                raise ApplicationError(
                    f"Twilio's Messaging Services could not be read ({why}).", type="ListFailed"
                ) from None
            self._is_available = False  # this look does not ask again
            self._warn(why)
            return record
        sid = None if service is None else service.sid
        return record.model_copy(update={"messaging_service_sid": sid})

    def _warn(self, why: str) -> None:
        """Say it once in each look."""
        if not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "Not all Messaging Services can be searched (%s). Where none is found, missed "
                "inbound messages are recorded for the number only that they were sent to.",
                why,
            )


def _record(message: MessageInstance, *, sent_by: datetime) -> InboundRecord | None:
    """The record of a listed message; None if its sender cannot be sent to."""
    from_ = normalize_from_address(message.from_ or "")
    if not is_recipient(from_):
        return None
    body = message.body or ""
    sent_at = message.date_sent or message.date_created
    return InboundRecord(
        message_sid=message.sid or "",
        from_=from_,
        to=normalize_sender(message.to or ""),
        kind=classify_inbound(body, None),  # OptOutType is in the callback only
        messaging_service_sid=message.messaging_service_sid or None,
        body=body,
        # Twilio's dates have whole seconds; this one may be the last message of its second.
        received_at=sent_by if sent_at is None else sent_at + _LAST_MICROSECOND,
    )
