"""`signedfor messages restore-attempts`, with a real Temporal."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from temporalio.client import Client

from signedfor import attempt_recovery
from signedfor.attempt_history import Gap
from signedfor.contract import MessageRequest, message_workflow_id
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import StatusResult
from signedfor.message_limits import parse_rules
from signedfor.store.audit_log import AuditLog
from signedfor.store.database import open_engine
from signedfor.store.duplicates import DuplicateOf
from signedfor.store.limit_usage import LimitUsed
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import Claimed, NotClaimed, SendAttempts
from signedfor.store.tables import UNNUMBERED, limit_usage, send_attempts
from tests.encryption import KEYS
from tests.signedfor.cli.support import CommandLine, LiveSystem, new_id, until
from tests.workflows.fakes import (
    REQUEST,
    FakeActivities,
    accept,
    deferred,
    failure,
    refuse,
    serving,
)

_COMMAND = ("messages", "restore-attempts", "--since", "10m")


@pytest.fixture
def workers_are_long_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of this process stopped a moment ago; nobody waits a minute in a test."""
    monkeypatch.setattr(attempt_recovery, "_MAX_POLL", timedelta(0))


@pytest.fixture
def cli(cli_without_worker: CommandLine, sqlite_url: str) -> CommandLine:
    """With Temporal and a database, without a worker."""
    return CommandLine(env={**cli_without_worker.env, "DATABASE_URL": sqlite_url})


def _records(cli: CommandLine) -> list[tuple[Any, ...]]:
    column = send_attempts.c
    engine = open_engine(cli.env["DATABASE_URL"])
    with engine.connect() as connection:
        rows = connection.execute(
            select(column.message_id, column.submission).order_by(
                column.message_id, column.submission
            )
        )
        found = [tuple(row) for row in rows]
    engine.dispose()
    return found


async def _documents(cli: CommandLine, *options: str) -> dict[str, Any]:
    document: dict[str, Any] = await cli.document(*_COMMAND, *options)
    return {name: document[name] for name in ("messages", "numbered", "unnumbered", "unreadable")}


@pytest.mark.usefixtures("workers_are_long_gone")
async def test_each_submission_that_twilio_may_have_is_written_again(
    cli: CommandLine, temporal: Client
) -> None:
    """Of messages under way and of those that have ended; none of what was not sent."""
    fakes = FakeActivities()
    system = LiveSystem(cli=cli, client=temporal, fakes=fakes)
    fakes.policy = fakes.policy.model_copy(update={"receipt_checks": ()})
    fakes.sends = [
        accept(),
        accept(2),
        refuse(deferred(timedelta(hours=1))),
        failure(FailureClass.SENDER_MISCONFIGURED, code=21408),
    ]
    async with serving(temporal, fakes):
        ended = await system.send(message_id="1-ended")
        await system.receive(ended, "delivered")
        await system.ended(ended)
        await system.send(message_id="2-under-way")
        await system.posted("2-under-way")
        await system.send(message_id="3-waiting")
        await until(lambda: _is_asked(fakes, "3-waiting"), bool)
        refused = await system.send(message_id="4-refused")
        await system.ended(refused)

    preview = await _documents(cli, "--temporal-is-complete", "--dry-run")
    assert [] == _records(cli)
    done = await _documents(cli, "--temporal-is-complete")
    written = _records(cli)
    again = await _documents(cli, "--temporal-is-complete")

    assert {"messages": 4, "numbered": 2, "unnumbered": 0, "unreadable": []} == preview == done
    assert [("1-ended", 1), ("2-under-way", 1)] == written
    assert {**done, "numbered": 0} == again
    assert written == _records(cli)


async def _is_asked(fakes: FakeActivities, message_id: str) -> bool:
    return any(each.message_id == message_id for each in fakes.requests)


@pytest.mark.usefixtures("workers_are_long_gone")
async def test_later_submissions_have_their_number(cli: CommandLine, temporal: Client) -> None:
    """A reset of the workflow begins with the first."""
    fakes = FakeActivities(sends=[accept(), accept(2)])
    fakes.statuses = [StatusResult(status="failed", error_code=20429)]
    system = LiveSystem(cli=cli, client=temporal, fakes=fakes)
    async with serving(temporal, fakes):
        message_id = await system.send()
        await system.receive(message_id, "failed", code=20429)
        await until(lambda: _count(system, message_id), lambda count: count == 2)

    await _documents(cli, "--temporal-is-complete")

    assert [(message_id, 1), (message_id, 2)] == _records(cli)


async def _count(system: LiveSystem, message_id: str) -> int:
    return len(system.posts(message_id))


@pytest.mark.usefixtures("workers_are_long_gone")
async def test_guard_and_limits_know_what_was_sent_in_the_gap(
    cli: CommandLine, temporal: Client
) -> None:
    """As if the database had lost nothing: from the message in the history."""
    rules, options = "person=1/24h", ("--temporal-is-complete",)
    fakes = FakeActivities(sends=[accept()])
    system = LiveSystem(cli=cli, client=temporal, fakes=fakes)
    async with serving(temporal, fakes):
        message_id = await system.send()
        await system.posted(message_id)
    message = fakes.requests[0].message

    await cli.later(*_COMMAND, *options, MESSAGE_LIMITS=rules)

    guarded = _claim(cli, message, duplicate_window=timedelta(hours=1))
    limited = _claim(cli, message, limits=parse_rules(rules))
    assert isinstance(guarded, DuplicateOf)
    assert message_id == guarded.message_id
    assert isinstance(limited, LimitUsed)


