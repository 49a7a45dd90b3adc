"""`signedfor erase`: take a person out of the database, Temporal and Twilio's records."""

import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import typer
from sqlalchemy import Engine

from signedfor.checks.twilio import twilio_client
from signedfor.cli import audit
from signedfor.cli.environment import database
from signedfor.cli.layout import Facts
from signedfor.cli.options import (
    ByOption,
    JsonOption,
    TimeoutOption,
    YesOption,
    operator,
    option_problems,
)
from signedfor.cli.output import (
    BadInput,
    ExitCode,
    Output,
    command_output,
    facts,
)
from signedfor.cli.temporal import connect, run
from signedfor.consent_records import address_of
from signedfor.erasure.person import Erased, PersonErasure, Survey
from signedfor.erasure.twilio import TwilioCopies
from signedfor.errors import InvalidSettings
from signedfor.notes import check_note
from signedfor.settings import AtTwilio, Settings, load_settings
from signedfor.store.people import People

_OPTIONS: Final = {"recipient": "RECIPIENT", "evidence": "--note"}
_TIMEOUT: Final = 60.0
_LABELS: Final = {
    "messages": "Messages in Temporal",
    "dead_letters": "Dead letters",
    "inbound_workflows": "Workflows of yours",
    "inbound_records": "Workflows that recorded inbound messages",
    "campaign_rows": "Campaign rows",
    "campaign_uploads": "Uploaded files",
    "limit_usage": "Counts of message limits",
    "held_back_messages": "Held-back messages",
    "inbox": "Receipts in the inbox",
    "message_index": "Rows of the message index",
    "dead_letter_index": "Rows of the index of dead letters",
    "send_attempts": "Attempt records",
    "inbound_messages": "Inbound messages (pseudonymised)",
    "opt_ins": "Opt-ins (pseudonymised)",
    "suppression_history": "History of opt-outs (pseudonymised)",
    "suppressions": "Opt-outs (pseudonymised)",
}
_KEPT: Final = (
    "Opt-outs still hold. What else is left, and for how long: docs/how-to/erase-a-person.md."
)
_TWILIO_LABELS: Final = {
    AtTwilio.DELETE: "At Twilio (deleted)",
    AtTwilio.REDACT: "At Twilio (texts and media; numbers stay)",
    AtTwilio.KEEP: "At Twilio (kept: ERASE_AT_TWILIO)",
}


def erase(
    recipient: Annotated[
        str,
        typer.Argument(
            metavar="RECIPIENT",
            help="+15558675309, or a channel address; - reads it from standard input.",
        ),
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what there is, and change nothing.")
    ] = False,
    note: Annotated[
        str,
        typer.Option(
            "--note", metavar="TEXT", help="Why, for the audit log, such as a ticket's number."
        ),
    ] = "",
    by: ByOption = None,
    timeout: TimeoutOption = _TIMEOUT,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Erase a person.

    Messages, texts, histories and Twilio's copies: shows what there is, and asks. Messages that
    are under way are canceled first. Opt-outs still hold: who they are about cannot be read from
    them any more, only recognized.

    Exit code 4: not everything could be erased yet; run it again. It can be interrupted.
    """
    with command_output(as_json=as_json) as out:
        address, settings = _address(recipient, note), _settings()
        name = operator(by)
        with database() as engine:
            if dry_run:
                survey = run(_survey(engine, address, settings, by=name, within=timeout))
                rows = _rows(survey.document(), settings)
                out.result({"dry_run": True, **survey.document()}, _table(rows))
                out.note("Nothing was changed.")
                _note_unreadable(out, survey)
                return
            if not yes:
                survey = run(_survey(engine, address, settings, by=name, within=timeout))
                for label, count in _rows(survey.document(), settings):
                    out.note(f"{label}: {count:,}")
                _note_unreadable(out, survey)
                out.confirm("This cannot be undone.", what="erase a person")
            erased = _erase(engine, address, settings, note=note, by=by, within=timeout)
        document = erased.document()
        out.result({"dry_run": False, **document}, _table(_rows(document, settings)))
        if erased.is_complete:
            out.note(_KEPT)
            return
        out.note("Not everything is erased yet. Run it again:")
        for each in erased.left:
            out.note(f"  {each}")
        raise typer.Exit(ExitCode.UNCONFIRMED)


async def _survey(
    engine: Engine, address: str, settings: Settings, *, by: str, within: float
) -> Survey:
    erasure = await _erasure(engine, address, settings, by=by, within=within)
    return await erasure.survey()


def _erase(
    engine: Engine, address: str, settings: Settings, *, note: str, by: str | None, within: float
) -> Erased:
    """Erase the person, with an entry in the audit log before and, if it is complete, after it."""
    subject = f"person {People(engine).reference(address)}"

    def record(action: str, details: object) -> None:
        audit.record(
            engine, action, subject, why=note or None, details=f"{subject}; {details}", by=by
        )

    async def erase() -> Erased:
        erasure = await _erasure(engine, address, settings, by=operator(by), within=within)
        return await erasure.erase()

    record("person.erase", f"at Twilio: {settings.erase_at_twilio}")
    erased = run(erase())
    if erased.is_complete:
        counts = {**erased.database, **erased.temporal, "twilio": erased.twilio.done}
        record("person.erased", ", ".join(f"{name} {n}" for name, n in counts.items()))
    return erased


async def _erasure(
    engine: Engine, address: str, settings: Settings, *, by: str, within: float
) -> PersonErasure:
    return PersonErasure(
        engine,
        await connect(),
        address,
        by=by,
        within=within,
        twilio=TwilioCopies(twilio_client(settings), settings.erase_at_twilio),
    )


def _rows(document: Mapping[str, Any], settings: Settings) -> list[tuple[str, int]]:
    counts = {**document["temporal"], **document["database"]}
    rows = [(label, counts.get(name, 0)) for name, label in _LABELS.items()]
    return [*rows, (_TWILIO_LABELS[settings.erase_at_twilio], document["twilio"])]


def _table(rows: Iterable[tuple[str, int]]) -> Facts:
    return facts((label, f"{count:,}") for label, count in rows)


def _note_unreadable(out: Output, survey: Survey) -> None:
    if survey.unreadable:
        out.note(
            f"{survey.unreadable:,} messages cannot be read: their history is gone, or encrypted "
            "with another key. Whether any is to this person is not known."
        )


def _address(recipient: str, note: str) -> str:
    typed = sys.stdin.readline().strip() if recipient == "-" and sys.stdin else recipient
    try:
        address = address_of(typed)
        check_note(address, note)
    except BadInput as error:
        raise BadInput(option_problems(error.problems, _OPTIONS)) from None
    return address


def _settings() -> Settings:
    try:
        return load_settings()
    except InvalidSettings as error:
        raise BadInput([("settings", str(error))]) from None
