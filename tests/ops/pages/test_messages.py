"""The pages of messages, with a real Temporal and workers whose activities are scripted."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette
from temporalio.client import Client, WorkflowFailureError

from ops.app import create_app
from ops.settings import OpsSettings
from signedfor import client as signedfor_client
from signedfor.contract import (
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    MessageRequest,
    message_workflow_id,
)
from signedfor.contract.failures import FailureClass
from signedfor.dead_letter_indexer import DeadLetterIndexer
from signedfor.message_indexer import MessageIndexer
from signedfor.store.audit_log import AuditLog
from tests.ops.conftest import Browser
from tests.workflows.fakes import RECIPIENT, SENDER, FakeActivities, failure, serving, sid

TEXT = "Your parcel is at the door."


@pytest.fixture
def app(ops_settings: OpsSettings, sqlite_engine: Engine, temporal: Client) -> Starlette:
    """The application with a Temporal server."""
    return create_app(ops_settings, client=temporal, engine=sqlite_engine)


@pytest.fixture
async def fakes(temporal: Client) -> AsyncIterator[FakeActivities]:
    """What Twilio answers; workers run."""
    fakes = FakeActivities()
    async with serving(temporal, fakes):
        yield fakes


async def _send(temporal: Client, message_id: str, **fields: object) -> signedfor_client.Message:
    request = MessageRequest.model_validate(
        {"to": RECIPIENT, "from": SENDER, "body": TEXT, **fields}
    )
    return await signedfor_client.Client(temporal).send(request, message_id=message_id)


def _facts(html: str) -> dict[str, str]:
    """The terms of the page and what it says of them."""
    pairs = re.findall(r"<dt>(.*?)</dt>\s*<dd.*?>(.*?)</dd>", html, re.DOTALL)
    return {term: " ".join(re.sub(r"<[^>]+>", "", text).split()) for term, text in pairs}


async def test_a_message_that_failed(
    fakes: FakeActivities, temporal: Client, looker: Browser
) -> None:
    """Why, what to do, whether it may be sent again, and what happened; nothing private."""
    fakes.sends = [failure(FailureClass.SENDER_MISCONFIGURED, code=21408)]
    await (await _send(temporal, "m1")).report()

    html = (await looker.get("/message?id=m1")).text
    facts = _facts(html)

    assert ("21408", "Yes: it was never sent.") == (
        facts["Twilio's code"],
        facts["Safe to send again?"],
    )
    assert "geo" in facts["What to do"].lower()
    assert "+*******5309" == facts["To"]
    assert "Attempt 1 failed with Twilio&#39;s code 21408" in html
    assert "its dead letter" in html
    assert RECIPIENT not in html
    assert TEXT not in html


async def test_a_message_that_waits_for_its_receipt(
    fakes: FakeActivities, temporal: Client, looker: Browser
) -> None:
    """What it waits for and until when, with a link to Twilio; it is not safe to send it again."""
    message = await _send(temporal, "m1")

    while "receipt" not in (await message.progress()).waiting_for:  # noqa: ASYNC110 - in Temporal
        await asyncio.sleep(0.05)

    html = (await looker.get("/message?id=m1")).text
    facts = _facts(html)

    assert fakes.posts
    assert facts["Waits for"].startswith("a receipt from Twilio, until 20")
    assert facts["Safe to send again?"].startswith("No: it is under way")
    assert f"/{sid()}" in html
    assert 'hx-trigger="every 5s"' in html


async def test_without_a_worker_what_temporal_knows_is_shown(
    temporal: Client, looker: Browser
) -> None:
    """And that nothing answers."""
    await _send(temporal, "m1")

    assert "no worker answers" in _facts((await looker.get("/message?id=m1")).text)["Waits for"]


async def test_bad_input_is_shown_as_such(
    fakes: FakeActivities, temporal: Client, looker: Browser
) -> None:
    """With the fields, and that it was never sent."""
    handle = await temporal.start_workflow(
        "SendMessage", {"to": "nobody"}, id="message:m1", task_queue="messages"
    )
    with pytest.raises(Exception, match="Workflow execution failed"):
        await handle.result()

    facts = _facts((await looker.get("/message?id=m1")).text)

    assert not fakes.posts
    assert "to:" in facts["Refused"]
    assert facts["Safe to send again?"].startswith("Yes, once it is corrected")


async def test_the_number_is_shown_on_request(
    temporal: Client, looker: Browser, sqlite_engine: Engine
) -> None:
    """The audit log says who has seen it, and why; the page does not reload itself then."""
    await _send(temporal, "m1")

    html = (await looker.post("/message/reveal", {"id": "m1", "why": "she called"})).text

    assert RECIPIENT in html
    assert TEXT in html
    assert "hx-get" not in html
    entry = AuditLog(sqlite_engine).entries()[0]
    assert ("look", "message.reveal", "m1", "she called") == (
        entry.who,
        entry.action,
        entry.subject,
        entry.why,
    )


async def test_a_message_is_canceled(
    fakes: FakeActivities, temporal: Client, actor: Browser, sqlite_engine: Engine
) -> None:
    """With the person's name and reason in its history; a second time it says what it is."""
    await _send(temporal, "m1", send_at="2099-01-01T00:00:00Z")

    answer = await actor.post("/message/cancel", {"id": "m1", "why": "wrong text"})
    html = (await actor.get(answer.headers["location"])).text

    assert "Canceled: it will not be sent." in html
    assert "act asked to cancel it: wrong text" in html
    assert "message.cancel" == AuditLog(sqlite_engine).entries()[0].action
    again = await actor.post("/message/cancel", {"id": "m1"})
    assert not fakes.posts
    assert "canceled" in (await actor.get(again.headers["location"])).text


