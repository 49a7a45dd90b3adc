"""Keeps the index of dead letters up to date with Temporal."""

from datetime import UTC, datetime

from sqlalchemy import Engine
from temporalio.client import Client, WorkflowExecution

from signedfor.contract import DEAD_LETTER, OPEN, dead_letter_workflow_id
from signedfor.dead_letters import DeadLetterSummary
from signedfor.store.dead_letter_index import DeadLetterIndex, IndexedDeadLetter
from signedfor.store.tables import dead_letter_index
from signedfor.visibility_follower import VisibilityFollower, storable, storable_code


class DeadLetterIndexer(VisibilityFollower[IndexedDeadLetter]):
    """Brings the index of dead letters in the database of `engine` up to date with Temporal."""

    def __init__(self, temporal: Client, engine: Engine) -> None:
        super().__init__(
            temporal,
            engine,
            DeadLetterIndex(engine),
            workflow_type=DEAD_LETTER,
            id_prefix=dead_letter_workflow_id(""),
            row_of=_row_of,
        )


def _row_of(message_id: str, execution: WorkflowExecution) -> IndexedDeadLetter:
    found, table = DeadLetterSummary.of(execution), dead_letter_index
    is_open = execution.close_time is None and found.status == OPEN
    return IndexedDeadLetter(
        message_id=message_id,
        run_id=execution.run_id,
        started_at=found.opened_at,
        # A decision closes it, though its workflow may end a moment later.
        closed_at=None if is_open else execution.close_time or datetime.now(UTC),
        status=storable(found.status, table, "status") or OPEN,
        failure_class=found.failure_class,
        error_code=storable_code(found.error_code),
        may_have_arrived=found.may_have_arrived,
        sender=storable(found.sender, table, "sender"),
        tenant=storable(found.tenant, table, "tenant"),
        campaign_id=storable(found.campaign_id, table, "campaign_id"),
        message_sid=storable(found.message_sid, table, "message_sid"),
    )
