"""Looks for inbound messages that Twilio could not hand over."""

from datetime import timedelta

from pydantic import ValidationError
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from signedfor.inbound import CATCH_UP_INBOUND, CATCH_UP_WORKFLOW, CatchUp, CaughtUp
    from signedfor.retry import A_FEW_TRIES

_TIMEOUT = timedelta(minutes=30)
_SILENCE = timedelta(minutes=1)
"""A page takes Twilio seconds; the activity reports after each."""


@workflow.defn(name=CATCH_UP_WORKFLOW, failure_exception_types=[ValidationError])
class CatchUpInbound:
    """Records what is in Twilio's list and not in ours; fails, visibly, if that cannot be done."""

    @workflow.run
    async def run(self, request: CatchUp) -> CaughtUp:
        """What there was."""
        caught_up: CaughtUp = await workflow.execute_activity(
            CATCH_UP_INBOUND,
            request,
            result_type=CaughtUp,
            start_to_close_timeout=_TIMEOUT,
            heartbeat_timeout=_SILENCE,
            retry_policy=A_FEW_TRIES,
            summary="list Twilio's messages",
        )
        return caught_up
