"""A fake Twilio API server: it sends scripted responses and records the requests."""

import contextlib
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedIOBase
from urllib.parse import parse_qsl

ACCOUNT = "AC" + "5" * 32
TOKEN = "token-canary-4711"
SENDER = "+15005550006"
RECIPIENT = "+15558675309"
BODY = "text-canary: your parcel is at the door"
CANARIES = (RECIPIENT.removeprefix("+"), SENDER.removeprefix("+"), "text-canary", "token-canary")
"""Text that must never appear in an error, a detail or a log."""

SID = "SM" + "a" * 32


class ConnectionFault:
    """What can happen to a request instead of a complete response."""

    CLOSE = "the connection is closed"
    RESET = "the connection is reset"
    HANG = "there is no response"
    TRUNCATE = "the connection is closed in the middle of the response"
    DRIP = "the response arrives byte by byte"


def http(status: int, body: object = "", headers: Mapping[str, str] | None = None) -> bytes:
    """An HTTP response; a body that is not a string is encoded as JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    content = text.encode()
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def created(**fields: object) -> bytes:
    """Twilio's response to an accepted create, with the fields that we read."""
    return http(201, {"sid": SID, "status": "queued", "num_segments": "1", **fields})


def refused(status: int, code: int, headers: Mapping[str, str] | None = None) -> bytes:
    """Twilio's error response; like the real one, it repeats the recipient."""
    message = f"The 'To' number {RECIPIENT} and '{BODY}' from {SENDER} are refused."
    body = {"code": code, "message": message, "more_info": "https://x", "status": status}
    return http(status, body, headers)


def problem_details(status: int, *, code: int, claimed: int | None = None) -> bytes:
    """Twilio's error response in its newer format (RFC 9457)."""
    return http(
        status,
        {
            "type": "https://www.twilio.com/docs/api/errors/" + str(code),
            "title": f"Refused for {RECIPIENT}",
            "status": status if claimed is None else claimed,
            "code": code,
            "detail": f"{BODY} from {SENDER}",
        },
    )


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it was received."""

    line: str
    headers: Mapping[str, str]
    body: str

    @property
    def form(self) -> list[tuple[str, str]]:
        """The form fields in their order."""
        return parse_qsl(self.body, keep_blank_values=True, strict_parsing=True)


@dataclass
class FakeTwilio:
    """The responses to send, in turn, the last one repeatedly; and the requests received."""

    port: int
    responses: list[bytes | str] = field(default_factory=lambda: [created()])
    requests: list[ReceivedRequest] = field(default_factory=list)
    connections: int = 0
    services: bytes = field(
        default_factory=lambda: http(200, {"services": [], "meta": {"key": "services"}})
    )
    """The response to each request for Messaging Services, which is not among `requests`."""
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    def response_to(self, request: ReceivedRequest) -> bytes | str:
        """The response that is due."""
        if request.line.startswith("GET /v1/Services"):
            return self.services
        self.requests.append(request)
        return self.responses[min(len(self.requests), len(self.responses)) - 1]


def _read(stream: BufferedIOBase) -> ReceivedRequest | None:
    line = stream.readline().decode().strip()
    if not line:
        return None
    headers = {}
    while (header := stream.readline().decode().strip()) != "":
        name, _, value = header.partition(": ")
        headers[name.lower()] = value
    body = stream.read(int(headers.get("content-length", 0))).decode()
    return ReceivedRequest(line, headers, body)


def _drip(stream: BufferedIOBase, stopping: threading.Event) -> None:
    with contextlib.suppress(OSError):
        for each in created():
            stream.write(bytes([each]))
            if stopping.wait(0.05):
                return


@contextmanager
def running_fake_twilio() -> Iterator[FakeTwilio]:
    """Serve on a free port of the loopback interface until the context ends."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            fake_twilio.connections += 1
            request = _read(self.rfile)
            if request is None:
                return
            match fake_twilio.response_to(request):
                case bytes() as response:
                    self.wfile.write(response)
                case ConnectionFault.HANG:
                    fake_twilio.stopping.wait(30)
                case ConnectionFault.TRUNCATE:
                    self.wfile.write(created()[:-20])
                case ConnectionFault.DRIP:
                    _drip(self.wfile, fake_twilio.stopping)
                case ConnectionFault.RESET:
                    no_linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
                    self.connection.close()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

        def shutdown_request(self, request: object) -> None:
            if isinstance(request, socket.socket) and request.fileno() >= 0:
                super().shutdown_request(request)

    with Server(("127.0.0.1", 0), Handler) as server:
        fake_twilio = FakeTwilio(port=server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield fake_twilio
        finally:
            fake_twilio.stopping.set()
            server.shutdown()
            thread.join()
