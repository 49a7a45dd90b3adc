"""A database that was restored from an older copy."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.backups import copy_database
from signedfor.contract import Outcome
from signedfor.inbound import CATCH_UP_ID
from signedfor.store.database import open_engine
from signedfor.store.inbound import Watermarks
from signedfor.store.suppressions import Suppressions
from tests.fixtures.databases import PostgresServer, restore
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.support import Caller, signedfor, until_true

pytestmark = pytest.mark.integration

_DAILY = "1440"
"""Minutes: the schedule does not search while the test runs."""


@pytest.mark.timeout(120)
async def test_an_opt_out_that_the_database_has_forgotten_comes_back_first(
    tmp_path: Path, new_number: NewNumber
) -> None:
    """A worker that starts records the inbound messages since the last search, then sends."""
    with silent_stack(tmp_path, INBOUND_CATCH_UP_MINUTES=_DAILY) as stack:
        caller = Caller(stack=stack, client=await stack.client())
        database = Path(stack.settings["DATABASE_URL"].removeprefix("sqlite:///"))
        person = new_number()
        before = await (await caller.send(person)).report()
        engine = open_engine(stack.settings["DATABASE_URL"])
        Watermarks(engine).advance(CATCH_UP_ID, datetime.now(UTC) - timedelta(days=4))
        engine.dispose()
        copy_database(database, tmp_path / "older-copy.db")
        stack.sandbox.inbound(person, GOOD_SENDER, "STOP")
        stopped = await (await caller.send(person)).report()

        for process in (stack.worker, stack.webhook):
            await asyncio.to_thread(process.stop)
        copy_database(tmp_path / "older-copy.db", database)
        for process in (stack.webhook, stack.worker):
            await asyncio.to_thread(process.start)
        restored = await caller.send(person)
        after = await restored.report()

    outcomes = [each.outcome for each in (before, stopped, after)]
    assert [Outcome.DELIVERED, Outcome.SUPPRESSED, Outcome.SUPPRESSED] == outcomes
    assert 0 == after.attempts


@pytest.mark.timeout(180)
async def test_a_restore_under_a_running_worker(
    tmp_path: Path, new_number: NewNumber, postgres_server: PostgresServer, postgres_url: str
) -> None:
    """It notices at its next check, and records the opt-out from Twilio's list before it sends.

    PostgreSQL: nobody replaces SQLite's file under open connections.
    """
    name = postgres_url.rpartition("/")[2]
    settings = {"DATABASE_URL": postgres_url, "INBOUND_CATCH_UP_MINUTES": _DAILY}
    with silent_stack(tmp_path, **settings) as stack:
        caller = Caller(stack=stack, client=await stack.client())
        person = new_number()
        before = await (await caller.send(person)).report()
        for process in (stack.worker, stack.webhook):
            await asyncio.to_thread(process.stop)
        copy = await asyncio.to_thread(postgres_server.create, template=name)
        for process in (stack.webhook, stack.worker):
            await asyncio.to_thread(process.start)
        engine = open_engine(postgres_url)
        stack.sandbox.inbound(person, GOOD_SENDER, "STOP")
        stopped = await (await caller.send(person)).report()

        await asyncio.to_thread(restore, postgres_server, name, copy=copy)
        assert [] == Suppressions(engine).list_()
        output = stack.worker.output
        await until_true(lambda: "is an older copy" in output(), "the restore to be noticed")
        await until_true(lambda: output().count("worker ready") == 2, "the worker to go on")
        assert 1 == len(Suppressions(engine).list_())
        after = await (await caller.send(person)).report()
        engine.dispose()
    postgres_server.drop(copy)

    outcomes = [each.outcome for each in (before, stopped, after)]
    assert [Outcome.DELIVERED, Outcome.SUPPRESSED, Outcome.SUPPRESSED] == outcomes
    assert 0 == after.attempts


@pytest.mark.timeout(180)
@pytest.mark.parametrize("options", [(), ("--temporal-is-complete",)])
async def test_a_message_whose_claim_the_database_has_forgotten_is_sent_once(
    tmp_path: Path, new_number: NewNumber, options: tuple[str, ...]
) -> None:
    """Its POST was accepted and its worker killed; then an older database was restored.

    Another message was not sent yet: it is sent now.
    """
    with silent_stack(tmp_path, INBOUND_CATCH_UP_MINUTES=_DAILY) as stack:
        caller = Caller(stack=stack, client=await stack.client())
        database = Path(stack.settings["DATABASE_URL"].removeprefix("sqlite:///"))
        copy_database(database, tmp_path / "older-copy.db")
        await asyncio.to_thread(stack.webhook.stop)  # no callback names the message
        sent = await caller.send(new_number(), {"delay": 10})
        await until_true(lambda: len(sent.accepted()) == 1, "the POST")
        for process in (stack.worker, stack.temporal):
            process.kill()  # with Temporal, so that it does not remember the worker
        await asyncio.to_thread(stack.temporal.start)
        waiting = await caller.send(new_number())

        copy_database(tmp_path / "older-copy.db", database)
        restored = await signedfor(
            stack, "messages", "restore-attempts", "--since", "5m", *options, "--json"
        )
        await asyncio.to_thread(stack.worker.start)
        await waiting.reaches("awaiting_receipt")
        await asyncio.to_thread(stack.webhook.start)
        reports = [await sent.report(), await waiting.report()]
        accepted = len(sent.accepted()), len(waiting.accepted())

    assert (0, 1 if options else 2) == (restored.exit_code, restored.document["unnumbered"])
    assert [Outcome.DELIVERED] * 2 == [each.outcome for each in reports]
    assert (1, 1) == accepted
