"""What the sandbox's tests share: a real process, a real receiver, the official SDK."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import TypeVar
from urllib.parse import parse_qsl

import pytest
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client
from twilio.rest.api.v2010.account.message import MessageInstance

from devtools.sandbox.accounts import (
    DEFAULT_ACCOUNT_SID,
    DEFAULT_AUTH_TOKEN,
)

SENDER = "+15005550006"
SERVICE = "MG" + "0a" * 16

T = TypeVar("T")


@contextmanager
def running_sandbox(*arguments: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run a sandbox on a free port; yield its base URL and its process."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("TWILIO_")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "devtools.sandbox", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        line = ""
        while not line.startswith("sandbox ready on "):
            line = process.stdout.readline()
            assert line, "the sandbox ended before it was ready"
        yield line.split()[-1], process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(10)
        process.stdout.close()


def twilio_client(
    url: str,
    *,
    account_sid: str = DEFAULT_ACCOUNT_SID,
    auth_token: str = DEFAULT_AUTH_TOKEN,
    timeout: float = 10,
) -> Client:
    """Return the official client for `url`."""
    http_client = TwilioHttpClient(timeout=timeout)
    client = Client(account_sid, auth_token, http_client=http_client)  # type: ignore[no-untyped-call]
    client.api.base_url = url
    return client


def eventually(look: Callable[[], T | None], *, within: float = 10) -> T:
    """Return what `look` returns as soon as it is neither None nor false."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    pytest.fail(f"the condition did not hold within {within} s")


def status_of(message: MessageInstance) -> str:
    """Return the status of `message` as text; the SDK's annotations promise an enum."""
    return str(message.status)


def until(message: MessageInstance, status: str) -> MessageInstance:
    """Return `message` as it is once it has `status`."""

    def look() -> MessageInstance | None:
        found = message.fetch()
        return found if status_of(found) == status else None

    return eventually(look)


@dataclass(frozen=True)
class Received:
    """One request that reached the receiver: its target as sent, headers, form and raw body."""

    target: str
    headers: dict[str, str]
    form: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A webhook that records requests and gives the configured answers, in order, then 200."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    body: bytes = b""
    content_type: str = "text/xml"
    delay: float = 0
    lock: Lock = field(default_factory=Lock)

    def statuses(self) -> list[str]:
        """Return the statuses posted so far, in order of arrival."""
        return [request.form["MessageStatus"] for request in self.requests]

    def wait_for(self, count: int) -> Sequence[Received]:
        """Wait for `count` requests and return them."""
        return eventually(lambda: self.requests if len(self.requests) >= count else None)


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Run a receiver on a free port."""
    recorded = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            form = dict(parse_qsl(body.decode(), keep_blank_values=True))
            time.sleep(recorded.delay)
            with recorded.lock:
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorded.requests.append(Received(self.path, headers, form, body))
                status = recorded.answers.pop(0) if recorded.answers else 200
            self.send_response(status)
            self.send_header("Content-Type", recorded.content_type)
            self.send_header("Content-Length", str(len(recorded.body)))
            self.end_headers()
            self.wfile.write(recorded.body)

        def log_message(self, *_: object) -> None:
            """Log nothing: requests contain phone numbers."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    recorded.url = f"http://127.0.0.1:{server.server_port}/status"
    try:
        yield recorded
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
