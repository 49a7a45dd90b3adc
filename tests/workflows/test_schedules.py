"""The schedule of the catch-up, on the real server."""

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


async def test_is_set_up_once(client: Client) -> None:
    """Any number of workers set up one schedule, which never runs twice at a time."""
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


async def test_follows_the_setting(client: Client) -> None:
    """A new interval replaces the old one; what an operator paused stays paused."""
    await schedule_catch_up(client, every=timedelta(minutes=5))
    await client.get_schedule_handle(CATCH_UP_ID).pause(note="quiet, please")

    await schedule_catch_up(client, every=timedelta(minutes=30))

    described = await _described(client)
    assert described is not None
    assert [timedelta(minutes=30)] == [each.every for each in described.schedule.spec.intervals]
    assert described.schedule.state.paused


async def test_zero_is_never(client: Client) -> None:
    """With zero there is no schedule, whether there was one or not."""
    await schedule_catch_up(client, every=timedelta(minutes=5))
    for _ in range(2):
        await schedule_catch_up(client, every=timedelta(0))

    assert await _described(client) is None


async def test_trouble_is_said_and_not_raised(
    temporal_server: TemporalServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that cannot set it up says so, with what to do, and goes on."""
    elsewhere = await Client.connect(
        temporal_server.address, namespace="not-there", data_converter=data_converter, lazy=True
    )

    await schedule_catch_up(elsewhere, every=timedelta(minutes=5))

    assert "signedfor opt-outs catch-up" in caplog.text
