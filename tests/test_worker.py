import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from devtools.sandbox.client import SandboxControl
from signedfor.contract import (
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    MessageReport,
    Outcome,
    message_workflow_id,
)
from signedfor.inbound import CATCH_UP_ID
from signedfor.payloads import data_converter
from signedfor.search_attributes import SEARCH_ATTRIBUTES
from signedfor.store.database import open_engine, transaction
from signedfor.store.suppressions import Suppressions
from tests.worker_process import ROOT, TEXT, Worker, environment, until
from tests.workflows.fakes import binary

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def temporal() -> AsyncIterator[Client]:
    """A real Temporal server for the module."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary("temporal"),
        data_converter=data_converter,
        search_attributes=SEARCH_ATTRIBUTES,
    ) as server:
        yield server.client


@pytest.fixture(scope="module")
def sandbox_url() -> Iterator[str]:
    """A sandbox of its own for the module."""
    process = subprocess.Popen(
        [sys.executable, "-m", "devtools.sandbox", "--port", "0"],
        cwd=ROOT,
        env=environment("", PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    ready = next(line for line in process.stdout if "sandbox ready on " in line)
    yield ready.split(" on ")[1].strip()
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def sandbox(sandbox_url: str) -> Iterator[SandboxControl]:
    """Control of the sandbox, which is as fresh."""
    with SandboxControl(sandbox_url) as control:
        control.reset()
        yield control


def _address(client: Client) -> str:
    return client.service_client.config.target_host


@pytest.fixture
def variables(sqlite_url: str, temporal: Client, sandbox_url: str) -> dict[str, str]:
    """The environment of a worker that has everything it needs."""
    return environment(
        sqlite_url, TEMPORAL_ADDRESS=_address(temporal), TWILIO_API_BASE_URL=sandbox_url
    )


def _said_at_its_end(variables: dict[str, str], log: Path) -> str:
    """What a worker that cannot begin says: exit code 1, one plain message."""
    with Worker(variables, log) as worker:
        assert 1 == worker.ended()
    _, _, said = worker.said.partition("signedfor worker: ")
    assert "Traceback" not in worker.said
    assert said
    return said


async def test_temporal_is_not_there(sqlite_url: str, tmp_path: Path) -> None:
    """Without Temporal the worker ends and says where it looked."""
    said = _said_at_its_end(environment(sqlite_url), tmp_path / "log")

    assert said.startswith("Temporal does not answer at 127.0.0.1:1")


async def test_namespace_is_not_there(sqlite_url: str, temporal: Client, tmp_path: Path) -> None:
    """Without its namespace the worker ends and names it."""
    said = _said_at_its_end(
        environment(sqlite_url, TEMPORAL_ADDRESS=_address(temporal), TEMPORAL_NAMESPACE="nowhere"),
        tmp_path / "log",
    )

    assert "namespace nowhere" in said
    assert "TEMPORAL_NAMESPACE" in said


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sqlite:///{tmp_path}/none/x.db", "could not be used"),
        ("postgresql://me:token-canary@127.0.0.1:1/x", "could not be used"),
        ("mysql://me:token-canary@127.0.0.1/x", "DATABASE_URL"),
        ("sqlite:///{tmp_path}/empty.db", "signedfor migrate"),
    ],
)
async def test_database_is_not_there(url: str, word: str, tmp_path: Path) -> None:
    """Without a migrated database the worker ends and says what to do, without the password."""
    (tmp_path / "empty.db").touch()

    said = _said_at_its_end(environment(url.format(tmp_path=tmp_path)), tmp_path / "log")

    assert word in said


async def test_database_is_newer(sqlite_url: str, tmp_path: Path) -> None:
    """A worker that is older than its database ends and says so."""
    engine = open_engine(sqlite_url)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    assert "9999" in _said_at_its_end(environment(sqlite_url), tmp_path / "log")


async def test_variables_are_missing(sqlite_url: str, tmp_path: Path) -> None:
    """The worker names every variable that is missing or wrong, and no value."""
    said = _said_at_its_end(
        environment(
            sqlite_url, TWILIO_AUTH_TOKEN="", TWILIO_ACCOUNT_SID="token-canary", LOG_LEVEL="loud"
        ),
        tmp_path / "log",
    )

    for name in ("TWILIO_AUTH_TOKEN", "TWILIO_ACCOUNT_SID", "LOG_LEVEL"):
        assert f"  {name}: " in said
    assert "loud" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stops_when_idle(
    variables: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    """An idle worker that is told to stop ends cleanly within five seconds."""
    with Worker(variables, tmp_path / "log") as worker:
        worker.ready().send(number)

        assert 0 == worker.ended(within=5)

    assert worker.said.rstrip().endswith("worker stopped")


async def _start(client: Client, to: str) -> WorkflowHandle[Any, MessageReport]:
    return await client.start_workflow(
        SEND_MESSAGE,
        {"to": to, "body": TEXT},
        id=message_workflow_id(f"order-{time.monotonic_ns()}"),
        task_queue=MESSAGES_QUEUE,
        result_type=MessageReport,
    )


async def _events(handle: WorkflowHandle[Any, Any]) -> list[str]:
    return [EventType.Name(each.event_type) async for each in handle.fetch_history_events()]


async def test_drains(
    variables: dict[str, str], temporal: Client, sandbox: SandboxControl, tmp_path: Path
) -> None:
    """A worker that stops takes no new send, and ends those under way and what follows on them."""
    recipients = [f"+1555867000{n}" for n in range(3)]
    late = "+15558670009"
    for to in recipients:
        sandbox.script(to, [{"delay": 6}])
    with Worker(variables, tmp_path / "first") as worker:
        worker.ready()
        handles = [await _start(temporal, to) for to in recipients]
        until(lambda: len(sandbox.ledger()["accepted"]) == 3, "three sends under way")

        worker.send(signal.SIGTERM)
        await asyncio.sleep(2)
        last = await _start(temporal, late)

        assert 0 == worker.ended(within=20)
        assert [] == sandbox.ledger(to=late)["accepted"]
    for handle in handles:
        events = await _events(handle)
        assert "EVENT_TYPE_ACTIVITY_TASK_COMPLETED" in events
        assert "EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT" not in events

    with Worker(variables, tmp_path / "second") as worker:
        worker.ready()
        reports = [await handle.result() for handle in [*handles, last]]

    assert [Outcome.DELIVERED] * 4 == [each.outcome for each in reports]
    assert [1] * 4 == [each.attempts for each in reports]
    posted = sorted(each["to"] for each in sandbox.ledger()["accepted"])
    assert [*recipients, late] == posted


async def test_catches_up_on_what_never_reached_the_webhook(
    variables: dict[str, str],
    temporal: Client,
    sandbox: SandboxControl,
    sqlite_url: str,
    tmp_path: Path,
) -> None:
    """A worker has Twilio's list looked at by the clock: the word that was said last holds."""
    stopped, started = "+15558670021", "+15558670022"
    for person, words in ((stopped, ("STOP", "START", "Stop.")), (started, ("STOP", "START"))):
        for word in words:
            assert sandbox.inbound(person, "+15005550006", word)["http_status"] is None
    engine = open_engine(sqlite_url)

    with Worker(variables, tmp_path / "log") as worker:
        worker.ready()
        await temporal.get_schedule_handle(CATCH_UP_ID).trigger()
        until(lambda: len(Suppressions(engine).list_()) > 0, "an opt-out")
        until(lambda: len(Suppressions(engine).history(started)) == 2, "an opt-in")
        standing = [each.recipient for each in Suppressions(engine).list_()]
    engine.dispose()

    assert [stopped] == standing
