"""The campaign: every row once, decisions take hold, and its end is the end of its messages."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import Priority, WorkflowIDConflictPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from devtools.stack.temporal_server import TemporalServer
from signedfor.campaign_activities import CAMPAIGN_OVER, NO_SUCH_CAMPAIGN
from signedfor.contract import (
    CAMPAIGN,
    CANCEL_UPDATE,
    PAUSE_UPDATE,
    PROGRESS_QUERY,
    RESUME_UPDATE,
    CampaignProgress,
    CampaignReport,
    CampaignState,
    campaign_workflow_id,
)
from signedfor.payloads import INVALID_INPUT, data_converter
from tests.workflows.campaigns import FakeCampaign, serving_campaign, start_campaign
from tests.workflows.fakes import TimeSkippingEnvironment

Handle = WorkflowHandle[Any, CampaignReport]
_A_WHILE = timedelta(hours=1)


@contextlib.asynccontextmanager
async def campaign(world: TimeSkippingEnvironment, fake: FakeCampaign) -> AsyncIterator[Handle]:
    """A campaign that has been started."""
    async with serving_campaign(world.client, fake) as queue:
        yield await start_campaign(world.client, queue)


async def decide(handle: Handle, update: str) -> CampaignProgress:
    """Pause, resume or cancel it."""
    progress: CampaignProgress = await handle.execute_update(
        update, {"by": "ops", "reason": "wrong text"}, result_type=CampaignProgress
    )
    return progress


async def test_every_row_is_dispatched_once(world: TimeSkippingEnvironment) -> None:
    """Page after page in order; the report comes when the messages have ended."""
    fake = FakeCampaign(rows=5, page=2, next_in=timedelta(seconds=15), running=[3, 1])
    async with campaign(world, fake) as handle:
        report = await handle.result()

    assert [1, 2, 3, 4, 5] == fake.dispatched
    assert (CampaignState.FINISHED, 5, 5) == (report.state, report.rows, report.dispatched)
    assert {"delivered": 5} == report.outcomes
    assert (CampaignState.FINISHED, 3) == (fake.state, fake.counts)


async def test_a_long_campaign_goes_on_in_a_new_run(world: TimeSkippingEnvironment) -> None:
    """Continue-as-new leaves no row out and repeats none; what was left out is remembered."""
    fake = FakeCampaign(rows=130, page=1, without_message=1)
    async with campaign(world, fake) as handle:
        report = await handle.result()
        first = world.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        ended = (await first.describe()).status

    assert list(range(1, 131)) == fake.dispatched
    assert WorkflowExecutionStatus.CONTINUED_AS_NEW == ended
    assert (130, 0) == (report.rows, report.dispatched)


async def test_terminated_and_started_again_it_goes_on(world: TimeSkippingEnvironment) -> None:
    """The second workflow knows what the first had done: no row is dispatched twice."""
    fake = FakeCampaign(rows=7, page=2, next_in=_A_WHILE, without_message=1)
    async with serving_campaign(world.client, fake) as queue:
        first = await start_campaign(world.client, queue)
        await fake.until_dispatched(2)
        # With an activity under way, the server would not skip time any more.
        async with asyncio.timeout(30):
            while (await progress(first)).dispatched < 1:  # noqa: ASYNC110 - it is asked
                await asyncio.sleep(0.02)
        await first.terminate()
        again = await start_campaign(world.client, queue, workflow_id=first.id)
        report = await again.result()

    assert list(range(1, 8)) == fake.dispatched
    assert (CampaignState.FINISHED, 7, 3) == (report.state, report.rows, report.dispatched)


async def test_a_paused_campaign_hands_nothing_over_until_it_is_resumed(
    world: TimeSkippingEnvironment,
) -> None:
    """The answer comes when the state is written; pausing or resuming twice is the same as once."""
    fake = FakeCampaign(rows=6, page=2, next_in=_A_WHILE)
    async with campaign(world, fake) as handle:
        await fake.until_dispatched(2)
        paused = await decide(handle, PAUSE_UPDATE)
        written = fake.state
        await world.sleep(timedelta(days=3))
        dispatched = list(fake.dispatched)
        again = await decide(handle, PAUSE_UPDATE)
        resumed = await decide(handle, RESUME_UPDATE)
        report = await handle.result()

    assert (CampaignState.PAUSED, 2) == (paused.state, paused.dispatched)
    assert CampaignState.PAUSED is written
    assert [1, 2] == dispatched
    assert paused == again
    assert CampaignState.RUNNING is resumed.state
    assert resumed.since > paused.since
    assert ([1, 2, 3, 4, 5, 6], CampaignState.FINISHED) == (fake.dispatched, report.state)


async def test_a_canceled_campaign_ends_when_its_messages_have(
    world: TimeSkippingEnvironment,
) -> None:
    """No further row; meanwhile it says that it is canceled, and cannot be resumed."""
    fake = FakeCampaign(rows=6, page=2, next_in=_A_WHILE, running=[2] * 400)
    async with campaign(world, fake) as handle:
        await fake.until_dispatched(2)
        canceled = await decide(handle, CANCEL_UPDATE)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await decide(handle, RESUME_UPDATE)
        again = await decide(handle, CANCEL_UPDATE)
        fake.running.clear()
        report = await handle.result()

    assert (CampaignState.CANCELED, 2) == (canceled.state, canceled.dispatched)
    assert isinstance(refused.value.cause, ApplicationError)
    assert CAMPAIGN_OVER == refused.value.cause.type
    assert canceled == again
    assert ([1, 2], CampaignState.CANCELED, 2) == (fake.dispatched, report.state, report.dispatched)
    assert CampaignState.CANCELED is fake.state


@pytest.mark.parametrize("update", [PAUSE_UPDATE, CANCEL_UPDATE])
async def test_a_decision_while_a_page_is_dispatched(
    world: TimeSkippingEnvironment, update: str
) -> None:
    """It is answered at once; the page's own, older word of the state undoes nothing."""
    fake = FakeCampaign(rows=6, page=2, silent_after=2, missing=1)  # so that it does not end
    async with campaign(world, fake) as handle:
        await fake.until_dispatched(2)
        decided = await decide(handle, update)
        fake.may_answer.set()
        await world.sleep(timedelta(minutes=10))
        after, dispatched, pages = await progress(handle), list(fake.dispatched), fake.pages
        fake.missing = 0
        await decide(handle, CANCEL_UPDATE)
        report = await handle.result()

    expected = {PAUSE_UPDATE: CampaignState.PAUSED, CANCEL_UPDATE: CampaignState.CANCELED}
    assert (expected[update], 2) == (decided.state, decided.dispatched)
    assert decided == after
    assert ([1, 2], 1) == (dispatched, pages)
    assert [1, 2] == fake.dispatched
    assert (CampaignState.CANCELED, 2) == (report.state, report.dispatched)


