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

from activities.campaigns import AT_A_TIME
from devtools.stack.temporal_server import TemporalServer
from signedfor.campaign_steps import (
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
from signedfor.payloads import data_converter
from signedfor.search_attributes import CAMPAIGN_ID, MESSAGE_SENDER, MESSAGE_STATUS, TENANT
from signedfor.store.campaigns import CampaignRow, Campaigns
from tests.activities.campaign_desk import MESSAGE, SECRET, SENDER, Desk, FixedPace, until


@pytest.fixture
async def client(temporal_server: TemporalServer) -> Client:
    """A client of the real server."""
    return await Client.connect(temporal_server.address, data_converter=data_converter)


@pytest.fixture
async def load(sqlite_engine: Engine, client: Client) -> AsyncIterator[Callable[..., Desk]]:
    """Makes a campaign of so many rows; leaves none of its messages to other tests' workers."""
    made: list[Desk] = []

    def make(rows: int, *, message: CampaignMessage = MESSAGE, without_field: int = 0) -> Desk:
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
            Desk(
                campaign_id=campaign_id,
                campaigns=campaigns,
                pace=FixedPace(),
                client=client,
                engine=sqlite_engine,
            )
        )
        return made[-1]

    yield make
    for desk in made:
        rows = desk.campaigns.page(desk.campaign_id, after=0, limit=10_000)
        await asyncio.gather(*(desk.withdraw(row.number) for row in rows))


async def test_rows_become_messages(load: Callable[..., Desk]) -> None:
    """Each with its own text and an id of campaign and row, found by the campaign's id."""
    desk = load(23)
    handed = await desk.hand_over()
    messages = await desk.messages(count=23)

    standing = handed.standing
    assert (23, 0, timedelta(0)) == (standing.last_row, standing.skipped, handed.come_again)
    assert (23, 0) == desk.noted()
    assert {f"message:{desk.campaign_id}:{row}" for row in range(1, 24)} == messages.keys()
    attributes = messages[f"message:{desk.campaign_id}:7"].typed_search_attributes
    assert (desk.campaign_id, "acme", "sending", "+1500***0006") == tuple(
        attributes[key] for key in (CAMPAIGN_ID, TENANT, MESSAGE_STATUS, MESSAGE_SENDER)
    )
    assert await desk.request(7) == MessageRequest(
        to="+15558670007",
        sender=SENDER,
        body=f"Hi {SECRET} 7",
        priority=Priority.BULK,
        tenant="acme",
        tags={"year": "2026"},
        campaign_id=desk.campaign_id,
    )


async def test_handed_over_again_they_are_the_same_messages(load: Callable[..., Desk]) -> None:
    """A crash in the middle of a page repeats its rows; running and ended messages stay one."""
    desk = load(6)
    handed = await desk.hand_over()
    before = {id_: each.run_id for id_, each in (await desk.messages(count=6)).items()}
    await desk.client.get_workflow_handle(f"message:{desk.campaign_id}:2").terminate()
    desk.begin_anew()

    assert handed == await desk.hand_over()
    assert before == {id_: each.run_id for id_, each in (await desk.messages(count=6)).items()}


async def test_it_goes_on_after_the_last_row_that_was_noted(load: Callable[..., Desk]) -> None:
    """Rows before it are not looked at again, however long ago their messages have ended."""
    desk = load(6)
    desk.campaigns.dispatched(desk.campaign_id, last_row=4, skipped=1)
    handed = await desk.hand_over()
    again = await desk.hand_over()

    assert (6, 1) == (handed.standing.last_row, handed.standing.skipped) == desk.noted()
    assert handed.standing == again.standing
    assert {f"message:{desk.campaign_id}:{row}" for row in (5, 6)} == (
        await desk.messages(count=2)
    ).keys()


