"""The commands of the stack's own parts: migrations, sandbox, workers and webhook."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from devtools.stack.ports import HOST, answers
from devtools.stack.processes import Process, ProcessGroup, StackError, basic_environment, says

ROOT = Path(__file__).resolve().parents[2]
_MIGRATION_SECONDS = 90
_COMMAND_SECONDS = 120
_WORKER_STOP_SECONDS = 45
"""Above the default of DRAIN_SECONDS, so that a send in flight is not cut off."""


class Run:
    """How to run each part in one stack: its folder, its settings, its process group."""

    def __init__(self, *, folder: Path, settings: Mapping[str, str], group: ProcessGroup) -> None:
        self._folder = folder
        self._settings = settings
        self._group = group

    def migrations(self) -> None:
        """Bring the database up to date; raises StackError with the reason when that fails."""
        done = subprocess.run(
            [sys.executable, "-m", "starter", "--env-file", os.devnull, "migrate"],
            env=self._environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_MIGRATION_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"The migrations failed: {done.stderr.strip()}")

    def signedfor(self, *arguments: str) -> None:
        """Run our command line to its end, what it says in its log; StackError if it fails."""
        log = self._folder / "logs" / "signedfor.log"
        with log.open("ab") as file:
            process = self._group.spawn(
                # Without the .env that may lie there.
                [sys.executable, "-m", "starter", "--env-file", os.devnull, *arguments],
                environment=self._environment(),
                folder=ROOT,
                log=file,
            )
            code = process.wait(_COMMAND_SECONDS)
        if code != 0:
            what = " ".join(arguments[:2])
            raise StackError(f"`signedfor {what}` ended with exit code {code}; {log} says why.")

    def sandbox(self, *, port: int, inbound_url: str) -> Process:
        """The local Twilio; its books are kept in a journal, so they survive a kill."""
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
        """The webhook; ready when it answers, which it does without Temporal too."""
        return self._python("webhook", "webhook", ready_at=f"http://{HOST}:{port}/healthz")

    def _python(
        self, name: str, module: str, *arguments: str, ready_at: str | None = None
    ) -> Process:
        return Process(
            name,
            [sys.executable, "-m", module, *arguments],
            group=self._group,
            environment=self._environment(),
            folder=ROOT,
            log=self._folder / "logs" / f"{name}.log",
            is_ready=answers(ready_at) if ready_at else says("worker ready on queues"),
            stop_seconds=_WORKER_STOP_SECONDS,
        )

    def _environment(self) -> dict[str, str]:
        return {**basic_environment(self._folder), **self._settings}
