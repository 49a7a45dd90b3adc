"""The local stack: a Temporal server, a sandbox, migrations, workers and the webhook."""

import fcntl
import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from temporalio.client import Client

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.sandbox.client import AcceptedRow, SandboxControl
from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.encryption import (
    codec_client_settings,
    codec_settings,
    key_settings,
    make_key,
    make_token,
    ui_options,
    write_ui_options,
)
from devtools.stack.ports import HOST, Ports, answers
from devtools.stack.postgres import Postgres
from devtools.stack.processes import Process, ProcessGroup, StackError, basic_environment, says
from devtools.stack.temporal_cluster import Cluster, ClusterServer
from devtools.stack.temporal_server import NAMESPACE, TemporalServer
from ops.access import Role, write_user
from signedfor.contract import INBOUND_PATH
from signedfor.encryption import encrypting, load_encryption
from signedfor.store.database import DatabaseUnavailable, InvalidDatabaseUrl
from signedfor.store.migrate import SchemaMismatch, upgrade
from signedfor.twilio.overrides import OVERRIDES

ROOT = Path(__file__).resolve().parents[2]
OPS_USER = "admin"
"""Who may do everything on the operations page of a local stack."""
_COMMAND_SECONDS = 120
_WORKER_STOP_SECONDS = 45
"""Above the default of WORKER_SHUTDOWN_SECONDS, so that a send in flight is not cut off."""


