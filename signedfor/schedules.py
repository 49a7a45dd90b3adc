"""What Temporal starts by the clock. Not workflow code: a worker sets it up when it begins."""

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
from signedfor.inbound import BEFORE_MESSAGES, CATCH_UP_ID, CATCH_UP_WORKFLOW, CatchUp

_logger = logging.getLogger("signedfor.schedules")


async def schedule_catch_up(client: Client, *, every: timedelta) -> None:
    """Have inbound messages looked for as often; zero: never.

    Safe to repeat, and from several workers at once: the last one's interval counts. A schedule
    that an operator has paused stays paused. Trouble is logged, not raised: messages must go out
    all the same.
    """
    try:
        if every:
            await _create_or_update(client, _catch_up(every))
        else:
            await _delete(client)
    except RPCError as error:
        _logger.warning(
            "The schedule %s could not be set (%s): inbound messages that Twilio could not hand "
            "over are not looked for. `signedfor opt-outs catch-up` does it once.",
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
            priority=BEFORE_MESSAGES,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.SKIP,
            # Each run looks at everything since the last: one for a whole outage is enough.
            catchup_window=every,
        ),
    )


async def _create_or_update(client: Client, wanted: Schedule) -> None:
    def updated(present: ScheduleUpdateInput) -> ScheduleUpdate:
        # All but its state: what an operator has paused stays paused.
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
