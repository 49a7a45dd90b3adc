"""`signedfor opt-ins`: who has agreed to which messages, in the database of DATABASE_URL."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from signedfor.cli import audit
from signedfor.cli.consent import import_rows, store_errors
from signedfor.cli.csv_options import (
    AllProblemsOption,
    SkipBadOption,
)
from signedfor.cli.environment import database
from signedfor.cli.options import (
    MAX_ROW,
    ByOption,
    JsonOption,
    LimitOption,
    RevealOption,
    checked_value,
)
from signedfor.cli.output import BadInput, NotFound, clock, command_output
from signedfor.consent import OptIn, Reason
from signedfor.consent_records import LABEL, address_of
from signedfor.masks import masked_recipient
from signedfor.notes import check_note
from signedfor.store.opt_in_csv import OPTIONAL, REQUIRED, import_opt_ins
from signedfor.store.opt_ins import OptIns, is_ahead
from signedfor.store.suppressions import Suppressions

app = typer.Typer(
    no_args_is_help=True,
    help="Who has agreed to which messages.\n\nThese commands need only DATABASE_URL. "
    "REQUIRE_OPT_IN names the categories that are sent only to these people.",
)

_RecipientArgument = Annotated[
    str, typer.Argument(metavar="RECIPIENT", help="+15558675309, or a channel address.")
]
_CategoryOption = Annotated[
    str, typer.Option("--category", metavar="NAME", help="What they agreed to.")
]
_HEADERS = ("No.", "Recipient", "Category", "Source", "Evidence", "Wording", "Since")


@app.command()
def add(
    recipient: _RecipientArgument,
    *,
    category: _CategoryOption,
    source: Annotated[
        str, typer.Option("--source", metavar="NAME", help="Where: web-form, paper, phone.")
    ],
    evidence: Annotated[
        str,
        typer.Option("--evidence", metavar="TEXT", help="Where the proof is, such as a form's ID."),
    ] = "",
    wording: Annotated[
        str,
        typer.Option("--wording", metavar="NAME", help="Version of the text that they agreed to."),
    ] = "",
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="When: 2026-11-21T20:15:00Z. Default: now."),
    ] = None,
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record that a person has agreed to messages of a category.

    It does not lift an opt-out.
    """
    with command_output(as_json=as_json) as out:
        with store_errors():
            address = address_of(recipient)
        opt_in = OptIn(
            recipient=address,
            category=checked_value(LABEL, category, field="--category"),
            source=checked_value(LABEL, source, field="--source"),
            evidence=_checked(evidence, about=address, field="--evidence"),
            wording=checked_value(LABEL, wording, field="--wording") if wording else "",
            opted_in_at=None if at is None else _moment(at),
        )
        recorded_by = audit.changed_by(by)
        with store_errors(), database() as engine:
            audit.record(
                engine,
                "opt-in.add",
                recipient=address,
                why=evidence,
                details=f"{opt_in.category} by {opt_in.source}",
                by=by,
            )
            new = OptIns(engine).record_all([opt_in], by=recorded_by)
            stands = Suppressions(engine).list_(recipient=address, reason=Reason.OPTED_OUT)
        out.result({"new": bool(new)}, "Recorded." if new else "Already recorded; nothing changed.")
        if stands:
            out.note(
                "An opt-out of this person still stops messages; see `signedfor opt-outs history`."
            )


