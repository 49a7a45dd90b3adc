"""`signedfor doctor`: finds common problems."""

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.text import Text
from sqlalchemy import Engine

from signedfor.cli.checks import Finding, Level, fail, ok, skipped, warn
from signedfor.cli.checks.inbound_url import INBOUND_URL, WEBHOOK_RULES, check_inbound_urls
from signedfor.cli.checks.temporal import check_temporal
from signedfor.cli.checks.twilio import ACCOUNT, CREDENTIALS, SENDER, check_sender, check_twilio
from signedfor.cli.checks.webhook import FORGED, PUBLIC_URL, REACHED, SIGNED, check_webhook
from signedfor.cli.environment import database, database_errors, database_settings
from signedfor.cli.layout import Listing
from signedfor.cli.options import JsonOption
from signedfor.cli.output import CommandError, ExitCode, command_output, printable
from signedfor.contract.failures import FailureClass
from signedfor.errors import InvalidSettings
from signedfor.settings import Settings, load_settings
from signedfor.store.account_hold import AccountHold
from signedfor.store.database import open_engine
from signedfor.store.inbound import InboundMessages
from signedfor.store.inbound_outbox import InboundOutbox
from signedfor.store.migrate import compare
from signedfor.store.rate_limiter import RateLimiter
from signedfor.twilio import codes

_DATABASE = "database"
_HOLD = "account hold"
_REVIEWS = "reviews"
_REVIEW_WITHIN = timedelta(days=1)
_INBOUND = "inbound messages"
_MAX_UNDISPATCHED = timedelta(minutes=5)
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
        check_temporal(fix=fix, attempt_record_days=days),
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


def _check_database() -> list[Finding]:
    """Check the database of DATABASE_URL; nothing in it is changed."""
    try:
        with database_errors():
            schema = compare(database_settings().database_url)
    except CommandError as error:
        return [fail(_DATABASE, str(error), "See DATABASE_URL.")]
    if schema.missing:
        names = ", ".join(schema.missing)
        return [fail(_DATABASE, f"Lacks migrations: {names}.", "Run `signedfor migrate`.")]
    engine = open_engine(database_settings().database_url)
    reached = ok(_DATABASE, "Reached, and all migrations are applied.")
    if schema.warning is not None:
        reached = warn(_DATABASE, schema.warning, "Go on to the newer version when you can.")
    try:
        with database_errors():
            findings = [reached, *_check_account_hold(engine), _check_reviews(engine)]
            return [*findings, *_check_inbound_outbox(engine)]
    except CommandError as error:
        return [fail(_DATABASE, str(error), "See DATABASE_URL.")]
    finally:
        engine.dispose()


def _check_inbound_outbox(engine: Engine) -> list[Finding]:
    """Whether inbound messages await the start of their workflow for too long."""
    backlog = InboundOutbox(engine, keeps_texts=True).backlog()
    if backlog.oldest is None or datetime.now(UTC) - backlog.oldest < _MAX_UNDISPATCHED:
        return []
    return [
        warn(
            _INBOUND,
            f"{backlog.count} await the start of your workflow, the oldest since "
            f"{backlog.oldest:%Y-%m-%d %H:%M} UTC.",
            "Start the webhook with INBOUND_WORKFLOW and INBOUND_TASK_QUEUE; its log says why "
            "Temporal does not start them. `signedfor inbound list --pending` lists them.",
        )
    ]


def _check_account_hold(engine: Engine) -> list[Finding]:
    """Whether messages wait because Twilio refuses the account's requests."""
    hold = AccountHold(engine).find()
    if hold is None:
        return []
    code = "no code" if hold.error_code is None else f"code {hold.error_code}"
    return [
        fail(
            _HOLD,
            f"Twilio has refused the account's requests since {hold.since:%Y-%m-%d %H:%M} UTC "
            f"({code}); messages wait.",
            codes.advice_for(FailureClass.SENDER_MISCONFIGURED, hold.error_code),
        )
    ]


def _check_reviews(engine: Engine) -> Finding:
    """Whether messages that may be opt-outs have waited too long for an operator."""
    pending = InboundMessages(engine).pending_reviews()
    if pending.oldest is None:
        return ok(_REVIEWS, "No message awaits review.")
    age = datetime.now(UTC) - pending.oldest
    what = f"{pending.count} pending, the oldest since {pending.oldest:%Y-%m-%d %H:%M} UTC."
    if age < _REVIEW_WITHIN:
        return ok(_REVIEWS, what)
    return warn(_REVIEWS, what, "Decide with `signedfor opt-outs review --interactive`.")


def _check_with_settings(settings: Settings | Finding) -> list[Finding]:
    if isinstance(settings, Finding):
        names = (
            *(SENDER, CREDENTIALS, ACCOUNT, INBOUND_URL, WEBHOOK_RULES),
            *(PUBLIC_URL, REACHED, FORGED, SIGNED),
        )
        return [skipped(name, "the settings above are incomplete") for name in names]
    return [
        check_sender(settings),
        *_check_twilio(settings),
        *check_webhook(settings),
    ]


def _check_twilio(settings: Settings) -> list[Finding]:
    """Check the credentials and, with them, what is configured in Twilio."""
    findings = check_twilio(settings)
    if any(each.level is Level.FAIL for each in findings if each.name == CREDENTIALS):
        because = "Twilio does not accept the credentials"
        return [*findings, skipped(INBOUND_URL, because), skipped(WEBHOOK_RULES, because)]
    return [*findings, *check_inbound_urls(settings, _senders(settings))]


def _senders(settings: Settings) -> list[str]:
    """The default sender and all that were used or configured; those of the database if it can."""
    known = [] if settings.default_sender is None else [settings.default_sender]
    try:
        with database() as engine:
            known += [each.sender for each in RateLimiter(engine).states()]
    except CommandError:
        pass  # the check of the database says why
    return known


def _table(findings: Iterable[Finding]) -> Listing:
    rows = []
    for finding in findings:
        text = printable(finding.what)
        if finding.remedy is not None:
            text.append(f"\n-> {finding.remedy}", style="bold")
        name = Text(f"{finding.level:<7}", style=_STYLES[finding.level])
        rows.append((name.append(f"  {finding.name}", style="not bold default"), text))
    return Listing(("Check", "Finding"), rows, header=False)
