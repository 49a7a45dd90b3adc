"""An inbound message that came while the database was away."""

from pydantic import ValidationError
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from signedfor.inbound import RECORD_INBOUND, RECORD_INBOUND_WORKFLOW, InboundRecord
    from signedfor.retry import BOOKKEEPING_TIMEOUT, EVERY_FEW_SECONDS


@workflow.defn(name=RECORD_INBOUND_WORKFLOW, failure_exception_types=[ValidationError])
class RecordInbound:
    """Records it as soon as the database is back, and with it a STOP or START."""

    @workflow.run
    async def run(self, record: InboundRecord) -> bool:
        """Whether it was new: the database may have had it after all."""
        new: bool = await workflow.execute_activity(
            RECORD_INBOUND,
            record,
            result_type=bool,
            start_to_close_timeout=BOOKKEEPING_TIMEOUT,
            retry_policy=EVERY_FEW_SECONDS,
            summary="until the database is back",
        )
        return new
