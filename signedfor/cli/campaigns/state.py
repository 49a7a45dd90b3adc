"""The state of a campaign: its record in the database, its messages in Temporal's list."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from signedfor.campaign_activities import messages_of
from signedfor.cli.output import BadInput, NotFound
from signedfor.cli.temporal import describe
from signedfor.contract import CampaignReport, CampaignState, Outcome, Stage, campaign_workflow_id
from signedfor.contract.fields import Label
from signedfor.payloads import problems_in
from signedfor.search_attributes import MESSAGE_STATUS
from signedfor.store.campaigns import CampaignRecord, Campaigns

CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN_ID", show_default=False)]

NO_REPORT: Final = "no_report"
"""Messages whose workflow ended without a report: bad input, or terminated."""
_UNSUBMITTED = frozenset({Stage.SENDING, Stage.SCHEDULED, Stage.WAITING, Stage.RETRYING})
_WITHOUT_REPORT = "ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut', 'Canceled')"
_COUNT_TIMEOUT = timedelta(seconds=60)

_label = TypeAdapter(Label)


class WorkflowState(StrEnum):
    """What is known of the campaign's workflow."""

    NOT_STARTED = "not started"
    RUNNING = "running"
    ENDED = "ended"
    BROKEN = "ended without a report"


@dataclass(frozen=True, kw_only=True)
class CampaignStatus:
    """The state of a campaign at a moment."""

    record: CampaignRecord
    workflow: WorkflowState
    counts: dict[str, int]
    """Messages by stage or outcome, without zeros."""
    at: datetime

    @property
    def dispatched(self) -> int:
        """Rows whose message has been started."""
        # A dead letter's retry is a message of the campaign too, but not a row.
        return min(sum(self.counts.values()), self.record.rows)

    @property
    def done(self) -> int:
        """Rows that the sender is done with: submitted, or ended without."""
        return max(self.dispatched - sum(self.counts.get(each, 0) for each in _UNSUBMITTED), 0)

    @property
    def ended(self) -> int:
        """Rows whose message has ended."""
        return sum(self.counts.get(each, 0) for each in (*Outcome, NO_REPORT))

    @property
    def remaining(self) -> int:
        """Rows that the sender is not done with."""
        if self.record.state is CampaignState.CANCELED:
            return 0
        return max(self.record.rows - self.done, 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        is_decided = self.record.state in {CampaignState.CANCELED, CampaignState.FINISHED}
        return is_decided and self.ended >= self.dispatched

    def document(self, *, rate: float | None, left: timedelta | None) -> dict[str, Any]:
        """The campaign for programs."""
        record = self.record
        return {
            "campaign_id": record.campaign_id,
            "state": record.state.value,
            "since": record.since.isoformat(),
            "created_at": record.created_at.isoformat(),
            "workflow": self.workflow.value,
            "rows": record.rows,
            "segments": record.segments,
            "dispatched": self.dispatched,
            "done": self.done,
            "ended": self.ended,
            "messages": self.counts,
            "messages_per_second": None if rate is None else round(rate, 3),
            "seconds_left": None if left is None else round(left.total_seconds()),
        }


def checked_campaign_id(value: str, *, field: str = "CAMPAIGN_ID") -> str:
    """A campaign id; the whole workflow id is accepted too, since the Temporal UI shows that.

    No campaign id may begin like a workflow id, or the two could not be told apart.

    Raises:
        BadInput: it is not a campaign id.
    """
    prefix = campaign_workflow_id("")
    while value.startswith(prefix):
        value = value.removeprefix(prefix)
    try:
        return _label.validate_python(value)
    except ValidationError as error:
        raise BadInput([(field, what) for _, what in problems_in(error)]) from None


def required_record(campaigns: Campaigns, campaign_id: str) -> CampaignRecord:
    """The campaign's record; NotFound when there is none."""
    record = campaigns.find(campaign_id)
    if record is None:
        raise NotFound(
            f"There is no campaign {campaign_id} in the database of DATABASE_URL; "
            "see `signedfor campaign list`."
        )
    return record


def campaign_handle(client: Client, campaign_id: str) -> WorkflowHandle[object, CampaignReport]:
    """The handle of the campaign's workflow, whether or not there is one."""
    return client.get_workflow_handle(campaign_workflow_id(campaign_id), result_type=CampaignReport)


async def fetch_campaign(client: Client, campaigns: Campaigns, campaign_id: str) -> CampaignStatus:
    """The campaign's status now.

    Raises:
        NotFound: there is no such campaign.
        RPCError: Temporal could not be asked.
        DatabaseUnavailable: the database could not.
    """
    record = await asyncio.to_thread(required_record, campaigns, campaign_id)
    workflow, counts = await asyncio.gather(
        fetch_workflow_state(client, campaign_id), _counts(client, campaign_id)
    )
    return CampaignStatus(record=record, workflow=workflow, counts=counts, at=datetime.now(UTC))


async def fetch_workflow_state(client: Client, campaign_id: str) -> WorkflowState:
    """Whether its workflow runs."""
    description = await describe(campaign_handle(client, campaign_id))
    if description is None:
        return WorkflowState.NOT_STARTED
    match description.status:
        case WorkflowExecutionStatus.COMPLETED:
            return WorkflowState.ENDED
        case WorkflowExecutionStatus.RUNNING | WorkflowExecutionStatus.CONTINUED_AS_NEW:
            return WorkflowState.RUNNING
        case _:
            return WorkflowState.BROKEN


async def _counts(client: Client, campaign_id: str) -> dict[str, int]:
    clauses: dict[str, str] = {NO_REPORT: _WITHOUT_REPORT}
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
