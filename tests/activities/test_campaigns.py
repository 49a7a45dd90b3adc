"""Dispatching rows to a real Temporal server: each once, and no faster than the sender's rate."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from temporalio.client import Client, WorkflowExecutionCount
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.campaigns import CONCURRENT_STARTS
from signedfor.campaign_activities import (
    NO_SUCH_CAMPAIGN,
    CampaignKey,
    CountRequest,
    MessageCounts,
    StateChange,
)
from signedfor.contract import (
    SEND_MESSAGE,
    CampaignMessage,
    CampaignState,
    MessageRequest,
    Outcome,
    Priority,
)
from signedfor.search_attributes import CAMPAIGN_ID, MESSAGE_SENDER, MESSAGE_STATUS, TENANT
from signedfor.store.campaigns import CampaignRow, Campaigns
from tests.activities.campaign_setup import (
    MESSAGE,
    SECRET,
    SENDER,
    FixedRates,
    LoadedCampaign,
    until,
)


@pytest.fixture
def client(temporal: Client) -> Client:
    """A client of the real server."""
    return temporal


@pytest.fixture
async def load(
    sqlite_engine: Engine, client: Client
) -> AsyncIterator[Callable[..., LoadedCampaign]]:
    """Make campaigns of some rows; their messages are terminated after the test."""
    made: list[LoadedCampaign] = []

    def make(
        rows: int, *, message: CampaignMessage = MESSAGE, without_field: int = 0
    ) -> LoadedCampaign:
        campaigns, campaign_id = Campaigns(sqlite_engine), f"c-{uuid.uuid4().hex[:12]}"
        campaigns.create(campaign_id, message)
        campaigns.add_rows(
            campaign_id,
            [
                CampaignRow(
                    number=number,
                    to=f"+1555867{number:04}",
                    fields={} if number == without_field else {"name": f"{SECRET} {number}"},
                    segments=1,
                )
                for number in range(1, rows + 1)
            ],
        )
        campaigns.finish_loading(campaign_id, rows=rows, segments=rows)
        made.append(
            LoadedCampaign(
                campaign_id=campaign_id,
                campaigns=campaigns,
                rates=FixedRates(),
                client=client,
                engine=sqlite_engine,
            )
        )
        return made[-1]

    yield make
    for campaign in made:
        rows = campaign.campaigns.page(campaign.campaign_id, after=0, limit=10_000)
        await asyncio.gather(*(campaign.terminate(row.number) for row in rows))


async def test_each_row_becomes_a_message(load: Callable[..., LoadedCampaign]) -> None:
    """It has its own text, an id made of campaign and row, and the campaign's id as attribute."""
    campaign = load(23)
    result = await campaign.dispatch()
    messages = await campaign.messages(count=23)

    status = result.status
    assert (23, 0, timedelta(0)) == (status.last_row, status.skipped, result.next_in)
    assert (23, 0) == campaign.recorded()
    assert {f"message:{campaign.campaign_id}:{row}" for row in range(1, 24)} == messages.keys()
    attributes = messages[f"message:{campaign.campaign_id}:7"].typed_search_attributes
    assert (campaign.campaign_id, "acme", "sending", "+1500***0006") == tuple(
        attributes[key] for key in (CAMPAIGN_ID, TENANT, MESSAGE_STATUS, MESSAGE_SENDER)
    )
    assert await campaign.request(7) == MessageRequest(
        to="+15558670007",
        sender=SENDER,
        body=f"Hi {SECRET} 7",
        priority=Priority.BULK,
        tenant="acme",
        tags={"year": "2026"},
        campaign_id=campaign.campaign_id,
    )


async def test_rows_that_are_dispatched_again_start_no_second_message(
    load: Callable[..., LoadedCampaign],
) -> None:
    """A crash during a page repeats its rows, but not their messages, running or ended."""
    campaign = load(6)
    result = await campaign.dispatch()
    before = {id_: each.run_id for id_, each in (await campaign.messages(count=6)).items()}
    await campaign.client.get_workflow_handle(f"message:{campaign.campaign_id}:2").terminate()
    campaign.reset_progress()

    assert result == await campaign.dispatch()
    assert before == {id_: each.run_id for id_, each in (await campaign.messages(count=6)).items()}


async def test_dispatching_continues_after_the_last_recorded_row(
    load: Callable[..., LoadedCampaign],
) -> None:
    """Earlier rows are not dispatched again, even if their messages are long gone."""
    campaign = load(6)
    campaign.campaigns.dispatched(campaign.campaign_id, last_row=4, skipped=1)
    result = await campaign.dispatch()
    again = await campaign.dispatch()

    assert (6, 1) == (result.status.last_row, result.status.skipped) == campaign.recorded()
    assert result.status == again.status
    assert {f"message:{campaign.campaign_id}:{row}" for row in (5, 6)} == (
        await campaign.messages(count=2)
    ).keys()


