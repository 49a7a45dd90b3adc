"""Handing rows over to a real Temporal: each once, no more than the sender has use for."""

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
    """Makes a campaign of so many rows; leaves none of its messages to other tests' workers."""
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
        await asyncio.gather(*(campaign.withdraw(row.number) for row in rows))


async def test_rows_become_messages(load: Callable[..., LoadedCampaign]) -> None:
    """Each with its own text and an id of campaign and row, found by the campaign's id."""
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


async def test_handed_over_again_they_are_the_same_messages(
    load: Callable[..., LoadedCampaign],
) -> None:
    """A crash in the middle of a page repeats its rows; running and ended messages stay one."""
    campaign = load(6)
    result = await campaign.dispatch()
    before = {id_: each.run_id for id_, each in (await campaign.messages(count=6)).items()}
    await campaign.client.get_workflow_handle(f"message:{campaign.campaign_id}:2").terminate()
    campaign.reset_progress()

    assert result == await campaign.dispatch()
    assert before == {id_: each.run_id for id_, each in (await campaign.messages(count=6)).items()}


async def test_it_goes_on_after_the_last_row_that_was_noted(
    load: Callable[..., LoadedCampaign],
) -> None:
    """Rows before it are not looked at again, however long ago their messages have ended."""
    campaign = load(6)
    campaign.campaigns.dispatched(campaign.campaign_id, last_row=4, skipped=1)
    result = await campaign.dispatch()
    again = await campaign.dispatch()

    assert (6, 1) == (result.status.last_row, result.status.skipped) == campaign.recorded()
    assert result.status == again.status
    assert {f"message:{campaign.campaign_id}:{row}" for row in (5, 6)} == (
        await campaign.messages(count=2)
    ).keys()