@app.command()
def remove(
    recipient: _RecipientArgument,
    *,
    category: _CategoryOption,
    note: Annotated[
        str, typer.Option("--note", metavar="TEXT", help="Why; kept as evidence.")
    ] = "",
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Withdraw a person's opt-in to a category. The record of it stays."""
    with command_output(as_json=as_json) as out:
        with store_errors():
            address = address_of(recipient)
        name = checked_value(LABEL, category, field="--category")
        because = _checked(note, about=address, field="--note")
        withdrawn_by = audit.changed_by(by)
        with store_errors(), database() as engine:
            opt_ins = OptIns(engine)
            if not opt_ins.list_(recipient=address, category=name, limit=1):
                raise NotFound("This person has no opt-in to this category.")
            audit.record(engine, "opt-in.remove", recipient=address, why=note, details=name, by=by)
            count = opt_ins.withdraw(address, category=name, because=because, by=withdrawn_by)
        out.result({"withdrawn": count}, f"Withdrawn: {count}.")


@app.command("list")
def list_(
    *,
    recipient: Annotated[
        str | None, typer.Option("--recipient", metavar="RECIPIENT", help="Only of this person.")
    ] = None,
    category: Annotated[
        str | None, typer.Option("--category", metavar="NAME", help="Only to this category.")
    ] = None,
    include_withdrawn: Annotated[
        bool, typer.Option("--all", help="Also those that were withdrawn.")
    ] = False,
    after: Annotated[
        int,
        typer.Option(
            "--after",
            metavar="NUMBER",
            min=0,
            max=MAX_ROW,
            help="Continue after the row with this number.",
        ),
    ] = 0,
    limit: LimitOption = 100,
    reveal: RevealOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the opt-ins."""
    with command_output(as_json=as_json) as out:
        with store_errors({"recipient": "--recipient"}):
            address = None if recipient is None else address_of(recipient)
        with database() as engine:
            rows = OptIns(engine).list_(
                recipient=address,
                category=category,
                include_withdrawn=include_withdrawn,
                after_id=after,
                limit=limit + 1,
            )
        last = rows[:limit][-1].id if rows else after
        headers = (*_HEADERS, "Withdrawn") if include_withdrawn else _HEADERS
        out.listed(
            "opt_ins",
            headers,
            [_listed(row, reveal=reveal, columns=len(headers)) for row in rows],
            limit=limit,
            empty="No opt-ins.",
            more=f"continue with --after {last}",
        )


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help=f"CSV in UTF-8: {','.join(REQUIRED)}[,{','.join(OPTIONAL)}].",
        ),
    ],
    *,
    by: ByOption = None,
    skip_bad: SkipBadOption = None,
    all_problems: AllProblemsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Record every row of a CSV file, or none if any is wrong.

    With --skip-bad, every row that is right.
    """
    import_rows(
        import_opt_ins,
        file,
        action="opt-in.import",
        by=by,
        skip_bad=skip_bad,
        all_problems=all_problems,
        as_json=as_json,
    )


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        found = None if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: in UTC it is before all years, or after
        found = None
    if found is None:
        raise BadInput([("--at", "must be a time with a zone, such as 2026-11-21T20:15:00Z")])
    if is_ahead(found):
        raise BadInput([("--at", "must not be in the future")])
    return found


def _checked(text: str, *, about: str, field: str) -> str:
    """Refuse what the store would, and the person's number, by the option's name."""
    with store_errors({"evidence": field}):
        check_note(about, text)
    return text


def _listed(row: OptIn, *, reveal: bool, columns: int) -> tuple[dict[str, Any], Sequence[object]]:
    """An opt-in in the list, for programs and for people."""
    document = {
        "id": row.id,
        "recipient": row.recipient if reveal else masked_recipient(row.recipient),
        "category": row.category,
        "source": row.source,
        "evidence": row.evidence,
        "wording": row.wording,
        "opted_in_at": row.opted_in_at,
        "recorded_at": row.recorded_at,
        "recorded_by": row.recorded_by,
        "withdrawn_at": row.withdrawn_at,
        "withdrawn_by": row.withdrawn_by,
        "withdrawn_because": row.withdrawn_because,
    }
    cells = (
        row.id,
        document["recipient"],
        row.category,
        row.source,
        row.evidence,
        row.wording,
        clock(row.opted_in_at),
        clock(row.withdrawn_at) if row.withdrawn_at else "",
    )
    return document, cells[:columns]