async def test_progress_is_recorded_during_a_page(
    load: Callable[..., LoadedCampaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that fails is continued after its last complete batch."""
    campaign = load(2 * CONCURRENT_STARTS + 1)
    start_workflow = Client.start_workflow

    async def start_some(client: Client, workflow: str, *args: Any, **options: Any) -> Any:
        if options["id"] == f"message:{campaign.campaign_id}:{2 * CONCURRENT_STARTS}":
            raise RPCError("unavailable", RPCStatusCode.UNAVAILABLE, b"")
        return await start_workflow(client, workflow, *args, **options)

    monkeypatch.setattr(Client, "start_workflow", start_some)
    with pytest.raises(ApplicationError, match="could not be dispatched"):
        await campaign.dispatch()
    after_failure = campaign.recorded()
    monkeypatch.undo()
    await campaign.dispatch()

    assert (CONCURRENT_STARTS, 0) == after_failure
    assert (2 * CONCURRENT_STARTS + 1, 0) == campaign.recorded()
    assert 2 * CONCURRENT_STARTS + 1 == len(
        await campaign.messages(count=2 * CONCURRENT_STARTS + 1)
    )


@pytest.mark.parametrize("state", [CampaignState.PAUSED, CampaignState.CANCELED])
async def test_pausing_or_canceling_ends_the_page(
    load: Callable[..., LoadedCampaign], monkeypatch: pytest.MonkeyPatch, state: CampaignState
) -> None:
    """The current batch is completed, and the result has the new state."""
    campaign = load(3 * CONCURRENT_STARTS)
    start_workflow = Client.start_workflow

    async def start_and_decide(client: Client, workflow: str, *args: Any, **options: Any) -> Any:
        campaign.campaigns.set_state(campaign.campaign_id, state)
        return await start_workflow(client, workflow, *args, **options)

    monkeypatch.setattr(Client, "start_workflow", start_and_decide)
    result = await campaign.dispatch()

    assert (state, CONCURRENT_STARTS) == (result.status.state, result.status.last_row)
    assert (CONCURRENT_STARTS, 0) == campaign.recorded()


async def test_a_superseded_attempt_stops(
    load: Callable[..., LoadedCampaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later attempt got further meanwhile; its recorded progress is kept."""
    campaign = load(4 * CONCURRENT_STARTS)
    start_workflow = Client.start_workflow

    async def start_late(client: Client, workflow: str, *args: Any, **options: Any) -> Any:
        campaign.campaigns.dispatched(
            campaign.campaign_id, last_row=3 * CONCURRENT_STARTS, skipped=2
        )
        return await start_workflow(client, workflow, *args, **options)

    monkeypatch.setattr(Client, "start_workflow", start_late)
    result = await campaign.dispatch()

    assert (3 * CONCURRENT_STARTS, 2) == campaign.recorded()
    assert (3 * CONCURRENT_STARTS, 2) == (result.status.last_row, result.status.skipped)


@pytest.mark.parametrize(("first", "last"), [(2, 3), (4, 6), (1, 6)])
async def test_missing_rows_are_skipped(
    load: Callable[..., LoadedCampaign], caplog: pytest.LogCaptureFixture, first: int, last: int
) -> None:
    """The campaign goes on to its end; how many rows were missing is logged and counted."""
    campaign = load(6)
    campaign.delete_rows(first=first, last=last)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            result = await campaign.dispatch()

    missing = last - first + 1
    assert (6, missing) == campaign.recorded() == (result.status.last_row, result.status.skipped)
    assert f"{missing} rows of campaign {campaign.campaign_id}" in caplog.text
    assert "not in the database any more" in caplog.text


async def test_a_page_fills_at_most_a_minute_of_the_senders_time(
    load: Callable[..., LoadedCampaign],
) -> None:
    """Existing reservations count, and so do messages that no worker has started yet."""
    campaign = load(20)
    campaign.rates.reserved, campaign.rates.segments_per_second = timedelta(seconds=30), 0.1
    first = await campaign.dispatch()
    await campaign.messages(count=3)
    second = await campaign.dispatch()

    assert (3, 3) == (first.status.last_row, second.status.last_row)
    for each in (first, second):  # about fifteen seconds
        assert timedelta(seconds=7) < each.next_in < timedelta(seconds=23)


async def test_an_invalid_row_is_skipped(
    load: Callable[..., LoadedCampaign], caplog: pytest.LogCaptureFixture
) -> None:
    """Rows were validated when they were loaded: the error is logged, and the rest goes on."""
    campaign = load(3, without_field=2)
    with caplog.at_level(logging.WARNING):
        result = await campaign.dispatch()

    assert (3, 1) == (result.status.last_row, result.status.skipped) == campaign.recorded()
    assert {f"message:{campaign.campaign_id}:{row}" for row in (1, 3)} == (
        await campaign.messages(count=2)
    ).keys()
    assert f"Row 2 of campaign {campaign.campaign_id} is skipped" in caplog.text
    assert SECRET not in caplog.text


async def test_a_paused_campaign_is_not_dispatched(
    load: Callable[..., LoadedCampaign],
) -> None:
    """The state in the database decides, and is in the result."""
    campaign = load(3)
    change = StateChange(
        campaign_id=campaign.campaign_id,
        state=CampaignState.PAUSED,
        since=datetime.now(UTC) + timedelta(minutes=1),
    )
    status = campaign.dispatcher.set_campaign_state(change)
    result = await campaign.dispatch()

    assert (CampaignState.PAUSED, 3) == (status.state, status.rows)
    assert (0, status) == (status.last_row, result.status)
    assert status == campaign.dispatcher.open_campaign(
        CampaignKey(campaign_id=campaign.campaign_id)
    )


async def test_a_campaign_that_does_not_exist_or_is_loading(
    load: Callable[..., LoadedCampaign],
) -> None:
    """The first error is not retryable, the second is."""
    campaign = load(1)
    campaign.campaigns.create("loading", MESSAGE)
    with pytest.raises(ApplicationError) as loading:
        campaign.dispatcher.open_campaign(CampaignKey(campaign_id="loading"))
    with pytest.raises(ApplicationError) as absent:
        campaign.dispatcher.open_campaign(CampaignKey(campaign_id="absent"))
    change = StateChange(
        campaign_id="absent", state=CampaignState.CANCELED, since=datetime.now(UTC)
    )
    with pytest.raises(ApplicationError) as not_written:
        campaign.dispatcher.set_campaign_state(change)

    assert not loading.value.non_retryable
    for error in (absent.value, not_written.value):
        assert (NO_SUCH_CAMPAIGN, True) == (error.type, error.non_retryable)


async def test_messages_and_outcomes_are_counted(load: Callable[..., LoadedCampaign]) -> None:
    """Running and ended messages and their outcomes; the campaign's own workflow does not count."""
    campaign = load(3)
    await campaign.dispatch()
    for number, outcome in enumerate((Outcome.DELIVERED, Outcome.DELIVERED, Outcome.EXPIRED)):
        handle = await campaign.client.start_workflow(
            SEND_MESSAGE,
            id=f"message:{campaign.campaign_id}:9{number}",
            task_queue="idle",
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(CAMPAIGN_ID, campaign.campaign_id),
                    SearchAttributePair(MESSAGE_STATUS, outcome.value),
                ]
            ),
        )
        await handle.terminate()
    await campaign.client.start_workflow(
        "Campaign",
        id=f"campaign:{campaign.campaign_id}",
        task_queue="idle",
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(CAMPAIGN_ID, campaign.campaign_id)]
        ),
    )
    key = CampaignKey(campaign_id=campaign.campaign_id)
    request = CountRequest(campaign_id=campaign.campaign_id, last_row=3)

    async def counted() -> bool:
        return await campaign.dispatcher.count_messages(request) == MessageCounts(
            running=3, ended=3
        )

    await until(counted)
    assert {Outcome.DELIVERED: 2, Outcome.EXPIRED: 1} == (
        await campaign.dispatcher.count_outcomes(key)
    ).outcomes


async def test_the_last_message_is_checked_if_visibility_lags_behind(
    load: Callable[..., LoadedCampaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If visibility lists nothing yet, one message counts as running as long as the last does."""
    campaign = load(2)
    await campaign.dispatch()

    async def no_workflows(*_: object, **__: object) -> WorkflowExecutionCount:
        return WorkflowExecutionCount(count=0, groups=[])

    monkeypatch.setattr(Client, "count_workflows", no_workflows)
    requests = [CountRequest(campaign_id=campaign.campaign_id, last_row=row) for row in (2, 3)]
    running, never_started = [await campaign.dispatcher.count_messages(each) for each in requests]
    await campaign.terminate(2)
    ended = await campaign.dispatcher.count_messages(requests[0])

    assert (1, 0) == (running.running, running.ended)
    assert {0} == {never_started.running, ended.running}