async def test_how_far_it_came_is_noted_part_by_part(
    load: Callable[..., LoadedCampaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that breaks off is gone on with from its last whole part."""
    campaign = load(2 * CONCURRENT_STARTS + 1)
    start_workflow = Client.start_workflow

    async def start_some(client: Client, workflow: str, *args: Any, **options: Any) -> Any:
        if options["id"] == f"message:{campaign.campaign_id}:{2 * CONCURRENT_STARTS}":
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        return await start_workflow(client, workflow, *args, **options)

    monkeypatch.setattr(Client, "start_workflow", start_some)
    with pytest.raises(ApplicationError, match="could not be dispatched"):
        await campaign.dispatch()
    broken_off = campaign.recorded()
    monkeypatch.undo()
    await campaign.dispatch()

    assert (CONCURRENT_STARTS, 0) == broken_off
    assert (2 * CONCURRENT_STARTS + 1, 0) == campaign.recorded()
    assert 2 * CONCURRENT_STARTS + 1 == len(
        await campaign.messages(count=2 * CONCURRENT_STARTS + 1)
    )


@pytest.mark.parametrize("state", [CampaignState.PAUSED, CampaignState.CANCELED])
async def test_a_decision_in_the_middle_of_a_page_ends_it(
    load: Callable[..., LoadedCampaign], monkeypatch: pytest.MonkeyPatch, state: CampaignState
) -> None:
    """Its part is result over to the end, and what the database says then is result on."""
    campaign = load(3 * CONCURRENT_STARTS)
    start_workflow = Client.start_workflow

    async def start_and_decide(client: Client, workflow: str, *args: Any, **options: Any) -> Any:
        campaign.campaigns.set_state(campaign.campaign_id, state)
        return await start_workflow(client, workflow, *args, **options)

    monkeypatch.setattr(Client, "start_workflow", start_and_decide)
    result = await campaign.dispatch()

    assert (state, CONCURRENT_STARTS) == (result.status.state, result.status.last_row)
    assert (CONCURRENT_STARTS, 0) == campaign.recorded()


async def test_an_attempt_that_was_taken_for_lost_gives_way(
    load: Callable[..., LoadedCampaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one came further meanwhile: what that one noted stands."""
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
async def test_rows_that_are_gone_are_left_out(
    load: Callable[..., LoadedCampaign], caplog: pytest.LogCaptureFixture, first: int, last: int
) -> None:
    """Wherever they were, the campaign goes on to its end, and it is told how many."""
    campaign = load(6)
    campaign.forget(first=first, last=last)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            result = await campaign.dispatch()

    gone = last - first + 1
    assert (6, gone) == campaign.recorded() == (result.status.last_row, result.status.skipped)
    assert f"{gone} rows of campaign {campaign.campaign_id}" in caplog.text
    assert "not in the database any more" in caplog.text


async def test_no_more_than_fills_a_minute(load: Callable[..., LoadedCampaign]) -> None:
    """Slots that are given away count, and so do messages that no worker has come to yet."""
    campaign = load(20)
    campaign.rates.reserved, campaign.rates.segments_a_second = timedelta(seconds=30), 0.1
    first = await campaign.dispatch()
    await campaign.messages(count=3)
    second = await campaign.dispatch()

    assert (3, 3) == (first.status.last_row, second.status.last_row)
    for each in (first, second):  # about fifteen seconds
        assert timedelta(seconds=7) < each.next_in < timedelta(seconds=23)


async def test_a_row_of_which_no_message_can_be_made_is_left_out(
    load: Callable[..., LoadedCampaign], caplog: pytest.LogCaptureFixture
) -> None:
    """It was checked when the file was read: a defect is told of, and does not stop the rest."""
    campaign = load(3, without_field=2)
    with caplog.at_level(logging.WARNING):
        result = await campaign.dispatch()

    assert (3, 1) == (result.status.last_row, result.status.skipped) == campaign.recorded()
    assert {f"message:{campaign.campaign_id}:{row}" for row in (1, 3)} == (
        await campaign.messages(count=2)
    ).keys()
    assert f"Row 2 of campaign {campaign.campaign_id} is skipped" in caplog.text
    assert SECRET not in caplog.text


async def test_a_campaign_that_does_not_run_is_not_handed_over(
    load: Callable[..., LoadedCampaign],
) -> None:
    """The database's word counts, and is result on."""
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


async def test_a_campaign_that_is_not_there_or_not_loaded(
    load: Callable[..., LoadedCampaign],
) -> None:
    """The one is refused for good, the other waited for."""
    campaign = load(1)
    campaign.campaigns.create("loading", MESSAGE)
    with pytest.raises(ApplicationError) as loading:
        campaign.dispatcher.open_campaign(CampaignKey(campaign_id="loading"))
    with pytest.raises(ApplicationError) as absent:
        campaign.dispatcher.open_campaign(CampaignKey(campaign_id="absent"))
    change = StateChange(
        campaign_id="absent", state=CampaignState.CANCELED, since=datetime.now(UTC)
    )
    with pytest.raises(ApplicationError) as unwritten:
        campaign.dispatcher.set_campaign_state(change)

    assert not loading.value.non_retryable
    for error in (absent.value, unwritten.value):
        assert (NO_SUCH_CAMPAIGN, True) == (error.type, error.non_retryable)


async def test_messages_and_outcomes_are_counted(load: Callable[..., LoadedCampaign]) -> None:
    """What runs, what has ended and how; other workflows of the campaign do not count."""
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


async def test_where_the_list_lags_behind_the_last_message_is_asked_for(
    load: Callable[..., LoadedCampaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list knows nothing yet: it counts as running while that message does, and not after."""
    campaign = load(2)
    await campaign.dispatch()

    async def counts_none(*_: object, **__: object) -> WorkflowExecutionCount:
        return WorkflowExecutionCount(count=0, groups=[])

    monkeypatch.setattr(Client, "count_workflows", counts_none)
    requests = [CountRequest(campaign_id=campaign.campaign_id, last_row=row) for row in (2, 3)]
    running, never_there = [await campaign.dispatcher.count_messages(each) for each in requests]
    await campaign.withdraw(2)
    ended = await campaign.dispatcher.count_messages(requests[0])

    assert (1, 0) == (running.running, running.ended)
    assert {0} == {never_there.running, ended.running}