@pytest.mark.usefixtures("workers_are_long_gone")
async def test_what_may_have_been_sent_until_the_end_of_the_gap_is_counted_there(
    cli: CommandLine, temporal: Client
) -> None:
    """An earlier moment would free its place in the limit too early."""
    await LiveSystem(cli=cli, client=temporal, fakes=FakeActivities()).send()
    now, engine = datetime.now(UTC), open_engine(cli.env["DATABASE_URL"])
    gap = Gap(since=now - timedelta(minutes=10), until=now + timedelta(hours=3))

    recovery = attempt_recovery.AttemptRecovery(
        engine, temporal, gap=gap, default_sender=None, limits=parse_rules("person=1/1h")
    )
    await recovery.run(lambda _: None)

    with engine.connect() as connection:
        (expires_at,) = connection.scalars(select(limit_usage.c.expires_at))
    engine.dispose()
    assert gap.until + timedelta(hours=1) <= expires_at


def _claim(cli: CommandLine, message: MessageRequest, **options: Any) -> Claimed | NotClaimed:
    engine = open_engine(cli.env["DATABASE_URL"])
    attempts = SendAttempts(engine, RateLimiter(engine), **options)
    claim = attempts.claim("another", message, sender="+15005550006")
    engine.dispose()
    return claim


@pytest.mark.usefixtures("workers_are_long_gone")
@pytest.mark.parametrize(
    ("options", "expected"), [((), [UNNUMBERED]), (("--temporal-is-complete",), [])]
)
async def test_what_temporal_may_have_forgotten_is_held(
    cli: CommandLine, temporal: Client, options: Sequence[str], expected: list[int]
) -> None:
    """Without a worker it was not sent; but a restored Temporal would not know."""
    system = LiveSystem(cli=cli, client=temporal, fakes=FakeActivities())
    message_id = await system.send()
    await system.send("--send-at", (datetime.now(UTC) + timedelta(hours=1)).isoformat())

    await _documents(cli, *options)

    assert [(message_id, each) for each in expected] == _records(cli)


async def test_it_is_refused_while_a_worker_runs(cli: CommandLine, temporal: Client) -> None:
    """Its records would come too late for what the worker is about to send."""
    fakes = FakeActivities()
    async with serving(temporal, fakes):
        await LiveSystem(cli=cli, client=temporal, fakes=fakes).send()
        await until(lambda: _documents_refused(cli), bool)

    assert [] == _records(cli)


async def _documents_refused(cli: CommandLine) -> bool:
    """A worker shows once it polls."""
    result = await cli.later(*_COMMAND, "--dry-run")
    return result.exit_code == 3 and "Stop all workers" in result.output


async def test_a_message_that_cannot_be_read_is_named(cli: CommandLine, temporal: Client) -> None:
    """Nothing protects it."""
    key = {"PAYLOAD_KEYS": KEYS, "PAYLOAD_ENCRYPTION": "on"}
    encrypting = CommandLine(env={**cli.env, **key})
    system = LiveSystem(cli=encrypting, client=temporal, fakes=FakeActivities())
    message_id = await system.send()

    result = await cli.later(*_COMMAND)

    assert 4 == result.exit_code
    assert message_id in result.output
    assert "PAYLOAD_KEYS" in result.output


async def test_a_message_without_a_sender_needs_the_default_one(
    cli: CommandLine, temporal: Client
) -> None:
    """Without it another message's search would not find this one."""
    await temporal.start_workflow(
        "SendMessage",
        {name: value for name, value in REQUEST.items() if name != "from"},
        id=message_workflow_id(new_id()),
        task_queue="messages",
    )

    without = await cli.later(*_COMMAND)
    done = await cli.later(*_COMMAND, DEFAULT_SENDER="+15005550006")

    assert (2, 0) == (without.exit_code, done.exit_code)
    assert "DEFAULT_SENDER" in without.output


def test_bad_options_are_named(cli: CommandLine) -> None:
    """Nothing is done."""
    unusable = cli("messages", "restore-attempts", "--since", "yesterday")
    reversed_ = cli(*_COMMAND, "--until", "20m")

    assert (2, 2) == (unusable.exit_code, reversed_.exit_code)
    assert "--since" in unusable.output
    assert "--until" in reversed_.output


async def test_it_is_in_the_audit_log(cli: CommandLine, temporal: Client) -> None:
    """If something was written."""
    await _documents(cli)
    system = LiveSystem(cli=cli, client=temporal, fakes=FakeActivities())
    await system.send()
    await _documents(cli)

    engine = open_engine(cli.env["DATABASE_URL"])
    entries = AuditLog(engine).entries()
    engine.dispose()
    assert ["attempts.restore"] == [each.action for each in entries]
