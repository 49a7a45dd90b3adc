"""The campaign workflow: each row is dispatched once; it can be paused, resumed and canceled."""

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
from signedfor.payloads import INVALID_INPUT
from tests.workflows.campaigns import FakeCampaign, serving_campaign, start_campaign
from tests.workflows.fakes import TimeSkippingEnvironment

Handle = WorkflowHandle[Any, CampaignReport]
_AN_HOUR = timedelta(hours=1)


@contextlib.asynccontextmanager
async def campaign(env: TimeSkippingEnvironment, fake: FakeCampaign) -> AsyncIterator[Handle]:
    """A started campaign and its worker."""
    async with serving_campaign(env.client, fake) as queue:
        yield await start_campaign(env.client, queue)


async def decide(handle: Handle, update: str) -> CampaignProgress:
    """Pause, resume or cancel the campaign."""
    progress: CampaignProgress = await handle.execute_update(
        update, {"by": "ops", "reason": "wrong text"}, result_type=CampaignProgress
    )
    return progress


async def test_every_row_is_dispatched_once(env: TimeSkippingEnvironment) -> None:
    """Pages are dispatched in order; the report comes when all messages have ended."""
    fake = FakeCampaign(rows=5, page=2, next_in=timedelta(seconds=15), running=[3, 1])
    async with campaign(env, fake) as handle:
        report = await handle.result()

    assert [1, 2, 3, 4, 5] == fake.dispatched
    assert (CampaignState.FINISHED, 5, 5) == (report.state, report.rows, report.dispatched)
    assert {"delivered": 5} == report.outcomes
    assert (CampaignState.FINISHED, 3) == (fake.state, fake.counts)


async def test_a_long_campaign_continues_as_new(env: TimeSkippingEnvironment) -> None:
    """No row is missed or repeated, and the count of skipped rows is carried over."""
    fake = FakeCampaign(rows=130, page=1, without_message=1)
    async with campaign(env, fake) as handle:
        report = await handle.result()
        first = env.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        ended = (await first.describe()).status

    assert list(range(1, 131)) == fake.dispatched
    assert WorkflowExecutionStatus.CONTINUED_AS_NEW == ended
    assert (130, 0) == (report.rows, report.dispatched)


async def test_a_terminated_campaign_can_be_started_again(env: TimeSkippingEnvironment) -> None:
    """It continues after the last dispatched row: no row is dispatched twice."""
    fake = FakeCampaign(rows=7, page=2, next_in=_AN_HOUR, without_message=1)
    async with serving_campaign(env.client, fake) as queue:
        first = await start_campaign(env.client, queue)
        await fake.until_dispatched(2)
        # While an activity is running, the server would not skip time.
        async with asyncio.timeout(30):
            while (await progress(first)).dispatched < 1:  # noqa: ASYNC110 - a query
                await asyncio.sleep(0.02)
        await first.terminate()
        again = await start_campaign(env.client, queue, workflow_id=first.id)
        report = await again.result()

    assert list(range(1, 8)) == fake.dispatched
    assert (CampaignState.FINISHED, 7, 3) == (report.state, report.rows, report.dispatched)


async def test_a_paused_campaign_dispatches_nothing_until_it_is_resumed(
    env: TimeSkippingEnvironment,
) -> None:
    """The update returns when the state is written; pausing twice changes nothing."""
    fake = FakeCampaign(rows=6, page=2, next_in=_AN_HOUR)
    async with campaign(env, fake) as handle:
        await fake.until_dispatched(2)
        paused = await decide(handle, PAUSE_UPDATE)
        written = fake.state
        await env.sleep(timedelta(days=3))
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
    env: TimeSkippingEnvironment,
) -> None:
    """It dispatches no further row, reports its state as canceled, and cannot be resumed."""
    fake = FakeCampaign(rows=6, page=2, next_in=_AN_HOUR, running=[2] * 400)
    async with campaign(env, fake) as handle:
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
    env: TimeSkippingEnvironment, update: str
) -> None:
    """It is answered at once, and the older state in the page's result does not undo it."""
    fake = FakeCampaign(rows=6, page=2, silent_after=2, missing=1)  # `missing` keeps it open
    async with campaign(env, fake) as handle:
        await fake.until_dispatched(2)
        decided = await decide(handle, update)
        fake.may_answer.set()
        await env.sleep(timedelta(minutes=10))
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