@pytest.mark.parametrize("path", ["/message?id=none", "/message"])
async def test_there_is_no_such_message(path: str, looker: Browser) -> None:
    """The page says so."""
    assert 404 == (await looker.get(path)).status_code


async def test_messages_are_found_by_number(
    temporal: Client, looker: Browser, sqlite_engine: Engine
) -> None:
    """The address of the result does not have the number, and no record of the search does."""
    await _send(temporal, "m1")
    await _send(temporal, "m2", to="+15558675310")
    indexer = MessageIndexer(temporal, sqlite_engine)
    for _ in range(100):
        await indexer.bring_up_to_date()
        if "m1" in (await looker.get("/messages")).text:
            break

    answer = await looker.post("/messages/search", {"to": " +1 (555) 867-5309 "})
    html = (await looker.get(answer.headers["location"])).text

    assert re.fullmatch(r"/messages\?person=[0-9a-f]{32}", answer.headers["location"])
    assert ">m1<" in html
    assert ">m2<" not in html
    assert ["sign-in"] == [each.action for each in AuditLog(sqlite_engine).entries()]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/messages?code=x", "The code must be a number"),
        ("/messages?code=1234567890", "The code must be a number"),
        ("/messages?since=noon", "since must be a time"),
    ],
)
async def test_a_filter_that_cannot_be_used(path: str, problem: str, looker: Browser) -> None:
    """The page says which field, and how it should be."""
    answer = await looker.get(path)

    assert (400, True) == (answer.status_code, problem in answer.text)


async def test_a_number_that_cannot_be_searched_for(looker: Browser) -> None:
    """It is not repeated."""
    answer = await looker.post("/messages/search", {"to": "call me"})

    assert (400, False) == (answer.status_code, "call me" in answer.text)


async def test_a_message_that_was_refused_as_bad_input(temporal: Client, looker: Browser) -> None:
    """The bad fields are named, also when no worker remembers it."""
    async with serving(temporal, FakeActivities()):
        handle = await temporal.start_workflow(
            SEND_MESSAGE,
            {"to": "nobody", "body": TEXT},
            id=message_workflow_id("m1"),
            task_queue=MESSAGES_QUEUE,
        )
        with pytest.raises(WorkflowFailureError):
            await handle.result()

    async with serving(temporal, FakeActivities()):
        html = (await looker.get("/message?id=m1")).text

    facts = _facts(html)
    assert facts["Refused"].startswith("to: ")
    assert "Yes, once it is corrected" in facts["Safe to send again?"]
    assert TEXT not in html


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("path", ["/message/reveal", "/message/cancel"])
async def test_a_reason_has_not_the_recipients_number(
    path: str, temporal: Client, actor: Browser, sqlite_engine: Engine
) -> None:
    """All who may look can read the audit log."""
    await _send(temporal, "m1", send_at="2099-01-01T00:00:00Z")

    answer = await actor.post(path, {"id": "m1", "why": "867-5309 has called"})

    assert 400 == answer.status_code
    assert "Reason: must not contain the person&#39;s number" in answer.text
    assert ["sign-in"] == [each.action for each in AuditLog(sqlite_engine).entries()]


@pytest.mark.usefixtures("fakes")
async def test_a_message_that_is_not_there_is_not_canceled(actor: Browser) -> None:
    """The page says so."""
    assert 404 == (await actor.post("/message/cancel", {"id": "none"})).status_code


@pytest.mark.parametrize("path", ["/", "/messages"])
async def test_an_index_that_is_not_filled_yet(
    path: str, temporal: Client, looker: Browser, sqlite_engine: Engine
) -> None:
    """The page says that what it shows is incomplete, until everything was read once."""
    before = (await looker.get(path)).text

    await MessageIndexer(temporal, sqlite_engine).bring_up_to_date()
    await DeadLetterIndexer(temporal, sqlite_engine).bring_up_to_date()

    assert "still being filled" in before
    assert "still being filled" not in (await looker.get(path)).text