async def test_temporals_own_cancellation_means_the_same(world: TimeSkippingEnvironment) -> None:
    """The button in the Temporal UI cancels it, and it still reports."""
    fake = FakeCampaign(rows=6, page=2, next_in=_A_WHILE, running=[1])
    async with campaign(world, fake) as handle:
        await fake.until_dispatched(2)
        await handle.cancel()
        report = await handle.result()

    assert (CampaignState.CANCELED, 2) == (report.state, report.dispatched)


async def test_a_decision_waits_for_the_database(world: TimeSkippingEnvironment) -> None:
    """Not before it is written does a pause hold; decisions are carried out one after another."""
    fake = FakeCampaign(rows=4, page=2, next_in=_A_WHILE, write_fails=1)
    async with campaign(world, fake) as handle:
        await fake.until_dispatched(2)
        pausing = await handle.start_update(
            PAUSE_UPDATE,
            wait_for_stage=WorkflowUpdateStage.ACCEPTED,
            result_type=CampaignProgress,
        )
        canceled = await decide(handle, CANCEL_UPDATE)
        answers = [await pausing.result(), canceled]
        report = await handle.result()

    assert [CampaignState.PAUSED, CampaignState.CANCELED] == [each.state for each in answers]
    assert (0, CampaignState.CANCELED) == (fake.write_fails, report.state)


async def test_what_was_decided_elsewhere_is_heeded(world: TimeSkippingEnvironment) -> None:
    """A campaign that the database says was canceled hands nothing more over."""
    fake = FakeCampaign(rows=6, page=2, next_in=_A_WHILE)
    async with campaign(world, fake) as handle:
        await fake.until_dispatched(2)
        fake.state, fake.since = CampaignState.CANCELED, fake.since + timedelta(days=3650)
        report = await handle.result()

    assert ([1, 2], CampaignState.CANCELED) == (fake.dispatched, report.state)


