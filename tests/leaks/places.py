"""Every place that is searched, by the names of docs/reference/where-data-is.md."""

import contextlib
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
)
from temporalio.client import Client

HISTORIES: Final = "Histories of workflows"
VISIBILITY: Final = "Visibility: ids, search attributes, memos; schedules"
TEMPORAL_FILES: Final = "Files of Temporal's database"
COLUMNS: Final = "Every other column"
SQLITE: Final = "Files of SQLite"
POSTGRESQL: Final = "Files of PostgreSQL"
LOGS: Final = "Logs of worker, webhook, operations page and codec server"
OTHER_LOGS: Final = "Logs of Temporal and PostgreSQL"
PRINTED: Final = "What commands print"
CAMPAIGN_START: Final = "What `signedfor campaign start` prints"
REVIEWED: Final = "What `signedfor opt-outs review --interactive` shows"
REVEALED: Final = "What commands print with `--reveal`, and exports"
MAKE_UP: Final = "What `make up` prints"
METRICS: Final = "Metrics"
TRACES: Final = "Traces"
ADDRESSES: Final = "Addresses in the browser of an operator"
ARGUMENTS: Final = "Arguments of worker, webhook, operations page and codec server"
COMMANDS: Final = "Arguments of commands"
ENVIRONMENTS: Final = "Environments of processes"
TEMPORARY: Final = "Temporary files"
UNNAMED: Final = "Files without a name"
OTHER_FILES: Final = "Any other file"
_LOCAL_FILES: Final = (
    *("payload-keys", "codec-token", "temporal.yaml", "ops-users", "ops-password"),
    *("sandbox.jsonl", "up.env"),
)
_SKIPPED: Final = re.compile(r"\.git|\.venv|__pycache__|node_modules|pytest-of-.*")
_PART: Final = 2**24
_OVERLAP: Final = 1000
"""Bytes; longer than any value in any form."""


@dataclass(frozen=True)
class Piece:
    """Some bytes in a place; `detail` says where in it."""

    place: str
    detail: str
    data: bytes


async def temporal(client: Client) -> AsyncIterator[Piece]:
    """What Temporal's API shows: of every run of every workflow, of schedules, of task queues."""
    service, namespace = client.workflow_service, client.namespace
    async for each in client.list_workflows():
        execution = WorkflowExecution(workflow_id=each.id, run_id=each.run_id)
        token = b""
        while True:
            history = await service.get_workflow_execution_history(
                GetWorkflowExecutionHistoryRequest(
                    namespace=namespace, execution=execution, next_page_token=token
                )
            )
            for event in history.history.events:
                detail = f"{each.workflow_type}, event {event.event_id}"
                yield Piece(HISTORIES, detail, event.SerializeToString())
            if not (token := history.next_page_token):
                break
        described = await service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
        )
        yield Piece(VISIBILITY, each.workflow_type, _bytes(described))
    yield Piece(VISIBILITY, "list", await _listed(client))
    async for schedule in await client.list_schedules():
        described_schedule = await client.get_schedule_handle(schedule.id).describe()
        yield Piece(VISIBILITY, "schedule", _bytes(described_schedule.raw_description))
    for queue in ("messages", "twilio-sends"):
        request = DescribeTaskQueueRequest(namespace=namespace, task_queue=TaskQueue(name=queue))
        yield Piece(VISIBILITY, "queue", _bytes(await service.describe_task_queue(request)))
    of_namespace = DescribeNamespaceRequest(namespace=namespace)
    yield Piece(VISIBILITY, "namespace", _bytes(await service.describe_namespace(of_namespace)))


async def _listed(client: Client) -> bytes:
    listed, token = b"", b""
    while True:
        page = await client.workflow_service.list_workflow_executions(
            ListWorkflowExecutionsRequest(namespace=client.namespace, next_page_token=token)
        )
        listed += _bytes(page)
        if not (token := page.next_page_token):
            return listed


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


def database(url: str) -> Iterator[Piece]:
    """Every value of every column of every table; the place is the column."""
    if url.startswith("sqlite"):
        yield from _sqlite(Path(url.removeprefix("sqlite:///")), None)
        return
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (table,) in tables:
            cursor = connection.execute(f'SELECT * FROM "{table}"'.encode())  # noqa: S608 - its own name
            names = [each.name for each in cursor.description or ()]
            yield from _cells(table, names, cursor.fetchall())


def _sqlite(path: Path, place: str | None) -> Iterator[Piece]:
    """The cells of a file; one that spans pages may not be found in its bytes."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        names = "SELECT name FROM sqlite_master WHERE type = 'table'"
        for (table,) in connection.execute(names).fetchall():
            cursor = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608 - its own name
            columns = [each[0] for each in cursor.description]
            for piece in _cells(table, columns, cursor.fetchall()):
                yield Piece(place or piece.place, piece.place, piece.data)


def _cells(table: str, columns: list[str], rows: Iterable[Any]) -> Iterator[Piece]:
    joined: dict[str, list[bytes]] = {name: [] for name in columns}
    for row in rows:
        for name, value in zip(columns, row, strict=True):
            joined[name].append(value if isinstance(value, bytes) else str(value).encode())
    for name, values in joined.items():
        yield Piece(f"`{table}.{name}`", "", b"\n".join(values))


def folder(path: Path, *, given: Path, temporary: Path) -> Iterator[Piece]:
    """Every file of the stack's folder, but `given`, which is a person's own."""
    for file in sorted(path.rglob("*")):
        if not file.is_file() or file.is_relative_to(given):
            continue
        yield Piece(_place_of(file, temporary), file.name, file.read_bytes())
        if file.name == "temporal.db":
            yield from _sqlite(file, TEMPORAL_FILES)


def _place_of(file: Path, temporary: Path) -> str:
    name = file.name
    if file.is_relative_to(temporary):
        return TEMPORARY
    if name in _LOCAL_FILES:
        return f"`{name}`"
    if name.startswith("temporal.db"):
        return TEMPORAL_FILES
    if name.startswith("signedfor.db"):
        return SQLITE
    if file.suffix == ".log":
        return OTHER_LOGS if name == "temporal.log" else LOGS
    return OTHER_FILES


def postgres(path: Path, *, since: float) -> Iterator[Piece]:
    """The log of the server, and each of its files that was changed since then."""
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.stat().st_mtime >= since:
            place = OTHER_LOGS if file.suffix == ".log" else POSTGRESQL
            yield Piece(place, file.name, file.read_bytes())


def files_in(*folders: Path) -> set[Path]:
    """Every file of these folders, but those of other runs of tests."""
    found: set[Path] = set()
    for base in folders:
        for path, names, files in os.walk(base):
            names[:] = [each for each in names if not _SKIPPED.fullmatch(each)]
            found.update(Path(path, name) for name in files)
    return found


def new_files(*folders: Path, before: set[Path]) -> Iterator[Piece]:
    """The files that are there now and were not before."""
    for file in files_in(*folders) - before:
        with contextlib.suppress(OSError):  # it is gone, or a socket
            if file.is_file():
                for part in _parts(file):
                    yield Piece(OTHER_FILES, str(file), part)


def _parts(file: Path) -> Iterator[bytes]:
    """The bytes of a file that may be large, with what is at the seams twice."""
    before = b""
    with file.open("rb") as opened:
        while part := opened.read(_PART):
            yield before + part
            before = part[-_OVERLAP:]
