"""The Temporal Schedule that searches for missed inbound messages; a worker creates it at start."""

import logging
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from signedfor.contract import MESSAGES_QUEUE
from signedfor.inbound import CATCH_UP_ID, CATCH_UP_WORKFLOW, INBOUND_PRIORITY, CatchUp

_logger = logging.getLogger("signedfor.schedules")


async def schedule_catch_up(client: Client, *, every: timedelta) -> None:
    """Create or update the schedule; with an interval of zero, delete it.

    Safe to repeat, also from several workers at once: the last interval counts. A schedule that an
    operator has paused stays paused. A failure is logged, not raised, because messages must be sent
    without it too.
    """
    try:
        if every:
            await _create_or_update(client, _catch_up(every))
        else:
            await _delete(client)
    except RPCError as error:
        _logger.warning(
            "The schedule %s could not be set (%s): inbound messages that did not reach the "
            "webhook are not searched for. `signedfor opt-outs catch-up` does it once.",
            CATCH_UP_ID,
            error.status.name,
        )


def _catch_up(every: timedelta) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            CATCH_UP_WORKFLOW,
            CatchUp(),
            id=CATCH_UP_ID,
            task_queue=MESSAGES_QUEUE,
            priority=INBOUND_PRIORITY,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.SKIP,
            # A run searches from the last one on, so a single run after an outage is enough.
            catchup_window=every,
        ),
    )


async def _create_or_update(client: Client, wanted: Schedule) -> None:
    def updated(present: ScheduleUpdateInput) -> ScheduleUpdate:
        # Keep its state: a schedule that an operator has paused stays paused.
        wanted.state = present.description.schedule.state
        return ScheduleUpdate(schedule=wanted)

    try:
        await client.create_schedule(CATCH_UP_ID, wanted)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(CATCH_UP_ID).update(updated)


async def _delete(client: Client) -> None:
    try:
        await client.get_schedule_handle(CATCH_UP_ID).delete()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
