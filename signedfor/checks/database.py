"""The database: migrations, what keeps messages waiting, reviews, and inbound messages."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from signedfor.checks import Finding, fail, ok, warn
from signedfor.contract.failures import FailureClass
from signedfor.errors import BadInput
from signedfor.inbound_settings import REMEDY, mismatch
from signedfor.masks import masked_sender
from signedfor.store.account_hold import AccountHold
from signedfor.store.breakers import Breakers
from signedfor.store.database import DatabaseUnavailable, InvalidDatabaseUrl, open_engine
from signedfor.store.inbound import InboundMessages
from signedfor.store.inbound_outbox import InboundOutbox
from signedfor.store.migrate import SchemaMismatch, compare
from signedfor.twilio import codes

DATABASE: Final = "database"
HOLD: Final = "account hold"
BREAKER: Final = "breaker"
REVIEWS: Final = "reviews"
INBOUND: Final = "inbound messages"
INBOUND_SETTINGS: Final = "INBOUND_WORKFLOW"
_REVIEW_WITHIN = timedelta(days=1)
_MAX_UNDISPATCHED = timedelta(minutes=5)


def check_database(url: str) -> list[Finding]:
    """Check the database of DATABASE_URL; nothing in it is changed."""
    try:
        schema = compare(url)
        if schema.missing:
            what = f"Lacks migrations: {', '.join(schema.missing)}."
            return [fail(DATABASE, what, "Run `signedfor migrate`.")]
        reached = ok(DATABASE, "Reached, and all migrations are applied.")
        if schema.warning is not None:
            reached = warn(DATABASE, schema.warning, "Go on to the newer version when you can.")
        engine = open_engine(url, pool_size=1)
        try:
            return [
                reached,
                *check_account_hold(engine),
                *check_breakers(engine),
                _check_reviews(engine),
                *_check_inbound_outbox(engine),
                *_check_inbound_settings(engine),
            ]
        finally:
            engine.dispose()
    except InvalidDatabaseUrl as error:
        field, _, what = str(error).partition(": ")
        return [no_database(str(BadInput([(field, what)])))]
    except (DatabaseUnavailable, SchemaMismatch) as error:
        return [no_database(str(error))]


def no_database(what: str) -> Finding:
    """The finding when the database cannot be used; `what` says why."""
    return fail(DATABASE, what, "See DATABASE_URL.")


def check_account_hold(engine: Engine) -> list[Finding]:
    """Whether messages wait because Twilio refuses the account's requests.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    hold = AccountHold(engine).find()
    if hold is None:
        return []
    code = "no code" if hold.error_code is None else f"code {hold.error_code}"
    return [
        fail(
            HOLD,
            f"Twilio has refused the account's requests since {hold.since:%Y-%m-%d %H:%M} UTC "
            f"({code}); messages wait.",
            codes.advice_for(FailureClass.SENDER_MISCONFIGURED, hold.error_code),
        )
    ]


def check_breakers(engine: Engine) -> list[Finding]:
    """Which senders the breaker has paused, and why.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    return [
        fail(
            BREAKER,
            f"{masked_sender(each.sender)} has been paused since {each.opened_at:%Y-%m-%d %H:%M} "
            f"UTC: {each.because} Its messages wait.",
            "Correct the cause, then resume it with `signedfor senders resume` or on the "
            "operations page. docs/how-to/breaker.md says how to find the cause.",
        )
        for each in Breakers(engine).open_breakers()
    ]


def _check_reviews(engine: Engine) -> Finding:
    """Whether messages that may be opt-outs have waited too long for an operator."""
    waiting = InboundMessages(engine).pending_reviews()
    if waiting.oldest is None:
        return ok(REVIEWS, "No message awaits review.")
    age = datetime.now(UTC) - waiting.oldest
    what = f"{waiting.count} pending, the oldest since {waiting.oldest:%Y-%m-%d %H:%M} UTC."
    if age < _REVIEW_WITHIN:
        return ok(REVIEWS, what)
    return warn(REVIEWS, what, "Decide with `signedfor opt-outs review --interactive`.")


def _check_inbound_outbox(engine: Engine) -> list[Finding]:
    """Whether inbound messages await the start of their workflow for too long."""
    backlog = InboundOutbox(engine, keeps_texts=True).backlog()
    if backlog.oldest is None or datetime.now(UTC) - backlog.oldest < _MAX_UNDISPATCHED:
        return []
    return [
        warn(
            INBOUND,
            f"{backlog.count} await the start of your workflow, the oldest since "
            f"{backlog.oldest:%Y-%m-%d %H:%M} UTC.",
            "Start the webhook with INBOUND_WORKFLOW and INBOUND_TASK_QUEUE; its log says why "
            "Temporal does not start them. `signedfor inbound list --pending` lists them.",
        )
    ]


def _check_inbound_settings(engine: Engine) -> list[Finding]:
    """Whether worker and webhook have the same INBOUND_WORKFLOW and INBOUND_TASK_QUEUE."""
    found = mismatch(engine)
    return [] if found is None else [warn(INBOUND_SETTINGS, found, REMEDY)]
