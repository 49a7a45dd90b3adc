"""The Temporal server of docker-compose.yml, on PostgreSQL, without Docker.

The server and its tools are compiled from the Go modules of the version that the compose file pins.
They run the compose file's own scripts and settings; only addresses, ports and folders differ.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from devtools.stack.ports import HOST, free_ports
from devtools.stack.postgres import Postgres
from devtools.stack.processes import (
    Process,
    ProcessGroup,
    StackError,
    basic_environment,
)
from devtools.stack.temporal_server import find_cli

_ROOT = Path(__file__).resolve().parents[2]
_BINARIES = _ROOT / "build" / "cluster"
_SERVER = "cmd/server", "server", "temporal-server"
_SQL_TOOL = "cmd/tools/sql", "sql", "temporal-sql-tool"
"""The package, the name that Go gives its command, and the name that the images give it."""
_GO_HOME = "/usr/local/go/bin"
"""Where Go's own installer puts it."""
_SCRIPT_SECONDS = 300
_PASSWORD = "sandbox"  # noqa: S105 - of every user; the server lives in a temporary folder
_SERVICES = ("FRONTEND", "HISTORY", "MATCHING", "WORKER")
_SECRETS = "/run/secrets/"
"""Where Compose puts them."""
_OURS = "signedfor"
"""Our user, and our database."""


@dataclass(frozen=True, kw_only=True)
class ComposeService:
    """A service of docker-compose.yml: its image's version, its environment and its command."""

    version: str
    environment: dict[str, str]
    command: list[str]
    secrets: list[str]

    @classmethod
    def read(cls, name: str, *, secrets: Path = Path(_SECRETS)) -> "ComposeService":
        """The service of this name, with its variables' defaults and its secrets in this folder."""
        text = (_ROOT / "docker-compose.yml").read_text()
        service: dict[str, Any] = yaml.safe_load(text)["services"][name]
        environment = {
            variable: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value).replace(_SECRETS, f"{secrets}/")
            for variable, value in service["environment"].items()
        }
        return cls(
            version=service["image"].partition("@")[0].partition(":")[2],
            environment=environment,
            command=service.get("command", []),
            secrets=service.get("secrets", []),
        )


class ClusterServer(Process):
    """Temporal's server for production, all its services in one process, with its databases."""

    ui_url: str | None = None
    """It has no UI of its own."""

    def __init__(
        self,
        *,
        folder: Path,
        port: int,
        postgres: Postgres,
        secrets: Path,
        binaries: Path,
        group: ProcessGroup,
    ) -> None:
        self.address = f"{HOST}:{port}"
        self._postgres = postgres
        self._secrets = secrets
        self._group = group
        self._cli = find_cli()
        self._path = os.pathsep.join((str(binaries), str(Path(self._cli).parent), os.defpath))
        self._is_configured = False
        compose = ComposeService.read("temporal").environment
        http, *others = free_ports(2 * len(_SERVICES))
        ports = {
            "FRONTEND_GRPC_PORT": port,
            "FRONTEND_HTTP_PORT": http,
            **dict(zip((f"{name}_MEMBERSHIP_PORT" for name in _SERVICES), others, strict=False)),
            **dict(zip((f"{name}_GRPC_PORT" for name in _SERVICES[1:]), others[4:], strict=True)),
        }
        super().__init__(
            "Temporal server",
            [str(binaries / _SERVER[-1]), "start"],
            group=group,
            environment={
                **basic_environment(folder),
                **compose,
                **{name: str(number) for name, number in ports.items()},
                "POSTGRES_SEEDS": HOST,
                "DB_PORT": str(postgres.port),
                "POSTGRES_PWD": _PASSWORD,  # in the image, compose/temporal-server reads its file
                "BIND_ON_IP": HOST,
                "DYNAMIC_CONFIG_FILE_PATH": str(_ROOT) + compose["DYNAMIC_CONFIG_FILE_PATH"],
                "LOG_LEVEL": "warn",
            },
            folder=folder,
            log=folder / "logs" / "temporal.log",
            is_ready=lambda _: self._serves(),
            start_seconds=120,
            stop_seconds=30,
        )

    def create_databases(self) -> None:
        """Create all users and databases, as the image of PostgreSQL does the first time."""
        self._script(
            "databases",
            {
                "POSTGRES_USER": ComposeService.read("postgres").environment["POSTGRES_USER"],
                "SECRETS_FOLDER": str(self._secrets),
                "PGHOST": HOST,
                "PGPORT": str(self._postgres.port),
                "PGPASSWORD": _PASSWORD,
            },
        )

    def create_tables(self) -> None:
        """Create its tables, or upgrade them, with the compose file's script."""
        environment = ComposeService.read("temporal-schema", secrets=self._secrets).environment
        self._script(
            "temporal-schema",
            environment | {"SQL_HOST": HOST, "SQL_PORT": str(self._postgres.port)},
        )

    def wait_until_ready(self) -> None:
        """Return when the server answers and, the first time, its namespace is configured."""
        super().wait_until_ready()
        if not self._is_configured:
            self.configure_namespace()
            self._is_configured = True

    def configure_namespace(self) -> None:
        """Create the namespace, or correct it, with the compose file's script."""
        environment = ComposeService.read("temporal-namespace").environment
        self._script("temporal-namespace", environment | {"TEMPORAL_ADDRESS": self.address})

    def _serves(self) -> bool:
        done = subprocess.run(  # noqa: S603 - our own arguments
            [self._cli, "operator", "cluster", "health", "--address", self.address],
            env=self._environment,
            capture_output=True,
            timeout=30,
            check=False,
        )
        return done.returncode == 0

    def _script(self, name: str, environment: dict[str, str]) -> None:
        log = self._folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            code = self._group.spawn(
                ["/bin/sh", str(_ROOT / "compose" / name)],
                environment={
                    **basic_environment(self._folder),
                    **environment,
                    "PATH": self._path,
                },
                folder=self._folder,
                log=output,
            ).wait(_SCRIPT_SECONDS)
        if code != 0:
            raise StackError(f"compose/{name} ended with exit code {code}; see {log}.")


