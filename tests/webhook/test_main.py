"""The webhook as a process, over real sockets."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from devtools.stack.ports import free_ports
from devtools.stack.temporal_server import TemporalServer
from tests.webhook.support import (
    ACCOUNT,
    PERSON,
    PUBLIC,
    TOKEN,
    Twilio,
    metric,
)
from webhook.body import MAX_BODY_BYTES

pytestmark = pytest.mark.integration

_ROOT = Path(__file__).parents[2]
_CHUNK = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"


class _Webhook:
    """`python -m webhook` on a free port."""

    def __init__(self, log: Path, environment: Mapping[str, str]) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "webhook"],
                cwd=_ROOT,
                env=inherited | {"WEBHOOK_PORT": str(self.port), **environment},
                stdout=output,
                stderr=output,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def await_alive(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            try:
                if httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the webhook did not start:\n{self.log}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


def _environment(database_url: str, temporal_address: str) -> dict[str, str]:
    return {
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "PUBLIC_BASE_URL": PUBLIC,
        "DATABASE_URL": database_url,
        "TEMPORAL_ADDRESS": temporal_address,
        "PAYLOAD_ENCRYPTION": "off",
    }


@contextlib.contextmanager
def _running(folder: Path, environment: Mapping[str, str]) -> Iterator[_Webhook]:
    webhook = _Webhook(folder / "webhook.log", environment)
    try:
        webhook.await_alive()
        yield webhook
    finally:
        webhook.process.kill()
        webhook.process.wait()


@pytest.fixture(scope="module")
def webhook(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Webhook]:
    """A running webhook without Temporal, for tests that only send HTTP requests."""
    folder = tmp_path_factory.mktemp("webhook")
    database = shutil.copyfile(sqlite_template, folder / "webhook.db")
    with _running(folder, _environment(f"sqlite:///{database}", "127.0.0.1:1")) as running:
        yield running


async def test_the_webhook_starts_without_temporal_and_recovers(
    sqlite_url: str, stopped_server: TemporalServer, tmp_path: Path
) -> None:
    """It becomes ready when Temporal is up, and exits cleanly."""
    environment = _environment(sqlite_url, stopped_server.address)
    with _running(tmp_path, environment) as webhook:
        await _recovers(webhook, stopped_server)
        assert 0 == webhook.stop(), webhook.log

    assert PERSON not in webhook.log
    assert TOKEN not in webhook.log
    assert "?message_id=" not in webhook.log


async def _recovers(webhook: _Webhook, stopped_server: TemporalServer) -> None:
    async with httpx.AsyncClient(base_url=webhook.url, timeout=20) as http:
        twilio = Twilio(http=http)
        assert (await http.get("/readyz")).json()["temporal"] == "unreachable"
        assert (await twilio.inbound("STOP")).status_code == 200
        assert (await twilio.status("order-17", "delivered")).status_code == 204

        await asyncio.to_thread(stopped_server.start)
        deadline = time.monotonic() + 30
        while not (await http.get("/readyz")).json()["ready"]:
            assert time.monotonic() < deadline, "it did not recover"
        while not await metric(http, "signedfor_webhook_inbox_applied_total", result="none"):
            assert time.monotonic() < deadline, "the inbox was not drained"
        assert (await twilio.status("order-17", "delivered")).status_code == 204


async def test_responses_and_logs_reveal_nothing(webhook: _Webhook) -> None:
    """No response names the server's software, and no log line contains a query string."""
    async with httpx.AsyncClient(base_url=webhook.url) as http:
        response = await http.get(f"/healthz?to={PERSON}")

    assert "server" not in response.headers
    assert PERSON not in webhook.log


