"""`signedfor dead-letters`: messages that need a decision, listed, shown, retried or discarded."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import typer
from pydantic import ValidationError
from temporalio.client import Client, WorkflowExecution, WorkflowHandle
from temporalio.exceptions import TemporalError
from temporalio.service import RPCError, RPCStatusCode

from signedfor.cli.message_status import advice_rows, request_rows
from signedfor.cli.options import (
    OPTIONS,
    TIMEOUT,
    ByOption,
    JsonOption,
    MessageIdArgument,
    QueryOption,
    RevealOption,
    TimeoutOption,
    YesOption,
    checked_message_id,
    given,
    operator,
    option_problems,
    text_or_standard_input,
)
from signedfor.cli.output import (
    BadInput,
    CommandError,
    ExitCode,
    NotFound,
    Output,
    Refused,
    Unavailable,
    Unconfirmed,
    clock,
    command_output,
    facts,
    listing,
)
from signedfor.cli.temporal import (
    NO_WORKER,
    command_error,
    connect,
    describe,
    is_no_worker,
    is_workflow_missing,
    run,
    update,
)
from signedfor.contract import (
    DEAD_LETTER,
    DETAILS_QUERY,
    OPEN,
    RESOLVE_UPDATE,
    DeadLetterDetails,
    DeadLetterReport,
    MessageChanges,
    Resolution,
    dead_letter_workflow_id,
    message_id_of,
)
from signedfor.contract.fields import problems_in
from signedfor.search_attributes import (
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    SEARCH_ATTRIBUTES,
    TENANT,
    TWILIO_ERROR_CODE,
    TWILIO_SID,
)
from signedfor.twilio import codes

MAX_CONCURRENT: Final = 8
"""Dead letters resolved at a time: quick, and leaves most of the workers to messages."""

_RETRY_OPTIONS = {**OPTIONS, "message_id": "MESSAGE_ID", "to": "--to"}

_OptionalMessageId = Annotated[
    str | None, typer.Argument(metavar="[MESSAGE_ID]", show_default=False)
]
_NoteOption = Annotated[
    str | None, typer.Option("--note", help="Why, recorded with the dead letter.")
]

app = typer.Typer(no_args_is_help=True)


@dataclass(frozen=True, kw_only=True)
class DeadLetterRow:
    """A dead letter in the list: only what Temporal may hold in clear."""

    message_id: str
    status: str | None
    opened_at: datetime
    sender: str | None
    tenant: str | None
    message_sid: str | None
    error_code: int | None


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The result for one dead letter: its report, or why it could not be resolved."""

    message_id: str
    report: DeadLetterReport | None = None
    error: CommandError | None = None


