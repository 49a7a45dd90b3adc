"""Inbound messages that the webhook could not record by itself."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from signedfor import advice
    from signedfor.inbound import (
        CATCH_UP_WORKFLOW,
        RECORD_INBOUND_WORKFLOW,
        CatchUp,
        CatchUpResult,
        InboundActivities,
        InboundRecord,
    )
    from signedfor.retry import BOUNDED_RETRY, DATABASE_TIMEOUT, FREQUENT_RETRY

_CATCH_UP_TIMEOUT = timedelta(minutes=30)
_HEARTBEAT_TIMEOUT = timedelta(minutes=1)
"""A page takes Twilio seconds; the activity heartbeats after each."""


@workflow.defn(name=RECORD_INBOUND_WORKFLOW)
class RecordInbound:
    """Records an inbound message once the database is available, and with it a STOP or START."""

    @workflow.run
    async def run(self, record: InboundRecord) -> bool:
        """Whether it was new: the database may have had it already."""
        if record.received_at is None:
            # Not start_time, the time of the first workflow task: workers may have been away.
            started_at = workflow.info().workflow_start_time
            record = record.model_copy(update={"received_at": started_at})
        workflow.set_current_details(advice.details_of_inbound(workflow.now()))
        return await workflow.execute_activity_method(
            InboundActivities.record_inbound,
            record,
            start_to_close_timeout=DATABASE_TIMEOUT,
            retry_policy=FREQUENT_RETRY,
            summary="waits for the database to record it",
        )


@workflow.defn(name=CATCH_UP_WORKFLOW)
class CatchUpInbound:
    """Records inbound messages that are in Twilio's list and not in the database.

    It fails, visibly, if that cannot be done.
    """

    @workflow.run
    async def run(self, request: CatchUp) -> CatchUpResult:
        """How many messages were recorded."""
        return await workflow.execute_activity_method(
            InboundActivities.catch_up_inbound,
            request,
            start_to_close_timeout=_CATCH_UP_TIMEOUT,
            heartbeat_timeout=_HEARTBEAT_TIMEOUT,
            retry_policy=BOUNDED_RETRY,
            summary="lists Twilio's messages and records what is missing",
        )
