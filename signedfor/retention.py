"""How long the rows of each table are kept, and their purge: `docs/reference/retention.md`.

Every worker purges once an hour, in batches, each a transaction of its own.
"""

import asyncio
import functools
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from sqlalchemy import Engine, Table

from signedfor.background import in_background
from signedfor.logging import log_unexpected
from signedfor.settings import Settings
from signedfor.store import limit_usage, ops_sessions, tables
from signedfor.store.audit_log import AuditLog
from signedfor.store.campaign_uploads import LIFETIME, CampaignUploads
from signedfor.store.campaigns import Campaigns
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.dead_letter_index import DeadLetterIndex
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.inbound import InboundMessages
from signedfor.store.inbox import Inbox
from signedfor.store.message_index import MessageIndex
from signedfor.store.opt_ins import OptIns
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.store.suppressions import Suppressions

MAX_TIME_OPEN: Final = timedelta(days=14)
"""From a message's first POST to its end: two receipt timeouts of the maximum length."""
_INTERVAL: Final = timedelta(hours=1)
_logger = logging.getLogger("signedfor.worker")


class Purge(Protocol):
    """What deletes old rows."""

    def __call__(self, *, before: datetime, stop: threading.Event | None = None) -> int:
        """Delete what is older, in batches; return how much. `stop` ends it early."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How long rows are kept."""

    what: str
    tables: tuple[Table, ...]
    setting: str | None
    """The field of the settings; None: it is no setting."""
    purge: Callable[[Engine], Purge]
    keep: Callable[[Settings], timedelta]


def _days(setting: str, *, and_: timedelta = timedelta(0)) -> Callable[[Settings], timedelta]:
    return lambda settings: timedelta(days=getattr(settings, setting)) + and_


def _by(
    setting: str,
    what: str,
    *of: Table,
    purge: Callable[[Engine], Purge],
    and_: timedelta = timedelta(0),
) -> Rule:
    keep = _days(setting, and_=and_)
    return Rule(what=what, tables=of, setting=setting, purge=purge, keep=keep)


def _fixed(what: str, *of: Table, purge: Callable[[Engine], Purge], keep: timedelta) -> Rule:
    return Rule(what=what, tables=of, setting=None, purge=purge, keep=lambda _: keep)


RULES: Final = (
    _by(
        "attempt_record_days",
        "attempt records",
        tables.send_attempts,
        purge=lambda engine: SendAttempts(engine, RateLimiter(engine)).purge,
        and_=MAX_TIME_OPEN,
    ),
    _by(
        "attempt_record_days",
        "receipts in the inbox",
        tables.inbox,
        purge=lambda engine: Inbox(engine).purge,
        and_=MAX_TIME_OPEN,
    ),
    _by(
        "attempt_record_days",
        "rows of the message index",
        tables.message_index,
        purge=lambda engine: MessageIndex(engine).purge,
        and_=MAX_TIME_OPEN,
    ),
    _by(
        "attempt_record_days",
        "rows of the index of dead letters",
        tables.dead_letter_index,
        purge=lambda engine: DeadLetterIndex(engine).purge,
        and_=MAX_TIME_OPEN,
    ),
    _by(
        "inbound_text_days",
        "texts of inbound messages",
        tables.inbound_messages,
        purge=lambda engine: InboundMessages(engine).purge_texts,
    ),
    _by(
        "inbound_record_days",
        "inbound messages",
        tables.inbound_messages,
        purge=lambda engine: InboundMessages(engine).purge,
    ),
    _by(
        "consent_record_days",
        "inbound messages about consent",
        tables.inbound_messages,
        purge=lambda engine: InboundMessages(engine).purge_about_consent,
    ),
    _by(
        "consent_record_days",
        "changes of suppressions",
        tables.suppression_history,
        purge=lambda engine: Suppressions(engine).purge_history,
    ),
    _by(
        "consent_record_days",
        "withdrawn opt-ins",
        tables.opt_ins,
        purge=lambda engine: OptIns(engine).purge,
    ),
    _by(
        "consent_record_days",
        "held-back messages",
        tables.held_back_messages,
        purge=lambda engine: HeldBackMessages(engine).purge,
    ),
    _by(
        "undeliverable_days",
        "expired suppressions",
        tables.suppressions,
        purge=lambda engine: Suppressions(engine).purge_expired,
    ),
    _by(
        "campaign_row_days",
        "rows of campaigns",
        tables.campaign_rows,
        purge=lambda engine: Campaigns(engine).purge_rows,
    ),
    _by(
        "consent_record_days",
        "campaigns",
        tables.campaigns,
        purge=lambda engine: Campaigns(engine).purge,
    ),
    _by(
        "audit_log_days",
        "entries of the audit log",
        tables.audit_log,
        purge=lambda engine: AuditLog(engine).purge,
    ),
    _fixed(
        "uploaded files of campaigns",
        *(tables.campaign_uploads, tables.campaign_upload_parts),
        purge=lambda engine: CampaignUploads(engine).purge,
        keep=LIFETIME,
    ),
    _fixed(
        "counts of message limits",
        tables.limit_usage,
        purge=lambda engine: functools.partial(limit_usage.purge, engine),
        keep=timedelta(0),
    ),
    _fixed(
        "sessions of the operations page",
        tables.ops_sessions,
        purge=lambda engine: functools.partial(ops_sessions.purge, engine),
        keep=timedelta(0),
    ),
)
NOT_PURGED: Final = {
    tables.account_hold: "at most one row",
    tables.hash_keys: "without its key, an erased person's opt-out would not be recognized",
    tables.schema_compatibility: "at most one row",
    tables.senders: "a row for each sender",
    tables.watermarks: "a row for each process",
}
"""The tables that have no purge, and why."""


def purging(engine: Engine, settings: Settings) -> AbstractAsyncContextManager[None]:
    """Delete what is old enough regularly while the context is open."""
    stop = threading.Event()

    async def purge() -> None:
        while True:
            for rule in RULES:
                before = datetime.now(UTC) - rule.keep(settings)
                try:
                    count = await asyncio.to_thread(rule.purge(engine), before=before, stop=stop)
                except DatabaseUnavailable as error:
                    _logger.warning("Old %s could not be deleted: %s", rule.what, error)
                except Exception as error:  # noqa: BLE001 - the other tables and the next hour
                    log_unexpected(_logger, error)
                else:
                    if count:
                        _logger.info("Deleted %d old %s", count, rule.what)
            await asyncio.sleep(_INTERVAL.total_seconds())

    return in_background(purge(), stop=stop.set)
