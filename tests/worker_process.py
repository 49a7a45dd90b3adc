"""The worker as a process of its own, and what it says."""

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
"""What the numbers of all recipients begin with."""
CANARIES = ("token-canary", "text-canary", NUMBERS)
"""What no process may say."""


def until(condition: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
    """Wait for a condition; AssertionError if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def environment(database_url: str, **variables: str) -> dict[str, str]:
    """A whole environment for a worker, with short waits; empty values take a variable away."""
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
    }
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**inherited, **ours, **variables}


class Worker:
    """A running `worker.py`; leaving the context kills what is left of it."""

    def __init__(self, variables: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "worker.py"],
                cwd=ROOT,
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
        assert [] == [canary for canary in CANARIES if canary in self.said]

    @property
    def said(self) -> str:
        """All it wrote so far."""
        return self._log.read_text()

    def ready(self) -> Self:
        """Wait until it serves its queues."""
        until(
            lambda: "worker ready" in self.said or self.process.poll() is not None, "worker ready"
        )
        assert self.process.poll() is None, self.said
        return self

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        self.process.send_signal(number)

    def ended(self, *, within: float = 30) -> int:
        """Its exit code."""
        return self.process.wait(within)
