"""`signedfor dead-letters`: messages that need a decision, listed, shown, retried or discarded."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final

import typer
from temporalio.client import Client, WorkflowExecution, WorkflowHandle
from temporalio.exceptions import TemporalError
from temporalio.service import RPCError, RPCStatusCode

from signedfor.cli.message_status import (
    advice_rows,
    request_rows,
    retry_documents,
    retry_rows,
)
from signedfor.cli.options import (
    OPTIONS,
    TIMEOUT,
    ByOption,
    JsonOption,
    LimitOption,
    MessageIdArgument,
    Problems,
    QueryOption,
    RevealOption,
    TimeoutOption,
    YesOption,
    checked_message_id,
    checked_model,
    given,
    operator,
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
from signedfor.retries import Continuation, continuation
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
"""Dead letters resolved at a time: few, since the workers have messages to send as well."""

_RETRY_OPTIONS = {**OPTIONS, "message_id": "MESSAGE_ID", "to": "--to"}

_OptionalMessageId = Annotated[str | None, typer.Argument(metavar="MESSAGE_ID", show_default=False)]
_NoteOption = Annotated[
    str | None,
    typer.Option("--note", metavar="TEXT", help="Why, recorded with the dead letter."),
]

app = typer.Typer(
    no_args_is_help=True, help="Messages that need a decision: list, show, retry or discard."
)


@app.command("list")
def list_(
    *,
    query: QueryOption = None,
    include_closed: Annotated[bool, typer.Option("--all", help="Also list closed ones.")] = False,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List the open dead letters, newest first."""
    with command_output(as_json=as_json) as out:
        run(_list(out, query, open_only=not include_closed, limit=limit))


async def _list(out: Output, clause: str | None, *, open_only: bool, limit: int) -> None:
    found = _find(await connect(), clause, open_only=open_only, limit=limit + 1)
    out.listed(
        "dead_letters",
        ("Message", "Status", "Opened", "Sender", "Code", "Meaning"),
        [_listed(execution) async for execution in found],
        limit=limit,
        empty="No open dead letters." if open_only else "No dead letters.",
        more="see --limit and --query",
    )


def _listed(execution: WorkflowExecution) -> tuple[dict[str, Any], Sequence[object]]:
    """A dead letter in the list, for programs and for people: what Temporal holds in clear."""
    attributes = execution.typed_search_attributes
    message_id, opened_at = message_id_of(execution.id), execution.start_time
    status, sender = attributes.get(MESSAGE_STATUS), attributes.get(MESSAGE_SENDER)
    code = attributes.get(TWILIO_ERROR_CODE)
    document = {
        "message_id": message_id,
        "status": status,
        "opened_at": opened_at,
        "sender": sender,
        "tenant": attributes.get(TENANT),
        "message_sid": attributes.get(TWILIO_SID),
        "error_code": code,
    }
    meaning = known.meaning if (known := codes.find(code)) else None
    return document, (message_id, status, clock(opened_at), sender, code, meaning)


