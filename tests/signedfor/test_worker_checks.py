"""When a worker must not serve: by its clock, and by its database; with a real Temporal server."""

import asyncio
import logging
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy
from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from devtools.stack.ports import HOST, free_ports
from signedfor import worker_checks
from signedfor.clock import MAX_SKEW, ClockOffset
from signedfor.metrics import CLOCK_OFFSET
from signedfor.store.database import open_engine, transaction
from signedfor.store.inbound import Watermarks
from signedfor.store.tables import schema_compatibility, watermarks
from signedfor.temporal import TemporalUnavailable, clock_offset
from signedfor.worker_checks import IN_USE, Obstacle, WorkerChecks
from tests.fixtures.databases import PostgresServer, restore
from tests.integration.support import until_true

_OFTEN = timedelta(seconds=0.05)
_NEVER = timedelta(days=1)
_SECONDS = MAX_SKEW.total_seconds()
RIGHT = ClockOffset(0.2, 0.01)
WRONG = ClockOffset(3600.0, 0.01)


@pytest.mark.parametrize("jump", [0.0, 3600.0, -3600.0])
async def test_the_clock_is_compared_with_temporals(
    temporal: Client, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """The server has this machine's clock, so what is measured is how far ours was moved."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)

    offset = await clock_offset(temporal)

    assert abs(offset.seconds - jump) <= offset.uncertainty + 0.05
    assert offset.uncertainty < MAX_SKEW.total_seconds() / 2


async def test_a_server_that_does_not_answer() -> None:
    """The clock cannot be compared, which is an error of its own."""
    nowhere = await Client.connect("127.0.0.1:1", lazy=True)

    with pytest.raises(TemporalUnavailable):
        await clock_offset(nowhere)


def test_an_offset_says_its_direction() -> None:
    """Operators read it in the log and in `signedfor doctor`."""
    assert "3600.0 s ahead of Temporal's" == str(WRONG)
    assert "12.3 s behind Temporal's" == str(ClockOffset(-12.34, 0.1))


@pytest.mark.parametrize(
    ("seconds", "uncertainty", "is_tolerable"),
    [
        (_SECONDS, 0.0, True),
        (_SECONDS + 0.1, 0.0, False),
        (-_SECONDS - 0.1, 0.0, False),
        (_SECONDS + 0.1, 0.2, True),  # it may have been the answer that took so long
        (_SECONDS + 0.3, 0.2, False),
    ],
)
def test_half_of_the_round_trip_is_allowed_for(
    seconds: float, uncertainty: float, is_tolerable: bool
) -> None:
    """A clock is wrong only if it is certainly off by more than the tolerance."""
    assert is_tolerable is ClockOffset(seconds, uncertainty).is_tolerable


@pytest.fixture
def offsets(monkeypatch: pytest.MonkeyPatch) -> list[ClockOffset | None]:
    """What the comparisons find, in order; the last one stays. None: Temporal does not answer."""
    offsets: list[ClockOffset | None] = []

    async def next_offset(_: Client) -> ClockOffset:
        offset = offsets.pop(0) if len(offsets) > 1 else offsets[0]
        if offset is None:
            raise TemporalUnavailable("It is away.")
        return offset

    monkeypatch.setattr(worker_checks, "clock_offset", next_offset)
    return offsets


async def test_a_wrong_clock_holds_the_worker_until_it_is_right(
    temporal: Client,
    engine: Engine,
    offsets: list[ClockOffset | None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each change is logged once; while Temporal is away, what was known of the clock holds."""
    checks = WorkerChecks(temporal, engine, interval=_OFTEN)
    offsets += [RIGHT, None, None, WRONG, WRONG, None, WRONG, RIGHT]

    await checks.until_clock_is_right()
    obstacle = await checks.until_obstacle()
    await checks.until_clock_is_right()

    assert Obstacle.CLOCK is obstacle
    assert [RIGHT] == offsets
    assert [
        (logging.WARNING, "This worker's clock could not be compared: It is away."),
        (
            logging.ERROR,
            f"This worker's clock is {WRONG}: it sends nothing until it is right",
        ),
        (logging.WARNING, "This worker's clock could not be compared: It is away."),
        (logging.WARNING, "This worker's clock is right again: it sends messages"),
    ] == [(each.levelno, each.message) for each in caplog.records]


async def test_a_worker_starts_while_its_clock_cannot_be_compared(
    temporal: Client, engine: Engine, offsets: list[ClockOffset | None]
) -> None:
    """Each attempt compares the clock too."""
    offsets.append(None)

    await WorkerChecks(temporal, engine, interval=_NEVER).until_clock_is_right()


async def test_a_clock_that_is_behind_is_measured_too(
    temporal: Client, engine: Engine, offsets: list[ClockOffset | None]
) -> None:
    """The SDK refuses a metric's negative value, which would end the worker."""
    (port,) = free_ports(1)
    metrics = PrometheusConfig(bind_address=f"{HOST}:{port}")
    client = await Client.connect(
        temporal.service_client.config.target_host,
        runtime=Runtime(telemetry=TelemetryConfig(metrics=metrics)),
    )
    offsets.append(ClockOffset(-0.25, 0.01))

    await WorkerChecks(client, engine, interval=_NEVER).until_clock_is_right()

    async with httpx.AsyncClient() as http:
        served = (await http.get(f"http://{HOST}:{port}/metrics")).text
    assert re.search(rf"^{CLOCK_OFFSET}(\{{.*\}})? 0\.25$", served, re.MULTILINE)


def _set(engine: Engine, at: datetime | None) -> None:
    """Put the database back to what an older copy of it has."""
    with transaction(engine) as connection:
        connection.execute(sqlalchemy.delete(watermarks))
    if at is not None:
        Watermarks(engine).advance(IN_USE, at)


async def _seen(*checks: WorkerChecks) -> None:
    """Wait until the workers have seen the database."""
    await until_true(lambda: all(each._in_use_at for each in checks), "the first check")


@pytest.mark.parametrize("age", [timedelta(seconds=1), timedelta(days=9), None])
async def test_an_older_copy_of_the_database_is_noticed(
    temporal: Client,
    engine: Engine,
    offsets: list[ClockOffset | None],
    age: timedelta | None,
) -> None:
    """By each worker, until one has looked back; also if the copy is from before any worker ran.

    The rows are put back by hand; the next test restores a database.
    """
    offsets.append(RIGHT)
    checks = [WorkerChecks(temporal, engine, interval=_OFTEN) for _ in range(2)]
    running = [asyncio.create_task(each.until_obstacle()) for each in checks]
    await _seen(*checks)

    await asyncio.to_thread(_set, engine, None if age is None else datetime.now(UTC) - age)
    obstacles = await asyncio.wait_for(asyncio.gather(*running), 10)

    assert [Obstacle.OLDER_DATABASE] * 2 == obstacles
    again = asyncio.create_task(checks[0].until_obstacle())
    await asyncio.wait([again], timeout=0.3)
    assert not again.done(), "it is the worker's database from now on"
    again.cancel()
    await asyncio.wait([again])  # with its thread, which may have a connection


@pytest.fixture
def postgres_copy(postgres_server: PostgresServer, postgres_url: str) -> Iterator[str]:
    """The name of an older copy of the database of `postgres_url`."""
    name = postgres_server.create(template=postgres_url.rpartition("/")[2])
    yield name
    postgres_server.drop(name)


async def test_a_restored_database_is_noticed_at_the_first_new_connection(
    temporal: Client,
    postgres_server: PostgresServer,
    postgres_url: str,
    postgres_copy: str,
    offsets: list[ClockOffset | None],
) -> None:
    """A restore ends the workers' connections: whatever connects next has it checked."""
    offsets.append(RIGHT)
    engine = open_engine(postgres_url)
    checks = WorkerChecks(temporal, engine, interval=_NEVER)
    running = asyncio.create_task(checks.until_obstacle())
    await _seen(checks)

    restore(postgres_server, postgres_url.rpartition("/")[2], copy=postgres_copy)
    assert await asyncio.to_thread(Watermarks(engine).read, "anything") is None

    assert Obstacle.OLDER_DATABASE is await asyncio.wait_for(running, 10)
    engine.dispose()


@pytest.mark.parametrize(
    ("migrated", "is_obstacle"),
    [(("9999", "0015"), False), (("9999", "9999"), True), (("0014", "0015"), True)],
)
async def test_a_worker_stops_at_migrations_that_it_cannot_go_on_with(
    temporal: Client,
    engine: Engine,
    offsets: list[ClockOffset | None],
    migrated: tuple[str, str],
    is_obstacle: bool,
) -> None:
    """A newer version may migrate its database meanwhile; a restored one may lack migrations."""
    offsets.append(RIGHT)
    revision, oldest_program = migrated
    checks = WorkerChecks(temporal, engine, interval=_OFTEN)
    running = asyncio.create_task(checks.until_obstacle())
    await _seen(checks)

    def migrate() -> None:
        with transaction(engine) as connection:
            connection.execute(sqlalchemy.delete(schema_compatibility))
            row = {"id": 1, "oldest_program": oldest_program}
            connection.execute(sqlalchemy.insert(schema_compatibility).values(row))
            connection.execute(
                sqlalchemy.text("UPDATE alembic_version SET version_num = :revision"),
                {"revision": revision},
            )

    await asyncio.to_thread(migrate)

    if is_obstacle:
        assert Obstacle.INCOMPATIBLE_SCHEMA is await asyncio.wait_for(running, 10)
    else:
        await asyncio.wait([running], timeout=0.3)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])


async def test_the_database_is_away(
    temporal: Client, sqlite_url: str, offsets: list[ClockOffset | None]
) -> None:
    """That is no obstacle: nothing is sent without it, and what was seen is remembered."""
    offsets.append(RIGHT)
    engine = open_engine(sqlite_url)
    checks = WorkerChecks(temporal, engine, interval=_OFTEN)
    running = asyncio.create_task(checks.until_obstacle())
    await _seen(checks)

    def rename(from_: str, to: str) -> None:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"ALTER TABLE {from_} RENAME TO {to}"))

    await asyncio.to_thread(rename, "watermarks", "away")
    await asyncio.wait([running], timeout=0.3)
    assert not running.done()
    await asyncio.to_thread(rename, "away", "watermarks")
    await asyncio.to_thread(_set, engine, datetime.now(UTC) - timedelta(hours=1))

    assert Obstacle.OLDER_DATABASE is await asyncio.wait_for(running, 10)
    engine.dispose()
