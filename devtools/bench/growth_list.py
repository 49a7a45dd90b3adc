"""What commands, polls and sends cost when Temporal's list has half a million closed messages.

Sending these would take hours. So a few real messages and dead letters are sent, and their closed
rows are copied in Temporal's visibility database, with ids of their own and times over the
retention. Their histories are not copied: what grows with those is not measured. The messages
belong to one campaign, whose counts are then as slow as any can be.
"""

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
from temporalio.client import WorkflowHandle

from devtools.bench.campaign_fixture import CampaignFixture, campaign_fixture
from devtools.bench.environment import (
    PRODUCT,
    UNPACED,
    Environment,
    fresh_stack,
    in_flight,
    log_progress,
    servers,
    set_up,
)
from devtools.bench.figures import Rounds
from devtools.bench.processes import run_command
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes
from devtools.sandbox.client import Step
from devtools.stack.local import LocalStack
from devtools.stack.processes import basic_environment
from signedfor.campaign_activities import messages_of
from signedfor.contract import (
    DEAD_LETTER,
    SEND_MESSAGE,
    campaign_message_id,
    message_workflow_id,
)
from webhook.recent_callbacks import UNKNOWN_OUTCOME

EMPTY, FULL = "empty", "full"
LANDLINE: Step = {"final": "undelivered", "error_code": 30006}
"""Its dead letter closes by itself."""
FILTERED: Step = {"final": "undelivered", "error_code": 30007}
"""Its dead letter waits for an operator."""
_OF_EACH = 5
_COMMAND_RUNS = 3
_QUERIES = 20
_WITHIN = 300.0
_RETENTION = timedelta(days=30)
_COLUMNS = (
    "namespace_id, run_id, _version, start_time, execution_time, workflow_id, workflow_type_name, "
    "status, close_time, history_length, history_size_bytes, execution_duration, "
    "state_transition_count, memo, encoding, task_queue, search_attributes, parent_workflow_id, "
    "parent_run_id, root_workflow_id, root_run_id"
)
"""Of executions_visibility; all others are generated from the search attributes."""


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    samples: dict[str, dict[str, float]] = {}
    with fresh_stack(on_cluster=sizes.on_cluster) as (stack, group):
        environment = await set_up(stack, group)
        side = environment.side(PRODUCT)
        with campaign_fixture(environment) as fixture:
            with environment.running(side):
                campaign_id = await _send_examples(environment, fixture, sizes)
                samples[EMPTY] = await _figures(environment, campaign_id, sizes)
                log_progress(EMPTY, samples[EMPTY])
            copied = await asyncio.to_thread(
                fill_list, stack, sizes.closed_messages, within=_RETENTION
            )
            with environment.running(side):
                samples[FULL] = await _figures(environment, campaign_id, sizes)
                log_progress(FULL, samples[FULL])
    return Report(
        benchmark="growth-list",
        question="commands, polls and sends when Temporal's list is full",
        rounds=Rounds({name: [sample] for name, sample in samples.items()}),
        baseline=EMPTY,
        conditions={"closed messages copied": copied, **servers(sizes), **UNPACED},
    )


async def _send_examples(environment: Environment, fixture: CampaignFixture, sizes: Sizes) -> str:
    """Messages of a campaign, and some with dead letters; the campaign's id."""
    campaign_id = fixture.loaded(sizes.counted)
    await fixture.dispatch_all(campaign_id, sizes.counted)
    side = environment.side(PRODUCT)
    failing: list[WorkflowHandle[object, object]] = []
    for number in range(2 * _OF_EACH):
        to = f"+1555900{number:04d}"
        step = LANDLINE if number % 2 else FILTERED
        environment.stack.sandbox.script(to, [step])
        failing.append(await environment.start(side, to=to))
    await asyncio.gather(*(handle.result() for handle in failing))
    await fixture.until_ended(campaign_id, sizes.counted, within=_WITHIN)
    return campaign_id


async def _figures(environment: Environment, campaign_id: str, sizes: Sizes) -> dict[str, float]:
    client, side = environment.client, environment.side(PRODUCT)
    message_id = campaign_message_id(campaign_id, 1)
    commands = {
        "show": ("show", message_id),
        "dead-letters list": ("dead-letters", "list"),
        "dead-letters list --all": ("dead-letters", "list", "--all"),
        "campaign status": ("campaign", "status", "--once", campaign_id),
        "doctor": ("doctor",),
    }
    figures = {
        f"signedfor {name} (s)": await asyncio.to_thread(_command, environment.stack, *arguments)
        for name, arguments in commands.items()
    }

    async def replayer() -> None:
        async for _ in client.list_workflows(UNKNOWN_OUTCOME):
            pass

    async def describe() -> None:
        await client.get_workflow_handle(message_workflow_id(message_id)).describe()

    async def count() -> None:
        running = f"{messages_of(campaign_id)} AND ExecutionStatus = 'Running'"
        await client.count_workflows(running)

    for name, query in (
        ("webhook's list of unknown outcomes", replayer),
        ("one message by its id", describe),
        ("count of a campaign's running messages", count),
    ):
        figures[f"{name} (ms)"] = 1000 * await _median(query)
    await in_flight(environment, side, messages=sizes.warm_up, concurrency=sizes.concurrency)
    seconds = await in_flight(
        environment, side, messages=sizes.messages, concurrency=sizes.concurrency
    )
    figures["messages/s"] = sizes.messages / seconds
    figures["Temporal's list (MB)"] = _megabytes(environment.stack)
    return figures


