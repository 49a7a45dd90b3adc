"""Handing rows over to a real Temporal: each once, no more than the sender has use for."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from temporalio.client import Client, WorkflowExecution
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment

from activities.campaigns import CampaignFeed
from messaging.campaign_steps import (
    NO_SUCH_CAMPAIGN,
    CampaignKey,
    HandOver,
    HandOverRequest,
    MessageCounts,
    StateChange,
    messages_of,
)
from messaging.contract import (
    CAMPAIGN_ID,
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    SEND_MESSAGE,
    TENANT,
    CampaignMessage,
    CampaignState,
    MessageRequest,
    Outcome,
    Priority,
    campaign_message_id,
    message_workflow_id,
)
from messaging.payloads import data_converter
from stack.temporal_server import TemporalServer
from store.campaigns import CampaignRow, Campaigns

SENDER = "+15005550006"
MESSAGE = CampaignMessage(sender=SENDER, body="Hi {name}", tenant="acme", tags={"year": "2026"})
SECRET = "Zoë-canary"


@dataclass
class FixedPace:
    """A sender whose time is given away so far."""

    filled: timedelta = timedelta(0)
    segments_a_second: float = 100

    def ahead(self, sender: str) -> timedelta:
        """What it was told, for the campaign's sender."""
        assert sender == SENDER
        return self.filled

    def rate(self, sender: str) -> float:
        """What it was told, for the campaign's sender."""
        assert sender == SENDER
        return self.segments_a_second


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A loaded campaign, and the activities against a real Temporal where nobody works."""

    campaign_id: str
    campaigns: Campaigns
    pace: FixedPace
    client: Client

    @property
    def feed(self) -> CampaignFeed:
        """The activities."""
        return CampaignFeed(self.campaigns, self.pace, self.client)

    async def hand_over(
        self, after_row: int = 0, *, told: tuple[int, int] | None = None
    ) -> HandOver:
        """Run the activity; `told` is what an attempt before it reported."""
        environment = ActivityEnvironment()
        if told is not None:
            environment.info = replace(environment.info, heartbeat_details=told)
        request = HandOverRequest(campaign_id=self.campaign_id, after_row=after_row)
        return await environment.run(self.feed.hand_over, request)

    async def messages(self, *, count: int) -> dict[str, WorkflowExecution]:
        """Its messages by id, once the list holds so many."""
        found: dict[str, WorkflowExecution] = {}

        async def listed() -> bool:
            query = messages_of(self.campaign_id)
            found.clear()
            found.update({each.id: each async for each in self.client.list_workflows(query)})
            return len(found) >= count

        await until(listed)
        return found

    async def withdraw(self, row: int) -> None:
        """End the row's message, if it was handed over and has not ended."""
        id_ = message_workflow_id(campaign_message_id(self.campaign_id, row))
        with contextlib.suppress(RPCError):
            await self.client.get_workflow_handle(id_).terminate()

    async def request(self, row: int) -> MessageRequest:
        """What the row's message was started with."""
        handle = self.client.get_workflow_handle(message_workflow_id(f"{self.campaign_id}:{row}"))
        history = await handle.fetch_history()
        payloads = history.events[0].workflow_execution_started_event_attributes.input.payloads
        (request,) = await data_converter.decode(payloads, [MessageRequest])
        assert isinstance(request, MessageRequest)
        return request


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what the server does."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - it is a server that is asked
            await asyncio.sleep(0.05)


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
        campaigns.begin(campaign_id, message)
        campaigns.add(
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
        campaigns.loaded(campaign_id, rows=rows, segments=rows)
        made.append(
            Desk(campaign_id=campaign_id, campaigns=campaigns, pace=FixedPace(), client=client)
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

    assert (23, 0, timedelta(0)) == (handed.last_row, handed.left_out, handed.come_again)
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

    assert handed == await desk.hand_over()
    assert before == {id_: each.run_id for id_, each in (await desk.messages(count=6)).items()}


async def test_an_attempt_goes_on_where_the_one_before_it_was(load: Callable[..., Desk]) -> None:
    """What an attempt reported before its worker died is not done again."""
    desk = load(6)
    handed = await desk.hand_over(1, told=(4, 1))

    assert (6, 1) == (handed.last_row, handed.left_out)
    assert {f"message:{desk.campaign_id}:{row}" for row in (5, 6)} == (
        await desk.messages(count=2)
    ).keys()


async def test_no_more_than_fills_a_minute(load: Callable[..., Desk]) -> None:
    """Slots that are given away count, and so do messages that no worker has come to yet."""
    desk = load(20)
    desk.pace.filled, desk.pace.segments_a_second = timedelta(seconds=30), 0.1
    first = await desk.hand_over()
    await desk.messages(count=3)
    second = await desk.hand_over(first.last_row)

    assert (3, timedelta(seconds=15)) == (first.last_row, first.come_again)
    assert (3, timedelta(seconds=15)) == (second.last_row, second.come_again)


async def test_a_row_of_which_no_message_can_be_made_is_left_out(
    load: Callable[..., Desk], caplog: pytest.LogCaptureFixture
) -> None:
    """It was checked when the file was read: a defect is told of, and does not stop the rest."""
    desk = load(3, without_field=2)
    with caplog.at_level(logging.WARNING):
        handed = await desk.hand_over()

    assert (3, 1) == (handed.last_row, handed.left_out)
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
    assert (0, standing) == (handed.last_row, handed.standing)
    assert standing == desk.feed.open_campaign(CampaignKey(campaign_id=desk.campaign_id))


async def test_a_campaign_that_is_not_there_or_not_loaded(load: Callable[..., Desk]) -> None:
    """The one is refused for good, the other waited for."""
    desk = load(1)
    desk.campaigns.begin("loading", MESSAGE)
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

    async def counted() -> bool:
        return await desk.feed.count_messages(key) == MessageCounts(running=3, ended=3)

    await until(counted)
    assert {Outcome.DELIVERED: 2, Outcome.EXPIRED: 1} == (
        await desk.feed.count_outcomes(key)
    ).outcomes