@app.command("list")
def list_(
    *,
    query: QueryOption = None,
    include_closed: Annotated[bool, typer.Option("--all", help="Closed ones as well.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the dead letters that wait for a decision, newest first."""
    with command_output(as_json=as_json) as out:
        run(_list(out, query, open_only=not include_closed, limit=limit))


async def _list(out: Output, clause: str | None, *, open_only: bool, limit: int) -> None:
    found = _find(await connect(), clause, open_only=open_only, limit=limit + 1)
    rows = [row async for row in found]
    more, rows = len(rows) > limit, rows[:limit]
    table = listing(
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
    hint = [f"There are more than {limit}; see --limit and --query."] if more else []
    out.result(
        {
            "dead_letters": [
                {**asdict(row), "opened_at": row.opened_at.isoformat()} for row in rows
            ],
            "more": more,
        },
        table if rows else "No dead letters.",
        *hint,
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
    with command_output(as_json=as_json) as out:
        run(_show(out, checked_message_id(message_id), reveal=reveal, within=timeout))


async def _show(out: Output, message_id: str, *, reveal: bool, within: float) -> None:
    handle = _handle(await connect(), message_id)
    try:
        details: DeadLetterDetails = await handle.query(
            DETAILS_QUERY, result_type=DeadLetterDetails, rpc_timeout=timedelta(seconds=within)
        )
    except RPCError as error:
        if is_no_worker(error):
            raise Unavailable(NO_WORKER) from None
        if is_workflow_missing(error):
            raise _not_found(message_id) from None
        raise
    hidden: Any = {"request": {"message": True, "report": {"tags"}, "sender": True}}
    document = details.model_dump(mode="json", exclude=None if reveal else hidden)
    out.result(document, facts(_rows(details, reveal=reveal)))


def _rows(details: DeadLetterDetails, *, reveal: bool) -> list[tuple[str, object]]:
    report, result = details.request.report, details.result
    rows: list[tuple[str, object]] = [
        ("Message", report.message_id),
        ("Dead letter", details.status),
        ("Outcome", f"{report.outcome} at {clock(report.finished_at)}"),
        ("Reason", report.reason),
        *advice_rows(report.failure_class, report.error_code),
        ("Twilio message", report.message_sid),
        ("Attempts", report.attempts),
        ("Opened", clock(details.opened_at)),
        ("Later status", details.late_status),
    ]
    if result is None:
        rows.append(("Held until", clock(details.held_until)))
    else:
        rows += [("Closed by", result.by), ("Note", result.note), ("Retried as", result.retried_as)]
    return rows + (request_rows(details.request.message) if reveal else [])


@app.command()
def retry(
    message_id: _OptionalMessageId = None,
    *,
    query: QueryOption = None,
    sender: Annotated[str | None, typer.Option("--from", help="Another sender.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Another recipient; with one MESSAGE_ID only.")
    ] = None,
    body: Annotated[
        str | None, typer.Option("--body", help="Another text; - reads standard input.")
    ] = None,
    media: Annotated[list[str] | None, typer.Option("--media", help="Other media URLs.")] = None,
    expires_at: Annotated[
        str | None, typer.Option("--expires-at", help="Another expiry, RFC 3339 with a zone.")
    ] = None,
    note: _NoteOption = None,
    by: ByOption = None,
    yes: YesOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Send the message again as a new one, with changes or unchanged.

    Consent and expiry are checked again. Give one MESSAGE_ID, or --query for all open dead letters
    that match: `--query "TwilioErrorCode = 21408"`.
    """
    with command_output(as_json=as_json) as out:
        text = text_or_standard_input(out, body)
        changes = given(
            {"from": sender, "to": to, "body": text, "media_urls": media, "expires_at": expires_at}
        )
        problems = []
        if text is not None and not text.strip():
            problems.append(("--body", "is blank"))
        if to is not None and query is not None:
            problems.append(("--to", "goes with one MESSAGE_ID, not with --query"))
        resolution = _resolution("retry", note, by, changes=changes or None, problems=problems)
        raise typer.Exit(_resolve(out, message_id, query, resolution, yes=yes, within=timeout))


@app.command()
def discard(
    message_id: _OptionalMessageId = None,
    *,
    query: QueryOption = None,
    note: _NoteOption = None,
    by: ByOption = None,
    yes: YesOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Close a dead letter without sending anything. Give one MESSAGE_ID, or --query for many."""
    with command_output(as_json=as_json) as out:
        resolution = _resolution("discard", note, by)
        raise typer.Exit(_resolve(out, message_id, query, resolution, yes=yes, within=timeout))


def _resolution(
    action: Literal["retry", "discard"],
    note: str | None,
    by: str | None,
    *,
    changes: dict[str, Any] | None = None,
    problems: Sequence[tuple[str, str]] = (),
) -> Resolution:
    fields: dict[str, Any] = {"action": action, "by": operator(by), "note": note}
    try:
        if changes is not None:
            fields["changes"] = MessageChanges.model_validate(changes)
        resolution = Resolution.model_validate(fields)
    except ValidationError as error:
        found = option_problems(problems_in(error), _RETRY_OPTIONS)
        raise BadInput([*found, *problems]) from None
    if problems:
        raise BadInput(problems)
    return resolution


def _resolve(
    out: Output,
    message_id: str | None,
    query: str | None,
    resolution: Resolution,
    *,
    yes: bool,
    within: float,
) -> ExitCode:
    if message_id is not None and query is None:
        return run(_resolve_one(out, checked_message_id(message_id), resolution, within=within))
    if query is not None and message_id is None:
        return _resolve_many(out, query, resolution, yes=yes, within=within)
    raise BadInput([("MESSAGE_ID", "give either one id, or --query for many")])


async def _resolve_one(
    out: Output, message_id: str, resolution: Resolution, *, within: float
) -> ExitCode:
    report = await resolve(await connect(), message_id, resolution, within=within)
    new = report.retried_as
    out.result(
        report.model_dump(mode="json"),
        f"The dead letter of {message_id} is {report.outcome}."
        if new is None
        else f"Retried as message {new}; see `signedfor show {new}`.",
    )
    return ExitCode.OK


def _resolve_many(
    out: Output, clause: str, resolution: Resolution, *, yes: bool, within: float
) -> ExitCode:
    # What is confirmed is what is done, even if others match by then.
    message_ids = run(_matching(clause))
    count, action = len(message_ids), resolution.action
    if message_ids and not yes:
        what = f"{action} {count} dead letter{'s' if count > 1 else ''}"
        out.confirm(f"This will {what}.", what=what)
    with out.progress_bar(action, total=count) as on_progress:
        results = run(_resolve_all(message_ids, resolution, within=within, on_progress=on_progress))
    failed = [each for each in results if each.error is not None]
    reports = [each.report for each in results if each.report is not None]
    out.result(
        {
            "selected": count,
            "resolved": [report.model_dump(mode="json") for report in reports],
            "failed": [
                {"message_id": each.message_id, "problem": str(each.error)} for each in failed
            ],
        },
        f"{action}: {len(reports)} of {count} dead letters.",
        *(str(each.error) for each in failed),
    )
    return ExitCode.UNAVAILABLE if failed else ExitCode.OK


async def _matching(clause: str) -> list[str]:
    found = _find(await connect(), clause, open_only=True)
    return [row.message_id async for row in found]


async def _resolve_all(
    message_ids: Sequence[str],
    resolution: Resolution,
    *,
    within: float,
    on_progress: Callable[[int], None],
) -> list[Resolved]:
    """Resolve them, several at a time; `on_progress` gets how many are done."""
    client, free, done = await connect(), asyncio.Semaphore(MAX_CONCURRENT), 0

    async def one(message_id: str) -> Resolved:
        nonlocal done
        async with free:
            try:
                report = await resolve(client, message_id, resolution, within=within)
                resolved = Resolved(message_id=message_id, report=report)
            except CommandError as error:
                resolved = Resolved(message_id=message_id, error=error)
            except (RPCError, TemporalError) as error:
                resolved = Resolved(message_id=message_id, error=command_error(error))
        done += 1
        on_progress(done)
        return resolved

    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(one(message_id)) for message_id in message_ids]
    return [task.result() for task in started]


async def resolve(
    client: Client, message_id: str, resolution: Resolution, *, within: float
) -> DeadLetterReport:
    """Resolve one dead letter.

    Raises:
        NotFound: there is none.
        BadInput: the changes do not fit the message.
        Refused: it is already closed, or cannot be resolved so.
        Unconfirmed: no worker answered within `within` seconds.
    """
    handle = _handle(client, message_id)
    try:
        report = await update(
            handle,
            RESOLVE_UPDATE,
            resolution,
            DeadLetterReport,
            within=within,
            options=_RETRY_OPTIONS,
        )
    except TimeoutError:
        raise Unconfirmed(
            f"It is not known whether the dead letter of {message_id} was resolved: no worker "
            f"answered within {within:g} seconds. See `signedfor dead-letters show {message_id}`."
        ) from None
    if report is not None:
        return report
    if await describe(handle) is None:
        raise _not_found(message_id)
    raise Refused(f"The dead letter of {message_id} is already closed.")


async def _find(
    client: Client, clause: str | None, *, open_only: bool, limit: int | None = None
) -> AsyncIterator[DeadLetterRow]:
    """The dead letters that match, newest first. A new one can be found only after a moment.

    Raises:
        BadInput: Temporal does not understand `clause`.
    """
    parts = [f"WorkflowType='{DEAD_LETTER}'"]
    if open_only:
        parts.append(f"{MESSAGE_STATUS.name}='{OPEN}' AND ExecutionStatus='Running'")
    if clause is not None:
        parts.append(f"({clause})")
    try:
        async for execution in client.list_workflows(" AND ".join(parts), limit=limit):
            # A clause may hold an OR and brackets of its own: the results are checked again.
            if execution.workflow_type == DEAD_LETTER:
                yield _row(execution)
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT or clause is None:
            raise
        names = ", ".join(key.name for key in SEARCH_ATTRIBUTES)
        what = (
            "Temporal does not understand it; it must be like TwilioErrorCode = 21408; "
            f"names besides Temporal's own: {names}"
        )
        raise BadInput([("--query", what)]) from None


def _row(execution: WorkflowExecution) -> DeadLetterRow:
    attributes = execution.typed_search_attributes
    return DeadLetterRow(
        message_id=message_id_of(execution.id),
        status=attributes.get(MESSAGE_STATUS),
        opened_at=execution.start_time,
        sender=attributes.get(MESSAGE_SENDER),
        tenant=attributes.get(TENANT),
        message_sid=attributes.get(TWILIO_SID),
        error_code=attributes.get(TWILIO_ERROR_CODE),
    )


def _handle(client: Client, message_id: str) -> WorkflowHandle[object, DeadLetterReport]:
    return client.get_workflow_handle(
        dead_letter_workflow_id(message_id), result_type=DeadLetterReport
    )


def _not_found(message_id: str) -> NotFound:
    return NotFound(f"Message {message_id} has no dead letter, or no longer.")