class LocalStack:
    """The whole system on one machine; as a context manager it runs for the length of the block.

    Its parts (`temporal`, `twilio`, `workers`, `webhook`) can be killed, stopped and started one
    by one while it runs. All state is in `folder`: a new stack there continues with it.

    Usage:
        with LocalStack(folder, settings={"UNKNOWN_OUTCOME_WAIT_SECONDS": "1"}) as stack:
            client = await stack.client()
            stack.sandbox.script("+15550100001", [{"respond": "drop_after_accept"}])
            stack.worker.kill()
    """

    def __init__(
        self,
        folder: Path,
        *,
        ports: Ports | None = None,
        settings: Mapping[str, str] | None = None,
        workers: int = 1,
        with_sandbox: bool = True,
        with_ops: bool = False,
        encrypted: bool = True,
        only_servers: bool = False,
        on_cluster: bool = False,
    ) -> None:
        """`settings` are variables of worker and webhook, and override the stack's own.

        Without a sandbox they must include what Twilio needs. With `only_servers` the workers and
        the webhook are not started with the rest, but one by one when they are needed. `with_ops`:
        with the operations page, for the user `OPS_USER`, and the codec server of the Temporal UI.
        `encrypted`: payloads are encrypted with a key that is made in the folder.
        `on_cluster`: with the compose file's Temporal server and PostgreSQL, whose state does not
        outlive the stack; see `temporal_cluster.py`.
        """
        self.folder = folder.resolve()
        self.ports = ports or Ports.free()
        self.webhook_url = f"http://{HOST}:{self.ports.webhook}"
        self.ops_url = f"http://{HOST}:{self.ports.ops}"
        self.codec_url = f"http://{HOST}:{self.ports.codec}"
        self.sandbox_url = f"http://{HOST}:{self.ports.sandbox}" if with_sandbox else None
        self._group = ProcessGroup()
        self._cluster = (
            Cluster(folder=self.folder, port=self.ports.temporal, group=self._group)
            if on_cluster
            else None
        )
        self.settings = {
            **self._default_settings(),
            **key_settings(self.folder, encrypted=encrypted),
            **(settings or {}),
        }
        self._codec_settings = (
            codec_settings(self.folder, port=self.ports.codec) if with_ops and encrypted else None
        )
        self._open = ExitStack()
        self._control: SandboxControl | None = None
        self.temporal: TemporalServer | ClusterServer = (
            self._cluster.temporal
            if self._cluster
            else TemporalServer(
                folder=self.folder,
                port=self.ports.temporal,
                ui_port=self.ports.temporal_ui,
                group=self._group,
                options=ui_options(self.folder) if self._codec_settings else (),
            )
        )
        parts = _Parts(folder=self.folder, settings=self.settings, group=self._group)
        self.twilio = (
            parts.sandbox(
                port=self.ports.sandbox,
                inbound_url=f"{self.webhook_url}{INBOUND_PATH}#{OVERRIDES}",
            )
            if with_sandbox
            else None
        )
        self.workers = [parts.worker(number) for number in range(1, workers + 1)]
        self.webhook = parts.webhook(port=self.ports.webhook)
        self.ops = parts.ops(self._ops_settings()) if with_ops else None
        self.codec_server = (
            parts.codec_server(self._codec_settings) if self._codec_settings else None
        )
        pages = [each for each in (self.ops, self.codec_server) if each is not None]
        self._parts = parts
        self._started_last = [] if only_servers else [*self.workers, self.webhook]
        self._pages = [] if only_servers else pages

    @property
    def worker(self) -> Process:
        """The first worker."""
        return self.workers[0]

    @property
    def sandbox(self) -> SandboxControl:
        """Controls the sandbox while the stack runs."""
        if self._control is None:
            raise StackError("There is no sandbox: the stack is not running, or has none.")
        return self._control

    @property
    def processes(self) -> list[Process]:
        """Every part, in the order they are started."""
        return [
            *([self.postgres] if self.postgres else []),
            self.temporal,
            *([self.twilio] if self.twilio else []),
            *self.workers,
            self.webhook,
            *([self.ops] if self.ops else []),
            *([self.codec_server] if self.codec_server else []),
        ]

    @property
    def ops_password(self) -> str:
        """What `OPS_USER` signs in with; it stays the same in this folder."""
        return self._ops_password_file.read_text().strip()

    @property
    def postgres(self) -> Postgres | None:
        """The PostgreSQL server of a stack on a cluster."""
        return self._cluster.postgres if self._cluster else None

    @property
    def shell_settings(self) -> dict[str, str]:
        """The variables for a shell: of our processes, and of Temporal's own commands."""
        codec = self._codec_settings
        return {**self.settings, **(codec_client_settings(codec) if codec else {})}

    async def client(self) -> Client:
        """A Temporal client with our data converter, and the stack's key."""
        return await Client.connect(
            self.temporal.address,
            namespace=NAMESPACE,
            data_converter=encrypting(load_encryption(self.settings), NAMESPACE),
        )

    def signedfor(self, *arguments: str) -> str:
        """Run our command line; its output. StackError if it fails."""
        return self._parts.signedfor(*arguments)

    def check(self) -> None:
        """Return if every part runs or was stopped by us; raise ProcessDied for any other."""
        for process in self.processes:
            process.check()

    def start(self) -> None:
        """Start the parts and return when all are ready; if one fails, stop those started."""
        with ExitStack() as opened:
            self._lock_folder(opened)
            if self._cluster is not None:
                opened.callback(self._cluster.remove)
            opened.enter_context(self._group)
            opened.callback(self._stop_parts)
            if self._cluster is not None:
                self._cluster.start_database()
            make_key(self.settings)
            if self._codec_settings is not None:
                make_token(self._codec_settings)
                write_ui_options(self.folder, self._codec_settings)
            self.temporal.start(wait=False)
            if self.twilio is not None:
                self.twilio.start(wait=False)
            self._parts.migrations()
            if self.ops is not None:
                self._add_ops_user()
            self.temporal.wait_until_ready()
            self._start_our_processes()
            if self.sandbox_url is not None:
                self._control = opened.enter_context(SandboxControl(self.sandbox_url))
            self._open = opened.pop_all()

    def stop(self) -> None:
        """Stop every part: workers and webhook, then the sandbox, then Temporal and PostgreSQL."""
        self._open.close()
        self._control = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_our_processes(self) -> None:
        for process in self._started_last:
            process.start(wait=False)
        if self._pages:
            # The operations page checks it when it starts.
            self.webhook.wait_until_ready()
        for process in self._pages:
            process.start(wait=False)
        twilio = [self.twilio] if self.twilio else []
        for process in (*twilio, *self._started_last, *self._pages):
            process.wait_until_ready()

    def _stop_parts(self) -> None:
        for wave in (
            [*self.workers, self.webhook, self.ops, self.codec_server],
            [self.twilio],
            [self.temporal],
            [self.postgres],
        ):
            running = [process for process in wave if process is not None]
            for process in running:
                process.ask_to_stop()
            for process in running:
                process.stop()

    def _lock_folder(self, opened: ExitStack) -> None:
        """Two stacks on the same database files would corrupt them."""
        # It holds phone numbers and texts: readable by its owner only.
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = opened.enter_context((self.folder / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"Another stack is running in {self.folder}. "
                "Stop it, or set DATA_DIR to another folder."
            ) from None

    @property
    def _ops_password_file(self) -> Path:
        return self.folder / "ops-password"

    def _ops_settings(self) -> dict[str, str]:
        return {
            "OPS_HOST": HOST,
            "OPS_PORT": str(self.ports.ops),
            "OPS_USERS_FILE": str(self.folder / "ops-users"),
        }

    def _add_ops_user(self) -> None:
        if self._ops_password_file.exists():
            return
        password = secrets.token_urlsafe(12)
        write_user(self.folder / "ops-users", OPS_USER, Role.ADMINISTER, password)
        self._ops_password_file.touch(mode=0o600)
        self._ops_password_file.write_text(password + "\n")

    def _default_settings(self) -> dict[str, str]:
        settings = {
            "TEMPORAL_ADDRESS": f"{HOST}:{self.ports.temporal}",
            "TEMPORAL_NAMESPACE": NAMESPACE,
            "TEMPORAL_UI_URL": f"http://{HOST}:{self.ports.temporal_ui}",
            "DATABASE_URL": (
                self._cluster.database_url
                if self._cluster
                else f"sqlite:///{self.folder / 'signedfor.db'}"
            ),
            "WEBHOOK_HOST": HOST,
            "WEBHOOK_PORT": str(self.ports.webhook),
        }
        if self.sandbox_url is not None:
            settings |= {
                "TWILIO_ACCOUNT_SID": DEFAULT_ACCOUNT_SID,
                "TWILIO_AUTH_TOKEN": DEFAULT_AUTH_TOKEN,
                "TWILIO_API_BASE_URL": self.sandbox_url,
                "PUBLIC_BASE_URL": self.webhook_url,
                "DEFAULT_SENDER": GOOD_SENDER,
            }
        return settings


class _Parts:
    """The commands of the parts, in one stack's folder, settings and process group."""

    def __init__(self, *, folder: Path, settings: Mapping[str, str], group: ProcessGroup) -> None:
        self._folder = folder
        self._settings = settings
        self._group = group

    def migrations(self) -> None:
        """Upgrade the database; raises StackError with the reason if that fails."""
        try:
            upgrade(self._settings["DATABASE_URL"])
        except (InvalidDatabaseUrl, DatabaseUnavailable, SchemaMismatch, OSError) as error:
            raise StackError(f"The migrations failed: {error}") from None

    def signedfor(self, *arguments: str) -> str:
        """Run our command line; its output, which a log has too. StackError if it fails."""
        log = self._folder / "logs" / "signedfor.log"
        with log.open("ab") as file:
            began = file.tell()
            process = self._group.spawn(
                # Without an .env of the current folder.
                [sys.executable, "-m", "starter", "--env-file", os.devnull, *arguments],
                environment=self._environment(),
                folder=ROOT,
                log=file,
            )
            code = process.wait(_COMMAND_SECONDS)
        if code != 0:
            what = " ".join(arguments[:2])
            raise StackError(f"`signedfor {what}` ended with exit code {code}; see {log}.")
        return log.read_bytes()[began:].decode()

    def sandbox(self, *, port: int, inbound_url: str) -> Process:
        """The local Twilio; its journal keeps its state across a kill."""
        return self._python(
            "sandbox",
            "devtools.sandbox",
            *("--port", str(port), "--inbound-url", inbound_url),
            *("--journal", str(self._folder / "sandbox.jsonl")),
            ready_at=f"http://{HOST}:{port}/_sandbox/health",
        )

    def worker(self, number: int) -> Process:
        """A worker for both task queues."""
        return self._python("worker" if number == 1 else f"worker-{number}", "worker")

    def webhook(self, *, port: int) -> Process:
        """The webhook; ready when it answers, which needs no Temporal."""
        return self._python("webhook", "webhook", ready_at=f"http://{HOST}:{port}/healthz")

    def ops(self, settings: Mapping[str, str]) -> Process:
        """The operations page."""
        host, port = settings["OPS_HOST"], settings["OPS_PORT"]
        return self._python(
            "ops", "ops", ready_at=f"http://{host}:{port}/healthz", settings=settings
        )

    def codec_server(self, settings: Mapping[str, str]) -> Process:
        """The codec server of the Temporal UI."""
        host, port = settings["CODEC_SERVER_HOST"], settings["CODEC_SERVER_PORT"]
        return self._python(
            "codec server",
            "ops.codec_server",
            ready_at=f"http://{host}:{port}/healthz",
            settings=settings,
        )

    def _python(
        self,
        name: str,
        module: str,
        *arguments: str,
        ready_at: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Process:
        return Process(
            name,
            [sys.executable, "-m", module, *arguments],
            group=self._group,
            environment={**self._environment(), **(settings or {})},
            folder=ROOT,
            log=self._folder / "logs" / f"{name}.log",
            is_ready=answers(ready_at) if ready_at else says("worker ready on queues"),
            stop_seconds=_WORKER_STOP_SECONDS,
        )

    def _environment(self) -> dict[str, str]:
        return {**basic_environment(self._folder), **self._settings}


def row_message_id(row: AcceptedRow) -> str | None:
    """The message id of an accepted create, from its callback URL."""
    query = urlsplit(row["status_callback"] or "").query
    return next(iter(parse_qs(query).get("message_id", [])), None)
