"""`signedfor dead-letters retry` and `discard`: what you decide, for one letter or for many."""

from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.progress import Progress as ProgressBar

from signedfor.cli.asking import confirm
from signedfor.cli.letters import Resolved, find_letters, resolve, resolve_all
from signedfor.cli.options import (
    TIMEOUT,
    ByOption,
    JsonOption,
    QueryOption,
    TimeoutOption,
    checked_message_id,
    given,
    option_problems,
    text_or_standard_input,
    who,
)
from signedfor.cli.output import BadInput, ExitCode, Output, answering
from signedfor.cli.temporal import connect, run
from signedfor.contract import DeadLetterReport, MessageChanges, Resolution

_OPTIONS = {
    "to": "--to",
    "from": "--from",
    "sender": "--from",
    "body": "--body",
    "media_urls": "--media",
    "expires_at": "--expires-at",
    "by": "--by",
    "note": "--note",
}

_OneArgument = Annotated[str | None, typer.Argument(metavar="[MESSAGE_ID]", show_default=False)]
_NoteOption = Annotated[str | None, typer.Option("--note", help="Why, kept with the letter.")]
_YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before many.")]


def retry(
    message_id: _OneArgument = None,
    *,
    query: QueryOption = None,
    sender: Annotated[str | None, typer.Option("--from", help="Another sender.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Another recipient; one letter only.")] = (
        None
    ),
    body: Annotated[
        str | None, typer.Option("--body", help="Another text; - reads standard input.")
    ] = None,
    media: Annotated[list[str] | None, typer.Option("--media", help="Other media URLs.")] = None,
    expires_at: Annotated[
        str | None, typer.Option("--expires-at", help="Another expiry, RFC 3339 with a zone.")
    ] = None,
    note: _NoteOption = None,
    by: ByOption = None,
    yes: _YesOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Send the message again as a new one, with changes or as it was.

    Consent and expiry are checked again. Give one MESSAGE_ID, or --query for all open letters
    that match: `--query "TwilioErrorCode = 21408"`.
    """
    with answering(as_json=as_json) as out:
        text = text_or_standard_input(out, body)
        changes = given(
            {"from": sender, "to": to, "body": text, "media_urls": media, "expires_at": expires_at}
        )
        problems = []
        if text is not None and not text.strip():
            problems.append(("--body", "is blank"))
        if to is not None and query is not None:
            problems.append(("--to", "goes with one MESSAGE_ID, not with --query"))
        resolution = _resolution(
            "retry", note=note, by=by, changes=changes or None, problems=problems
        )
        raise typer.Exit(_decide(out, message_id, query, resolution, yes=yes, within=timeout))


def discard(
    message_id: _OneArgument = None,
    *,
    query: QueryOption = None,
    note: _NoteOption = None,
    by: ByOption = None,
    yes: _YesOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Close a dead letter without sending anything. Give one MESSAGE_ID, or --query for many."""
    with answering(as_json=as_json) as out:
        resolution = _resolution("discard", note=note, by=by, changes=None, problems=[])
        raise typer.Exit(_decide(out, message_id, query, resolution, yes=yes, within=timeout))


def _resolution(
    action: Literal["retry", "discard"],
    *,
    note: str | None,
    by: str | None,
    changes: dict[str, Any] | None,
    problems: list[tuple[str, str]],
) -> Resolution:
    fields: dict[str, Any] = {"action": action, "by": who(by), "note": note}
    try:
        if changes is not None:
            fields["changes"] = MessageChanges.model_validate(changes)
        resolution = Resolution.model_validate(fields)
    except ValidationError as error:
        raise BadInput(option_problems(error, _OPTIONS) + problems) from None
    if problems:
        raise BadInput(problems)
    return resolution


def _decide(
    out: Output,
    message_id: str | None,
    query: str | None,
    resolution: Resolution,
    *,
    yes: bool,
    within: float,
) -> ExitCode:
    if message_id is not None and query is None:
        return run(_decide_one(out, checked_message_id(message_id), resolution, within=within))
    if query is not None and message_id is None:
        return _decide_many(out, query, resolution, yes=yes, within=within)
    raise BadInput([("MESSAGE_ID", "give either one id, or --query for many")])


async def _decide_one(
    out: Output, message_id: str, resolution: Resolution, *, within: float
) -> ExitCode:
    report = await resolve(await connect(), message_id, resolution, within=within)
    out.result(report.model_dump(mode="json"), _said(report))
    return ExitCode.OK


def _decide_many(
    out: Output, clause: str, resolution: Resolution, *, yes: bool, within: float
) -> ExitCode:
    # What is confirmed is what is done, whatever turns up meanwhile.
    message_ids = run(_matching(clause))
    if message_ids and not yes:
        count, action = len(message_ids), resolution.action
        confirm(
            out,
            f"This will {action} {count} dead letter{'s' if count > 1 else ''}.",
            what=f"{action} {count} letters",
        )
    ends = run(_resolve_visibly(out, message_ids, resolution, within=within))
    failed = [end for end in ends if end.error is not None]
    done = [end.report for end in ends if end.report is not None]
    out.result(
        {
            "selected": len(ends),
            "resolved": [report.model_dump(mode="json") for report in done],
            "failed": [{"message_id": end.message_id, "problem": str(end.error)} for end in failed],
        },
        f"{resolution.action}: {len(done)} of {len(ends)} dead letters.",
        *(str(end.error) for end in failed),
    )
    return ExitCode.TROUBLE if failed else ExitCode.OK


async def _matching(clause: str) -> list[str]:
    found = find_letters(await connect(), clause, open_only=True)
    return [row.message_id async for row in found]


async def _resolve_visibly(
    out: Output, message_ids: list[str], resolution: Resolution, *, within: float
) -> list[Resolved]:
    client = await connect()
    with ProgressBar(
        console=out.notes, transient=True, disable=not out.notes.is_terminal
    ) as progress:
        bar = progress.add_task(resolution.action, total=len(message_ids))
        return await resolve_all(
            client,
            message_ids,
            resolution,
            within=within,
            on_each=lambda _: progress.advance(bar),
        )


def _said(report: DeadLetterReport) -> str:
    if report.retried_as is not None:
        return f"Retried as message {report.retried_as}; see `signedfor show {report.retried_as}`."
    return f"The dead letter of {report.message_id} is {report.outcome}."
