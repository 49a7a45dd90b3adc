"""The progress of a campaign: its rows by outcome, its rate, and how long it still takes.

Nothing is measured from one look to the next: everything is in the database and in Temporal, so the
first answer is as good as a later one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from signedfor.campaigns.counts import count_rows
from signedfor.contract import CampaignReport, CampaignState, Outcome, Stage, campaign_workflow_id
from signedfor.contract.fields import Label, problems_in
from signedfor.errors import BadInput, NotFound
from signedfor.store.campaigns import CampaignRecord, Campaigns
from signedfor.store.message_counts import NO_REPORT, MessageCounts
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import count_recent_attempts
from signedfor.workflow_calls import describe

RATE_WINDOW: Final = timedelta(minutes=1)
"""The rate is that of the POSTs in this time."""
UNSUBMITTED: Final = frozenset({Stage.SENDING, Stage.SCHEDULED, Stage.WAITING, Stage.RETRYING})
"""The stages of a message that still needs its sender's time."""

_COUNT_TIMEOUT = timedelta(seconds=60)
_label = TypeAdapter(Label)


class WorkflowState(StrEnum):
    """What is known of the campaign's workflow."""

    UNKNOWN = "not known"
    """Temporal does not answer, or was not asked."""
    NOT_STARTED = "not started"
    RUNNING = "running"
    ENDED = "ended"
    BROKEN = "ended without a report"


@dataclass(frozen=True, kw_only=True)
class SenderTime:
    """What the campaign's sender still has to do, by the database."""

    rate: float
    """Its segments per second."""
    backlog: timedelta
    """How long what is reserved already takes it."""
    is_paused: bool
    shared_segments: float
    """Segments that it sends, of all its campaigns, until this one has none left."""
    recent: float | None
    """POSTs of this campaign per second, in the last minute; None before it ran for so long."""


_NO_TIME: Final = SenderTime(
    rate=1, backlog=timedelta(), is_paused=False, shared_segments=0, recent=None
)
"""Of the sender of a campaign that does not run: no time is left to show."""


