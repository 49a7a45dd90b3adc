"""`signedfor dead-letters`: messages that need a decision, listed, shown, retried or discarded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer

from signedfor import dead_letters
from signedfor.cli import dead_letter_jobs
from signedfor.cli.message_status import advice_rows, request_rows, retry_documents, retry_rows
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
    option_problems,
    text_or_standard_input,
)
from signedfor.cli.output import (
    BadInput,
    ExitCode,
    Output,
    Refused,
    clock,
    command_output,
    facts,
    listing,
)
from signedfor.cli.temporal import connect, run
from signedfor.contract import DeadLetterDetails, DeadLetterReport, MessageChanges, Resolution
from signedfor.contract.failures import FailureClass
from signedfor.dead_letters import (
    DeadLetterFilter,
    DeadLetterSummary,
    Group,
    Groups,
    InvalidClause,
    MayHaveArrived,
)
from signedfor.masks import check_no_number
from signedfor.retries import Continuation, continuation

_RETRY_OPTIONS: Final = {**OPTIONS, "message_id": "MESSAGE_ID", "to": "--to"}
_FILTER_OPTIONS: Final = {
    "query": "--query",
    "failure_class": "--class",
    "error_code": "--code",
    "sender": "--sender",
    "tenant": "--tenant",
    "campaign_id": "--campaign",
}

_OptionalMessageId = Annotated[str | None, typer.Argument(metavar="MESSAGE_ID", show_default=False)]
_NoteOption = Annotated[
    str | None,
    typer.Option("--note", metavar="TEXT", help="Why, recorded with the dead letter."),
]
_CodeOption = Annotated[
    str | None,
    typer.Option(
        "--code", metavar="CODE", help="Only those with this Twilio code; none: without a code."
    ),
]
_ClassOption = Annotated[
    str | None,
    typer.Option(
        "--class", metavar="NAME", help="Only those of this failure class, such as CarrierFiltered."
    ),
]
_SenderOption = Annotated[
    str | None, typer.Option("--sender", metavar="SENDER", help="Only those from this sender.")
]
_TenantOption = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Only those of this tenant.")
]
_CampaignOption = Annotated[
    str | None,
    typer.Option("--campaign", metavar="CAMPAIGN_ID", help="Only those of this campaign."),
]
_EvenIfTakenOption = Annotated[
    bool,
    typer.Option(
        "--even-if-taken",
        help="Also retry messages that Twilio took, or may have, and that may have arrived.",
    ),
]
_PreviewOption = Annotated[
    bool, typer.Option("--preview", help="Only show what would be done with those that match.")
]

app = typer.Typer(
    no_args_is_help=True, help="Messages that need a decision: list, show, retry or discard."
)
dead_letter_jobs.add_commands(app)


@app.command("list")
def list_(
    *,
    query: QueryOption = None,
    code: _CodeOption = None,
    failure_class: _ClassOption = None,
    sender: _SenderOption = None,
    tenant: _TenantOption = None,
    campaign: _CampaignOption = None,
    include_closed: Annotated[bool, typer.Option("--all", help="Also list closed ones.")] = False,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List the open dead letters, newest first."""
    with command_output(as_json=as_json) as out:
        which = _filter(
            query,
            code=code,
            failure_class=failure_class,
            sender=sender,
            tenant=tenant,
            campaign=campaign,
        )
        run(_list(out, which, open_only=not include_closed, limit=limit))


async def _list(out: Output, which: DeadLetterFilter, *, open_only: bool, limit: int) -> None:
    client = await connect()
    with _filter_problems():
        found = dead_letters.find(client, which, open_only=open_only, limit=limit + 1)
        entries = [_listed(each) async for each in found]
    out.listed(
        "dead_letters",
        ("Message", "Status", "Opened", "Sender", "Cause", "May have arrived", "Meaning"),
        entries,
        limit=limit,
        empty="No open dead letters." if open_only else "No dead letters.",
        more="see --limit and --query",
    )


def _listed(found: DeadLetterSummary) -> tuple[dict[str, Any], Sequence[object]]:
    """A dead letter in the list, for programs and for people: what Temporal holds in clear."""
    document = {
        "message_id": found.message_id,
        "status": found.status,
        "opened_at": found.opened_at,
        "sender": found.sender,
        "tenant": found.tenant,
        "campaign_id": found.campaign_id,
        "message_sid": found.message_sid,
        "failure_class": found.failure_class,
        "error_code": found.error_code,
        "may_have_arrived": found.may_have_arrived,
    }
    row = (
        *(found.message_id, found.status, clock(found.opened_at), found.sender),
        *(
            found.cause,
            _yes_no(found.may_have_arrived),
            found.cause.meaning,
        ),
    )
    return document, row


