"""The workflows that record inbound messages in the database."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import (
    WorkflowExecutionDescription,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

from signedfor.client import CONFLICT_POLICY, REUSE_POLICY
from signedfor.contract import InboundKind
from signedfor.inbound import (
    CATCH_UP_WORKFLOW,
    RECORD_INBOUND_WORKFLOW,
    CatchUp,
    CatchUpResult,
    InboundRecord,
)
from signedfor.interceptors import OneArgument
from tests.workflows.fakes import RECIPIENT, SENDER, sid, skipping_time
from tests.workflows.test_status_view import details
from workflows.inbound import CatchUpInbound, RecordInbound

pytestmark = pytest.mark.integration

AT = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
STOP = InboundRecord(
    message_sid=sid(), from_=RECIPIENT, to=SENDER, kind=InboundKind.STOP, received_at=AT
)
# As the webhook defers it: it does not know when, by a clock that can be trusted.
WITHOUT_TIME = STOP.model_copy(update={"received_at": None})
CAUGHT_UP = CatchUpResult(since=AT, until=AT + timedelta(hours=1), listed=3, inbound=2, new=1)


class _Database:
    """Activities that fail the first `fails` times."""

    def __init__(self, *, fails: int) -> None:
        self.fails = fails
        self.recorded: list[InboundRecord] = []
        self.catch_ups: list[CatchUp] = []
        self.details = ""
        """What the workflow shows in the UI."""

    @activity.defn(name="record_inbound")
    async def record_inbound(self, record: InboundRecord) -> bool:
        self._fail()
        self.recorded.append(record)
        return True

    @activity.defn(name="catch_up_inbound")
    async def catch_up_inbound(self, request: CatchUp) -> CatchUpResult:
        self.catch_ups.append(request)
        self._fail()
        return CAUGHT_UP

    def _fail(self) -> None:
        if self.fails:
            self.fails -= 1
            raise ApplicationError("The database is unavailable.", type="DatabaseUnavailable")


async def _run(
    database: _Database, workflow: str, *args: Any, away: timedelta = timedelta(0)
) -> tuple[WorkflowExecutionDescription, Any]:
    """Start the workflow, and `away` later the worker."""
    queue = uuid.uuid4().hex
    async with skipping_time() as server:
        handle: WorkflowHandle[Any, Any] = await server.client.start_workflow(
            workflow,
            args=args,
            id=queue,
            task_queue=queue,
            id_conflict_policy=CONFLICT_POLICY,
            id_reuse_policy=REUSE_POLICY,
        )
        await asyncio.sleep(away.total_seconds())  # the server skips no time while a task waits
        async with Worker(
            server.client,
            task_queue=queue,
            workflows=[RecordInbound, CatchUpInbound],
            activities=[database.record_inbound, database.catch_up_inbound],
            interceptors=[OneArgument()],
        ):
            try:
                result = await handle.result()
            except WorkflowFailureError as error:
                result = error.cause
            else:
                database.details = await details(handle)
            return await handle.describe(), result


async def test_recording_is_retried_until_the_database_is_available() -> None:
    """The record arrives unchanged."""
    database = _Database(fails=50)

    _, new = await _run(database, RECORD_INBOUND_WORKFLOW, STOP)

    assert (True, [STOP]) == (new, database.recorded)


async def test_a_message_that_waits_says_for_what() -> None:
    """Without the numbers of those who wrote it and got it."""
    database = _Database(fails=1)

    await _run(database, RECORD_INBOUND_WORKFLOW, STOP)

    assert "Waits for the database" in database.details
    assert "signedfor doctor" in database.details
    assert RECIPIENT[1:] not in database.details


async def test_a_deferred_message_has_the_time_at_which_temporal_got_it() -> None:
    """Not that of its recording nor of a worker's return, which may be long after.

    Nor that of the webhook's host. A START that looks younger than it is would cancel a STOP.
    """
    database = _Database(fails=50)

    description, _ = await _run(
        database, RECORD_INBOUND_WORKFLOW, WITHOUT_TIME, away=timedelta(milliseconds=100)
    )

    [record] = database.recorded
    assert record.received_at is not None
    # Temporal's own two records of it differ by their rounding.
    assert abs(record.received_at - description.start_time) < timedelta(milliseconds=10)


async def test_the_catch_up_returns_its_result() -> None:
    """Passing failures are retried."""
    database = _Database(fails=2)

    _, result = await _run(database, CATCH_UP_WORKFLOW, CatchUp(since=AT))

    assert CAUGHT_UP == CatchUpResult.model_validate(result)
    assert [CatchUp(since=AT)] * 3 == database.catch_ups


async def test_a_catch_up_that_keeps_failing_fails() -> None:
    """After a few attempts the workflow fails, which operators see."""
    _, error = await _run(_Database(fails=99), CATCH_UP_WORKFLOW, CatchUp())

    assert isinstance(error, ActivityError)


@pytest.mark.parametrize("workflow", [RECORD_INBOUND_WORKFLOW, CATCH_UP_WORKFLOW])
@pytest.mark.parametrize("args", [[], [1], [{"since": "x", "kind": "x"}], [{}, {}]])
async def test_bad_input_fails_at_once(workflow: str, args: list[Any]) -> None:
    """A workflow that is started by hand with bad input fails instead of retrying forever."""
    _, error = await _run(_Database(fails=0), workflow, *args)

    assert isinstance(error, ApplicationError)
    assert "input_value" not in str(error)
