"""`signedfor campaign status`: the progress and outcomes of a campaign."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.service import RPCError

from signedfor.campaigns.progress import CampaignStatus, checked_campaign_id, fetch_campaign
from signedfor.cli.environment import campaign_settings, database
from signedfor.cli.options import JsonOption
from signedfor.cli.output import BadInput, Output, clock, command_output, facts
from signedfor.cli.temporal import connect, run
from signedfor.store.rate_limiter import RateLimiter

CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN_ID", show_default=False)]

_POLL_INTERVAL = 2.0
_IDLE_FACTOR = 5
"""After each poll, idle this many times as long as it took: a large list is polled less often."""
_BAR_WIDTH = 40


async def fetch(client: Client, engine: Engine, campaign_id: str) -> CampaignStatus:
    """The campaign's status, with the environment's rates of senders."""
    rates = campaign_settings().default_segments_per_second
    return await fetch_campaign(client, engine, RateLimiter(engine, rates=rates), campaign_id)


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
        with database() as engine:
            run((_until_over if live else _once)(out, engine, bare_id))


async def _once(out: Output, engine: Engine, campaign_id: str) -> None:
    """Show its status."""
    _result(out, await fetch(await connect(), engine, campaign_id))


async def _until_over(out: Output, engine: Engine, campaign_id: str) -> None:
    """Show it until nothing more will happen: in place on a terminal, else line by line."""
    client, loop = await connect(), asyncio.get_running_loop()
    with _live_display(out) as show:
        while True:
            began = loop.time()
            try:
                status = await fetch(client, engine, campaign_id)
            except RPCError:
                out.note("Waiting for Temporal, which does not answer")
            else:
                show(_view(out, status), _line(status))
                if status.is_over:
                    break
            took = loop.time() - began
            await asyncio.sleep(max(_POLL_INTERVAL, took * _IDLE_FACTOR))
    _result(out, status)


def _result(out: Output, status: CampaignStatus) -> None:
    out.result(status.document(), _view(out, status))


def _view(out: Output, status: CampaignStatus) -> RenderableType:
    record, rate = status.record, status.rate
    rows: list[tuple[str, object]] = [
        ("Campaign", record.campaign_id),
        ("State", f"{record.state} since {clock(record.since)}"),
        ("Problem", status.problem),
        ("Rows", f"{status.done:,} of {record.rows:,} are done"),
        ("Dispatched", f"{status.dispatched:,}"),
        ("Rate", None if rate is None else f"{rate:.3g} messages per second"),
        ("Time left", _time_left(status)),
    ]
    rows += [(name.replace("_", " "), f"{n:,}") for name, n in status.counts.items()]
    if not out.notes.is_terminal:
        return facts(rows)
    bar = Table.grid()
    bar.add_row(ProgressBar(total=max(record.rows, 1), completed=status.done, width=_BAR_WIDTH))
    return Group(bar, facts(rows))


def _time_left(status: CampaignStatus) -> str | None:
    if not status.left:
        return None
    window = ", plus the hours outside the send window" if status.record.message.send_window else ""
    return _length(status.left) + window


def _line(status: CampaignStatus) -> str:
    counts = ", ".join(f"{n} {name}" for name, n in status.counts.items())
    return (
        f"{status.record.state}: {status.done} of {status.record.rows}"
        + (f" ({counts})" if counts else "")
        + (f", {_length(status.left)} left" if status.left else "")
    )


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
