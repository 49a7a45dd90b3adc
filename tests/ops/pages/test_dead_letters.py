"""The pages of dead letters, with a real Temporal and workers whose activities are scripted."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape

import httpx
import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette
from temporalio.client import Client

from ops.app import create_app
from ops.pages import dead_letters
from ops.settings import OpsSettings
from signedfor import client as signedfor_client
from signedfor import visibility_follower
from signedfor.consent import Reason, Source, Suppression
from signedfor.contract import MessageRequest
from signedfor.contract.failures import FailureClass
from signedfor.dead_letter_indexer import DeadLetterIndexer
from signedfor.store.audit_log import AuditLog
from signedfor.store.suppressions import Suppressions
from tests.ops.conftest import Browser
from tests.workflows.fakes import FakeActivities, callback, failure, serving

TEXT = "Your parcel is at the door."
CAUSE = "/dead-letters?failure_class=SenderMisconfigured&error_code=21408"


@pytest.fixture
async def app(
    ops_settings: OpsSettings,
    sqlite_engine: Engine,
    temporal: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Starlette]:
    """The application with a Temporal server, whose dead letters are indexed."""
    monkeypatch.setattr(visibility_follower, "INTERVAL", timedelta(milliseconds=50))
    async with DeadLetterIndexer(temporal, sqlite_engine).running():
        yield create_app(ops_settings, client=temporal, engine=sqlite_engine)


@pytest.fixture
async def fakes(temporal: Client) -> AsyncIterator[FakeActivities]:
    """What Twilio answers; workers run."""
    fakes = FakeActivities()
    async with serving(temporal, fakes):
        yield fakes


async def _send(temporal: Client, message_id: str, number: int = 0) -> signedfor_client.Message:
    request = MessageRequest.model_validate(
        {"to": f"+1555867540{number}", "from": "+15005550006", "body": TEXT}
    )
    return await signedfor_client.Client(temporal).send(request, message_id=message_id)


async def _dead_letters(
    temporal: Client,
    fakes: FakeActivities,
    *message_ids: str,
) -> None:
    """An open dead letter for each id, to a number of its own."""
    for number, message_id in enumerate(message_ids):
        fakes.sends = [failure(FailureClass.SENDER_MISCONFIGURED, code=21408)]
        await (await _send(temporal, message_id, number)).report()


async def _shown(browser: Browser, path: str, wanted: str) -> str:
    """The page, once it shows that: Temporal lists what has changed after a moment."""
    async with asyncio.timeout(30):
        while wanted not in (html := (await browser.get(path)).text):  # noqa: ASYNC110 - in Temporal
            await asyncio.sleep(0.05)
    return html


def _fields(page: httpx.Response, of: str | None = None) -> dict[str, str]:
    """The hidden fields of the form that has this, or of the page's last form."""
    forms = [each.partition("</form>")[0] for each in page.text.split("<form")]
    form = forms[-1] if of is None else next(each for each in forms if of in each)
    found = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in found}


async def test_open_dead_letters_by_cause(
    fakes: FakeActivities, temporal: Client, looker: Browser
) -> None:
    """How many, which senders, what it means and what to do; who may only look cannot decide."""
    await _dead_letters(temporal, fakes, "m1", "m2")

    html = await _shown(looker, "/dead-letters", "2 open")
    assert "SenderMisconfigured 21408" in html
    assert "+1500***0006 (2)" in html
    assert "error_code=21408" in html

    html = await _shown(looker, CAUSE, ">m1<")
    assert ">m2<" in html
    assert "Retry all" not in html
    assert "Retry" not in (await looker.get("/dead-letter?id=m1")).text


async def test_one_is_discarded(
    fakes: FakeActivities, temporal: Client, actor: Browser, sqlite_engine: Engine
) -> None:
    """The audit log and the dead letter say by whom and why."""
    await _dead_letters(temporal, fakes, "m1")

    answer = await actor.post(
        "/dead-letter/resolve", {"id": "m1", "action": "discard", "why": "phoned them"}
    )
    html = (await actor.get(answer.headers["location"])).text

    assert "Discarded." in html
    assert "discarded by act: phoned them" in html
    entry = AuditLog(sqlite_engine).entries()[0]
    assert ("dead-letters.discard", "m1", "phoned them") == (
        entry.action,
        entry.subject,
        entry.why,
    )


