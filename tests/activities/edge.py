"""A server at Twilio's place that answers as told, and what it was asked."""

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
"""What must never be seen in an error, a detail or a log."""

SID = "SM" + "a" * 32


class Misbehaviour:
    """An end of the exchange that is no answer."""

    CLOSE = "closes the connection"
    RESET = "resets the connection"
    HANG = "never answers"
    HALF = "closes in the middle of its answer"
    DRIP = "answers a byte at a time"


def http(status: int, body: object = "", headers: Mapping[str, str] | None = None) -> bytes:
    """An HTTP answer; a body that is no text becomes JSON."""
    text = body if isinstance(body, str) else json.dumps(body)
    content = text.encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def created(**fields: object) -> bytes:
    """Twilio's yes, as far as it is read."""
    return http(201, {"sid": SID, "status": "queued", "num_segments": "1", **fields})


def refused(status: int, code: int, headers: Mapping[str, str] | None = None) -> bytes:
    """Twilio's no; like the real one, it repeats the recipient."""
    message = f"The 'To' number {RECIPIENT} and '{BODY}' from {SENDER} are refused."
    body = {"code": code, "message": message, "more_info": "https://x", "status": status}
    return http(status, body, headers)


def problem_details(status: int, *, code: int, claimed: int | None = None) -> bytes:
    """Twilio's no in the newer form of RFC 9457."""
    return http(
        status,
        {
            "type": "https://www.twilio.com/docs/api/errors/" + str(code),
            "title": f"No to {RECIPIENT}",
            "status": status if claimed is None else claimed,
            "code": code,
            "detail": f"{BODY} from {SENDER}",
        },
    )


@dataclass(frozen=True)
class Asked:
    """One request as it was on the wire."""

    line: str
    headers: Mapping[str, str]
    body: str

    @property
    def form(self) -> list[tuple[str, str]]:
        """The fields, in their order."""
        return parse_qsl(self.body, keep_blank_values=True, strict_parsing=True)


@dataclass
class Edge:
    """What it answers (each in turn, the last one again) and what it was asked."""

    port: int
    answers: list[bytes | str] = field(default_factory=lambda: [created()])
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    leave: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"


def _read(stream: BufferedIOBase) -> Asked | None:
    line = stream.readline().decode().strip()
    if not line:
        return None
    headers = {}
    while (header := stream.readline().decode().strip()) != "":
        name, _, value = header.partition(": ")
        headers[name.lower()] = value
    body = stream.read(int(headers.get("content-length", 0))).decode()
    return Asked(line, headers, body)


def _drip(stream: BufferedIOBase, leave: threading.Event) -> None:
    with contextlib.suppress(OSError):
        for each in created():
            stream.write(bytes([each]))
            if leave.wait(0.05):
                return


@contextmanager
def running_edge() -> Iterator[Edge]:
    """Serve on a free port of this machine until the context ends."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            edge.connections += 1
            asked = _read(self.rfile)
            if asked is None:
                return
            edge.asked.append(asked)
            answer = edge.answers[min(len(edge.asked), len(edge.answers)) - 1]
            match answer:
                case bytes():
                    self.wfile.write(answer)
                case Misbehaviour.HANG:
                    edge.leave.wait(30)
                case Misbehaviour.HALF:
                    self.wfile.write(created()[:-20])
                case Misbehaviour.DRIP:
                    _drip(self.wfile, edge.leave)
                case Misbehaviour.RESET:
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
        edge = Edge(port=server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield edge
        finally:
            edge.leave.set()
            server.shutdown()
            thread.join()