async def test_started_again_it_says_what_became_of_it(world: TimeSkippingEnvironment) -> None:
    """A campaign that has finished is not dispatched again."""
    fake = FakeCampaign(state=CampaignState.FINISHED)
    async with campaign(world, fake) as handle:
        report = await handle.result()

    assert ([], CampaignState.FINISHED) == (fake.dispatched, report.state)


async def test_a_list_that_has_forgotten_messages_does_not_hold_it_up(
    world: TimeSkippingEnvironment,
) -> None:
    """When nothing has run for an hour, what the list does not know has ended too."""
    fake = FakeCampaign(missing=1, running=[1])
    async with campaign(world, fake) as handle:
        report = await handle.result()
        began = (await handle.describe()).start_time

    assert CampaignState.FINISHED is report.state
    assert _A_WHILE < report.finished_at - began < 1.5 * _A_WHILE
    assert fake.counts < 20


async def test_a_list_that_lags_behind_ends_no_campaign(world: TimeSkippingEnvironment) -> None:
    """Half an hour of it, and the campaign can still be paused; it ends when the list is right."""
    fake = FakeCampaign(missing=2)
    async with campaign(world, fake) as handle:
        await world.sleep(_A_WHILE / 2)
        looks = fake.counts
        paused = await decide(handle, PAUSE_UPDATE)
        await decide(handle, RESUME_UPDATE)
        fake.missing = 0
        report = await handle.result()

    assert looks > 6
    assert CampaignState.PAUSED is paused.state
    assert CampaignState.FINISHED is report.state


@pytest.mark.parametrize("is_temporals", [False, True])
async def test_one_that_cannot_be_opened_can_be_canceled(
    world: TimeSkippingEnvironment, *, is_temporals: bool
) -> None:
    """Its rows may never be loaded: it does not wait for them, and reports."""
    fake = FakeCampaign(rows=0, state=CampaignState.LOADING, cannot_be_opened=True)
    async with campaign(world, fake) as handle:
        if is_temporals:
            await handle.cancel()
        else:
            assert CampaignState.CANCELED is (await decide(handle, CANCEL_UPDATE)).state
        report = await handle.result()

    assert (CampaignState.CANCELED, 0, 0) == (report.state, report.rows, report.dispatched)
    assert ([], CampaignState.CANCELED) == (fake.dispatched, fake.state)


async def test_one_that_is_not_there_when_it_is_canceled_fails(
    world: TimeSkippingEnvironment,
) -> None:
    """The database was away at first, and then does not know it: the workflow says so and ends."""
    fake = FakeCampaign(rows=None, cannot_be_opened=True)
    async with campaign(world, fake) as handle:
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await decide(handle, CANCEL_UPDATE)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()

    for error in (refused.value, failed.value):
        assert isinstance(error.cause, ActivityError)
        assert isinstance(error.cause.cause, ApplicationError)
        assert NO_SUCH_CAMPAIGN == error.cause.cause.type


async def test_a_campaign_that_is_not_there_fails(world: TimeSkippingEnvironment) -> None:
    """The workflow says so at once, instead of trying for ever."""
    async with campaign(world, FakeCampaign(rows=None)) as handle:
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()

    assert isinstance(failed.value.cause, ActivityError)
    assert isinstance(failed.value.cause.cause, ApplicationError)
    assert NO_SUCH_CAMPAIGN == failed.value.cause.cause.type


async def test_bad_input_fails_at_once(world: TimeSkippingEnvironment) -> None:
    """A start by hand with bad input fails, with every bad field named."""
    fake = FakeCampaign()
    starts: list[tuple[list[Any], str | None]] = [
        ([], None),
        ([1], None),
        ([None], None),
        ([{"after_row": 3}], None),
        ([{}, {}], None),
        ([{}], "campaign:"),
        ([{}], "campaign:not a label"),
        ([{}], "something:else"),
    ]
    async with serving_campaign(world.client, fake) as queue:
        for args, workflow_id in starts:
            handle = await start_campaign(world.client, queue, args=args, workflow_id=workflow_id)
            with pytest.raises(WorkflowFailureError) as failed:
                await handle.result()

            assert isinstance(failed.value.cause, ApplicationError)
            assert INVALID_INPUT == failed.value.cause.type
    assert [] == fake.dispatched