async def test_temporals_own_cancellation_cancels_the_campaign(
    env: TimeSkippingEnvironment,
) -> None:
    """Canceled with the button in the Temporal UI, it still reports."""
    fake = FakeCampaign(rows=6, page=2, next_in=_AN_HOUR, running=[1])
    async with campaign(env, fake) as handle:
        await fake.until_dispatched(2)
        await handle.cancel()
        report = await handle.result()

    assert (CampaignState.CANCELED, 2) == (report.state, report.dispatched)


async def test_a_decision_waits_for_the_database(env: TimeSkippingEnvironment) -> None:
    """A pause is answered only when it is written; decisions are carried out one at a time."""
    fake = FakeCampaign(rows=4, page=2, next_in=_AN_HOUR, write_fails=1)
    async with campaign(env, fake) as handle:
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


async def test_a_campaign_canceled_in_the_database_stops(env: TimeSkippingEnvironment) -> None:
    """It dispatches no further row and reports as canceled."""
    fake = FakeCampaign(rows=6, page=2, next_in=_AN_HOUR)
    async with campaign(env, fake) as handle:
        await fake.until_dispatched(2)
        fake.state, fake.since = CampaignState.CANCELED, fake.since + timedelta(days=3650)
        report = await handle.result()

    assert ([1, 2], CampaignState.CANCELED) == (fake.dispatched, report.state)


async def test_a_finished_campaign_that_is_started_again_only_reports(
    env: TimeSkippingEnvironment,
) -> None:
    """Its rows are not dispatched again."""
    fake = FakeCampaign(state=CampaignState.FINISHED)
    async with campaign(env, fake) as handle:
        report = await handle.result()

    assert ([], CampaignState.FINISHED) == (fake.dispatched, report.state)


async def test_messages_missing_from_visibility_delay_the_end_by_an_hour_at_most(
    env: TimeSkippingEnvironment,
) -> None:
    """When no message has been running for an hour, the missing ones count as ended."""
    fake = FakeCampaign(missing=1, running=[1])
    async with campaign(env, fake) as handle:
        report = await handle.result()
        started = (await handle.describe()).start_time

    assert CampaignState.FINISHED is report.state
    assert _AN_HOUR < report.finished_at - started < 1.5 * _AN_HOUR
    assert fake.counts < 20


async def test_visibility_that_lags_behind_does_not_end_the_campaign(
    env: TimeSkippingEnvironment,
) -> None:
    """After half an hour it can still be paused; it ends when visibility has caught up."""
    fake = FakeCampaign(missing=2)
    async with campaign(env, fake) as handle:
        await env.sleep(_AN_HOUR / 2)
        counts = fake.counts
        paused = await decide(handle, PAUSE_UPDATE)
        await decide(handle, RESUME_UPDATE)
        fake.missing = 0
        report = await handle.result()

    assert counts > 6
    assert CampaignState.PAUSED is paused.state
    assert CampaignState.FINISHED is report.state


@pytest.mark.parametrize("is_temporals", [False, True])
async def test_a_campaign_that_cannot_be_opened_can_be_canceled(
    env: TimeSkippingEnvironment, *, is_temporals: bool
) -> None:
    """Its rows may never be loaded: it reports without waiting for them."""
    fake = FakeCampaign(rows=0, state=CampaignState.LOADING, cannot_be_opened=True)
    async with campaign(env, fake) as handle:
        if is_temporals:
            await handle.cancel()
        else:
            assert CampaignState.CANCELED is (await decide(handle, CANCEL_UPDATE)).state
        report = await handle.result()

    assert (CampaignState.CANCELED, 0, 0) == (report.state, report.rows, report.dispatched)
    assert ([], CampaignState.CANCELED) == (fake.dispatched, fake.state)