async def test_how_far_it_came_is_noted_part_by_part(
    load: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that breaks off is gone on with from its last whole part."""
    desk = load(2 * AT_A_TIME + 1)
    start_workflow = Client.start_workflow

    async def start_some(client: Client, workflow: str, *args: Any, **options: Any) -> Any:
        if options["id"] == f"message:{desk.campaign_id}:{2 * AT_A_TIME}":
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        return await start_workflow(client, workflow, *args, **options)

    monkeypatch.setattr(Client, "start_workflow", start_some)
    with pytest.raises(ApplicationError, match="could not be handed over"):
        await desk.hand_over()
    broken_off = desk.noted()
    monkeypatch.undo()
    await desk.hand_over()

    assert (AT_A_TIME, 0) == broken_off
    assert (2 * AT_A_TIME + 1, 0) == desk.noted()
    assert 2 * AT_A_TIME + 1 == len(await desk.messages(count=2 * AT_A_TIME + 1))


@pytest.mark.parametrize("state", [CampaignState.PAUSED, CampaignState.CANCELED])
async def test_a_decision_in_the_middle_of_a_page_ends_it(
    load: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch, state: CampaignState
) -> None:
    """Its part is handed over to the end, and what the database says then is handed on."""
    desk = load(3 * AT_A_TIME)
    start_workflow = Client.start_workflow

    async def start_and_decide(client: Client, workflow: str, *args: Any, **options: Any) -> Any:
        desk.campaigns.set_state(desk.campaign_id, state)
        return await start_workflow(client, workflow, *args, **options)

    monkeypatch.setattr(Client, "start_workflow", start_and_decide)
    handed = await desk.hand_over()

    assert (state, AT_A_TIME) == (handed.standing.state, handed.standing.last_row)
    assert (AT_A_TIME, 0) == desk.noted()


async def test_an_attempt_that_was_taken_for_lost_gives_way(
    load: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one came further meanwhile: what that one noted stands."""
    desk = load(4 * AT_A_TIME)
    start_workflow = Client.start_workflow

    async def start_late(client: Client, workflow: str, *args: Any, **options: Any) -> Any:
        desk.campaigns.dispatched(desk.campaign_id, last_row=3 * AT_A_TIME, skipped=2)
        return await start_workflow(client, workflow, *args, **options)

    monkeypatch.setattr(Client, "start_workflow", start_late)
    handed = await desk.hand_over()

    assert (3 * AT_A_TIME, 2) == desk.noted()
    assert (3 * AT_A_TIME, 2) == (handed.standing.last_row, handed.standing.skipped)


@pytest.mark.parametrize(("first", "last"), [(2, 3), (4, 6), (1, 6)])
async def test_rows_that_are_gone_are_left_out(
    load: Callable[..., Desk], caplog: pytest.LogCaptureFixture, first: int, last: int
) -> None:
    """Wherever they were, the campaign goes on to its end, and it is told how many."""
    desk = load(6)
    desk.forget(first=first, last=last)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            handed = await desk.hand_over()

    gone = last - first + 1
    assert (6, gone) == desk.noted() == (handed.standing.last_row, handed.standing.skipped)
    assert f"{gone} rows of campaign {desk.campaign_id}" in caplog.text
    assert "not in the database any more" in caplog.text


async def test_no_more_than_fills_a_minute(load: Callable[..., Desk]) -> None:
    """Slots that are given away count, and so do messages that no worker has come to yet."""
    desk = load(20)
    desk.pace.filled, desk.pace.segments_a_second = timedelta(seconds=30), 0.1
    first = await desk.hand_over()
    await desk.messages(count=3)
    second = await desk.hand_over()

    assert (3, 3) == (first.standing.last_row, second.standing.last_row)
    for each in (first, second):  # about fifteen seconds
        assert timedelta(seconds=7) < each.come_again < timedelta(seconds=23)


async def test_a_row_of_which_no_message_can_be_made_is_left_out(
    load: Callable[..., Desk], caplog: pytest.LogCaptureFixture
) -> None:
    """It was checked when the file was read: a defect is told of, and does not stop the rest."""
    desk = load(3, without_field=2)
    with caplog.at_level(logging.WARNING):
        handed = await desk.hand_over()

    assert (3, 1) == (handed.standing.last_row, handed.standing.skipped) == desk.noted()
    assert {f"message:{desk.campaign_id}:{row}" for row in (1, 3)} == (
        await desk.messages(count=2)
    ).keys()
    assert f"Row 2 of campaign {desk.campaign_id} is left out" in caplog.text
    assert SECRET not in caplog.text


async def test_a_campaign_that_does_not_run_is_not_handed_over(load: Callable[..., Desk]) -> None:
    """The database's word counts, and is handed on."""
    desk = load(3)
    change = StateChange(
        campaign_id=desk.campaign_id,
        state=CampaignState.PAUSED,
        since=datetime.now(UTC) + timedelta(minutes=1),
    )
    standing = desk.feed.set_campaign_state(change)
    handed = await desk.hand_over()

    assert (CampaignState.PAUSED, 3) == (standing.state, standing.rows)
    assert (0, standing) == (standing.last_row, handed.standing)
    assert standing == desk.feed.open_campaign(CampaignKey(campaign_id=desk.campaign_id))


async def test_a_campaign_that_is_not_there_or_not_loaded(load: Callable[..., Desk]) -> None:
    """The one is refused for good, the other waited for."""
    desk = load(1)
    desk.campaigns.create("loading", MESSAGE)
    with pytest.raises(ApplicationError) as loading:
        desk.feed.open_campaign(CampaignKey(campaign_id="loading"))
    with pytest.raises(ApplicationError) as absent:
        desk.feed.open_campaign(CampaignKey(campaign_id="absent"))
    change = StateChange(
        campaign_id="absent", state=CampaignState.CANCELED, since=datetime.now(UTC)
    )
    with pytest.raises(ApplicationError) as unwritten:
        desk.feed.set_campaign_state(change)

    assert not loading.value.non_retryable
    for error in (absent.value, unwritten.value):
        assert (NO_SUCH_CAMPAIGN, True) == (error.type, error.non_retryable)


async def test_messages_and_outcomes_are_counted(load: Callable[..., Desk]) -> None:
    """What runs, what has ended and how; other workflows of the campaign do not count."""
    desk = load(3)
    await desk.hand_over()
    for number, outcome in enumerate((Outcome.DELIVERED, Outcome.DELIVERED, Outcome.EXPIRED)):
        handle = await desk.client.start_workflow(
            SEND_MESSAGE,
            id=f"message:{desk.campaign_id}:9{number}",
            task_queue="nobody",
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(CAMPAIGN_ID, desk.campaign_id),
                    SearchAttributePair(MESSAGE_STATUS, outcome.value),
                ]
            ),
        )
        await handle.terminate()
    await desk.client.start_workflow(
        "Campaign",
        id=f"campaign:{desk.campaign_id}",
        task_queue="nobody",
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(CAMPAIGN_ID, desk.campaign_id)]
        ),
    )
    key = CampaignKey(campaign_id=desk.campaign_id)
    request = CountRequest(campaign_id=desk.campaign_id, last_row=3)

    async def counted() -> bool:
        return await desk.feed.count_messages(request) == MessageCounts(running=3, ended=3)

    await until(counted)
    assert {Outcome.DELIVERED: 2, Outcome.EXPIRED: 1} == (
        await desk.feed.count_outcomes(key)
    ).outcomes


async def test_where_the_list_lags_behind_the_last_message_is_asked_for(
    load: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list knows nothing yet: it counts as running while that message does, and not after."""
    desk = load(2)
    await desk.hand_over()

    async def counts_none(*_: object, **__: object) -> WorkflowExecutionCount:
        return WorkflowExecutionCount(count=0, groups=[])

    monkeypatch.setattr(Client, "count_workflows", counts_none)
    requests = [CountRequest(campaign_id=desk.campaign_id, last_row=row) for row in (2, 3)]
    running, never_there = [await desk.feed.count_messages(each) for each in requests]
    await desk.withdraw(2)
    ended = await desk.feed.count_messages(requests[0])

    assert (1, 0) == (running.running, running.ended)
    assert {0} == {never_there.running, ended.running}
