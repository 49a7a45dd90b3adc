"""Where a campaign stands: its record in the database, its messages in Temporal's list."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from signedfor.campaign_steps import messages_of
from signedfor.cli.output import BadInput, NotFound
from signedfor.cli.temporal import RPC_TIMEOUT, is_namespace_missing
from signedfor.contract import CampaignReport, CampaignState, Outcome, Stage, campaign_workflow_id
from signedfor.contract.fields import Label
from signedfor.payloads import problems_in
from signedfor.search_attributes import MESSAGE_STATUS
from signedfor.store.campaigns import CampaignRecord, Campaigns

CampaignHandle = WorkflowHandle[object, CampaignReport]
CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN_ID", show_default=False)]

NO_REPORT: Final = "no_report"
"""Messages whose workflow ended without a report: refused as bad input, or ended by hand."""
_UNSUBMITTED = frozenset({Stage.SENDING, Stage.SCHEDULED, Stage.WAITING, Stage.RETRYING})
_ENDED_BADLY = "ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut', 'Canceled')"
_COUNT_TIMEOUT = timedelta(seconds=60)

_label = TypeAdapter(Label)


class Running(StrEnum):
    """What is known of the campaign's workflow."""

    NEVER = "not started"
    YES = "running"
    ENDED = "ended"
    BROKEN = "ended without a report"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a campaign stands at a moment."""

    record: CampaignRecord
    workflow: Running
    counts: dict[str, int]
    """Messages by stage or outcome; what there is none of is left out."""
    asked_at: datetime

    @property
    def dispatched(self) -> int:
        """Rows whose message has been started."""
        # A dead letter's retry is a message of the campaign too, and no row.
        return min(sum(self.counts.values()), self.record.rows)

    @property
    def done(self) -> int:
        """Rows that need no more of the sender's time: submitted, or ended without."""
        return max(self.dispatched - sum(self.counts.get(each, 0) for each in _UNSUBMITTED), 0)

    @property
    def ended(self) -> int:
        """Rows whose message has ended."""
        return sum(self.counts.get(each, 0) for each in (*Outcome, NO_REPORT))

    @property
    def left(self) -> int:
        """Rows that still need the sender's time."""
        if self.record.state is CampaignState.CANCELED:
            return 0
        return max(self.record.rows - self.done, 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        is_decided = self.record.state in {CampaignState.CANCELED, CampaignState.FINISHED}
        return is_decided and self.ended >= self.dispatched


def checked_campaign_id(value: str, *, field: str = "CAMPAIGN_ID") -> str:
    """A campaign id; a whole workflow id will do, since that is what the Temporal UI shows.

    None begins like a workflow's id itself, or it could not be told from one.

    Raises:
        BadInput: it is none.
    """
    prefix = campaign_workflow_id("")
    while value.startswith(prefix):
        value = value.removeprefix(prefix)
    try:
        return _label.validate_python(value)
    except ValidationError as error:
        raise BadInput([(field, what) for _, what in problems_in(error)]) from None


def no_such_campaign(campaign_id: str) -> NotFound:
    """The error for an id that the database does not know."""
    return NotFound(
        f"There is no campaign {campaign_id} in the database of DATABASE_URL; "
        "see `signedfor campaign list`."
    )


def known(campaigns: Campaigns, campaign_id: str) -> CampaignRecord:
    """The campaign's record; NotFound when there is none."""
    record = campaigns.find(campaign_id)
    if record is None:
        raise no_such_campaign(campaign_id)
    return record


def campaign_handle(client: Client, campaign_id: str) -> CampaignHandle:
    """The handle of the campaign's workflow, whether there is one or not."""
    return client.get_workflow_handle(campaign_workflow_id(campaign_id), result_type=CampaignReport)


async def ask_standing(client: Client, campaigns: Campaigns, campaign_id: str) -> Standing:
    """Where the campaign stands now.

    Raises:
        NotFound: there is no such campaign.
        RPCError: Temporal could not be asked.
        DatabaseUnavailable: the database could not.
    """
    record = await asyncio.to_thread(known, campaigns, campaign_id)
    workflow, counts = await asyncio.gather(
        ask_running(client, campaign_id), _counts(client, campaign_id)
    )
    return Standing(record=record, workflow=workflow, counts=counts, asked_at=datetime.now(UTC))


async def ask_running(client: Client, campaign_id: str) -> Running:
    """Whether its workflow runs."""
    try:
        handle = campaign_handle(client, campaign_id)
        status = (await handle.describe(rpc_timeout=RPC_TIMEOUT)).status
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND or is_namespace_missing(error):
            raise
        return Running.NEVER
    if status is WorkflowExecutionStatus.COMPLETED:
        return Running.ENDED
    goes_on = {WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW}
    return Running.YES if status in goes_on else Running.BROKEN


async def _counts(client: Client, campaign_id: str) -> dict[str, int]:
    clauses: dict[str, str] = {NO_REPORT: _ENDED_BADLY}
    for stage in Stage:
        clauses[stage] = f"ExecutionStatus='Running' AND {MESSAGE_STATUS.name}='{stage}'"
    for outcome in Outcome:
        clauses[outcome] = f"{MESSAGE_STATUS.name}='{outcome}'"
    counted = await asyncio.gather(
        *(
            client.count_workflows(
                f"{messages_of(campaign_id)} AND {clause}", rpc_timeout=_COUNT_TIMEOUT
            )
            for clause in clauses.values()
        )
    )
    found = zip(clauses, counted, strict=True)
    return {str(name): each.count for name, each in found if each.count}


def document(standing: Standing, *, rate: float | None, left: timedelta | None) -> dict[str, Any]:
    """The campaign for programs."""
    record = standing.record
    return {
        "campaign_id": record.campaign_id,
        "state": record.state.value,
        "since": record.since.isoformat(),
        "created_at": record.created_at.isoformat(),
        "workflow": standing.workflow.value,
        "rows": record.rows,
        "segments": record.segments,
        "dispatched": standing.dispatched,
        "done": standing.done,
        "ended": standing.ended,
        "messages": standing.counts,
        "messages_per_second": None if rate is None else round(rate, 3),
        "seconds_left": None if left is None else round(left.total_seconds()),
    }
