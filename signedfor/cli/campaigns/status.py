"""`signedfor campaign status` and `list`: the progress and outcomes of campaigns."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from signedfor.campaign_activities import messages_of
from signedfor.cli.environment import campaign_settings, database
from signedfor.cli.options import JsonOption, LimitOption, checked_value
from signedfor.cli.output import BadInput, NotFound, Output, clock, command_output, facts
from signedfor.cli.temporal import connect, describe, run
from signedfor.contract import CampaignReport, CampaignState, Outcome, Stage, campaign_workflow_id
from signedfor.contract.fields import Label
from signedfor.masks import masked_sender
from signedfor.search_attributes import MESSAGE_STATUS
from signedfor.store.campaigns import CampaignRecord, Campaigns
from signedfor.store.rate_limiter import RateLimiter

CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN_ID", show_default=False)]

NO_REPORT: Final = "no_report"
"""Messages whose workflow ended without a report: bad input, or terminated."""
_UNSUBMITTED = frozenset({Stage.SENDING, Stage.SCHEDULED, Stage.WAITING, Stage.RETRYING})
_WITHOUT_REPORT = "ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut', 'Canceled')"
_COUNT_TIMEOUT = timedelta(seconds=60)

_label = TypeAdapter(Label)
_POLL_INTERVAL = 2.0
_IDLE_FACTOR = 5
"""After each poll, idle this many times as long as it took: a large list is polled less often."""
_RATE_WINDOW = timedelta(minutes=1)
_BAR_WIDTH = 40


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
        """Rows that need no more of the sender's time: submitted, or ended before that."""
        return max(self.dispatched - sum(self.counts.get(each, 0) for each in _UNSUBMITTED), 0)

    @property
    def ended(self) -> int:
        """Rows whose message has ended."""
        return sum(self.counts.get(each, 0) for each in (*Outcome, NO_REPORT))

    @property
    def remaining(self) -> int:
        """Rows that still need the sender's time."""
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

    A campaign id never begins with the prefix of its workflow id, which would be ambiguous.

    Raises:
        BadInput: it is not a campaign id.
    """
    prefix = campaign_workflow_id("")
    while value.startswith(prefix):
        value = value.removeprefix(prefix)
    return checked_value(_label, value, field=field)


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


async def fetch_campaign(client: Client, campaigns: Campaigns, campaign_id: str) -> CampaignStatus:
    """The campaign's status now.

    Raises:
        NotFound: there is no such campaign.
        RPCError: Temporal did not answer.
        DatabaseUnavailable: the database did not.
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