@app.command()
def causes(
    *,
    query: QueryOption = None,
    code: _CodeOption = None,
    failure_class: _ClassOption = None,
    sender: _SenderOption = None,
    tenant: _TenantOption = None,
    campaign: _CampaignOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the open dead letters by cause, with advice."""
    with command_output(as_json=as_json) as out:
        which = _filter(
            query,
            code=code,
            failure_class=failure_class,
            sender=sender,
            tenant=tenant,
            campaign=campaign,
        )
        run(_causes(out, which))


async def _causes(out: Output, which: DeadLetterFilter) -> None:
    client = await connect()
    with _filter_problems():
        found = await dead_letters.group(client, which)
    document = {
        "count": found.count,
        "more": not found.is_all,
        "causes": [_group_document(each) for each in found.groups],
    }
    if not found.groups:
        out.result(document, "No open dead letters.")
        return
    out.result(document, *_groups_for_people(found))


def _groups_for_people(found: Groups) -> list[Any]:
    columns = ("Count", "May have arrived", "Cause", "Oldest", "What to do")
    rows = [
        (
            *(
                each.count,
                each.may_have_arrived,
                each.cause,
                clock(each.oldest),
            ),
            each.cause.advice,
        )
        for each in found.groups
    ]
    hints = [] if found.is_all else [f"These are the newest {found.count}; there are more."]
    return [listing(columns, rows), *hints]


def _group_document(group: Group) -> dict[str, Any]:
    return {
        "failure_class": group.cause.failure_class,
        "error_code": group.cause.error_code,
        "meaning": group.cause.meaning,
        "advice": group.cause.advice,
        "count": group.count,
        "may_have_arrived": group.may_have_arrived,
        "senders": [{"sender": name, "count": count} for name, count in group.senders.items()],
        "oldest": group.oldest,
        "newest": group.newest,
    }


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
    details = await dead_letters.fetch(client, message_id, within=within)
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
        ("Later status", _later_status(details)),
        ("May have arrived", "yes" if details.may_have_arrived else "no"),
        ("Cancel requested", _cancel_request(details)),
    ]
    if result is None:
        rows.append(("Held until", clock(details.held_until)))
    else:
        rows += [("Closed by", result.by), ("Note", result.note), *_retries(result, went_on)]
        rows.append(("Job", result.job_id))
    return rows + (request_rows(details.request.message) if reveal else [])


def _later_status(details: DeadLetterDetails) -> str | None:
    if details.late_error_code is None:
        return details.late_status
    return f"{details.late_status} {details.late_error_code}"


def _cancel_request(details: DeadLetterDetails) -> str | None:
    if details.cancel_requested_at is None:
        return None
    at = clock(details.cancel_requested_at)
    return f"{at}, which does not close it; discard it to close it"


def _retries(result: DeadLetterReport, went_on: Continuation | None) -> list[tuple[str, object]]:
    """The retries and how they stand; only the first one's id if Temporal has deleted it."""
    return retry_rows(went_on) or [("Retried as", result.retried_as)]


@app.command()
def retry(
    message_id: _OptionalMessageId = None,
    *,
    query: QueryOption = None,
    code: _CodeOption = None,
    failure_class: _ClassOption = None,
    sender: _SenderOption = None,
    tenant: _TenantOption = None,
    campaign: _CampaignOption = None,
    even_if_taken: _EvenIfTakenOption = False,
    new_sender: Annotated[
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
    preview: _PreviewOption = False,
    yes: YesOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Send the message again, as a new one.

    The options from --from to --expires-at change it. Consent and expiry are checked again. Give
    one MESSAGE_ID, or options from --query to --campaign for all open dead letters that match.

    Those that may have arrived are left out unless you say --even-if-taken.
    """
    with command_output(as_json=as_json) as out:
        text = text_or_standard_input(out, body)
        fields = given(
            {
                "from": new_sender,
                "to": to,
                "body": text,
                "media_urls": media,
                "expires_at": expires_at,
            }
        )
        problems: Problems = []
        if text is not None and not text.strip():
            problems.append(("--body", "is blank"))
        which = _optional_filter(
            query,
            code=code,
            failure_class=failure_class,
            sender=sender,
            tenant=tenant,
            campaign=campaign,
        )
        if to is not None and which is not None:
            problems.append(("--to", "goes with one MESSAGE_ID, not with many"))
        changes = None
        if fields or problems:
            changes = checked_model(MessageChanges, fields, problems, options=_RETRY_OPTIONS)
        resolution = checked_model(
            Resolution,
            {
                "action": "retry",
                "by": operator(by),
                "note": note,
                "changes": changes,
                "even_if_taken": even_if_taken,
            },
        )
        target = _target(message_id, which, is_preview=preview)
        raise typer.Exit(
            _resolve(out, target, resolution, is_preview=preview, yes=yes, within=timeout)
        )


@app.command()
def discard(
    message_id: _OptionalMessageId = None,
    *,
    query: QueryOption = None,
    code: _CodeOption = None,
    failure_class: _ClassOption = None,
    sender: _SenderOption = None,
    tenant: _TenantOption = None,
    campaign: _CampaignOption = None,
    note: _NoteOption = None,
    by: ByOption = None,
    preview: _PreviewOption = False,
    yes: YesOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Close a dead letter without sending anything.

    Give one MESSAGE_ID, or options from --query to --campaign for all open dead letters that match.
    """
    with command_output(as_json=as_json) as out:
        which = _optional_filter(
            query,
            code=code,
            failure_class=failure_class,
            sender=sender,
            tenant=tenant,
            campaign=campaign,
        )
        resolution = checked_model(
            Resolution, {"action": "discard", "by": operator(by), "note": note}
        )
        target = _target(message_id, which, is_preview=preview)
        raise typer.Exit(
            _resolve(out, target, resolution, is_preview=preview, yes=yes, within=timeout)
        )


def _target(
    message_id: str | None, which: DeadLetterFilter | None, *, is_preview: bool
) -> str | DeadLetterFilter:
    """One dead letter, or all that match."""
    if message_id is not None and which is None:
        if is_preview:
            raise BadInput([("--preview", "goes with --query and the like, not with MESSAGE_ID")])
        return checked_message_id(message_id)
    if which is not None and message_id is None:
        return which
    raise BadInput([("MESSAGE_ID", "give either one ID, or --query and the like for many")])


def _resolve(
    out: Output,
    target: str | DeadLetterFilter,
    resolution: Resolution,
    *,
    is_preview: bool,
    yes: bool,
    within: float,
) -> ExitCode:
    check_no_number(resolution.note, field="--note")
    if isinstance(target, str):
        return run(_resolve_one(out, target, resolution, within=within))
    with _filter_problems():
        return dead_letter_jobs.resolve_many(
            out, target, resolution, is_preview=is_preview, yes=yes, within=within
        )


async def _resolve_one(
    out: Output, message_id: str, resolution: Resolution, *, within: float
) -> ExitCode:
    client = await connect()
    await dead_letters.check_note(client, message_id, resolution, field="--note")
    try:
        report = await dead_letters.resolve(client, message_id, resolution, within=within)
    except MayHaveArrived:
        raise Refused(
            "Twilio took this message, or may have, and it may have arrived: a retry may be a "
            "second one. Retry it with --even-if-taken if it did not arrive, or discard it."
        ) from None
    except BadInput as error:
        raise BadInput(option_problems(error.problems, _RETRY_OPTIONS)) from None
    new = report.retried_as
    out.result(
        report.model_dump(mode="json"),
        f"The dead letter of {message_id} is {report.outcome}."
        if new is None
        else f"Retried as message {new}; see `signedfor show {new}`.",
    )
    return ExitCode.OK


def _optional_filter(query: str | None, **options: str | None) -> DeadLetterFilter | None:
    """What the options select; None if none of them is given."""
    is_given = query is not None or any(value is not None for value in options.values())
    return _filter(query, **options) if is_given else None


def _filter(
    query: str | None,
    *,
    code: str | None,
    failure_class: str | None,
    sender: str | None,
    tenant: str | None,
    campaign: str | None,
) -> DeadLetterFilter:
    problems: Problems = []
    if code not in {None, "none"} and not str(code).isdecimal():
        problems.append(("--code", "must be a Twilio code such as 30007, or none"))
    if failure_class is not None and failure_class not in set(FailureClass):
        problems.append(("--class", f"must be one of {', '.join(FailureClass)}"))
    fields = {
        "query": query,
        "error_code": int(code) if code is not None and code.isdecimal() else None,
        "has_no_code": code == "none",
        "failure_class": None if problems else failure_class,
        "sender": sender,
        "tenant": tenant,
        "campaign_id": campaign,
    }
    return checked_model(DeadLetterFilter, fields, problems, options=_FILTER_OPTIONS)


@contextmanager
def _filter_problems() -> Iterator[None]:
    """Name what is wrong with a filter by its option."""
    try:
        yield
    except InvalidClause as error:
        raise BadInput(option_problems(error.problems, _FILTER_OPTIONS)) from None


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"
