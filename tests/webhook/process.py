"""The webhook as a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from devtools.stack.ports import free_ports
from tests.webhook.support import ACCOUNT, PUBLIC, TOKEN

_ROOT = Path(__file__).parents[2]


class WebhookProcess:
    """`python -m webhook` on a free port."""

    def __init__(self, log: Path, variables: Mapping[str, str]) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        address = variables.get("WEBHOOK_METRICS_ADDRESS")
        self.probes_url = self.url if address is None else f"http://{address}"
        self._log = log
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "webhook"],
                cwd=_ROOT,
                env=inherited | {"WEBHOOK_PORT": str(self.port), **variables},
                stdout=output,
                stderr=output,
            )

    @property
    def log(self) -> str:
        """What it has written."""
        return self._log.read_text()

    def await_alive(self) -> None:
        """Return when it answers."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            try:
                if httpx.get(f"{self.probes_url}/healthz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the webhook did not start:\n{self.log}")

    def stop(self) -> int:
        """Stop it as an orchestrator does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def environment(database_url: str, temporal_address: str) -> dict[str, str]:
    """The variables that it needs."""
    return {
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "PUBLIC_BASE_URL": PUBLIC,
        "DATABASE_URL": database_url,
        "TEMPORAL_ADDRESS": temporal_address,
        "PAYLOAD_ENCRYPTION": "off",
    }


@contextlib.contextmanager
def running(folder: Path, variables: Mapping[str, str]) -> Iterator[WebhookProcess]:
    """One that is alive, until the context ends."""
    webhook = WebhookProcess(folder / "webhook.log", variables)
    try:
        webhook.await_alive()
        yield webhook
    finally:
        webhook.process.kill()
        webhook.process.wait()