@dataclass(frozen=True, kw_only=True)
class CampaignStatus:
    """The state of a campaign at a moment."""

    record: CampaignRecord
    workflow: WorkflowState
    counts: dict[str, int]
    """Rows by the stage or outcome of their newest message, without zeros."""
    sender: SenderTime
    at: datetime

    @property
    def dispatched(self) -> int:
        """Rows whose message has been started."""
        # Temporal's list lags behind, and forgets what is older than its retention.
        record = self.record
        seen = min(sum(self.counts.values()), record.rows)
        return max(seen, record.last_row - record.skipped)

    @property
    def not_dispatched(self) -> int:
        """Rows whose message has not been started."""
        return max(self.record.rows - self.record.skipped - self.dispatched, 0)

    @property
    def done(self) -> int:
        """Rows that need no more of the sender's time: submitted, or ended before that."""
        return max(self.dispatched - self.unsubmitted, 0)

    @property
    def unsubmitted(self) -> int:
        """Rows whose message has been started and still needs the sender's time."""
        return sum(self.counts.get(each, 0) for each in UNSUBMITTED)

    @property
    def ended(self) -> int:
        """Rows whose message has ended."""
        return sum(self.counts.get(each, 0) for each in (*Outcome, NO_REPORT))

    @property
    def remaining(self) -> int:
        """Rows that still need the sender's time."""
        if self.record.state is CampaignState.CANCELED:
            return 0
        return max(self.record.rows - self.record.skipped - self.done, 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        is_decided = self.record.state in {CampaignState.CANCELED, CampaignState.FINISHED}
        return is_decided and not any(self.counts.get(each) for each in Stage)

    @property
    def rate(self) -> float | None:
        """Messages per second in the last minute; None if none is to be sent now."""
        if self.record.state is not CampaignState.RUNNING or not self.remaining:
            return None
        return self.sender.recent

    @property
    def left(self) -> timedelta | None:
        """How long the sender still needs; None if that is not known.

        By its rate and by what else it has to send; by what was sent in the last minute, if that
        was less. Hours outside a send window come on top.
        """
        sender = self.sender
        if self.record.state is not CampaignState.RUNNING or sender.is_paused:
            return None
        if not self.remaining:
            return timedelta(0)
        planned = sender.backlog.total_seconds() + sender.shared_segments / sender.rate
        if sender.recent and self.at - self.record.since >= RATE_WINDOW:
            planned = max(planned, self.remaining / sender.recent)
        return timedelta(seconds=planned)

    @property
    def problem(self) -> str | None:
        """What stands in its way, and what to do."""
        again = "start it again with the same file and options"
        state = self.record.state
        if state is CampaignState.LOADING:
            return f"its rows are not loaded, and nothing is sent; {again}"
        if state in {CampaignState.RUNNING, CampaignState.PAUSED}:
            if self.workflow is WorkflowState.NOT_STARTED:
                return f"its workflow was not started; {again}"
            if self.workflow is WorkflowState.BROKEN:
                return f"its workflow ended without a report; see the Temporal UI, then {again}"
        if failed := self.counts.get(NO_REPORT):
            return f"{failed} messages ended without a report; see them in the Temporal UI"
        return None

    def document(self) -> dict[str, Any]:
        """The campaign for programs."""
        record, rate, left = self.record, self.rate, self.left
        return {
            "campaign_id": record.campaign_id,
            "state": record.state.value,
            "since": record.since,
            "created_at": record.created_at,
            "workflow": self.workflow.value,
            "rows": record.rows,
            "segments": record.segments,
            "dispatched": self.dispatched,
            "not_dispatched": self.not_dispatched,
            "done": self.done,
            "ended": self.ended,
            "messages": self.counts,
            "messages_per_second": None if rate is None else round(rate, 3),
            "seconds_left": None if left is None else round(left.total_seconds()),
        }


def checked_campaign_id(value: str, *, field: str = "CAMPAIGN_ID") -> str:
    """A campaign id; the whole workflow id is accepted too, since the Temporal UI shows that.

    A campaign id never begins with the prefix of its workflow id, which would be ambiguous.

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
    """The campaign's record; NotFound if there is none."""
    record = campaigns.find(campaign_id)
    if record is None:
        raise NotFound(
            f"There is no campaign {campaign_id} in the database of DATABASE_URL; "
            "see `signedfor campaign list`."
        )
    return record


def campaign_handle(client: Client, campaign_id: str) -> WorkflowHandle[object, CampaignReport]:
    """A handle for the campaign's workflow, which need not exist."""
    return client.get_workflow_handle(campaign_workflow_id(campaign_id), result_type=CampaignReport)


async def fetch_campaign(
    client: Client,
    engine: Engine,
    limiter: RateLimiter,
    campaign_id: str,
) -> CampaignStatus:
    """The campaign's status now, by Temporal.

    Raises:
        NotFound: there is no such campaign.
        RPCError: Temporal did not answer.
        DatabaseUnavailable: the database did not.
    """
    record, sender = await asyncio.to_thread(_read, engine, limiter, campaign_id)
    workflow, counts = await asyncio.gather(
        fetch_workflow_state(client, campaign_id),
        count_rows(client, campaign_id, rpc_timeout=_COUNT_TIMEOUT),
    )
    return CampaignStatus(
        record=record,
        workflow=workflow,
        counts=dict(counts),
        sender=sender,
        at=datetime.now(UTC),
    )


def indexed_campaigns(
    engine: Engine,
    limiter: RateLimiter,
    records: Sequence[CampaignRecord],
    *,
    workflow: WorkflowState = WorkflowState.UNKNOWN,
) -> list[CampaignStatus]:
    """Their status by the message index, which is some seconds behind Temporal.

    Raises:
        DatabaseUnavailable: the database did not answer.
    """
    counts = MessageCounts(engine).by_campaign([each.campaign_id for each in records])
    now = datetime.now(UTC)
    return [
        CampaignStatus(
            record=record,
            workflow=workflow,
            counts=counts[record.campaign_id],
            sender=sender_time(engine, limiter, record)
            if record.state is CampaignState.RUNNING
            else _NO_TIME,
            at=now,
        )
        for record in records
    ]


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


def _read(
    engine: Engine, limiter: RateLimiter, campaign_id: str
) -> tuple[CampaignRecord, SenderTime]:
    record = required_record(Campaigns(engine), campaign_id)
    return record, sender_time(engine, limiter, record)


def sender_time(engine: Engine, limiter: RateLimiter, record: CampaignRecord) -> SenderTime:
    """What the campaign's sender has to do, and what it did in the last minute."""
    sender = record.message.sender
    own = _undispatched_segments(record)
    # Campaigns of one sender share its time about equally, so each takes as much as this one, if it
    # has as much.
    shared = own + sum(
        min(own, _undispatched_segments(each))
        for each in Campaigns(engine).running()
        if each.message.sender == sender and each.campaign_id != record.campaign_id
    )
    span = min(RATE_WINDOW, datetime.now(UTC) - record.created_at)
    attempts = count_recent_attempts(engine, f"{record.campaign_id}:", within=span)
    return SenderTime(
        rate=limiter.rate(sender),
        backlog=limiter.backlog(sender),
        is_paused=limiter.is_paused(sender),
        shared_segments=shared,
        recent=attempts / span.total_seconds() if span > timedelta(0) else None,
    )


def _undispatched_segments(record: CampaignRecord) -> float:
    """The segments of the rows whose message has not been started, as far as rows are alike."""
    return record.segments * (record.rows - record.last_row) / max(record.rows, 1)