async def _median(query: Callable[[], Awaitable[None]]) -> float:
    seconds = []
    for _ in range(_QUERIES):
        started = time.perf_counter()
        await query()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _command(stack: LocalStack, *arguments: str) -> float:
    """Seconds that the command takes, its start included."""
    log = stack.folder / "logs" / "command.log"
    environment = {**basic_environment(stack.folder), **stack.settings}
    return statistics.median(
        run_command(*arguments, environment=environment, log=log, within=_WITHIN).seconds
        for _ in range(_COMMAND_RUNS)
    )


def fill_list(stack: LocalStack, count: int, *, within: timedelta) -> int:
    """Copy the closed messages and dead letters until there are so many more; how many there are.

    Their times are spread over the time before now.

    The indexes are created again afterwards, which takes less time than filling them row by row.
    """
    types = f"('{SEND_MESSAGE}', '{DEAD_LETTER}')"
    closed = f"close_time IS NOT NULL AND workflow_type_name IN {types}"
    if stack.postgres is not None:
        with psycopg.connect(_visibility_url(stack), autocommit=True) as connection:
            return _fill_postgresql(connection, closed, count, within)
    # SQLite allows one writer, so the server must not run meanwhile.
    stack.temporal.stop()
    with closing(sqlite3.connect(_visibility_file(stack), isolation_level=None)) as file:
        filled = _fill_sqlite(file, closed, count, within)
    stack.temporal.start()
    return filled


def _fill_postgresql(
    connection: psycopg.Connection, closed: str, count: int, within: timedelta
) -> int:
    def execute(statement: str) -> psycopg.Cursor:
        return connection.execute(statement.encode())

    [(examples,)] = execute(f"SELECT count(*) FROM executions_visibility WHERE {closed}")  # noqa: S608 - our own words
    indexes = execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'executions_visibility' "
        "AND indexdef NOT LIKE 'CREATE UNIQUE%'"
    ).fetchall()
    for name, _ in indexes:
        execute(f"DROP INDEX {name}")
    ago = f"make_interval(secs => random() * {within.total_seconds():.0f})"
    done = execute(
        f"INSERT INTO executions_visibility ({_COLUMNS}) "  # noqa: S608 - our own words
        + _copies(
            run_id="gen_random_uuid()::text",
            shifted=lambda column: f"{column} - ago",
            rows=f"(SELECT v.*, i, {ago} AS ago FROM executions_visibility v, "  # noqa: S608 - as above
            f"generate_series(1, {-(-count // examples)}) i WHERE {closed}) AS e",
            count=count,
        )
    )
    for _, definition in indexes:
        execute(definition)
    execute("VACUUM ANALYZE executions_visibility")
    return done.rowcount


def _fill_sqlite(file: sqlite3.Connection, closed: str, count: int, within: timedelta) -> int:
    [(examples,)] = file.execute(f"SELECT count(*) FROM executions_visibility WHERE {closed}")  # noqa: S608 - our own words
    indexes = file.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL "
        "AND tbl_name = 'executions_visibility'"
    ).fetchall()
    for name, _ in indexes:
        file.execute(f"DROP INDEX {name}")
    part = "lower(hex(randomblob({})))"
    run_id = " || '-' || ".join(part.format(size) for size in (4, 2, 2, 2, 6))
    ago = f"abs(random() % {within.total_seconds():.0f})"
    file.execute("BEGIN")
    file.execute(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "  # noqa: S608 - our own words
        f"{-(-count // examples)}) INSERT INTO executions_visibility ({_COLUMNS}) "
        + _copies(
            run_id=run_id,
            shifted=lambda column: (
                f"strftime('%Y-%m-%d %H:%M:%f+00:00', {column}, '-' || ago || ' seconds')"
            ),
            rows=f"(SELECT v.*, i, {ago} AS ago FROM executions_visibility v, n "  # noqa: S608 - as above
            f"WHERE {closed}) AS e",
            count=count,
        )
    )
    # The cursor does not count the rows of a statement that begins with WITH.
    [(copied,)] = file.execute("SELECT changes()")
    file.execute("COMMIT")
    for _, definition in indexes:
        file.execute(definition)
    return int(copied)


def _copies(*, run_id: str, shifted: Callable[[str], str], rows: str, count: int) -> str:
    """The SELECT of the copies, by the order of `_COLUMNS`."""
    changed = {
        "run_id": run_id,
        "root_run_id": run_id,
        "workflow_id": "workflow_id || '-copy-' || i",
        "root_workflow_id": "workflow_id || '-copy-' || i",
        **{name: shifted(name) for name in ("start_time", "execution_time", "close_time")},
    }
    values = (changed.get(name, name) for name in _COLUMNS.split(", "))
    return f"SELECT {', '.join(values)} FROM {rows} LIMIT {count}"  # noqa: S608 - our own words


def _visibility_url(stack: LocalStack) -> str:
    assert stack.postgres is not None  # noqa: S101 - for the type
    return stack.postgres.url("temporal_visibility")


def _visibility_file(stack: LocalStack) -> Path:
    return stack.folder / "temporal.db"


def _megabytes(stack: LocalStack) -> float:
    """The size of the visibility database; the embedded server has one file for everything."""
    if stack.postgres is None:
        return _visibility_file(stack).stat().st_size / 2**20
    with psycopg.connect(_visibility_url(stack)) as connection:
        [(size,)] = connection.execute("SELECT pg_database_size(current_database())")
    return float(size) / 2**20