async def test_one_is_retried_with_another_text(
    fakes: FakeActivities, temporal: Client, actor: Browser
) -> None:
    """Empty fields change nothing."""
    await _dead_letters(temporal, fakes, "m1")
    fields = {"id": "m1", "action": "retry", "body": "Better.", "to": "", "from": ""}

    answer = await actor.post("/dead-letter/resolve", fields)

    assert "Retried+as+m1.retry-1" in answer.headers["location"]
    retried = signedfor_client.Client(temporal).message("m1.retry-1")
    request = await signedfor_client.Client(temporal).request_of(retried)
    assert request is not None
    assert ("+15558675400", "Better.") == (request.to, request.body)
    html = (await actor.get("/message?id=m1")).text
    assert "It was sent again, as m1.retry-1" in html
    assert 'href="/message?id=m1.retry-1"' in html


@pytest.mark.usefixtures("fakes")
async def test_one_that_may_have_arrived_is_retried_only_if_that_is_said(
    temporal: Client, actor: Browser
) -> None:
    """The page says so, and the form has a field for it."""
    message = await _send(temporal, "m1")
    await callback(message.handle, "undelivered", code=30008)
    await message.report()
    assert "Retry although it may have arrived" in (await actor.get("/dead-letter?id=m1")).text

    refused = await actor.post("/dead-letter/resolve", {"id": "m1", "action": "retry"})
    assert 409 == refused.status_code

    fields = {"id": "m1", "action": "retry", "even_if_taken": "1"}
    assert 303 == (await actor.post("/dead-letter/resolve", fields)).status_code


async def test_many_are_retried_by_one_action(
    fakes: FakeActivities, temporal: Client, actor: Browser, sqlite_engine: Engine
) -> None:
    """The preview counts who has opted out since; the job leaves them out, and runs once."""
    await _dead_letters(temporal, fakes, "m1", "m2", "m3")
    Suppressions(sqlite_engine).record(
        Suppression(
            recipient="+15558675401", reason=Reason.MANUAL, source=Source.OPERATOR, evidence="-"
        ),
        by="ops",
    )
    await _shown(actor, "/dead-letters", "3 open")
    fields = {"failure_class": "SenderMisconfigured", "error_code": "21408", "action": "retry"}

    preview = await actor.post("/dead-letters/preview", {**fields, "why": "permission is on"})

    assert "Retry 2 of 3 dead letters?" in preview.text
    assert "<strong>1</strong> must not be sent to" in preview.text
    started = await actor.post("/dead-letters/start", _fields(preview))
    again = await actor.post("/dead-letters/start", _fields(preview))
    assert started.headers["location"] == again.headers["location"]
    entry = AuditLog(sqlite_engine).entries()[0]
    assert ("dead-letters.retry", "permission is on", "a job on 3 dead letters") == (
        entry.action,
        entry.why,
        entry.details,
    )


async def test_a_discarded_filter_is_counted_and_asked_for(
    fakes: FakeActivities, temporal: Client, actor: Browser
) -> None:
    """Nothing is done before the second form is sent."""
    await _dead_letters(temporal, fakes, "m1", "m2")
    await _shown(actor, "/dead-letters", "2 open")

    preview = await actor.post("/dead-letters/preview", {"action": "discard"})

    assert "Discard 2 of 2 dead letters?" in preview.text
    assert "2 open" in (await actor.get("/dead-letters")).text


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/dead-letters/preview", {"action": "explode"}),
        ("/dead-letters/preview", {"action": "retry", "failure_class": "Unknown"}),
        ("/dead-letters/start", {"job": "{}", "job_id": "1"}),
        ("/dead-letters/count", {"job": "{}"}),
        ("/dead-letters/count", {"job": "{}", "counts": "{}", "page_token": "?"}),
        ("/dead-letter/resolve", {"id": "m1", "action": "retry", "to": "nobody-at-all"}),
    ],
)
async def test_a_form_that_cannot_be_used(
    path: str, fields: dict[str, str], actor: Browser, sqlite_engine: Engine
) -> None:
    """It names what is wrong and not the value, and nothing is recorded."""
    answer = await actor.post(path, fields)

    assert 400 == answer.status_code
    assert "nobody-at-all" not in answer.text
    assert ["sign-in"] == [each.action for each in AuditLog(sqlite_engine).entries()]


