"""The process itself, over real sockets."""

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
    """`python -m webhook`, on a port of its own."""

    def __init__(self, log: Path, environment: Mapping[str, str]) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "webhook"],
                cwd=_ROOT,
                env=kept | {"WEBHOOK_PORT": str(self.port), **environment},
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
    """A running webhook without Temporal, for all tests that only talk HTTP with it."""
    folder = tmp_path_factory.mktemp("webhook")
    database = shutil.copyfile(sqlite_template, folder / "webhook.db")
    with _running(folder, _environment(f"sqlite:///{database}", "127.0.0.1:1")) as running:
        yield running


async def test_starts_without_temporal_and_recovers(
    sqlite_url: str, stopped_server: TemporalServer, tmp_path: Path
) -> None:
    """It starts without Temporal, is ready as soon as Temporal is there, and ends well."""
    environment = _environment(sqlite_url, stopped_server.address)
    with _running(tmp_path, environment) as webhook:
        await _recovers(webhook, stopped_server)
        assert 0 == webhook.stop(), webhook.log

    assert PERSON not in webhook.log
    assert TOKEN not in webhook.log
    assert "message_id=" not in webhook.log


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


async def test_tells_nothing_about_itself(webhook: _Webhook) -> None:
    """No answer names the server's software, and no log line holds a query."""
    async with httpx.AsyncClient(base_url=webhook.url) as http:
        answer = await http.get(f"/healthz?to={PERSON}")

    assert "server" not in answer.headers
    assert PERSON not in webhook.log


def _exchange(port: int, head: str, chunks: Iterator[bytes]) -> tuple[bytes, int]:
    """Send a head and then chunks until the other side closes; its answer, and bytes taken."""
    taken = 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        # The other side closes in the middle: what it said before must still be read.
        with contextlib.suppress(ConnectionError):
            for chunk in chunks:
                connection.sendall(chunk)
                taken += len(chunk)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65_536):
                answer += part
    return answer, taken


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
    for _ in range(4000):  # 64 MB: far more than all buffers between the two
        yield _CHUNK


def test_stops_an_endless_chunked_body(webhook: _Webhook) -> None:
    """A chunked body over the limit is answered 413 and cut off, not read to its end."""
    answer, taken = _exchange(webhook.port, _head("Transfer-Encoding: chunked"), _endless())

    assert answer.startswith(b"HTTP/1.1 413 ") or answer == b""  # a reset may overtake it
    assert taken < 32_000_000
    assert httpx.get(f"{webhook.url}/healthz").status_code == 200


def test_refuses_a_chunked_body_just_over_the_limit(webhook: _Webhook) -> None:
    """A chunked body of one byte more than the limit is a 413 that closes the connection."""
    chunks = [_CHUNK] * (MAX_BODY_BYTES // 0x4000) + [b"1\r\na\r\n0\r\n\r\n"]

    answer, _ = _exchange(webhook.port, _head("Transfer-Encoding: chunked"), iter(chunks))

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()


def test_refuses_a_declared_length_at_once(webhook: _Webhook) -> None:
    """A declared length over the limit is answered before any of the body is there."""
    answer, _ = _exchange(webhook.port, _head(f"Content-Length: {MAX_BODY_BYTES + 1}"), iter([b""]))

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_lying_length_hides_nothing(webhook: _Webhook) -> None:
    """Of a body longer than declared only the declared part counts; the rest is no request."""
    answer, _ = _exchange(
        webhook.port, _head("Content-Length: 3"), iter([b"x=1" + b"y" * MAX_BODY_BYTES])
    )

    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b" 200 " not in answer


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
def test_refuses_requests_that_are_no_http(webhook: _Webhook, head: str) -> None:
    """Requests that two servers could read differently, or that are all head, are refused."""
    answer, _ = _exchange(webhook.port, head, iter([b"0\r\n\r\n"]))

    assert b"HTTP/1.1 400" == answer[:12]
    assert httpx.get(f"{webhook.url}/healthz").status_code == 200


def test_says_what_is_missing(tmp_path: Path) -> None:
    """Without its variables it ends at once and names them."""
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
def test_refuses_bad_settings_by_name(
    sqlite_url: str, tmp_path: Path, variable: str, value: str
) -> None:
    """A bad variable, of the database as of the settings, is named and nothing is started."""
    environment = _environment(sqlite_url, "127.0.0.1:1") | {variable: value}
    webhook = _Webhook(tmp_path / "webhook.log", environment)

    assert 1 == webhook.process.wait(timeout=30), webhook.log
    assert variable in webhook.log
    assert "secret" not in webhook.log
    assert "Traceback" not in webhook.log
