"""Creating a message: the checks, its script, and the answer."""

import asyncio
import time
from http import HTTPStatus

from starlette.responses import Response

from devtools.sandbox.accounts import Account
from devtools.sandbox.callbacks import CallbackSender
from devtools.sandbox.errors import TwilioError
from devtools.sandbox.faults import NORMAL, Faults, Step
from devtools.sandbox.ledger import Refused
from devtools.sandbox.lifecycle import Lifecycle
from devtools.sandbox.messages import Message, new_sid
from devtools.sandbox.responses import (
    DroppedConnection,
    Silence,
    TwilioResponse,
    code_and_status,
    html_answer,
    json_answer,
    refusal,
    scripted_error,
)
from devtools.sandbox.state import State
from devtools.sandbox.validation import Draft, Form, check, value_of
from signedfor.twilio.segments import count_segments

_MAX_WAIT = 30
"""Seconds that a create waits for its callbacks if its script posts them first."""


class Creation:
    """Answers creates: refuses them, or accepts them and starts their messages."""

    def __init__(
        self,
        *,
        state: State,
        faults: Faults,
        lifecycle: Lifecycle,
        callbacks: CallbackSender,
        stopping: asyncio.Event,
    ) -> None:
        self._state = state
        self._faults = faults
        self._lifecycle = lifecycle
        self._callbacks = callbacks
        self._stopping = stopping

    async def create(self, account: Account, form: Form, *, arrived: float) -> Response:
        """Answer the create in `form`, whose head arrived at that epoch time."""
        try:
            draft = check(form, strict=account.test_credentials, now=time.time())
            self._check_sender_now(draft)
        except TwilioError as error:
            self._record_invalid(account, form, error, arrived=arrived)
            return refusal(error)
        if account.test_credentials:
            message = _message(account, draft, NORMAL, arrived=arrived)
            message.finished = True  # no status follows
            self._state.keep(message)
            return json_answer(message.resource(), 201)
        step = self._faults.next(draft.to)
        if step.accepts:
            return await self._accept(account, draft, step, arrived=arrived)
        return await self._refuse(account, draft, step, arrived=arrived)

    def _check_sender_now(self, draft: Draft) -> None:
        """Raise what Twilio refuses at once; with a Messaging Service, the message fails later."""
        if draft.messaging_service_sid is not None or draft.sender is None:
            return
        if self._state.opt_outs.blocks(draft.sender, draft.to):
            raise TwilioError(21610)
        if self._lifecycle.queue_is_full(draft.sender):
            raise TwilioError(21611)

    async def _accept(
        self, account: Account, draft: Draft, step: Step, *, arrived: float
    ) -> Response:
        message = _message(account, draft, step, arrived=arrived)
        created = message.resource()
        self._state.accept(message)
        self._lifecycle.start(message)
        if step.callbacks.before_response:
            await self._callbacks_first(message)
        if step.delay:
            await asyncio.sleep(step.delay)
        match step.respond:
            case "error_after_accept":
                return scripted_error(step)
            case "hang_after_accept":
                return Silence(step.seconds, stopping=self._stopping)
            case "drop_after_accept":
                return DroppedConnection()
            case "empty_201":
                return TwilioResponse(b"", 201, headers=step.headers)
            case "html_201":
                return html_answer(201, "Created", headers=step.headers)
            case "created_no_sid":
                del created["sid"]
        return json_answer(created, 201, headers=step.headers)

    async def _callbacks_first(self, message: Message) -> None:
        try:
            async with asyncio.timeout(_MAX_WAIT):
                await self._lifecycle.ended(message)
                await self._callbacks.wait_until_posted(message)
        except TimeoutError:
            pass

    async def _refuse(
        self, account: Account, draft: Draft, step: Step, *, arrived: float
    ) -> Response:
        if step.delay:
            await asyncio.sleep(step.delay)
        refused = _refused(
            account, to=draft.to, sender=draft.sender, body=draft.body, arrived=arrived
        )
        if step.respond == "error":
            code, status = code_and_status(step)
            stored = status == HTTPStatus.BAD_REQUEST if step.stored is None else step.stored
            self._record_refusal(
                refused, reason="scripted", code=code, status=status, stored=stored
            )
            return scripted_error(step)
        if step.respond == "hang_before_accept":
            self._record_refusal(refused, reason="hung")
            return Silence(step.seconds, stopping=self._stopping)
        self._record_refusal(refused, reason="dropped")
        return DroppedConnection()

    def _record_invalid(
        self, account: Account, form: Form, error: TwilioError, *, arrived: float
    ) -> None:
        if account.test_credentials:
            return
        to = value_of(form, "To")
        sender = value_of(form, "From") or None
        self._record_refusal(
            _refused(account, to=to, sender=sender, body=value_of(form, "Body"), arrived=arrived),
            reason="invalid",
            code=error.code,
            status=error.status,
            stored=error.status == HTTPStatus.BAD_REQUEST and bool(to),
        )

    def _record_refusal(
        self,
        message: Message,
        *,
        reason: str,
        code: int | None = None,
        status: int | None = None,
        stored: bool = False,
    ) -> None:
        """Record a refusal; Twilio lists most creates answered with 400 as failed messages."""
        if stored:
            message.error_code = code
            self._state.keep(message)
        self._state.refuse(
            Refused(
                to=message.to,
                sender=message.sender,
                body=message.body,
                reason=reason,
                code=code,
                http_status=status,
                sid=message.sid if stored else None,
                arrived=message.arrived,
                at=message.created,
            )
        )


def _message(account: Account, draft: Draft, step: Step, *, arrived: float) -> Message:
    segments = max(count_segments(draft.body).count, 1)
    if draft.send_at is not None:
        status = "scheduled"
    else:
        status = "accepted" if draft.messaging_service_sid else "queued"
    return Message(
        sid=new_sid("MM" if draft.media_urls else "SM"),
        account_sid=account.sid,
        to=draft.to,
        sender=draft.sender,
        messaging_service_sid=draft.messaging_service_sid,
        body=draft.body,
        status=status,
        created=time.time(),
        arrived=arrived,
        num_media=len(draft.media_urls),
        segments=segments,
        num_segments=segments if status == "queued" else 0,  # a service counts when it sends
        send_at=draft.send_at,
        validity=draft.validity,
        status_callback=draft.status_callback,
        late_error=draft.late_error,
        step=step,
    )


def _refused(
    account: Account, *, to: str, sender: str | None, body: str, arrived: float
) -> Message:
    return Message(
        account_sid=account.sid,
        to=to,
        sender=sender,
        body=body,
        status="failed",
        created=time.time(),
        arrived=arrived,
        finished=True,
    )
