"""`signedfor campaign status` and `list`: the progress and outcomes of campaigns."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from temporalio.client import Client
from temporalio.service import RPCError

from signedfor.cli.campaigns.state import (
    NO_REPORT,
    CampaignArgument,
    CampaignStatus,
    WorkflowState,
    checked_campaign_id,
    fetch_campaign,
)
from signedfor.cli.environment import campaign_settings, database
from signedfor.cli.options import JsonOption
from signedfor.cli.output import BadInput, Output, clock, command_output, facts, listing
from signedfor.cli.temporal import connect, run
from signedfor.contract import CampaignState
from signedfor.masks import masked_sender
from signedfor.store.campaigns import CampaignRecord, Campaigns
from signedfor.store.rate_limiter import RateLimiter

_POLL_INTERVAL = 2.0
_IDLE_FACTOR = 5
"""After each poll, idle this many times as long as it took: a large list is polled less often."""
_RATE_WINDOW = timedelta(minutes=1)
_BAR_WIDTH = 40


def status(
    campaign_id: CampaignArgument,
    *,
    watch: Annotated[
        bool | None,
        typer.Option(
            "--watch/--once",
            help="Show it until it is over; Ctrl-C stops only the display. Default: at a terminal.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the progress of a campaign, its messages by status, and the time left."""
    with command_output(as_json=as_json) as out:
        bare_id = checked_campaign_id(campaign_id)
        if watch and as_json:
            raise BadInput([("--watch", "does not go with --json")])
        live = out.notes.is_terminal and not as_json if watch is None else watch
        settings = campaign_settings()
        with database() as engine:
            limiter = RateLimiter(engine, rates=settings.default_rates)
            poller = _Poller(out, Campaigns(engine), limiter, bare_id)
            run(poller.until_over() if live else poller.once())


def list_(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the campaigns in the database, newest first."""
    with command_output(as_json=as_json) as out:
        with database() as engine:
            records = Campaigns(engine).newest(limit=limit + 1)
        more, records = len(records) > limit, records[:limit]
        out.result(
            {"campaigns": [_listed(record) for record in records], "more": more},
            listing(
                ("Campaign", "State", "Since", "Rows", "Segments", "Sender", "Created"),
                (
                    (
                        record.campaign_id,
                        record.state,
                        clock(record.since),
                        record.rows,
                        record.segments,
                        masked_sender(record.message.sender),
                        clock(record.created_at),
                    )
                    for record in records
                ),
            )
            if records
            else "No campaigns.",
            *([f"There are more than {limit}; see --limit."] if more else []),
        )


def _listed(record: CampaignRecord) -> dict[str, Any]:
    return {
        "campaign_id": record.campaign_id,
        "state": record.state.value,
        "since": record.since.isoformat(),
        "rows": record.rows,
        "segments": record.segments,
        "sender": masked_sender(record.message.sender),
        "created_at": record.created_at.isoformat(),
    }


class _Poller:
    """Polls one campaign, once or repeatedly, and knows its rate of the last minute."""

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
                    self._out.note("Temporal does not answer; waiting for it")
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
        """How long the sender still needs, at the current rate or at first its configured rate."""
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
            ("Time left", None if left is None else _length(left)),
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
