import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from devtools.sandbox.client import SandboxControl, Step
from signedfor.contract import (
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    MessageReport,
    Outcome,
    message_workflow_id,
)
from signedfor.inbound import CATCH_UP_ID
from signedfor.payloads import data_converter
from signedfor.retry import QUICK_ATTEMPTS
from signedfor.search_attributes import SEARCH_ATTRIBUTES
from signedfor.store.database import open_engine, transaction
from signedfor.store.inbound import CLOCK_MARGIN, Watermarks
from signedfor.store.suppressions import Suppressions
from tests.fixtures.temporal import binary
from tests.worker_process import ROOT, TEXT, Worker, environment, until

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
    """A Twilio sandbox for the module."""
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
    """Control of the sandbox, which has been reset."""
    with SandboxControl(sandbox_url) as control:
        control.reset()
        yield control


def _address(client: Client) -> str:
    return client.service_client.config.target_host


@pytest.fixture
def variables(sqlite_url: str, temporal: Client, sandbox_url: str) -> dict[str, str]:
    """A complete environment for a worker."""
    return environment(
        sqlite_url, TEMPORAL_ADDRESS=_address(temporal), TWILIO_API_BASE_URL=sandbox_url
    )


def _startup_error(variables: dict[str, str], log: Path) -> str:
    """The message of a worker that must fail to start, with exit code 1 and without traceback."""
    with Worker(variables, log) as worker:
        assert 1 == worker.exit_code()
    _, _, message = worker.output.partition("signedfor worker: ")
    assert "Traceback" not in worker.output
    assert message
    return message


async def test_temporal_is_unreachable(sqlite_url: str, tmp_path: Path) -> None:
    """The worker fails to start and names Temporal's address."""
    message = _startup_error(environment(sqlite_url), tmp_path / "log")

    assert message.startswith("Temporal does not answer at 127.0.0.1:1")


async def test_the_namespace_does_not_exist(
    sqlite_url: str, temporal: Client, tmp_path: Path
) -> None:
    """The worker fails to start and names the namespace and its variable."""
    message = _startup_error(
        environment(sqlite_url, TEMPORAL_ADDRESS=_address(temporal), TEMPORAL_NAMESPACE="missing"),
        tmp_path / "log",
    )

    assert "namespace missing" in message
    assert "TEMPORAL_NAMESPACE" in message


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite:///{tmp_path}/missing/x.db", "could not be used"),
        ("postgresql://me:token-canary@127.0.0.1:1/x", "could not be used"),
        ("mysql://me:token-canary@127.0.0.1/x", "DATABASE_URL"),
        ("sqlite:///{tmp_path}/empty.db", "signedfor migrate"),
    ],
)
async def test_the_database_cannot_be_used(url: str, text: str, tmp_path: Path) -> None:
    """Without a migrated database the worker fails to start; its message has no password."""
    (tmp_path / "empty.db").touch()

    message = _startup_error(environment(url.format(tmp_path=tmp_path)), tmp_path / "log")

    assert text in message


async def test_the_database_is_newer_than_the_worker(sqlite_url: str, tmp_path: Path) -> None:
    """If that is marked, the worker fails to start and names the database's revision."""
    engine = open_engine(sqlite_url)
    with transaction(engine) as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(
            sqlalchemy.text("UPDATE schema_compatibility SET oldest_program = '9999'")
        )
    engine.dispose()

    assert "9999" in _startup_error(environment(sqlite_url), tmp_path / "log")


async def test_variables_are_missing_or_invalid(sqlite_url: str, tmp_path: Path) -> None:
    """The worker fails to start and names every such variable, but no value."""
    message = _startup_error(
        environment(
            sqlite_url, TWILIO_AUTH_TOKEN="", TWILIO_ACCOUNT_SID="token-canary", LOG_LEVEL="loud"
        ),
        tmp_path / "log",
    )

    for name in ("TWILIO_AUTH_TOKEN", "TWILIO_ACCOUNT_SID", "LOG_LEVEL"):
        assert f"  {name}: " in message
    assert "loud" not in message


