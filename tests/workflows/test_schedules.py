"""The Temporal schedule of the inbound catch-up, on the real server."""

from datetime import timedelta

import pytest
from temporalio.client import (
    Client,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleOverlapPolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from devtools.stack.temporal_server import TemporalServer
from signedfor.contract import MESSAGES_QUEUE
from signedfor.inbound import CATCH_UP_ID, CATCH_UP_WORKFLOW
from signedfor.payloads import data_converter
from signedfor.schedules import schedule_catch_up

pytestmark = pytest.mark.integration


@pytest.fixture
def client(temporal: Client) -> Client:
    """A client of a namespace in which nothing is scheduled."""
    return temporal


async def _described(client: Client) -> ScheduleDescription | None:
    try:
        return await client.get_schedule_handle(CATCH_UP_ID).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def test_several_workers_set_up_one_schedule(client: Client) -> None:
    """Its runs never overlap."""
    for _ in range(3):
        await schedule_catch_up(client, every=timedelta(minutes=5))

    described = await _described(client)
    assert described is not None
    action, policy = described.schedule.action, described.schedule.policy
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert (CATCH_UP_WORKFLOW, MESSAGES_QUEUE) == (action.workflow, action.task_queue)
    assert action.id.startswith(CATCH_UP_ID)
    assert ScheduleOverlapPolicy.SKIP is policy.overlap
    assert [timedelta(minutes=5)] == [each.every for each in described.schedule.spec.intervals]


async def test_a_new_interval_replaces_the_old_one(client: Client) -> None:
    """A schedule that an operator has paused stays paused."""
    await schedule_catch_up(client, every=timedelta(minutes=5))
    await client.get_schedule_handle(CATCH_UP_ID).pause(note="maintenance")

    await schedule_catch_up(client, every=timedelta(minutes=30))

    described = await _described(client)
    assert described is not None
    assert [timedelta(minutes=30)] == [each.every for each in described.schedule.spec.intervals]
    assert described.schedule.state.paused


async def test_an_interval_of_zero_deletes_the_schedule(client: Client) -> None:
    """It does nothing if there is no schedule."""
    await schedule_catch_up(client, every=timedelta(minutes=5))
    for _ in range(2):
        await schedule_catch_up(client, every=timedelta(0))

    assert await _described(client) is None


async def test_failing_to_set_up_the_schedule_is_logged_and_not_raised(
    temporal_server: TemporalServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker keeps running; the log names the command to run instead."""
    client = await Client.connect(
        temporal_server.address, namespace="missing", data_converter=data_converter, lazy=True
    )

    await schedule_catch_up(client, every=timedelta(minutes=5))

    assert "signedfor opt-outs catch-up" in caplog.text