async def test_canceling_a_campaign_that_does_not_exist_fails(
    env: TimeSkippingEnvironment,
) -> None:
    """The database was unavailable, then does not have it: update and workflow fail and say so."""
    fake = FakeCampaign(rows=None, cannot_be_opened=True)
    async with campaign(env, fake) as handle:
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await decide(handle, CANCEL_UPDATE)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()

    for error in (refused.value, failed.value):
        assert isinstance(error.cause, ActivityError)
        assert isinstance(error.cause.cause, ApplicationError)
        assert NO_SUCH_CAMPAIGN == error.cause.cause.type


async def test_a_campaign_that_does_not_exist_fails(env: TimeSkippingEnvironment) -> None:
    """The workflow fails at once instead of retrying forever."""
    async with campaign(env, FakeCampaign(rows=None)) as handle:
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()

    assert isinstance(failed.value.cause, ActivityError)
    assert isinstance(failed.value.cause.cause, ApplicationError)
    assert NO_SUCH_CAMPAIGN == failed.value.cause.cause.type


async def test_bad_input_fails_at_once(env: TimeSkippingEnvironment) -> None:
    """A campaign that is started by hand with bad input or a bad id fails as invalid input."""
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
    async with serving_campaign(env.client, fake) as queue:
        for args, workflow_id in starts:
            handle = await start_campaign(env.client, queue, args=args, workflow_id=workflow_id)
            with pytest.raises(WorkflowFailureError) as failed:
                await handle.result()

            assert isinstance(failed.value.cause, ApplicationError)
            assert INVALID_INPUT == failed.value.cause.type
    assert [] == fake.dispatched


async def test_an_update_in_the_first_workflow_task_waits(temporal: Client) -> None:
    """It is answered once the campaign has been opened, or fails if there is none."""
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
            temporal.execute_update_with_start_workflow(
                PAUSE_UPDATE, start_workflow_operation=start
            )
        )
        handle = temporal.get_workflow_handle(
            campaign_workflow_id(queue), result_type=CampaignReport
        )
        await _until_exists(handle)
        async with serving_campaign(temporal, each, queue=queue):
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


async def test_decisions_have_the_highest_priority_and_pages_the_lowest(
    temporal: Client,
) -> None:
    """This holds even if the workflow has a priority of its own, which activities would inherit."""
    async with serving_campaign(temporal, FakeCampaign()) as queue:
        handle = await start_campaign(temporal, queue, priority=Priority(priority_key=1))
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
    temporal: Client,
) -> None:
    """It is answered before the run ends, and the next run dispatches nothing while paused.

    The decision comes during the run's last page, and writing it takes longer than that page.
    """
    fake = FakeCampaign(rows=103, page=1, silent_after=100, write_fails=2)
    async with serving_campaign(temporal, fake) as queue:
        handle = await start_campaign(temporal, queue)
        await fake.until_dispatched(100)
        pausing = asyncio.create_task(decide(handle, PAUSE_UPDATE))
        async with asyncio.timeout(30):
            while fake.write_fails:  # noqa: ASYNC110 - a worker tries to write
                await asyncio.sleep(0.02)
            fake.may_answer.set()
            paused = await pausing
            while (await handle.describe()).run_id == handle.first_execution_run_id:  # noqa: ASYNC110 - a query
                await asyncio.sleep(0.05)
        again, dispatched = await decide(handle, PAUSE_UPDATE), len(fake.dispatched)
        await decide(handle, RESUME_UPDATE)
        report = await handle.result()

    assert (CampaignState.PAUSED, 100) == (paused.state, paused.dispatched)
    assert (paused, 100) == (again, dispatched)
    assert list(range(1, 104)) == fake.dispatched
    assert (CampaignState.FINISHED, 103) == (report.state, report.dispatched)


async def progress(handle: Handle) -> CampaignProgress:
    """The answer of the progress query."""
    answer: CampaignProgress = await handle.query(PROGRESS_QUERY, result_type=CampaignProgress)
    return answer
