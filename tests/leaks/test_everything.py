"""After everything that the system does, data are where the documentation says."""

import asyncio
import io
import json
import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from rich.console import Console

from devtools.leaks.search import Searcher
from devtools.stack.local import ROOT, LocalStack
from devtools.stack.ports import HOST, free_ports
from devtools.stack.postgres import FAST, Postgres
from devtools.stack.processes import ProcessGroup
from devtools.stack.up import announce
from tests.fixtures.otlp import Collector, running_collector
from tests.fixtures.stack import SHORT_WAITS
from tests.leaks import places, processes, table
from tests.leaks.canaries import Canaries, Kind
from tests.leaks.hostile import hostile
from tests.leaks.outage import outage
from tests.leaks.places import Piece
from tests.leaks.scenario import INBOUND_QUEUE, INBOUND_WORKFLOW, Scenario
from tests.leaks.secrets import Secrets, secrets
from tests.leaks.watch import Watch

pytestmark = pytest.mark.integration

_ELSEWHERE = (ROOT, Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - where programs leave files
_MAY_BE_EMPTY = (places.TEMPORARY, places.UNNAMED, places.OTHER_FILES)
"""Of these only what should not be there, or is not always, can be found."""


@pytest.fixture(params=["sqlite", "postgresql"])
def postgres(request: pytest.FixtureRequest, canaries: Canaries) -> Iterator[Postgres | None]:
    """A PostgreSQL server with a password, or None for SQLite."""
    if request.param == "sqlite":
        yield None
        return
    # Not pytest's folder, which only the user who runs the tests can read.
    with tempfile.TemporaryDirectory(prefix="signedfor-postgres-") as name, ProcessGroup() as group:
        [port] = free_ports(1)
        server = Postgres(
            folder=Path(name),
            port=port,
            group=group,
            log=Path(name) / "postgres.log",
            password=canaries.secret(Kind.GIVEN),
            settings=FAST,
        )
        server.initialise()
        server.start()
        server.execute("CREATE DATABASE signedfor")
        yield server
        server.stop()


@pytest.fixture
def canaries() -> Canaries:
    """The values of this run."""
    return Canaries()


def _replies(canaries: Canaries, file: Path, *, sender: str) -> None:
    """Answers to keywords, of one sender and of all."""
    texts = [canaries.text(Kind.REPLIES) for _ in range(2)]
    escaped = [json.dumps(each, ensure_ascii=False) for each in texts]
    file.write_text(f'["{sender}"]\nstop = {escaped[0]}\n[default]\nhelp = {escaped[1]}\n')


@dataclass(frozen=True)
class Run:
    """A stack, and where its files are."""

    stack: LocalStack
    collector: Collector
    canaries: Canaries
    given: Path
    temporary: Path
    metrics: str
    secrets: Secrets
    sender: str


@pytest.fixture(autouse=True)
def allowed_dumps() -> Iterator[None]:
    """Let processes dump their memory as far as this machine allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@contextmanager
def _running(folder: Path, canaries: Canaries, postgres: Postgres | None) -> Iterator[Run]:
    given, temporary = folder / "given", folder / "tmp"
    for each in (given, temporary):
        each.mkdir()
    [port] = free_ports(1)
    own = secrets(canaries, given, as_files=postgres is None)
    sender = canaries.number(Kind.SENDERS)
    _replies(canaries, given / "replies.toml", sender=sender)
    with running_collector() as collector:
        settings = {
            **own.settings,
            **SHORT_WAITS,
            "TMPDIR": str(temporary),
            "WORKER_METRICS_ADDRESS": f"{HOST}:{port}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "INBOUND_REPLIES_FILE": str(given / "replies.toml"),
            "EVENT_STREAMS": "true",
            "INBOUND_WORKFLOW": INBOUND_WORKFLOW,
            "INBOUND_TASK_QUEUE": INBOUND_QUEUE,
        }
        if postgres is not None:
            settings |= {
                "DATABASE_URL": postgres.url("signedfor"),
                "LOG_LEVEL": "INFO",
                "LOG_FORMAT": "json",
            }
        with LocalStack(folder, settings=settings, with_ops=True) as stack:
            keys, codec = ((folder / each).read_text() for each in ("payload-keys", "codec-token"))
            canaries.secret("payload keys", keys.strip().partition("=")[2])
            canaries.secret("codec server's token", codec.strip())
            metrics = f"http://{HOST}:{port}/metrics"
            yield Run(stack, collector, canaries, given, temporary, metrics, own, sender)


@pytest.mark.timeout(600)
async def test_data_are_where_the_documentation_says_and_nowhere_else(
    tmp_path: Path, canaries: Canaries, postgres: Postgres | None
) -> None:
    """Both ways: what is not in its table is a leak, and what it names is found."""
    since, before = time.time(), places.files_in(*_ELSEWHERE)
    with _running(tmp_path, canaries, postgres) as run, Watch(run.temporary) as watch:
        stack = run.stack
        client = await stack.client()
        scenario = Scenario(
            stack=stack,
            client=client,
            files=run.given,
            secrets=run.secrets,
            codec_token=(tmp_path / "codec-token").read_text().strip(),
            canaries=canaries,
            sender=run.sender,
        )
        pieces = await _run(scenario)
        found = table.Found(Searcher(canaries.values), table.read())
        async for piece in places.temporal(client):
            found.add(piece)
        found.search(pieces)
        found.search(places.database(stack.settings["DATABASE_URL"]))
        for piece in await _metrics(run):
            found.add(piece)
        for process in (stack.worker, stack.webhook, stack.ops, stack.codec_server):
            assert process is not None
            assert _dies_without_a_dump(process.pid), process.name
    found.search(watch.pieces())
    found.search(scenario.commands.printed)
    for place, outputs in (
        (places.ADDRESSES, scenario.addresses),
        (places.TRACES, [run.collector.bodies()]),
    ):
        found.search(Piece(place, "", each) for each in outputs)
    found.search(places.folder(tmp_path, given=run.given, temporary=run.temporary))
    if postgres is not None:
        postgres.stop()
        found.search(places.postgres(postgres.log.parent, since=since))
        before |= places.files_in(postgres.log.parent)
    found.search(places.new_files(*_ELSEWHERE, before=before))

    absent = places.SQLITE if postgres else places.POSTGRESQL
    if problems := found.problems(absent=[absent], may_be_empty=_MAY_BE_EMPTY):
        pytest.fail(problems)


async def _run(scenario: Scenario) -> list[Piece]:
    """Everything, and last an outage: other things of the scenario would wait for its end."""
    out = io.StringIO()
    announce(scenario.stack, Console(file=out, width=1000))
    printed, logs, refusals, *_ = await asyncio.gather(
        processes.add_user(scenario),
        processes.codec_server(scenario),
        processes.refused(scenario),
        scenario.run(),
        hostile(scenario),
    )
    during_outage = await outage(scenario)
    return [
        *(printed, logs, *refusals, *during_outage),
        Piece(places.MAKE_UP, "", out.getvalue().encode()),
    ]


async def _metrics(run: Run) -> list[Piece]:
    arguments = psutil.Process(run.stack.temporal.pid).cmdline()
    temporal = f"http://{HOST}:{arguments[arguments.index('--metrics-port') + 1]}/metrics"
    async with httpx.AsyncClient(trust_env=False) as http:
        return [
            Piece(places.METRICS, url, (await http.get(url)).content)
            for url in (run.metrics, f"{run.stack.webhook_url}/metrics", temporal)
        ]


def _dies_without_a_dump(pid: int) -> bool:
    """Whether a process that crashes leaves none, although it was started with a limit for one."""
    os.kill(pid, signal.SIGABRT)
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_code == os.CLD_KILLED
