"""`signedfor dead-letters`: the messages that could not be settled by themselves."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from signedfor.cli import decisions
from signedfor.cli.letters import LetterRow, find_letters, read_letter
from signedfor.cli.options import (
    TIMEOUT,
    JsonOption,
    MessageIdArgument,
    QueryOption,
    RevealOption,
    TimeoutOption,
    checked_message_id,
)
from signedfor.cli.output import Output, answering, facts, listing
from signedfor.cli.temporal import connect, run
from signedfor.cli.views import advice_rows, clock, request_rows
from signedfor.contract import DeadLetterDetails
from signedfor.twilio import codes

app = typer.Typer(
    no_args_is_help=True,
    help="Messages that need a decision: list, look, retry or discard.",
)


@app.command("list")
def list_(
    *,
    query: QueryOption = None,
    closed_too: Annotated[bool, typer.Option("--all", help="Closed ones as well.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the dead letters that wait for a decision, newest first."""
    with answering(as_json=as_json) as out:
        run(_list(out, query, open_only=not closed_too, limit=limit))


async def _list(out: Output, clause: str | None, *, open_only: bool, limit: int) -> None:
    client = await connect()
    found = find_letters(client, clause, open_only=open_only, limit=limit + 1)
    rows = [row async for row in found]
    more = len(rows) > limit
    rows = rows[:limit]
    human: list[Table | str] = [_table(rows)] if rows else ["No dead letters."]
    if more:
        human.append(f"There are more than {limit}; see --limit and --query.")
    out.result(
        {
            "dead_letters": [
                {**asdict(row), "opened_at": row.opened_at.isoformat()} for row in rows
            ],
            "more": more,
        },
        *human,
    )


def _table(rows: list[LetterRow]) -> Table:
    return listing(
        ("Message", "Status", "Opened", "Sender", "Code", "Meaning"),
        (
            (
                row.message_id,
                row.status,
                clock(row.opened_at),
                row.sender,
                row.error_code,
                known.meaning if (known := codes.find(row.error_code)) else None,
            )
            for row in rows
        ),
    )


@app.command()
def show(
    message_id: MessageIdArgument,
    *,
    reveal: RevealOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter: what happened, and what to do."""
    with answering(as_json=as_json) as out:
        run(_show(out, checked_message_id(message_id), reveal=reveal, within=timeout))


async def _show(out: Output, message_id: str, *, reveal: bool, within: float) -> None:
    view = await read_letter(await connect(), message_id, within=within)
    hidden: Any = {"request": {"message": True, "report": {"tags"}, "sender": True}}
    document = view.model_dump(mode="json", exclude=None if reveal else hidden)
    out.result(document, facts(_letter_rows(view, reveal=reveal)))


def _letter_rows(view: DeadLetterDetails, *, reveal: bool) -> list[tuple[str, object]]:
    report, closed = view.request.report, view.result
    rows: list[tuple[str, object]] = [
        ("Message", report.message_id),
        ("Dead letter", view.status),
        ("Outcome", f"{report.outcome} at {clock(report.finished_at)}"),
        ("Reason", report.reason),
        *advice_rows(report.failure_class, report.error_code),
        ("Twilio message", report.message_sid),
        ("Attempts", report.attempts),
        ("Opened", clock(view.opened_at)),
        ("Twilio later said", view.late_status),
    ]
    if closed is None:
        rows.append(("Held until", clock(view.held_until)))
    else:
        rows += [("Closed by", closed.by), ("Note", closed.note), ("Retried as", closed.retried_as)]
    return rows + (request_rows(view.request.message) if reveal else [])


app.command()(decisions.retry)
app.command()(decisions.discard)