@app.command()
def show(
    message_id: MessageIdArgument,
    *,
    reveal: RevealOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to a message, and what to do."""
    with command_output(as_json=as_json) as out:
        run(_show(out, checked_message_id(message_id), reveal=reveal, within=timeout))


async def _show(out: Output, message_id: str, *, reveal: bool, within: float) -> None:
    client = await connect()
    handle = _handle(client, message_id)
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
    went_on = None
    if details.result is not None and details.result.retried_as is not None:
        went_on = await continuation(client, message_id)
    hidden: Any = {"request": {"message": True, "report": {"tags"}, "sender": True}}
    document = details.model_dump(mode="json", exclude=None if reveal else hidden)
    document["retries"] = retry_documents(went_on)
    out.result(document, facts(_rows(details, went_on, reveal=reveal)))


def _rows(
    details: DeadLetterDetails, went_on: Continuation | None, *, reveal: bool
) -> list[tuple[str, object]]:
    report, result = details.request.report, details.result
    rows: list[tuple[str, object]] = [
        ("Message", report.message_id),
        ("Dead letter", details.status),
        ("Outcome", f"{report.outcome} at {clock(report.finished_at)}"),
        ("Reason", report.reason),
        *advice_rows(report.failure_class, report.error_code, reason=report.reason),
        ("Twilio message", report.message_sid),
        ("Attempts", report.attempts),
        ("Opened", clock(details.opened_at)),
        ("Later status", details.late_status),
    ]
    if result is None:
        rows.append(("Held until", clock(details.held_until)))
    else:
        rows += [("Closed by", result.by), ("Note", result.note), *_retries(result, went_on)]
    return rows + (request_rows(details.request.message) if reveal else [])


def _retries(result: DeadLetterReport, went_on: Continuation | None) -> list[tuple[str, object]]:
    """The retries and how they stand; only the first one's id if Temporal has deleted it."""
    return retry_rows(went_on) or [("Retried as", result.retried_as)]


@app.command()
def retry(
    message_id: _OptionalMessageId = None,
    *,
    query: QueryOption = None,
    sender: Annotated[
        str | None, typer.Option("--from", metavar="SENDER", help="Another sender.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="TO", help="Another recipient; with one MESSAGE_ID only."),
    ] = None,
    body: Annotated[
        str | None,
        typer.Option("--body", metavar="TEXT", help="Another text; - reads standard input."),
    ] = None,
    media: Annotated[
        list[str] | None,
        typer.Option("--media", metavar="URL", help="Another attachment; repeatable."),
    ] = None,
    expires_at: Annotated[
        str | None,
        typer.Option("--expires-at", metavar="TIME", help="Another time of expiry, RFC 3339."),
    ] = None,
    note: _NoteOption = None,
    by: ByOption = None,
    yes: YesOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Send the message again, as a new one.

    The options change it. Consent and expiry are checked again. Give one MESSAGE_ID, or --query for
    all open dead letters that match.
    """
    with command_output(as_json=as_json) as out:
        text = text_or_standard_input(out, body)
        fields = given(
            {"from": sender, "to": to, "body": text, "media_urls": media, "expires_at": expires_at}
        )
        problems: Problems = []
        if text is not None and not text.strip():
            problems.append(("--body", "is blank"))
        if to is not None and query is not None:
            problems.append(("--to", "goes with one MESSAGE_ID, not with --query"))
        changes = None
        if fields or problems:
            changes = checked_model(MessageChanges, fields, problems, options=_RETRY_OPTIONS)
        resolution = checked_model(
            Resolution, {"action": "retry", "by": operator(by), "note": note, "changes": changes}
        )
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
    """Close a dead letter without sending anything.

    Give one MESSAGE_ID, or --query for all open dead letters that match.
    """
    with command_output(as_json=as_json) as out:
        resolution = checked_model(
            Resolution, {"action": "discard", "by": operator(by), "note": note}
        )
        raise typer.Exit(_resolve(out, message_id, query, resolution, yes=yes, within=timeout))


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
    raise BadInput([("MESSAGE_ID", "give either one ID, or --query for many")])


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
    reports = [each for each in results.values() if isinstance(each, DeadLetterReport)]
    failed = {name: str(each) for name, each in results.items() if isinstance(each, CommandError)}
    out.result(
        {
            "selected": count,
            "resolved": [report.model_dump(mode="json") for report in reports],
            "failed": [{"message_id": name, "problem": what} for name, what in failed.items()],
        },
        f"{action}: {len(reports)} of {count} dead letters.",
        *failed.values(),
    )
    return ExitCode.UNAVAILABLE if failed else ExitCode.OK


async def _matching(clause: str) -> list[str]:
    found = _find(await connect(), clause, open_only=True)
    return [message_id_of(execution.id) async for execution in found]


async def _resolve_all(
    message_ids: Sequence[str],
    resolution: Resolution,
    *,
    within: float,
    on_progress: Callable[[int], None],
) -> dict[str, DeadLetterReport | CommandError]:
    """Resolve them, several at a time; `on_progress` gets how many are done.

    Returns for each message id the report, or why its dead letter could not be resolved.
    """
    client, free, done = await connect(), asyncio.Semaphore(MAX_CONCURRENT), 0

    async def one(message_id: str) -> DeadLetterReport | CommandError:
        nonlocal done
        result: DeadLetterReport | CommandError
        async with free:
            try:
                result = await resolve(client, message_id, resolution, within=within)
            except CommandError as error:
                result = error
            except (RPCError, TemporalError) as error:
                result = command_error(error)
        done += 1
        on_progress(done)
        return result

    async with asyncio.TaskGroup() as tasks:
        started = {each: tasks.create_task(one(each)) for each in message_ids}
    return {message_id: task.result() for message_id, task in started.items()}


async def resolve(
    client: Client, message_id: str, resolution: Resolution, *, within: float
) -> DeadLetterReport:
    """Resolve one dead letter.

    Raises:
        NotFound: there is none.
        BadInput: the changes do not fit the message.
        Refused: it is already closed, or cannot be resolved like this.
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
) -> AsyncIterator[WorkflowExecution]:
    """The dead letters that match, newest first. A new one appears after about a second.

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
            # A clause may contain an OR and parentheses: the results are checked again.
            if execution.workflow_type == DEAD_LETTER:
                yield execution
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT or clause is None:
            raise
        names = ", ".join(key.name for key in SEARCH_ATTRIBUTES)
        what = (
            "Temporal does not understand it; it must be like TwilioErrorCode = 21408; "
            f"names besides Temporal's own: {names}"
        )
        raise BadInput([("--query", what)]) from None


def _handle(client: Client, message_id: str) -> WorkflowHandle[object, DeadLetterReport]:
    return client.get_workflow_handle(
        dead_letter_workflow_id(message_id), result_type=DeadLetterReport
    )


def _not_found(message_id: str) -> NotFound:
    return NotFound(f"Message {message_id} has no dead letter, or Temporal has deleted it.")
