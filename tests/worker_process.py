"""Running the worker as a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[1]

ACCOUNT = "AC" + "5" * 32
TOKEN = "token-canary-4711"
TEXT = "text-canary: your parcel is at the door"
NUMBERS = "1555867"
"""The prefix of all recipients' numbers."""
CANARIES = ("token-canary", "text-canary", NUMBERS)
"""Text that no process may write to its output."""


def until(condition: Callable[[], bool], name: str, *, seconds: float = 30) -> None:
    """Wait for a condition; `name` is for the error if it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {name}"
        time.sleep(0.02)


def environment(database_url: str, **variables: str) -> dict[str, str]:
    """A complete environment for a worker, with short waits; `variables` replace its entries."""
    ours = {
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_API_BASE_URL": "http://127.0.0.1:1",
        "PUBLIC_BASE_URL": "http://127.0.0.1:1",
        "DATABASE_URL": database_url,
        "DEFAULT_SENDER": "12345",
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        "UNKNOWN_OUTCOME_WAIT_SECONDS": "1",
        "RECEIPT_CHECKS_SECONDS": "1,2,4,8",
        "LOG_LEVEL": "DEBUG",
        "PAYLOAD_ENCRYPTION": "off",
    }
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**inherited, **ours, **variables}


class Worker:
    """A running `worker.py`; leaving the context kills it if it is still running."""

    def __init__(self, variables: Mapping[str, str], log: Path, *, source: Path = ROOT) -> None:
        """Start it with these variables; `source` is the folder of its code."""
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "worker.py"],
                cwd=source,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        assert [] == [canary for canary in CANARIES if canary in self.output]

    @property
    def output(self) -> str:
        """Everything that the worker has written so far."""
        return self._log.read_text()

    def ready(self) -> Self:
        """Wait until the worker polls its task queues."""
        until(
            lambda: "worker ready" in self.output or self.process.poll() is not None, "worker ready"
        )
        assert self.process.poll() is None, self.output
        return self

    def send(self, signal_: signal.Signals) -> None:
        """Send a signal to the worker."""
        self.process.send_signal(signal_)

    def exit_code(self, *, within: float = 30) -> int:
        """Wait until the worker has exited; its exit code."""
        return self.process.wait(within)
