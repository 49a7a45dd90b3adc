"""The pages of campaigns: the list, one campaign, decisions, the report."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette
from temporalio.client import Client, WorkflowExecutionStatus

from ops.app import create_app
from ops.settings import OpsSettings
from signedfor import visibility_follower
from signedfor.campaigns.progress import fetch_campaign
from signedfor.contract import CampaignState, dead_letter_workflow_id, message_workflow_id
from signedfor.contract.failures import FailureClass
from signedfor.dead_letter_indexer import DeadLetterIndexer
from signedfor.message_indexer import MessageIndexer
from signedfor.retries import continuation
from signedfor.store.audit_log import AuditLog
from signedfor.store.campaigns import Campaigns
from signedfor.store.rate_limiter import RateLimiter
from tests.ops.conftest import Browser
from tests.ops.pages.campaign_support import (
    BODY,
    NUMBERS,
    hidden,
    load_campaign,
    serving_campaigns,
    shown,
    upload,
    words,
)
from tests.workflows.fakes import SENDER, FakeActivities, accept, callback, failure


@pytest.fixture
async def app(
    ops_settings: OpsSettings,
    sqlite_engine: Engine,
    temporal: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Starlette]:
    """The application with a Temporal server, whose messages and dead letters are indexed."""
    monkeypatch.setattr(visibility_follower, "INTERVAL", timedelta(milliseconds=50))
    monkeypatch.setattr(visibility_follower, "_REFRESH", timedelta(milliseconds=50))
    async with (
        MessageIndexer(temporal, sqlite_engine).running(),
        DeadLetterIndexer(temporal, sqlite_engine).running(),
    ):
        yield create_app(ops_settings, client=temporal, engine=sqlite_engine)


@pytest.fixture
async def fakes(temporal: Client, sqlite_engine: Engine) -> AsyncIterator[FakeActivities]:
    """What Twilio answers; workers run, and dispatch campaigns."""
    fakes = FakeActivities()
    async with serving_campaigns(temporal, sqlite_engine, fakes):
        yield fakes


async def _start(actor: Browser) -> str:
    """Start the campaign of the three recipients; its path."""
    fields = hidden(await upload(actor, id="spring"))
    await actor.post("/campaigns/start", fields)
    return "/campaign?id=spring"


async def test_no_campaign_yet(looker: Browser) -> None:
    """The page says so."""
    assert "No campaign has been started yet." in words(await looker.get("/campaigns"))


async def test_progress_by_outcome(
    fakes: FakeActivities,
    temporal: Client,
    actor: Browser,
) -> None:
    """Live, with links to its messages and dead letters; the list has the same from the index."""
    fakes.sends = [failure(FailureClass.SENDER_MISCONFIGURED, code=21408), accept()]
    path = await _start(actor)
    await shown(actor, path, "awaiting receipt 2 66.7 %")
    await shown(actor, path, "failed 1 33.3 %")
    for number in (1, 2, 3):
        handle = temporal.get_workflow_handle(message_workflow_id(f"spring:{number}"))
        if (await handle.describe()).status is WorkflowExecutionStatus.RUNNING:
            await callback(handle, "delivered")

    read = await shown(actor, path, "delivered 2 66.7 %")
    assert "failed 1 33.3 %" in read
    assert "3 of 3 rows are done" in read
    page = (await actor.get(path)).text
    assert 'href="/messages?campaign=spring"' in page
    assert 'href="/dead-letters?campaign_id=spring"' in page
    assert "2 delivered, 1 failed" in await shown(actor, "/campaigns", "2 delivered")


async def test_time_left(actor: Browser, sqlite_engine: Engine) -> None:
    """By the sender's rate; unknown while the sender is paused."""
    load_campaign(sqlite_engine)
    limiter = RateLimiter(sqlite_engine)
    limiter.reserve(SENDER, 114, is_urgent=False)

    read = words(await actor.get("/campaign?id=spring"))
    assert "Time left 2 min" in read or "Time left 1 min 59 s" in read
    assert "Not started yet 3 rows" in read
    listed = words(await actor.get("/campaigns"))
    assert "2 min" in listed or "1 min 59 s" in listed

    limiter.pause(SENDER)
    assert "Time left not known: its sender is paused" in words(
        await actor.get("/campaign?id=spring")
    )


