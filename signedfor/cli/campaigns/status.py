"""`signedfor campaign status` and `list`: how far campaigns are, and what became of them."""

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

from signedfor.cli.campaigns.standing import (
    NO_REPORT,
    CampaignArgument,
    Running,
    Standing,
    ask_standing,
    checked_campaign_id,
    document,
)
from signedfor.cli.environment import campaign_settings, database, database_trouble
from signedfor.cli.options import JsonOption
from signedfor.cli.output import BadInput, Output, answering, facts, listing
from signedfor.cli.temporal import connect, run
from signedfor.cli.views import clock
from signedfor.contract import CampaignState
from signedfor.masks import masked_sender
from signedfor.store.campaigns import CampaignRecord, Campaigns
from signedfor.store.rate_limiter import RateLimiter

_BETWEEN_LOOKS = 2.0
_LOOKING_PART = 5
"""Looking may take one part in so many of the time: a large list is asked less often."""
_WINDOW = timedelta(minutes=1)
_BAR_WIDTH = 40


def status(
    campaign_id: CampaignArgument,
    *,
    watch: Annotated[
        bool | None,
        typer.Option(
            "--watch/--once",
            help="Show it until it is over; Ctrl-C only stops the showing. Default: on a terminal.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far a campaign is, what became of its messages, and how long it will take."""
    with answering(as_json=as_json) as out:
        bare_id = checked_campaign_id(campaign_id)
        if watch and as_json:
            raise BadInput([("--watch", "does not go with --json")])
        live = out.notes.is_terminal and not as_json if watch is None else watch
        settings = campaign_settings()
        with database() as engine, database_trouble():
            pacing = RateLimiter(engine, rates=settings.default_rates)
            watching = _Watching(out, Campaigns(engine), pacing, bare_id)
            run(watching.until_over() if live else watching.once())


def list_(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the campaigns in the database, newest first."""
    with answering(as_json=as_json) as out:
        with database() as engine, database_trouble():
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


class _Watching:
    """Looks at one campaign, once or again and again, and knows how fast it went lately."""

    def __init__(
        self, out: Output, campaigns: Campaigns, pacing: RateLimiter, campaign_id: str
    ) -> None:
        self._out = out
        self._campaigns = campaigns
        self._pacing = pacing
        self._campaign_id = campaign_id
        self._looks: deque[Standing] = deque()

    async def once(self) -> None:
        """Show how it stands."""
        self._result(await self._look(await connect()))

    async def until_over(self) -> None:
        """Show it until nothing more will happen: in place on a terminal, else line by line."""
        client, loop = await connect(), asyncio.get_running_loop()
        with _showing(self._out) as show:
            while True:
                begun = loop.time()
                try:
                    standing = await self._look(client)
                except RPCError:
                    self._out.note("Temporal does not answer; waiting for it")
                else:
                    show(self._picture(standing), self._line(standing))
                    if standing.is_over:
                        break
                took = loop.time() - begun
                await asyncio.sleep(max(_BETWEEN_LOOKS, took * _LOOKING_PART))
        self._result(standing)

    async def _look(self, client: Client) -> Standing:
        standing = await ask_standing(client, self._campaigns, self._campaign_id)
        self._looks.append(standing)
        while standing.asked_at - self._looks[0].asked_at > _WINDOW:
            self._looks.popleft()
        return standing

    def _result(self, standing: Standing) -> None:
        told = document(standing, rate=self._rate(standing), left=self._left(standing))
        self._out.result(told, self._picture(standing))

    def _rate(self, standing: Standing) -> float | None:
        """Messages a second: in the last minute; at a first look, since it was created."""
        if standing.record.state is not CampaignState.RUNNING or not standing.left:
            return None
        first = self._looks[0]
        is_first = first is standing
        since = standing.record.created_at if is_first else first.asked_at
        seconds = (standing.asked_at - since).total_seconds()
        done = standing.done - (0 if is_first else first.done)
        return done / seconds if seconds > 0 else None

    def _left(self, standing: Standing) -> timedelta | None:
        """How long the sender will need: at the pace it goes, or at first at the sender's own."""
        record = standing.record
        if record.state is not CampaignState.RUNNING:
            return None
        rate = self._rate(standing) if len(self._looks) > 1 else None
        if not rate:
            segments_a_row = max(record.segments / max(record.rows, 1), 1)
            rate = self._pacing.rate(record.message.sender) / segments_a_row
        return timedelta(seconds=standing.left / rate)

    def _picture(self, standing: Standing) -> RenderableType:
        record, rate, left = standing.record, self._rate(standing), self._left(standing)
        rows: list[tuple[str, object]] = [
            ("Campaign", record.campaign_id),
            ("State", f"{record.state} since {clock(record.since)}"),
            ("Problem", _problem(standing)),
            ("Rows", f"{standing.done:,} of {record.rows:,} are through"),
            ("Handed over", f"{standing.dispatched:,}"),
            ("Rate", None if rate is None else f"{rate:.3g} messages a second"),
            ("Time left", None if left is None else _length(left)),
        ]
        rows += [(name.replace("_", " "), f"{n:,}") for name, n in standing.counts.items()]
        if not self._out.notes.is_terminal:
            return facts(rows)
        bar = Table.grid()
        bar.add_row(
            ProgressBar(total=max(record.rows, 1), completed=standing.done, width=_BAR_WIDTH)
        )
        return Group(bar, facts(rows))

    def _line(self, standing: Standing) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in standing.counts.items())
        left = self._left(standing)
        return (
            f"{standing.record.state}: {standing.done} of {standing.record.rows}"
            + (f" ({counts})" if counts else "")
            + (f", {_length(left)} left" if left else "")
        )


def _problem(standing: Standing) -> str | None:
    again = "run `campaign start` with the same file and options again"
    state = standing.record.state
    if state is CampaignState.LOADING:
        return f"its rows are not loaded, and nothing is sent; {again}"
    if state in {CampaignState.RUNNING, CampaignState.PAUSED}:
        if standing.workflow is Running.NEVER:
            return f"its workflow was not started; {again}"
        if standing.workflow is Running.BROKEN:
            return f"its workflow ended without a report; see the Temporal UI, then {again}"
    if lost := standing.counts.get(NO_REPORT):
        return f"{lost} messages ended without a report; see them in the Temporal UI"
    return None


def _length(length: timedelta) -> str:
    return str(timedelta(seconds=round(length.total_seconds())))


@contextmanager
def _showing(out: Output) -> Iterator[Callable[[RenderableType, str], None]]:
    """A way to show a picture in place on a terminal, or else each new line once."""
    if out.notes.is_terminal:
        with Live(console=out.notes, auto_refresh=False, transient=True) as live:
            yield lambda picture, _: live.update(picture, refresh=True)
        return
    said = [""]

    def show(_: RenderableType, line: str) -> None:
        if line != said[-1]:
            said[:] = [line]
            out.note(line)

    yield show
