"""`signedfor doctor`: finds common problems."""

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text
from temporalio.client import Client
from temporalio.service import RPCError

from signedfor.checks import Finding, Level, fail, ok
from signedfor.checks.account import check_account, without_settings
from signedfor.checks.database import check_database, no_database
from signedfor.checks.temporal import check_temporal, no_key, no_temporal
from signedfor.checks.webhook import check_webhook
from signedfor.cli.environment import database, database_settings
from signedfor.cli.layout import Listing
from signedfor.cli.options import JsonOption
from signedfor.cli.output import CommandError, ExitCode, command_output, printable
from signedfor.cli.temporal import RPC_TIMEOUT, connect
from signedfor.encryption import load_encryption
from signedfor.errors import InvalidSettings
from signedfor.settings import Settings, load_settings
from signedfor.store.rate_limiter import RateLimiter

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red", Level.SKIPPED: "dim"}


def doctor(
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Register search attributes that are missing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find common problems and say how to fix them.

    Checks settings, Temporal, database, Twilio and webhook. Nothing is sent; nothing is changed
    without --fix. Exit code 1 if a check fails.
    """
    with command_output(as_json=as_json) as out:
        with out.notes.status("checking") if out.notes.is_terminal else nullcontext():
            findings = asyncio.run(_check(fix=fix))
        failed = any(finding.level is Level.FAIL for finding in findings)
        document = {"ok": not failed, "checks": [asdict(finding) for finding in findings]}
        out.result(document, _table(findings))
        raise typer.Exit(ExitCode.UNAVAILABLE if failed else ExitCode.OK)


async def _check(*, fix: bool) -> list[Finding]:
    settings = _settings()
    # Each group waits for another machine, so they wait together.
    days = None if isinstance(settings, Finding) else settings.attempt_record_days
    groups = await asyncio.gather(
        _check_temporal(fix=fix, attempt_record_days=days),
        asyncio.to_thread(_check_database),
        asyncio.to_thread(_check_with_settings, settings),
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


async def _check_temporal(*, fix: bool, attempt_record_days: int | None) -> list[Finding]:
    try:
        load_encryption()
        client = await _connected()
    except InvalidSettings as error:
        return no_key(str(error))
    except CommandError as error:
        return no_temporal(str(error))
    return await check_temporal(client, fix=fix, attempt_record_days=attempt_record_days)


async def _connected() -> Client:
    """A client, even if there is no such namespace: that is a finding of its own."""
    lazy = await connect(lazy=True)
    try:
        async with asyncio.timeout(RPC_TIMEOUT.total_seconds()):
            await lazy.service_client.check_health()
    except (RPCError, RuntimeError, TimeoutError):
        return await connect()  # raises the same error as every other command
    return lazy


def _check_database() -> list[Finding]:
    try:
        url = database_settings().database_url
    except CommandError as error:
        return [no_database(str(error))]
    return check_database(url)


def _check_with_settings(settings: Settings | Finding) -> list[Finding]:
    if isinstance(settings, Finding):
        return without_settings()
    return [*check_account(settings, _senders()), *check_webhook(settings)]


def _senders() -> list[str]:
    """The senders that were used or configured, if the database says."""
    try:
        with database() as engine:
            return [each.sender for each in RateLimiter(engine).states()]
    except CommandError:
        return []  # the check of the database says why


def _table(findings: Iterable[Finding]) -> Listing:
    rows = []
    for finding in findings:
        text = printable(finding.what)
        if finding.remedy is not None:
            text.append(f"\n-> {finding.remedy}", style="bold")
        name = Text(f"{finding.level:<7}", style=_STYLES[finding.level])
        rows.append((name.append(f"  {finding.name}", style="not bold default"), text))
    return Listing(("Check", "Finding"), rows, header=False)