def status(
    campaign_id: CampaignArgument,
    *,
    watch: Annotated[
        bool | None,
        typer.Option(
            "--watch/--once",
            help="Update until it is over. Default: --watch at a terminal. Ctrl-C ends only the "
            "display.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the progress of a campaign.

    Shows its messages by status, its rate and the time left.
    """
    with command_output(as_json=as_json) as out:
        bare_id = checked_campaign_id(campaign_id)
        if watch and as_json:
            raise BadInput([("--watch", "does not go with --json")])
        live = out.notes.is_terminal and not as_json if watch is None else watch
        settings = campaign_settings()
        with database() as engine:
            limiter = RateLimiter(engine, rates=settings.default_segments_per_second)
            poller = _Poller(out, Campaigns(engine), limiter, bare_id)
            run(poller.until_over() if live else poller.once())


def list_(
    *,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List the campaigns in the database, newest first."""
    with command_output(as_json=as_json) as out:
        with database() as engine:
            records = Campaigns(engine).newest(limit=limit + 1)
        columns = ("Campaign", "State", "Since", "Rows", "Segments", "Sender", "Created")
        out.listed(
            "campaigns", columns, list(map(_listed, records)), limit=limit, empty="No campaigns."
        )


def _listed(record: CampaignRecord) -> tuple[dict[str, Any], Sequence[object]]:
    """A campaign in the list, for programs and for people."""
    sender = masked_sender(record.message.sender)
    document = {
        "campaign_id": record.campaign_id,
        "state": record.state.value,
        "since": record.since.isoformat(),
        "rows": record.rows,
        "segments": record.segments,
        "sender": sender,
        "created_at": record.created_at.isoformat(),
    }
    since, created = clock(record.since), clock(record.created_at)
    row = (record.campaign_id, record.state, since, record.rows, record.segments, sender, created)
    return document, row


class _Poller:
    """Polls one campaign, once or repeatedly, and computes its rate in the last minute."""

    def __init__(
        self, out: Output, campaigns: Campaigns, limiter: RateLimiter, campaign_id: str
    ) -> None:
        self._out = out
        self._campaigns = campaigns
        self._limiter = limiter
        self._campaign_id = campaign_id
        self._polls: deque[CampaignStatus] = deque()

    async def once(self) -> None:
        """Show its status."""
        self._result(await self._poll(await connect()))

    async def until_over(self) -> None:
        """Show it until nothing more will happen: in place on a terminal, else line by line."""
        client, loop = await connect(), asyncio.get_running_loop()
        with _live_display(self._out) as show:
            while True:
                began = loop.time()
                try:
                    status = await self._poll(client)
                except RPCError:
                    self._out.note("Waiting for Temporal, which does not answer")
                else:
                    show(self._view(status), self._line(status))
                    if status.is_over:
                        break
                took = loop.time() - began
                await asyncio.sleep(max(_POLL_INTERVAL, took * _IDLE_FACTOR))
        self._result(status)

    async def _poll(self, client: Client) -> CampaignStatus:
        status = await fetch_campaign(client, self._campaigns, self._campaign_id)
        self._polls.append(status)
        while status.at - self._polls[0].at > _RATE_WINDOW:
            self._polls.popleft()
        return status

    def _result(self, status: CampaignStatus) -> None:
        document = status.document(rate=self._rate(status), left=self._left(status))
        self._out.result(document, self._view(status))

    def _rate(self, status: CampaignStatus) -> float | None:
        """Messages per second: in the last minute; at the first poll, since it was created."""
        if status.record.state is not CampaignState.RUNNING or not status.remaining:
            return None
        first = self._polls[0]
        is_first = first is status
        since = status.record.created_at if is_first else first.at
        seconds = (status.at - since).total_seconds()
        done = status.done - (0 if is_first else first.done)
        return done / seconds if seconds > 0 else None

    def _left(self, status: CampaignStatus) -> timedelta | None:
        """How long the sender still needs, first by its configured rate, then its current one."""
        record = status.record
        if record.state is not CampaignState.RUNNING:
            return None
        rate = self._rate(status) if len(self._polls) > 1 else None
        if not rate:
            segments_per_row = max(record.segments / max(record.rows, 1), 1)
            rate = self._limiter.rate(record.message.sender) / segments_per_row
        return timedelta(seconds=status.remaining / rate)

    def _view(self, status: CampaignStatus) -> RenderableType:
        record, rate, left = status.record, self._rate(status), self._left(status)
        rows: list[tuple[str, object]] = [
            ("Campaign", record.campaign_id),
            ("State", f"{record.state} since {clock(record.since)}"),
            ("Problem", _problem(status)),
            ("Rows", f"{status.done:,} of {record.rows:,} are done"),
            ("Dispatched", f"{status.dispatched:,}"),
            ("Rate", None if rate is None else f"{rate:.3g} messages per second"),
            ("Time left", _length(left) if left else None),
        ]
        rows += [(name.replace("_", " "), f"{n:,}") for name, n in status.counts.items()]
        if not self._out.notes.is_terminal:
            return facts(rows)
        bar = Table.grid()
        bar.add_row(ProgressBar(total=max(record.rows, 1), completed=status.done, width=_BAR_WIDTH))
        return Group(bar, facts(rows))

    def _line(self, status: CampaignStatus) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in status.counts.items())
        left = self._left(status)
        return (
            f"{status.record.state}: {status.done} of {status.record.rows}"
            + (f" ({counts})" if counts else "")
            + (f", {_length(left)} left" if left else "")
        )


def _problem(status: CampaignStatus) -> str | None:
    again = "run `campaign start` with the same file and options again"
    state = status.record.state
    if state is CampaignState.LOADING:
        return f"its rows are not loaded, and nothing is sent; {again}"
    if state in {CampaignState.RUNNING, CampaignState.PAUSED}:
        if status.workflow is WorkflowState.NOT_STARTED:
            return f"its workflow was not started; {again}"
        if status.workflow is WorkflowState.BROKEN:
            return f"its workflow ended without a report; see the Temporal UI, then {again}"
    if failed := status.counts.get(NO_REPORT):
        return f"{failed} messages ended without a report; see them in the Temporal UI"
    return None


def _length(length: timedelta) -> str:
    return str(timedelta(seconds=round(length.total_seconds())))


@contextmanager
def _live_display(out: Output) -> Iterator[Callable[[RenderableType, str], None]]:
    """Yield a function that shows a view in place on a terminal, else each new line once."""
    if out.notes.is_terminal:
        with Live(console=out.notes, auto_refresh=False, transient=True) as live:
            yield lambda view, _: live.update(view, refresh=True)
        return
    show = out.each_once()
    yield lambda _, line: show(line)