async def test_the_text_is_shown_on_request(looker: Browser, sqlite_engine: Engine) -> None:
    """The audit log says who has seen it; the sender is masked."""
    load_campaign(sqlite_engine)
    page = await looker.get("/campaign?id=spring")
    assert BODY not in words(page)
    assert "+1500***0006" in page.text
    assert SENDER not in page.text
    assert "marketing" in page.text

    revealed = await looker.post("/campaigns/reveal", {"id": "spring", "why": "a complaint"})

    assert BODY in words(revealed)
    (entry,) = AuditLog(sqlite_engine).entries(filters={"action": "campaign.reveal"})
    assert ("spring", "a complaint") == (entry.subject, entry.why)


@pytest.mark.usefixtures("fakes")
async def test_pause_resume_and_cancel(actor: Browser, sqlite_engine: Engine) -> None:
    """Each is in force when the page answers, and in the audit log."""
    path = await _start(actor)

    def state() -> CampaignState:
        (record,) = Campaigns(sqlite_engine).newest(limit=1)
        return record.state

    fields = {"id": "spring", "why": "wrong price"}
    answer = await actor.post("/campaigns/pause", fields)
    assert CampaignState.PAUSED == state()
    assert "is paused" in words(await actor.get(answer.headers["location"]))
    assert "Resume" in (await actor.get(path)).text

    await actor.post("/campaigns/resume", fields)
    assert CampaignState.RUNNING == state()

    asked = await actor.get("/campaigns/cancel?id=spring")
    assert "Cancel this campaign?" in words(asked)
    assert CampaignState.RUNNING == state()
    await actor.post("/campaigns/cancel", hidden(asked) | {"why": "wrong price"})
    assert CampaignState.CANCELED == state()
    assert "It is canceled already." in words(await actor.get("/campaigns/cancel?id=spring"))

    done = [each for each in AuditLog(sqlite_engine).entries() if each.why == "wrong price"]
    assert ["campaign.cancel", "campaign.resume", "campaign.pause"] == [
        each.action for each in done
    ]
    assert {"spring"} == {each.subject for each in done}


async def test_a_campaign_whose_workflow_does_not_run(
    actor: Browser, sqlite_engine: Engine
) -> None:
    """The page says what is wrong; it can be canceled, and not paused."""
    load_campaign(sqlite_engine)
    assert "its workflow was not started" in words(await actor.get("/campaign?id=spring"))

    assert 409 == (await actor.post("/campaigns/pause", {"id": "spring"})).status_code
    assert 303 == (await actor.post("/campaigns/cancel", {"id": "spring"})).status_code
    (record,) = Campaigns(sqlite_engine).newest(limit=1)
    assert CampaignState.CANCELED == record.state


