"""`signedfor opt-outs`: recipients that must not be sent to, in the database of DATABASE_URL."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from signedfor.cli import audit
from signedfor.cli.consent import import_rows, store_errors
from signedfor.cli.csv_options import (
    AllProblemsOption,
    SkipBadOption,
)
from signedfor.cli.environment import database
from signedfor.cli.lazy import LazyCommand, lazy_group
from signedfor.cli.options import (
    MAX_ROW,
    ByOption,
    JsonOption,
    LimitOption,
    RevealOption,
    YesOption,
)
from signedfor.cli.output import BadInput, clock, command_output, listing
from signedfor.consent import Reason, Scope, Suppression
from signedfor.consent_history import consent_history
from signedfor.consent_records import (
    TWILIO_KEEPS_ITS_LIST,
    Target,
    address_of,
    covers,
    lift,
    opt_out,
    standing,
)
from signedfor.files import atomic_write
from signedfor.masks import masked_recipient, masked_sender
from signedfor.notes import check_note
from signedfor.store.suppression_csv import COLUMNS, Exported, export_csv, import_csv
from signedfor.store.suppressions import Suppressions

app = typer.Typer(
    cls=lazy_group(
        {
            "review": LazyCommand(
                "signedfor.cli.inbound:review",
                "List inbound messages that may be opt-outs, or decide about them.",
            ),
            # The only one that needs Temporal.
            "catch-up": LazyCommand(
                "signedfor.cli.catch_up:catch_up",
                "Record inbound messages that the webhook missed.",
            ),
        }
    ),
    no_args_is_help=True,
    help="Recipients that must not be sent to.\n\nAll but catch-up need only DATABASE_URL.",
)

_RecipientArgument = Annotated[
    str,
    typer.Argument(metavar="RECIPIENT", help="+15558675309, or a channel address."),
]
_SenderOption = Annotated[
    str | None,
    typer.Option("--sender", metavar="SENDER", help="Only messages from this sender."),
]
_CategoryOption = Annotated[
    str | None,
    typer.Option("--category", metavar="NAME", help="Only messages of this category."),
]
_NoteOption = Annotated[
    str,
    typer.Option(
        "--note", metavar="TEXT", help="Evidence for the history; never a message's text."
    ),
]

_HEADERS = ("No.", "Recipient", "Scope", "Reason", "Source", "Evidence", "Since")


@app.command()
def add(
    recipient: _RecipientArgument,
    *,
    reason: Annotated[
        Reason,
        typer.Option("--reason", help="An opted_out covers all channels."),
    ] = Reason.OPTED_OUT,
    sender: _SenderOption = None,
    category: _CategoryOption = None,
    note: _NoteOption = "",
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record that a recipient must not be sent to.

    By default no message is sent; with --sender or --category, none of those. Only `opt-outs
    remove` lifts it: a START lifts what the person said, not this.
    """
    with command_output(as_json=as_json) as out:
        with store_errors():
            target = Target.of(recipient, sender=sender, category=category)
            suppression = opt_out(target, reason=reason, evidence=note)
            name = audit.changed_by(by)
            with database() as engine:
                audit.record(
                    engine,
                    "opt-out.add",
                    recipient=target.recipient,
                    why=note,
                    details=f"{reason} for {target.covers}",
                    by=by,
                )
                new = Suppressions(engine).record(suppression, by=name)
        out.result({"new": new}, "Recorded." if new else "Already recorded; nothing changed.")


