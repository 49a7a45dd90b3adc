"""How long rows are kept: what a worker deletes regularly, and what it does not."""

import asyncio
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, Table, func, select

from signedfor import retention
from signedfor.contract import InboundKind, MessageRequest
from signedfor.inbound import InboundRecord
from signedfor.inbound_texts import TextPolicy
from signedfor.retention import MAX_TIME_OPEN, NOT_PURGED, RULES, purging
from signedfor.settings import Settings
from signedfor.store import tables
from signedfor.store.campaign_uploads import LIFETIME, CampaignUploads
from signedfor.store.database import transaction
from signedfor.store.inbound import InboundMessages
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import Claimed, SendAttempts
from signedfor.store.tables import campaign_uploads, metadata, send_attempts
from signedfor.twilio.rates import SenderKind
from tests.docs.pages import ROOT
from tests.signedfor.campaigns.support import message
from tests.webhook.support import PERSON, SENDER, SETTINGS

TWO_DAYS = timedelta(days=2)


def _texts(engine: Engine) -> list[str]:
    return [each.message_sid for each in InboundMessages(engine).list_() if each.text is not None]


def _count(engine: Engine, table: Table) -> int:
    with transaction(engine, read_only=True) as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _claim(engine: Engine, message_id: str, *, at: datetime) -> None:
    rates = dict.fromkeys(SenderKind, 100_000.0)
    attempts = SendAttempts(engine, RateLimiter(engine, rates=rates), now=lambda: at)
    claimed = attempts.claim(message_id, MessageRequest(to=PERSON, body="x"), sender=SENDER)
    assert isinstance(claimed, Claimed)


@pytest.mark.parametrize(("days", "left"), [(1, ["new"]), (3, ["new", "old"]), (0, [])])
async def test_old_texts_and_attempt_records_are_deleted(
    engine: Engine, days: int, left: list[str]
) -> None:
    """Each by its own setting, and at once when the worker starts."""
    inbound = InboundMessages(engine, texts=TextPolicy(keeps=True))
    now = datetime.now(UTC)
    for sid, at in (
        ("new", now - timedelta(minutes=1)),
        ("old", now - TWO_DAYS),
        ("oldest", now - 2 * TWO_DAYS),
    ):
        inbound.receive(
            InboundRecord(
                message_sid=sid,
                from_=PERSON,
                to=SENDER,
                kind=InboundKind.OTHER,
                body="hello",
                received_at=at,
            )
        )
    _claim(engine, "m1", at=now - TWO_DAYS - MAX_TIME_OPEN)
    _claim(engine, "m2", at=now)
    uploads = CampaignUploads(engine, now=lambda: now - 2 * LIFETIME)
    uploads.add(io.BytesIO(b"to\n"), message(), to_column="to", campaign_id=None, by="ann")
    settings = SETTINGS.model_copy(update={"inbound_text_days": days, "attempt_record_days": 2})

    async with purging(engine, settings), asyncio.timeout(30):
        # Purged after the others that are looked at below.
        while _count(engine, campaign_uploads):  # noqa: ASYNC110 - a database
            await asyncio.sleep(0.05)

    assert 1 == _count(engine, send_attempts)
    assert left == _texts(engine)
    assert ["new", "old", "oldest"] == [each.message_sid for each in inbound.list_()]


async def test_a_defect_in_one_purge_leaves_the_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, without its text."""

    def fail(**_: object) -> int:
        raise ZeroDivisionError(PERSON)

    broken = replace(RULES[0], what="broken", purge=lambda _: fail)
    monkeypatch.setattr(retention, "RULES", (broken, *RULES))
    _claim(engine, "m1", at=datetime.now(UTC) - timedelta(days=365))

    async with purging(engine, SETTINGS), asyncio.timeout(30):
        while _count(engine, send_attempts):  # noqa: ASYNC110 - a database
            await asyncio.sleep(0.05)

    assert "ZeroDivisionError" in caplog.text
    assert PERSON not in caplog.text


DOCUMENTED = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/reference/retention.md").read_text().splitlines()
    if line.startswith("| `")
]


def test_every_table_is_purged_or_says_why_not() -> None:
    """A new table needs a rule of its own."""
    purged = {table for rule in RULES for table in rule.tables}

    assert set(metadata.tables.values()) == purged | NOT_PURGED.keys()
    assert set() == purged & NOT_PURGED.keys()
    assert all(NOT_PURGED.values())


def test_every_rule_is_documented_as_it_is() -> None:
    """With its setting and the setting's default; the tables without one with the reason."""
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    rules = sorted(
        (f"`{table.name}`", f"`{rule.setting.upper()}`" if rule.setting else "")
        for rule in RULES
        for table in rule.tables
    )
    kept = {(f"`{table.name}`", reason) for table, reason in NOT_PURGED.items()}

    assert rules == sorted(
        (table, setting) for table, _, setting, default, _ in DOCUMENTED if default != "kept"
    )
    assert kept == {(row[0], row[4]) for row in DOCUMENTED if row[3] == "kept"}
    for _, _, setting, default, _ in DOCUMENTED:
        if setting:
            assert f"{defaults[setting.strip('`').lower()]} days" == default.partition(",")[0]