class Cluster:
    """PostgreSQL and Temporal's server on it, for a stack."""

    def __init__(self, *, folder: Path, port: int, group: ProcessGroup) -> None:
        """`folder` is for logs. The databases are in a temporary folder, gone after `remove`."""
        self._data = tempfile.TemporaryDirectory(prefix="signedfor-postgres-")
        (postgres_port,) = free_ports(1)
        self._secrets = Path(self._data.name) / "secrets"
        self.postgres = Postgres(
            folder=Path(self._data.name),
            port=postgres_port,
            group=group,
            log=folder / "logs" / "postgres.log",
            user=ComposeService.read("postgres").environment["POSTGRES_USER"],
            password=_PASSWORD,
            settings=dict(
                each.split("=", 1)
                for each in ComposeService.read("postgres").command
                if "=" in each
            ),
        )
        self.temporal = ClusterServer(
            folder=folder,
            port=port,
            postgres=self.postgres,
            secrets=self._secrets,
            binaries=_BINARIES / ComposeService.read("temporal").version,
            group=group,
        )

    @property
    def database_url(self) -> str:
        """Our own database, next to Temporal's."""
        return f"postgresql://{_OURS}:{_PASSWORD}@{HOST}:{self.postgres.port}/{_OURS}"

    def start_database(self) -> None:
        """Start PostgreSQL with all databases, and create Temporal's tables."""
        self.start_postgres()
        self.temporal.create_tables()

    def start_postgres(self) -> None:
        """Start PostgreSQL, and create our database and Temporal's two, each with its user."""
        self._secrets.mkdir(parents=True)
        for name in ComposeService.read("postgres").secrets:
            (self._secrets / name).write_text(_PASSWORD)
        self.postgres.initialise()
        self.postgres.start()
        self.temporal.create_databases()

    def remove(self) -> None:
        """Remove the databases."""
        self._data.cleanup()


def build() -> None:
    """Compile the server and its tools, unless that has been done; it takes about ten minutes."""
    version = ComposeService.read("temporal").version
    folder = _BINARIES / version
    for package, built, name in (_SERVER, _SQL_TOOL):
        if (folder / name).exists():
            continue
        go = shutil.which("go", path=os.pathsep.join((os.environ.get("PATH", ""), _GO_HOME)))
        if go is None:
            raise StackError("Go was not found. Install it from https://go.dev/dl.")
        sys.stderr.write(f"Compiling {name} {version} ...\n")
        done = subprocess.run(  # noqa: S603 - our own arguments
            [go, "install", "-p", "1", f"go.temporal.io/server/{package}@v{version}"],
            env={**os.environ, "GOBIN": str(folder)},
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"{name} {version} could not be compiled.")
        (folder / built).rename(folder / name)
