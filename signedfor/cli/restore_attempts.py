"""`signedfor messages restore-attempts`: attempt records that a restored database lacks."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy import Engine

from signedfor.attempt_history import Gap
from signedfor.attempt_recovery import AttemptRecovery, Recovery
from signedfor.cli import audit
from signedfor.cli.environment import campaign_settings, database
from signedfor.cli.options import ByOption, JsonOption, moment
from signedfor.cli.output import BadInput, ExitCode, Output, clock, command_output, facts
from signedfor.cli.temporal import connect, run
from signedfor.settings import CampaignSettings


def restore_attempts(
    *,
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="The moment of the database's backup, or before it: 90m, 24h or 7d ago, or an "
            "RFC 3339 time.",
        ),
    ],
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="WHEN",
            help="When the last worker stopped, or later, in the same forms. Default: now.",
        ),
    ] = None,
    temporal_is_complete: Annotated[
        bool,
        typer.Option(
            "--temporal-is-complete",
            help="Temporal has lost nothing. Without this, every message that Temporal may have "
            "forgotten an attempt of is held.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what is missing, and write nothing.")
    ] = False,
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write attempt records again that a restored database lacks.

    For a database older than Temporal, before a worker starts. A message that may have been sent
    without a record is then not sent again: workers find out what became of it, as of every other
    unknown outcome. Refused while workers run. It can be repeated.

    Exit code 4: some messages cannot be read, and nothing protects them.
    """
    with command_output(as_json=as_json) as out:
        gap = _gap(since, until, is_temporal_complete=temporal_is_complete)
        settings = campaign_settings()
        with database() as engine:
            recovery = run(_restore(out, engine, gap, settings, dry_run=dry_run))
            if recovery.records and not dry_run:
                details = f"numbered {recovery.numbered}, unnumbered {recovery.unnumbered}"
                audit.record(
                    engine, "attempts.restore", "attempt records", why=None, details=details, by=by
                )
        _report(out, gap, recovery, dry_run=dry_run)
        if recovery.unreadable:
            raise typer.Exit(ExitCode.UNCONFIRMED)


def _gap(since: str, until: str | None, *, is_temporal_complete: bool) -> Gap:
    begin = moment(since, option="--since")
    end = datetime.now(UTC) if until is None else moment(until, option="--until")
    if end < begin:
        raise BadInput([("--until", "must not be before --since")])
    return Gap(since=begin, until=end, is_temporal_complete=is_temporal_complete)


async def _restore(
    out: Output, engine: Engine, gap: Gap, settings: CampaignSettings, *, dry_run: bool
) -> Recovery:
    recovery = AttemptRecovery(
        engine,
        await connect(),
        gap=gap,
        default_sender=settings.default_sender,
        limits=settings.message_limits,
    )
    with out.progress_bar("Reading from Temporal", total=await recovery.total()) as notify:
        return await recovery.run(notify, dry_run=dry_run)


def _report(out: Output, gap: Gap, recovery: Recovery, *, dry_run: bool) -> None:
    document = {
        "dry_run": dry_run,
        "since": gap.since,
        "until": gap.until,
        "messages": recovery.messages,
        "numbered": recovery.numbered,
        "unnumbered": recovery.unnumbered,
        "unreadable": recovery.unreadable,
    }
    out.result(
        document,
        facts(
            [
                ("From", clock(gap.since)),
                ("To", clock(gap.until)),
                ("Messages", f"{recovery.messages:,}"),
                ("Missing, known to Temporal", f"{recovery.numbered:,}"),
                ("Missing, not certain", f"{recovery.unnumbered:,}"),
                ("Unreadable", f"{len(recovery.unreadable):,}"),
            ]
        ),
    )
    if dry_run:
        out.note("Nothing was written.")
    if recovery.unreadable:
        out.note(
            "Their histories cannot be read, so nothing keeps these from being sent again. Set "
            "the keys in PAYLOAD_KEYS and repeat this, or cancel them before a worker starts:"
        )
        for each in recovery.unreadable:
            out.note(f"  {each}")