DAY = timedelta(days=1)
YEARS = timedelta(days=3 * 365)
KEPT_SETTINGS = SETTINGS.model_copy(
    update={
        **dict.fromkeys(("consent_record_days", "audit_log_days"), 2 * 365),
        **dict.fromkeys(("inbound_record_days", "campaign_row_days", "undeliverable_days"), 60),
    }
)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (tables.suppression_history, "recipient"),
        (tables.audit_log, "subject"),
        (tables.opt_ins, "recipient"),
        (tables.held_back_messages, "message_id"),
        (tables.suppressions, "recipient"),
        (tables.inbox, "message_id"),
        (tables.inbound_messages, "message_sid"),
        (tables.campaign_rows, "campaign_id"),
        (tables.campaigns, "campaign_id"),
        (tables.ops_sessions, "token_hash"),
    ],
    ids=lambda each: each.name if isinstance(each, Table) else "",
)
def test_what_is_over_for_long_enough_is_deleted(engine: Engine, table: Table, column: str) -> None:
    """And nothing that is not: what stands, what is newer, and what waits for something."""
    _fill(engine)

    for rule in RULES:
        if table in rule.tables:
            rule.purge(engine)(before=datetime.now(UTC) - rule.keep(KEPT_SETTINGS))

    with transaction(engine, read_only=True) as connection:
        left = set(connection.scalars(select(table.c[column])))
    assert WANTED[table.name] == left


WANTED = {
    "suppression_history": {"new"},
    "audit_log": {"new"},
    "opt_ins": {"stands", "new"},
    "held_back_messages": {"new"},
    "suppressions": {"stands", "new"},
    "inbox": {"new"},
    "inbound_messages": {"new", "waits", "pending", "stop-of-last-year"},
    "campaign_rows": {"new", "paused"},
    "campaigns": {"new", "paused", "of-last-year"},
    "ops_sessions": {"new"},
}


def _fill(engine: Engine) -> None:
    """Rows that are called old, which must go, and others, which must stay."""
    now = datetime.now(UTC)
    old, last_year = now - YEARS, now - timedelta(days=365)
    change = {
        "action": "recorded",
        "scope": "everything",
        "scope_value": "",
        "reason": "manual",
        "source": "operator",
        "evidence": "",
    }
    entry = {"who": "x", "role": "x", "action": "x"}
    inbound = {"from_address": PERSON, "to_address": SENDER}
    campaign = {
        "message": message().model_dump_json(),
        "row_count": 1,
        "segments": 1,
        "last_row": 1,
        "skipped": 0,
        "created_at": old,
    }
    opt_in = {
        "category": "news",
        "source": "form",
        "evidence": "",
        "wording": "",
        "opted_in_at": old,
        "recorded_at": old,
        "recorded_by": "x",
    }
    receipt = {
        "message_sid": "SM1",
        "message_status": "sent",
        "failed_attempts": 0,
        "due_at": now,
    }
    rows: dict[Table, list[dict[str, Any]]] = {
        tables.suppression_history: [
            {**change, "recipient": name, "at": at, "changed_by": "x"}
            for name, at in (("old", old), ("old2", old), ("new", now))
        ],
        tables.audit_log: [
            {**entry, "subject": name, "at": at} for name, at in (("old", old), ("new", now))
        ],
        tables.opt_ins: [
            {**opt_in, "recipient": name, "withdrawn_at": at, "withdrawn_by": at and "x"}
            for name, at in (("old", old), ("stands", None), ("new", now))
        ],
        tables.held_back_messages: [
            {"message_id": name, "recipient": PERSON, "at": at, "sender": SENDER}
            | {"reason": "opted_out", "evidence": ""}
            for name, at in (("old", old), ("new", now))
        ],
        tables.suppressions: [
            {key: value for key, value in change.items() if key != "action"}
            | {"recipient": name, "created_at": old, "expires_at": at}
            for name, at in (("old", now - 61 * DAY), ("stands", None), ("new", now - DAY))
        ],
        tables.inbox: [
            {**receipt, "message_id": name, "received_at": at}
            for name, at in (("old", old), ("new", now))
        ],
        tables.inbound_messages: [
            {**inbound, "message_sid": name, "kind": kind, "received_at": at, "dispatch_at": due}
            for name, kind, at, due in (
                ("old", "other", last_year, None),
                ("old-stop", "stop", old, None),
                ("stop-of-last-year", "stop", last_year, None),
                ("pending", "review", old, None),
                ("waits", "other", old, now),
                ("new", "other", now, None),
            )
        ],
        tables.campaigns: [
            {**campaign, "campaign_id": name, "state": state, "state_since": at}
            for name, state, at in (
                ("old", "finished", old),
                ("of-last-year", "canceled", last_year),
                ("paused", "paused", old),
                ("new", "finished", now),
            )
        ],
        tables.campaign_rows: [
            {"campaign_id": name, "number": 1, "recipient": PERSON, "fields": "{}", "segments": 1}
            for name in ("of-last-year", "paused", "new")
        ],
        tables.ops_sessions: [
            {"token_hash": name, "name": "x", "csrf_token": "x", "expires_at": at}
            for name, at in (("old", now - DAY), ("new", now + DAY))
        ],
    }
    with transaction(engine) as connection:
        for table, each in rows.items():
            connection.execute(table.insert(), each)