def _exchange(port: int, head: str, chunks: Iterator[bytes]) -> tuple[bytes, int]:
    """Send a head, then chunks until the server closes; return its response and the bytes sent."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        # The server may close the connection early; its response must still be read.
        with contextlib.suppress(ConnectionError):
            for chunk in chunks:
                connection.sendall(chunk)
                sent += len(chunk)
        response = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65_536):
                response += part
    return response, sent


def _head(*headers: str, path: str = "/webhook/inbound") -> str:
    return "\n".join(
        [
            f"POST {path} HTTP/1.1",
            "Host: internal",
            "Content-Type: application/x-www-form-urlencoded",
            "X-Twilio-Signature: x",
            *headers,
        ]
    )


def _endless() -> Iterator[bytes]:
    for _ in range(4000):  # 64 MB: far more than all buffers in between
        yield _CHUNK


def test_an_endless_chunked_body_is_refused(webhook: _Webhook) -> None:
    """The response is a 413, and the connection is closed without reading the rest."""
    response, sent = _exchange(webhook.port, _head("Transfer-Encoding: chunked"), _endless())

    assert response.startswith(b"HTTP/1.1 413 ") or response == b""  # a reset may overtake it
    assert sent < 32_000_000
    assert httpx.get(f"{webhook.url}/healthz").status_code == 200


def test_a_chunked_body_just_over_the_limit_is_refused(webhook: _Webhook) -> None:
    """With one byte more than the limit, the response is a 413 that closes the connection."""
    chunks = [_CHUNK] * (MAX_BODY_BYTES // 0x4000) + [b"1\r\na\r\n0\r\n\r\n"]

    response, _ = _exchange(webhook.port, _head("Transfer-Encoding: chunked"), iter(chunks))

    assert response.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in response.lower()


def test_a_declared_length_over_the_limit_is_refused_at_once(webhook: _Webhook) -> None:
    """The response comes before any of the body has been sent."""
    response, _ = _exchange(
        webhook.port, _head(f"Content-Length: {MAX_BODY_BYTES + 1}"), iter([b""])
    )

    assert response.startswith(b"HTTP/1.1 413 ")


def test_a_body_is_cut_at_its_declared_length(webhook: _Webhook) -> None:
    """The rest is not interpreted as another request."""
    response, _ = _exchange(
        webhook.port, _head("Content-Length: 3"), iter([b"x=1" + b"y" * MAX_BODY_BYTES])
    )

    assert response.startswith(b"HTTP/1.1 403 ")
    assert b" 200 " not in response


@pytest.mark.parametrize(
    "head",
    [
        _head("Content-Length: 3", "Content-Length: 4"),
        _head("Content-Length: x"),
        _head(path="/webhook/inbound\x80"),
        _head("X-Long: " + "a" * 200_000),
    ],
    ids=["two lengths", "no number", "path not ASCII", "long head"],
)
def test_requests_that_are_not_valid_http_are_refused(webhook: _Webhook, head: str) -> None:
    """This includes requests that two servers could interpret differently."""
    response, _ = _exchange(webhook.port, head, iter([b"0\r\n\r\n"]))

    assert b"HTTP/1.1 400" == response[:12]
    assert httpx.get(f"{webhook.url}/healthz").status_code == 200


def test_missing_variables_are_named(tmp_path: Path) -> None:
    """The webhook exits at once with a message that names them."""
    webhook = _Webhook(tmp_path / "webhook.log", {"TWILIO_AUTH_TOKEN": TOKEN})

    assert 1 == webhook.process.wait(timeout=30)
    assert "TWILIO_ACCOUNT_SID" in webhook.log
    assert "PUBLIC_BASE_URL" in webhook.log
    assert TOKEN not in webhook.log
    assert "Traceback" not in webhook.log


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://user:secret@host/name"),
        ("PUBLIC_BASE_URL", "https://user:secret@host"),
    ],
)
def test_invalid_variables_are_named(
    sqlite_url: str, tmp_path: Path, variable: str, value: str
) -> None:
    """The webhook exits at once; the message names the variable but not its value."""
    environment = _environment(sqlite_url, "127.0.0.1:1") | {variable: value}
    webhook = _Webhook(tmp_path / "webhook.log", environment)

    assert 1 == webhook.process.wait(timeout=30), webhook.log
    assert variable in webhook.log
    assert "secret" not in webhook.log
    assert "Traceback" not in webhook.log
