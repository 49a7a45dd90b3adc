"""The messages: found by what is known of them; where each is, and what can be done."""

from typing import Final
from urllib.parse import urlencode

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.responses import Response
from temporalio.service import RPCError

from ops.access import Role
from ops.index_state import index_state
from ops.web import Page, Pages
from signedfor.arrival import sending_again
from signedfor.client import BadInput, Client, NotFound
from signedfor.contract import (
    MessageRequest,
    Outcome,
    Stage,
    dead_letter_workflow_id,
    message_workflow_id,
)
from signedfor.masks import masked_recipient, named
from signedfor.message_details import MessageDetails, fetch_details
from signedfor.notes import check_note
from signedfor.retries import Continuation, continuation
from signedfor.store.message_index import MessageFilter, MessageIndex
from signedfor.store.people import People
from signedfor.temporal_ui import TemporalUI
from signedfor.twilio import codes
from signedfor.twilio.phone import InvalidAddress, normalize_recipient
from signedfor.workflow_calls import is_workflow_missing

pages = Pages()
_ROWS: Final = 50
_FIELDS: Final = {
    "id": "message_id",
    "sid": "message_sid",
    "sender": "sender",
    "tenant": "tenant",
    "campaign": "campaign_id",
    "person": "person",
}
"""The text fields of the filter's form, and what they are in the index."""
PATH: Final = "/message"
_MAX_DIGITS: Final = 7
_CONSOLE: Final = "https://console.twilio.com/us1/monitor/logs/sms"


@pages.get("/messages")
async def messages(page: Page) -> Response:
    """List messages, newest first; the address has the filter, and can be kept."""
    index = MessageIndex(page.services.engine)
    wanted = MessageFilter(
        **{field: page.text(name) or None for name, field in _FIELDS.items()},
        statuses=(page.text("status"),) if page.text("status") else (),
        error_code=_code(page.text("code")),
        since=page.moment("since"),
        until=page.moment("until"),
    )
    before = page.moment("before")
    found = await to_thread.run_sync(
        lambda: index.find(
            wanted,
            before=(before, page.text("before_id")) if before else None,
            limit=_ROWS + 1,
        )
    )
    return page.render(
        "messages.html",
        messages=found[:_ROWS],
        last=found[_ROWS - 1] if len(found) > _ROWS else None,
        index=await to_thread.run_sync(index_state, page.services.engine),
        is_filtered=wanted != MessageFilter(),
        statuses=tuple(dict.fromkeys([*Stage, *Outcome])),
        meaning_of=_meaning_of,
    )


@pages.post("/messages/search", role=Role.LOOK)
async def search(page: Page) -> Response:
    """Find the messages to a number, which goes into no address, log or database."""
    try:
        recipient = normalize_recipient(page.text("to"))
    except InvalidAddress as error:
        raise HTTPException(400, f"The number {error}.") from None
    people = People(page.services.engine)
    reference = await to_thread.run_sync(people.reference, recipient)
    return page.redirect(f"/messages?{urlencode({'person': reference})}")


def _code(text: str) -> int | None:
    if text and not (text.isascii() and text.isdigit() and len(text) < _MAX_DIGITS):
        raise HTTPException(400, "The code must be a number such as 30003.")
    return int(text) if text else None


def _meaning_of(code: int | None) -> str | None:
    row = codes.find(code)
    return row.meaning if row else None


@pages.get(PATH)
async def message(page: Page) -> Response:
    """Show a message; its number and text are shown on request only."""
    return await _shown(page, await _details(page), reveals=False)


@pages.post("/message/reveal", role=Role.LOOK)
async def reveal(page: Page) -> Response:
    """Show the recipient's number and the text too."""
    details = await _details(page)
    why = _checked_why(page, details.request)
    await page.record("message.reveal", details.message_id, why=why)
    return await _shown(page, details, reveals=True)


@pages.post("/message/cancel", role=Role.ACT)
async def cancel(page: Page) -> Response:
    """Cancel a message that Twilio does not have yet."""
    client, message_id = Client(page.services.client), page.text("id")
    wanted = client.message(message_id)
    try:
        why = _checked_why(page, await client.request_of(wanted)) or None
        await page.record("message.cancel", message_id, why=why)
        result = await wanted.cancel(by=page.user.name, reason=why)
    except NotFound as error:
        raise HTTPException(404, str(error)) from None
    except RPCError as error:
        if is_workflow_missing(error):
            raise HTTPException(404, f"There is no {named('message', message_id)}.") from None
        raise
    except BadInput as error:
        raise HTTPException(400, str(error)) from None
    done = (
        "Canceled: it will not be sent."
        if result.canceled
        else f"Not canceled: it is {result.status}."
    )
    return page.redirect(f"{PATH}?{urlencode({'id': message_id})}", done=done)


def _checked_why(page: Page, request: MessageRequest | None) -> str:
    """The reason of the form, without the recipient's number: all may read the audit log."""
    why = page.text("why")
    check_note(request.to if request else "", why, field="Reason")
    return why


async def _details(page: Page) -> MessageDetails:
    try:
        return await fetch_details(page.services.client, page.text("id"))
    except NotFound as error:
        raise HTTPException(404, str(error)) from None


async def _shown(page: Page, details: MessageDetails, *, reveals: bool) -> Response:
    report, code = details.report, details.error_code
    row = codes.find(code)
    went_on = (
        await continuation(page.services.client, details.message_id)
        if report is not None and report.dead_letter_id is not None
        else None
    )
    failure_class = report.failure_class if report else row.failure_class if row else None
    return page.render(
        "message.html",
        message=details,
        reveals=reveals,
        recipient=masked_recipient(details.request.to) if details.request else None,
        person_url=await to_thread.run_sync(page.services.person_links.url, details.request.to)
        if details.request
        else None,
        meaning=codes.meaning_for(failure_class, code) if failure_class else None,
        advice=codes.advice_for(failure_class, code) if failure_class else None,
        went_on=went_on,
        sending_again=_sending_again(details, went_on),
        temporal_url=_temporal_url(page, message_workflow_id(details.message_id)),
        dead_letter_url=_temporal_url(page, dead_letter_workflow_id(details.message_id)),
        twilio_urls={sid: f"{_CONSOLE}/{sid}" for sid in details.message_sids},
    )


def _sending_again(details: MessageDetails, went_on: Continuation | None) -> str:
    """Whether it is safe to send it again, and because of what."""
    if went_on is not None and went_on.retries:
        newest = went_on.retries[-1]
        return f"It was sent again, as {newest.message_id}: see there ({newest.status})."
    if details.report is not None:
        return sending_again(details.report)
    if details.refused is not None:
        return "Yes, once it is corrected: it was refused, and never sent."
    if details.is_running:
        return "No: it is under way, and a second message would arrive besides it."
    return "Not certainly: its workflow ended without a report."


def _temporal_url(page: Page, workflow_id: str) -> str:
    settings, namespace = page.services.settings, page.services.client.namespace
    return TemporalUI(url=settings.temporal_ui_url, namespace=namespace).workflow_url(workflow_id)
