"""A PostgreSQL server on loopback, from the binaries that this machine has."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psycopg

from devtools.stack.ports import HOST
from devtools.stack.processes import (
    Account,
    Process,
    ProcessGroup,
    StackError,
    as_account,
    basic_environment,
)

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings of a server whose data may be lost when the machine stops."""


class Postgres(Process):
    """A PostgreSQL server whose data is in `folder`: it survives `kill -9` and a restart.

    PostgreSQL refuses to run as root. Then it runs as another account, which `folder` will belong
    to, and which must be able to reach it.
    """

    def __init__(
        self,
        *,
        folder: Path,
        port: int,
        group: ProcessGroup,
        log: Path,
        user: str = "postgres",
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Without a password it trusts every connection from this machine.

        Raises:
            StackError: there are no binaries, or no account to run as.
        """
        self.port = port
        self._user = user
        self._password = password
        self._data = folder / "data"
        self._binaries = find_binaries()
        self._account = unprivileged_account()
        options = {
            "listen_addresses": HOST,
            "port": str(port),
            "unix_socket_directories": "",
            **(settings or {}),
        }
        super().__init__(
            "PostgreSQL server",
            [
                str(self._binaries / "postgres"),
                *("-D", str(self._data)),
                *(f"--{name.replace('_', '-')}={value}" for name, value in options.items()),
            ],
            group=group,
            environment=basic_environment(folder),
            folder=folder,
            log=log,
            is_ready=lambda _: self._serves(),
            account=self._account,
            stop_with=signal.SIGINT,  # ends its sessions; on SIGTERM it waits for them
        )

    def initialise(self) -> None:
        """Create the files of an empty server; StackError with the reason if that fails."""
        options = [f"--username={self._user}", "--encoding=UTF8", "--locale=C", "--no-sync"]
        password_file = self._folder / "password"
        if self._password is None:
            options.append("--auth=trust")
        else:
            password_file.touch(mode=0o600)
            password_file.write_text(self._password)
            options += ["--auth=scram-sha-256", f"--pwfile={password_file}"]
        if self._account is not None:
            for path in (self._folder, password_file):
                if path.exists():
                    os.chown(path, self._account.user, self._account.group)
        try:
            done = subprocess.run(  # noqa: S603 - our own arguments
                [self._binaries / "initdb", "--pgdata", self._data, *options],
                cwd=self._folder,
                env=self._environment,
                capture_output=True,
                text=True,
                check=False,
                **as_account(self._account),
            )
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode != 0:
            raise StackError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def url(self, database: str) -> str:
        """The DATABASE_URL of `database`."""
        password = "" if self._password is None else f":{self._password}"
        return f"postgresql://{self._user}{password}@{HOST}:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        """Execute a statement outside of a transaction, such as CREATE DATABASE."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _serves(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def find_binaries() -> Path:
    """The folder with `initdb` and `postgres`; StackError if there is none."""
    folders = []
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).resolve().parent)
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(debian, key=lambda folder: _version(folder.parent.name), reverse=True)
    if pg_config := shutil.which("pg_config"):
        asked = subprocess.run(  # noqa: S603 - our own arguments
            [pg_config, "--bindir"], capture_output=True, text=True, check=False
        )
        folders.append(Path(asked.stdout.strip()))
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise StackError("No PostgreSQL server binaries (initdb, postgres) were found on this machine.")


def _version(name: str) -> float:
    try:
        return float(name)
    except ValueError:
        return 0.0


def unprivileged_account() -> Account | None:
    """The account to run as: PostgreSQL refuses to run as root, as CI does."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(user=found.pw_uid, group=found.pw_gid)
    raise StackError("PostgreSQL does not run as root, and there is no user postgres or nobody.")
