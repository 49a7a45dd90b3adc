"""`signedfor doctor`: what usually goes wrong, found before it does."""

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from signedfor.cli.checks.database import check_database
from signedfor.cli.checks.finding import Finding, Level, fail, ok, skipped
from signedfor.cli.checks.temporal import check_temporal
from signedfor.cli.checks.twilio import ACCOUNT, CREDENTIALS, SENDER, check_sender, check_twilio
from signedfor.cli.checks.webhook import FORGED, PUBLIC_URL, REACHED, SIGNED, check_webhook
from signedfor.cli.options import JsonOption
from signedfor.cli.output import ExitCode, answering, printable
from signedfor.settings import InvalidSettings, Settings, load_settings

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red", Level.SKIPPED: "dim"}


def doctor(
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Register search attributes that are missing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check settings, Temporal, database, Twilio and webhook; say what to do about each.

    Nothing is sent, and nothing changed without --fix. Exit code 1 if anything fails.
    """
    with answering(as_json=as_json) as out:
        watching = out.notes.status("looking") if out.notes.is_terminal else nullcontext()
        with watching:
            findings = asyncio.run(_look(fix=fix))
        failed = any(finding.level is Level.FAIL for finding in findings)
        document: dict[str, Any] = {
            "ok": not failed,
            "checks": [asdict(finding) for finding in findings],
        }
        out.result(document, _table(findings))
        raise typer.Exit(ExitCode.TROUBLE if failed else ExitCode.OK)


async def _look(*, fix: bool) -> list[Finding]:
    settings = _settings()
    # Each group waits for another machine, so they wait together.
    groups = await asyncio.gather(
        check_temporal(fix=fix),
        asyncio.to_thread(check_database),
        asyncio.to_thread(_with_settings, settings),
    )
    first = settings if isinstance(settings, Finding) else ok("settings", "Complete.")
    return [first, *(finding for group in groups for finding in group)]


def _settings() -> Settings | Finding:
    try:
        return load_settings()
    except InvalidSettings as error:
        return fail(
            "settings", str(error), "Set them here as for worker and webhook; see .env.example."
        )


def _with_settings(settings: Settings | Finding) -> Iterable[Finding]:
    if isinstance(settings, Finding):
        names = (SENDER, CREDENTIALS, ACCOUNT, PUBLIC_URL, REACHED, SIGNED, FORGED)
        return [skipped(name, "the settings above are incomplete") for name in names]
    return [check_sender(settings), *check_twilio(settings), *check_webhook(settings)]


def _table(findings: Iterable[Finding]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = printable(finding.what)
        if finding.remedy is not None:
            text.append(f"\n-> {finding.remedy}", style="bold")
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), finding.name, text)
    return table
