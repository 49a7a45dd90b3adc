"""`signedfor campaign`: status, decisions, and the report of every row."""

import asyncio
import contextlib
import csv
import io
import stat
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.worker import Worker
from typer.testing import Result

from activities.campaigns import CampaignDispatcher
from signedfor.contract import (
    CAMPAIGN,
    CampaignMessage,
    CampaignState,
    campaign_message_id,
    campaign_workflow_id,
)
from signedfor.interceptors import OneArgument
from signedfor.search_attributes import CAMPAIGN_ID
from signedfor.store.campaigns import CampaignRow, Campaigns
from signedfor.store.database import open_engine
from signedfor.store.rate_limiter import RateLimiter
from tests.signedfor.cli.support import CommandLine, LiveSystem, until
from tests.workflows.fakes import SENDER, sid
from workflows.campaign import Campaign

NUMBERS = "1555867"
MESSAGE = CampaignMessage(sender=SENDER, body="Your parcel, {name}")


@pytest.fixture
def engine(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The database that the commands use too."""
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setenv("DEFAULT_SEGMENTS_PER_SECOND", "long_code=1000")
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


def _campaign(engine: Engine, *, rows: int = 4, loaded: bool = True) -> str:
    """A campaign in the database; its id."""
    campaigns, campaign_id = Campaigns(engine), f"c-{uuid.uuid4().hex[:12]}"
    campaigns.create(campaign_id, MESSAGE)
    campaigns.add_rows(
        campaign_id,
        [
            CampaignRow(
                number=number, to=f"+{NUMBERS}{number:04}", fields={"name": "Zoë"}, segments=1
            )
            for number in range(1, rows + 1)
        ],
    )
    if loaded:
        campaigns.finish_loading(campaign_id, rows=rows, segments=rows)
    return campaign_id


@contextlib.asynccontextmanager
async def _running_workflow(
    system: LiveSystem, engine: Engine, campaign_id: str
) -> AsyncIterator[None]:
    """Its workflow, and a worker for it alone."""
    queue = f"campaigns-{uuid.uuid4().hex}"
    dispatcher = CampaignDispatcher(Campaigns(engine), RateLimiter(engine), system.client)
    await _start(system, campaign_id, queue)
    with ThreadPoolExecutor(2) as threads:
        async with Worker(
            system.client,
            task_queue=queue,
            workflows=[Campaign],
            activities=[
                dispatcher.open_campaign,
                dispatcher.dispatch_rows,
                dispatcher.set_campaign_state,
                dispatcher.count_messages,
                dispatcher.count_outcomes,
            ],
            activity_executor=threads,
            interceptors=[OneArgument()],
        ):
            yield


async def _start(system: LiveSystem, campaign_id: str, queue: str) -> None:
    await system.client.start_workflow(
        CAMPAIGN,
        {},
        id=campaign_workflow_id(campaign_id),
        task_queue=queue,
        search_attributes=TypedSearchAttributes([SearchAttributePair(CAMPAIGN_ID, campaign_id)]),
    )


def _shows_nothing_private(*results: Result) -> bool:
    return not any(word in each.output for each in results for word in (NUMBERS, "parcel", "Zoë"))


async def test_status_and_report_of_a_campaign(
    system: LiveSystem, engine: Engine, tmp_path: Path
) -> None:
    """Status while it runs and afterwards; the report has a line for every row."""
    campaign_id, file = _campaign(engine), tmp_path / "report.csv"
    async with _running_workflow(system, engine, campaign_id):

        async def status() -> Any:
            return await system.cli.document("campaign", "status", campaign_id)

        # A query counts each stage: a message that moves on in between is counted twice.
        running = await until(status, lambda it: it["messages"] == {"awaiting_receipt": 4})
        watching = asyncio.create_task(
            system.cli.later("campaign", "status", f"campaign:{campaign_id}", "--watch")
        )
        for row, end in enumerate(("delivered", "delivered", "undelivered", "read"), start=1):
            code = 30006 if end == "undelivered" else None
            await system.receive(campaign_message_id(campaign_id, row), end, code=code)
        watched = await watching
        report = await system.cli.document("campaign", "report", campaign_id)
        live = await system.cli.later("campaign", "status", campaign_id, FORCE_COLOR="1")
        again = await system.cli.later("campaign", "pause", campaign_id)
        listed = await system.cli.document("campaign", "list")
        written = await system.cli.later("campaign", "report", campaign_id, "--csv", str(file))
        to_standard_output = await system.cli.later("campaign", "report", campaign_id, "--csv", "-")

    assert ("running", "running") == (running["state"], running["workflow"])
    assert (4, 4, 4, 0) == tuple(running[k] for k in ("rows", "dispatched", "done", "ended"))
    assert 0 == watched.exit_code
    assert "finished since" in watched.stdout
    assert "4 of 4 are done" in watched.stdout
    assert (False, True) == tuple("━━━" in each.stdout for each in (watched, live))
    assert ("finished", {"delivered": 3, "undelivered": 1}) == (
        report["state"],
        report["messages"],
    )
    assert (3, True) == (again.exit_code, "finished" in again.output)
    assert [(campaign_id, "finished")] == [
        (each["campaign_id"], each["state"]) for each in listed["campaigns"]
    ]
    assert _shows_nothing_private(watched, live, again, written)
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert file.read_bytes() == to_standard_output.stdout_bytes
    lines = list(csv.DictReader(io.StringIO(file.read_text())))
    assert ["1", "2", "3", "4"] == [line["row"] for line in lines]
    third = lines[2]
    assert (f"'+{NUMBERS}0003", f"{campaign_id}:3", "undelivered", "30006", sid()) == tuple(
        third[name] for name in ("to", "message_id", "status", "error_code", "message_sid")
    )
    assert all(line["ended_at"].endswith("Z") for line in lines)


async def test_pause_resume_and_cancel(system: LiveSystem, engine: Engine) -> None:
    """Each shows the new state and the progress; a canceled campaign stays canceled."""
    campaign_id = _campaign(engine)
    results = []
    async with _running_workflow(system, engine, campaign_id):
        for command in ("pause", "resume", "cancel", "cancel"):
            options = ("--reason", "wrong text", "--by", "ops")
            results.append(await system.cli.later("campaign", command, campaign_id, *options))
        refused = await system.cli.document("campaign", "resume", campaign_id, exit_code=3)
    record = Campaigns(engine).find(campaign_id)

    assert [0] * 4 == [each.exit_code for each in results]
    for words, result in zip(
        ("is paused", "is running", "is canceled", "is canceled"), results, strict=True
    ):
        assert f"Campaign {campaign_id} {words}" in result.stdout
        assert "of 4 rows were dispatched" in result.stdout
    assert "refused" == refused["error"]["kind"]
    assert record is not None
    assert CampaignState.CANCELED is record.state
    assert _shows_nothing_private(*results)


async def test_a_reason_with_a_recipients_number_is_refused(
    system: LiveSystem, engine: Engine
) -> None:
    """Also without the country's code: all who see the history could read it."""
    campaign_id = _campaign(engine)

    reason = f"not {NUMBERS[-3:]}0003"
    refused = await system.cli.later("campaign", "cancel", campaign_id, "--reason", reason)

    assert 2 == refused.exit_code
    assert "--reason: must not contain a recipient's number" in refused.stderr
    record = Campaigns(engine).find(campaign_id)
    assert record is not None
    assert CampaignState.CANCELED is not record.state


async def test_no_worker_answers(system: LiveSystem, engine: Engine) -> None:
    """After the timeout the result is not known: exit code 4."""
    campaign_id = _campaign(engine)
    await _start(system, campaign_id, "no-worker")
    paused = await system.cli.document(
        "campaign", "pause", campaign_id, "--timeout", "0.5", exit_code=4
    )
    status = await system.cli.document("campaign", "status", campaign_id)

    assert "no worker answered within 0.5 seconds" in paused["error"]["message"]
    assert ("running", 0, None) == (
        status["state"],
        status["dispatched"],
        status["messages_per_second"] or None,
    )


async def test_a_campaign_that_was_not_started_can_be_canceled(
    system: LiveSystem, engine: Engine
) -> None:
    """Without a workflow there is nothing to pause; the database records the cancellation."""
    campaign_id = _campaign(engine, loaded=False)
    shown = await system.cli.later("campaign", "status", campaign_id)
    paused = await system.cli.later("campaign", "pause", campaign_id)
    canceled = await system.cli.document("campaign", "cancel", campaign_id)
    written = await system.cli.later("campaign", "report", campaign_id, "--csv", "-")

    assert "its rows are not loaded" in shown.stdout
    assert (3, True) == (paused.exit_code, "is not running" in paused.output)
    assert "canceled" == canceled["state"]
    assert ["not_dispatched"] * 4 == [
        line["status"] for line in csv.DictReader(io.StringIO(written.stdout))
    ]


async def test_a_campaign_that_was_terminated_can_be_started_again(
    system: LiveSystem, engine: Engine, tmp_path: Path
) -> None:
    """Its status shows that, and the same command continues it."""
    assert engine is not None
    file, campaign_id = tmp_path / "recipients.csv", f"c-{uuid.uuid4().hex[:12]}"
    file.write_text(f"to,name\n+{NUMBERS}0001,Zoë\n")
    command = ("start", str(file), "--body", "Hi {name}", "--from", SENDER, "--id", campaign_id)
    handle = system.client.get_workflow_handle(campaign_workflow_id(campaign_id))

    first = await system.cli.later("campaign", *command)
    run = (await handle.describe()).run_id
    await handle.terminate()
    shown = await system.cli.later("campaign", "status", campaign_id)
    second = await system.cli.later("campaign", *command)
    description = await handle.describe()

    assert [0, 0, 0] == [each.exit_code for each in (first, shown, second)]
    assert "its workflow ended without a report" in shown.stdout
    assert description.status is WorkflowExecutionStatus.RUNNING
    assert run != description.run_id


@pytest.mark.parametrize("command", ["status", "pause", "resume", "cancel", "report"])
async def test_no_such_campaign(system: LiveSystem, engine: Engine, command: str) -> None:
    """An unknown id is not found; an invalid one is bad input, and is not repeated."""
    assert engine is not None
    absent = await system.cli.document("campaign", command, "c-absent", exit_code=2)
    invalid = await system.cli.later("campaign", command, "+15558675309")

    assert "There is no campaign c-absent" in absent["error"]["message"]
    assert 2 == invalid.exit_code
    assert "CAMPAIGN_ID" in invalid.output
    assert "5558675309" not in invalid.output


def test_without_temporal(cli: CommandLine, engine: Engine) -> None:
    """Without Temporal each command prints one sentence and leaves no file."""
    campaign_id = _campaign(engine)
    result = cli("campaign", "report", campaign_id, "--csv", "report.csv")

    assert 1 == result.exit_code
    assert "Temporal" in result.output
    assert [] == list(Path().glob("*report.csv*"))