async def test_decisions_that_come_before_its_first_step(temporal_server: TemporalServer) -> None:
    """An update of the first workflow task, without input, waits for the campaign to be known."""
    client = await Client.connect(temporal_server.address, data_converter=data_converter)
    # So many pages that the pause takes effect before the last one.
    fake, absent = FakeCampaign(rows=20, page=1), FakeCampaign(rows=None)
    for each in (fake, absent):
        queue = f"campaign-{uuid.uuid4().hex}"
        # Both in one request, so that the first workflow task brings both.
        start: WithStartWorkflowOperation[Any, CampaignReport] = WithStartWorkflowOperation(
            CAMPAIGN,
            {},
            id=campaign_workflow_id(queue),
            task_queue=queue,
            result_type=CampaignReport,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        )
        pausing = asyncio.create_task(
            client.execute_update_with_start_workflow(PAUSE_UPDATE, start_workflow_operation=start)
        )
        handle = client.get_workflow_handle(campaign_workflow_id(queue), result_type=CampaignReport)
        await _until_exists(handle)
        async with serving_campaign(client, each, queue=queue):
            if each is absent:
                with pytest.raises(WorkflowUpdateFailedError):
                    await pausing
                with pytest.raises(WorkflowFailureError):
                    await handle.result()
                continue
            assert "paused" == (await pausing)["state"]
            assert CampaignState.PAUSED is (await progress(handle)).state
            await decide(handle, RESUME_UPDATE)
            assert CampaignState.FINISHED is (await handle.result()).state


async def _until_exists(handle: Handle) -> None:
    while True:
        try:
            await handle.describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await asyncio.sleep(0.02)
        else:
            return


async def test_decisions_are_served_first_and_pages_last(temporal_server: TemporalServer) -> None:
    """Also where the workflow itself comes before everything: its activities would inherit that."""
    client = await Client.connect(temporal_server.address, data_converter=data_converter)
    async with serving_campaign(client, FakeCampaign()) as queue:
        handle = await start_campaign(client, queue, priority=Priority(priority_key=1))
        await handle.result()
    keys: dict[str, set[int]] = {}
    async for event in handle.fetch_history_events():
        if event.HasField("activity_task_scheduled_event_attributes"):
            scheduled = event.activity_task_scheduled_event_attributes
            name, key = scheduled.activity_type.name, scheduled.priority.priority_key
            keys.setdefault(name, set()).add(key)

    assert {
        "open_campaign": {1},
        "set_campaign_state": {1},
        "dispatch_rows": {5},
        "count_messages": {5},
        "count_outcomes": {5},
    } == keys


async def test_a_decision_at_the_end_of_a_run_holds_in_the_next(
    temporal_server: TemporalServer,
) -> None:
    """It is answered before the run ends, and the next one hands nothing over while it is paused.

    The decision comes in the run's last page, and to write it takes longer than that.
    """
    client = await Client.connect(temporal_server.address, data_converter=data_converter)
    fake = FakeCampaign(rows=103, page=1, silent_after=100, write_fails=2)
    async with serving_campaign(client, fake) as queue:
        handle = await start_campaign(client, queue)
        await fake.until_dispatched(100)
        pausing = asyncio.create_task(decide(handle, PAUSE_UPDATE))
        async with asyncio.timeout(30):
            while fake.write_fails:  # noqa: ASYNC110 - a worker tries to write
                await asyncio.sleep(0.02)
            fake.may_answer.set()
            paused = await pausing
            while (await handle.describe()).run_id == handle.first_execution_run_id:  # noqa: ASYNC110 - Temporal is asked
                await asyncio.sleep(0.05)
        again, dispatched = await decide(handle, PAUSE_UPDATE), len(fake.dispatched)
        await decide(handle, RESUME_UPDATE)
        report = await handle.result()

    assert (CampaignState.PAUSED, 100) == (paused.state, paused.dispatched)
    assert (paused, 100) == (again, dispatched)
    assert list(range(1, 104)) == fake.dispatched
    assert (CampaignState.FINISHED, 103) == (report.state, report.dispatched)


async def progress(handle: Handle) -> CampaignProgress:
    """Where it stands."""
    answer: CampaignProgress = await handle.query(PROGRESS_QUERY, result_type=CampaignProgress)
    return answer