@pytest.mark.parametrize("path", ["/dead-letter?id=none", "/dead-letters/job?id=none"])
async def test_there_is_none(path: str, looker: Browser) -> None:
    """The page says so."""
    assert 404 == (await looker.get(path)).status_code


async def test_many_are_counted_while_the_page_is_shown(
    fakes: FakeActivities,
    temporal: Client,
    actor: Browser,
    sqlite_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Part after part; who has opted out, or has no JavaScript, is counted too."""
    monkeypatch.setattr(dead_letters, "MAX_READ_AT_ONCE", 2)
    monkeypatch.setattr(dead_letters, "READ_AT_A_TIME", 2)
    await _dead_letters(temporal, fakes, "m1", "m2", "m3")
    Suppressions(sqlite_engine).record(
        Suppression(
            recipient="+15558675401", reason=Reason.MANUAL, source=Source.OPERATOR, evidence="-"
        ),
        by="ops",
    )
    await _shown(actor, "/dead-letters", "3 open")
    asked = {"failure_class": "SenderMisconfigured", "error_code": "21408", "action": "retry"}

    shown = await actor.post("/dead-letters/preview", asked)
    some = await actor.post("/dead-letters/count", _fields(shown, 'hx-post="/dead-letters/count"'))
    rest = await actor.post("/dead-letters/count", _fields(some, 'hx-post="/dead-letters/count"'))

    assert "Retry 3 dead letters?" in shown.text
    assert "Counted so far: 0 of 3" in shown.text
    assert "Counted so far: 2 of 3" in some.text
    assert "<h1" not in some.text
    assert "Counted so far" not in rest.text
    assert "<strong>1</strong> must not be sent to" in rest.text
    assert "<strong>2</strong> would be sent again" in rest.text
    started = await actor.post("/dead-letters/start", _fields(shown))
    assert 303 == started.status_code


async def test_without_javascript_many_are_counted_on_request(
    fakes: FakeActivities, temporal: Client, actor: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them, however long that takes, for what was asked at first."""
    monkeypatch.setattr(dead_letters, "MAX_READ_AT_ONCE", 1)
    await _dead_letters(temporal, fakes, "m1", "m2")
    await _shown(actor, "/dead-letters", "2 open")
    shown = await actor.post("/dead-letters/preview", {"action": "discard", "why": "too late"})

    fields = _fields(shown, 'hx-post="/dead-letters/count"')
    counted = await actor.post("/dead-letters/preview", fields)

    assert "Discard 2 of 2 dead letters?" in counted.text
    job = _fields(counted)["job"]
    assert "too late" in job
    assert "<noscript>" not in counted.text


NUMBERS = ("call +1 555 867 5400", "8675400 is wrong", "their friend (555) 867-5999 said so")


@pytest.mark.parametrize("why", NUMBERS)
async def test_a_reason_with_a_number_is_refused(
    why: str, fakes: FakeActivities, temporal: Client, actor: Browser, sqlite_engine: Engine
) -> None:
    """The person's, without the country's code too, or anybody's: nothing is done or recorded."""
    await _dead_letters(temporal, fakes, "m1")

    fields = {"id": "m1", "action": "discard", "why": why}
    answer = await actor.post("/dead-letter/resolve", fields)

    assert 400 == answer.status_code
    assert "Reason: must not contain" in answer.text
    assert why not in answer.text
    assert ["sign-in"] == [each.action for each in AuditLog(sqlite_engine).entries()]
    assert "Discard" in (await actor.get("/dead-letter?id=m1")).text


async def test_a_reason_for_many_with_a_number_is_refused(
    fakes: FakeActivities, temporal: Client, actor: Browser, sqlite_engine: Engine
) -> None:
    """In the preview; and a form that says otherwise afterwards does not get into the audit log."""
    await _dead_letters(temporal, fakes, "m1")
    await _shown(actor, "/dead-letters", "1 open")
    asked = {"action": "discard", "why": NUMBERS[0]}
    assert 400 == (await actor.post("/dead-letters/preview", asked)).status_code

    fields = _fields(await actor.post("/dead-letters/preview", asked | {"why": "too late"}))
    fields["job"] = fields["job"].replace("too late", NUMBERS[0])
    assert 400 == (await actor.post("/dead-letters/start", fields)).status_code

    assert ["sign-in"] == [each.action for each in AuditLog(sqlite_engine).entries()]