@app.command()
def remove(
    recipient: _RecipientArgument,
    *,
    reason: Annotated[Reason, typer.Option("--reason", help="What to lift.")],
    sender: _SenderOption = None,
    category: _CategoryOption = None,
    note: _NoteOption = "",
    by: ByOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Lift what is recorded for a recipient, for one reason.

    Shows it first, and asks. With --sender or --category, only what is recorded for that.

    Twilio has a list of its own: a person who texted STOP must text START before Twilio sends
    again.
    """
    with command_output(as_json=as_json) as out:
        with store_errors(), database() as engine:
            target = Target.of(recipient, sender=sender, category=category)
            check_note(target.recipient, note)
            name = audit.changed_by(by)
            found = standing(engine, target, reason=reason)
            if found and not yes:
                for row in found:
                    out.note(f"{row.reason} since {clock(row.created_at)}, {_origin(row)}.")
                out.confirm(f"This will lift {len(found)}.", what="lift them")
            if found:
                audit.record(
                    engine,
                    "opt-out.remove",
                    recipient=target.recipient,
                    why=note,
                    details=f"{reason} for {', '.join(map(covers, found))}",
                    by=by,
                )
            # What is confirmed is what is done, even if more is recorded by then.
            lifted = lift(engine, found, evidence=note, by=name)
        out.result({"lifted": lifted}, f"Lifted: {lifted}.")
        if lifted and reason is Reason.OPTED_OUT:
            out.note(TWILIO_KEEPS_ITS_LIST)


@app.command("list")
def list_(
    *,
    recipient: Annotated[
        str | None,
        typer.Option("--recipient", metavar="RECIPIENT", help="Only for this recipient."),
    ] = None,
    reason: Annotated[Reason | None, typer.Option("--reason", help="Only for this reason.")] = None,
    scope: Annotated[Scope | None, typer.Option("--scope", help="Only of this scope.")] = None,
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
    """List the recipients that must not be sent to."""
    with command_output(as_json=as_json) as out:
        with store_errors({"recipient": "--recipient"}):
            address = None if recipient is None else address_of(recipient)
        with database() as engine:
            rows = Suppressions(engine).list_(
                recipient=address, reason=reason, scope=scope, after_id=after, limit=limit + 1
            )
        last = rows[:limit][-1].id if rows else after
        out.listed(
            "suppressions",
            _HEADERS,
            [_listed(row, reveal=reveal) for row in rows],
            limit=limit,
            empty="No opt-outs.",
            more=f"continue with --after {last}",
        )


@app.command()
def history(
    recipient: _RecipientArgument, *, reveal: RevealOption = False, as_json: JsonOption = False
) -> None:
    """Show a person's consent over time.

    Opt-outs, opt-ins, and the messages that were not sent because of them: what, when, by whom, and
    on what evidence.
    """
    with command_output(as_json=as_json) as out:
        with store_errors():
            address = address_of(recipient)
        with database() as engine:
            lines = consent_history(engine, address, reveal=reveal)
            stands = [_document(each, reveal=reveal) for each in Suppressions(engine).of(address)]
        documents = [
            {"at": each.at, **each.document, "changed_by": each.by, "text": each.text}
            for each in lines
        ]
        out.result(
            {"stands": stands, "history": documents},
            listing(
                ("At", "What happened", "By"),
                [(clock(each.at), each.text, each.by) for each in lines],
            )
            if lines
            else "Nothing was ever recorded.",
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
            help=f"CSV in UTF-8 with the columns {', '.join(COLUMNS)}.",
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
        import_csv,
        file,
        action="opt-out.import",
        by=by,
        skip_bad=skip_bad,
        all_problems=all_problems,
        as_json=as_json,
    )


@app.command()
def export(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Where to write it. Default: standard output."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write the whole list as CSV, with numbers in full."""
    with command_output(as_json=as_json) as out:
        if file is None and as_json:
            raise BadInput([("FILE", "is needed with --json, which uses standard output")])
        with database() as engine:
            if file is None:
                exported = _to_standard_output(engine)
            else:
                with atomic_write(file) as temporary:
                    exported = export_csv(engine, temporary)
        if file is not None:
            document = {"exported": exported.written, "erased": exported.erased}
            out.result(document, f"Exported: {exported.written}.")
        if exported.erased:
            out.note(f"Not exported: {exported.erased} of erased people; their numbers are gone.")


def _to_standard_output(engine: Engine) -> Exported:
    text = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", newline="")
    try:
        return export_csv(engine, text)
    finally:
        text.detach()


def _origin(row: Suppression) -> str:
    """What it covers, where it came from and on what evidence."""
    return f"for {covers(row)}, from {row.source}: {row.evidence or 'no note'}"


def _listed(row: Suppression, *, reveal: bool) -> tuple[dict[str, Any], Sequence[object]]:
    """An opt-out in the list, for programs and for people."""
    document = _document(row, reveal=reveal)
    cells = (
        row.id,
        document["recipient"],
        covers(row, reveal=reveal),
        row.reason,
        row.source,
        row.evidence,
        clock(row.created_at),
    )
    return document, cells


def _document(row: Suppression, *, reveal: bool) -> dict[str, Any]:
    return {
        "id": row.id,
        "recipient": row.recipient if reveal else masked_recipient(row.recipient),
        "scope": row.scope,
        "scope_value": row.scope_value if reveal else masked_sender(row.scope_value),
        "reason": row.reason,
        "source": row.source,
        "evidence": row.evidence,
        "to_sender": row.to_sender if reveal else masked_sender(row.to_sender),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
    }