async def test_the_prices_cannot_be_used(sqlite_url: str, tmp_path: Path) -> None:
    """The worker fails to start and names every bad line, but not what is in it."""
    prices = tmp_path / "prices.csv"
    prices.write_text("country,price_per_segment\nUS,free\n*,0.1\nUSA,0.1\n")

    message = _startup_error(environment(sqlite_url, PRICES_FILE=str(prices)), tmp_path / "log")

    assert "PRICES_FILE: line 2 must have a price" in message
    assert "PRICES_FILE: line 4 must begin with a country" in message
    assert "free" not in message


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_worker_stops_at_once(
    variables: dict[str, str], tmp_path: Path, stop_signal: signal.Signals
) -> None:
    """It exits cleanly within five seconds of SIGTERM or SIGINT."""
    with Worker(variables, tmp_path / "log") as worker:
        worker.ready().send(stop_signal)

        assert 0 == worker.exit_code(within=5)

    assert worker.output.rstrip().endswith("worker stopped")


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


_BUSY: Step = {"respond": "error", "code": 20429, "http_status": 429}


@pytest.mark.parametrize(
    ("refusals", "event"),
    [
        # A local activity's result is a marker of the workflow task that ran it.
        (0, "EVENT_TYPE_MARKER_RECORDED"),
        (QUICK_ATTEMPTS, "EVENT_TYPE_ACTIVITY_TASK_COMPLETED"),
    ],
    ids=["first attempts", "later attempts"],
)
async def test_a_stopping_worker_drains(  # noqa: PLR0917 - pytest passes them by name
    variables: dict[str, str],
    temporal: Client,
    sandbox: SandboxControl,
    tmp_path: Path,
    refusals: int,
    event: str,
) -> None:
    """It starts no new send, and finishes the running ones and the workflow tasks after them."""
    recipients = [f"+1555867000{n}" for n in range(3)]
    late = "+15558670009"
    for to in recipients:
        sandbox.script(to, [*[_BUSY] * refusals, {"delay": 6}])
    with Worker(variables, tmp_path / "first") as worker:
        worker.ready()
        handles = [await _start(temporal, to) for to in recipients]
        until(lambda: len(sandbox.ledger()["accepted"]) == 3, "three running sends")

        worker.send(signal.SIGTERM)
        await asyncio.sleep(2)
        last = await _start(temporal, late)

        assert 0 == worker.exit_code(within=20)
        assert [] == sandbox.ledger(to=late)["accepted"]
    for handle in handles:
        events = await _events(handle)
        assert event in events
        assert [] == [each for each in events if each.endswith(("TASK_TIMED_OUT", "TASK_FAILED"))]

    with Worker(variables, tmp_path / "second") as worker:
        worker.ready()
        reports = [await handle.result() for handle in [*handles, last]]

    assert [Outcome.DELIVERED] * 4 == [each.outcome for each in reports]
    assert [*[refusals + 1] * 3, 1] == [each.attempts for each in reports]
    posted = sorted(each["to"] for each in sandbox.ledger()["accepted"])
    assert [*recipients, late] == posted


async def test_a_worker_says_which_workflow_inbound_messages_start(
    variables: dict[str, str], tmp_path: Path
) -> None:
    """In the database, where the webhook compares it."""
    since = datetime.now(UTC)
    engine = open_engine(variables["DATABASE_URL"])
    watermarks = Watermarks(engine)

    with Worker(variables, tmp_path / "log") as worker:
        worker.ready()
        until(lambda: watermarks.names("inbound-workflow:worker:none", since=since) != [], "a name")
    engine.dispose()


async def test_the_worker_schedules_the_inbound_catch_up(
    variables: dict[str, str],
    temporal: Client,
    sandbox: SandboxControl,
    sqlite_url: str,
    tmp_path: Path,
) -> None:
    """Messages that never reached the webhook are recorded; each sender's last keyword decides."""
    stopped, started = "+15558670021", "+15558670022"
    first = [(started, "STOP"), (stopped, "STOP"), (stopped, "START"), (stopped, "Stop.")]
    for sender, text in (*first, (None, ""), (started, "START")):
        if sender is None:  # sooner, and the STOP would count; Twilio's list has whole seconds
            await asyncio.sleep(CLOCK_MARGIN.total_seconds() + 1)
            continue
        assert sandbox.inbound(sender, "+15005550006", text)["http_status"] is None
    engine = open_engine(sqlite_url)

    with Worker(variables, tmp_path / "log") as worker:
        worker.ready()
        await temporal.get_schedule_handle(CATCH_UP_ID).trigger()
        until(lambda: len(Suppressions(engine).list_()) > 0, "an opt-out")
        until(lambda: len(Suppressions(engine).history(started)) == 2, "an opt-in")
        suppressed = [each.recipient for each in Suppressions(engine).list_()]
    engine.dispose()

    assert [stopped] == suppressed