async def test_the_report_has_the_callers_own_columns(
    fakes: FakeActivities, actor: Browser, sqlite_engine: Engine
) -> None:
    """A file with numbers in full, so that it is recorded before it is made."""
    fakes.sends = [failure(FailureClass.SENDER_MISCONFIGURED, code=21408)]
    await shown(actor, await _start(actor), "failed 3")

    answer = await actor.post("/campaigns/report", {"id": "spring", "why": "for billing"})

    assert 200 == answer.status_code
    assert (
        "attachment; filename*=UTF-8''campaign-spring.csv" == answer.headers["content-disposition"]
    )
    assert "no-store" == answer.headers["cache-control"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [f"'{number}" for number in NUMBERS] == [row["to"] for row in rows]
    assert {"failed"} == {row["status"] for row in rows}
    assert ["Ann 0", "Ann 1", "Ann 2"] == [row["name"] for row in rows]
    (entry,) = AuditLog(sqlite_engine).entries(filters={"action": "campaign.report"})
    assert ("act", "spring", "for billing") == (entry.who, entry.subject, entry.why)


async def test_who_may_only_look_sees_no_action(looker: Browser, sqlite_engine: Engine) -> None:
    """Nor the report, which has numbers."""
    load_campaign(sqlite_engine)

    page = (await looker.get("/campaign?id=spring")).text

    assert "Show the text" in page
    for action in ("pause", "resume", "cancel", "report"):
        assert f"/campaigns/{action}" not in page
    assert 403 == (await looker.get("/campaigns/cancel?id=spring")).status_code


@pytest.mark.parametrize(("campaign_id", "status_code"), [("none", 404), ("", 400), ("a b", 400)])
@pytest.mark.parametrize("action", ["pause", "cancel", "report", "reveal"])
async def test_there_is_none(
    campaign_id: str, status_code: int, action: str, actor: Browser, sqlite_engine: Engine
) -> None:
    """The page says so, and nothing is recorded."""
    shown = await actor.get("/campaign", params={"id": campaign_id})
    answer = await actor.post(f"/campaigns/{action}", {"id": campaign_id})

    assert [status_code, status_code] == [shown.status_code, answer.status_code]
    assert ["sign-in"] == [each.action for each in AuditLog(sqlite_engine).entries()]


@pytest.mark.parametrize(
    "path", ["/campaigns/pause", "/campaigns/cancel", "/campaigns/report", "/campaigns/reveal"]
)
@pytest.mark.parametrize(
    ("why", "is_taken"),
    [
        ("555-2000001 has complained", False),
        ("ask (555) 200 0001", False),
        ("ticket 4711000, not 2000001", False),
        ("ticket 55520000", True),
        ("the price is wrong since 2026-11-29", True),
    ],
)
async def test_a_reason_has_no_recipients_number(
    path: str, why: str, is_taken: bool, actor: Browser, sqlite_engine: Engine
) -> None:
    """All who may look can read the audit log; other numbers may be named."""
    load_campaign(sqlite_engine)

    answer = await actor.post(path, {"id": "spring", "why": why})

    recorded = [each.why for each in AuditLog(sqlite_engine).entries()]
    assert is_taken == (why in recorded)
    if not is_taken:
        assert 400 == answer.status_code
        assert "Reason: must not contain a recipient&#39;s number" in answer.text
        assert "2000001" not in answer.text
        record = Campaigns(sqlite_engine).find("spring")
        assert record is not None
        assert CampaignState.RUNNING is record.state


async def _ends(temporal: Client, row: int, status: str, code: int | None = None) -> None:
    handle = temporal.get_workflow_handle(message_workflow_id(f"spring:{row}"))
    await callback(handle, status, code=code)
    await handle.result()


async def test_all_that_shows_a_campaign_agrees(
    fakes: FakeActivities, temporal: Client, actor: Browser, sqlite_engine: Engine
) -> None:
    """List, page, `status`, report and `show`: after a retry, and a delivery that came late."""
    fakes.sends = [accept(), accept(), accept(), accept()]
    path = await _start(actor)
    await shown(actor, path, "awaiting receipt 3 100.0 %")
    await _ends(temporal, 1, "delivered")
    await _ends(temporal, 2, "undelivered", code=30008)
    await _ends(temporal, 3, "undelivered", code=30008)
    await shown(actor, path, "undelivered 2 66.7 %")
    assert "1 delivered" in words(await actor.get("/campaigns"))

    fields = {"id": "spring:2", "action": "retry", "even_if_taken": "1"}
    assert 303 == (await actor.post("/dead-letter/resolve", fields)).status_code
    await callback(temporal.get_workflow_handle(dead_letter_workflow_id("spring:3")), "delivered")
    await shown(actor, path, "delivered 2 66.7 % awaiting receipt 1 33.3 %")
    await callback(temporal.get_workflow_handle("message:spring:2.retry-1"), "delivered")

    await shown(actor, path, "delivered 3 100.0 %")
    await shown(actor, "/campaigns", "3 delivered")
    limiter = RateLimiter(sqlite_engine)
    status = await fetch_campaign(temporal, sqlite_engine, limiter, "spring")
    assert {"delivered": 3} == status.counts
    answer = await actor.post("/campaigns/report", {"id": "spring"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert ["delivered"] * 3 == [row["status"] for row in rows]
    assert ["", "", "delivered_late"] == [row["dead_letter"] for row in rows]
    assert ["0", "1", "0"] == [row["retries"] for row in rows]
    retried = await continuation(temporal, "spring:2")
    assert ["delivered"] == [each.status for each in retried.retries]
    assert "delivered_late" == (await continuation(temporal, "spring:3")).dead_letter
