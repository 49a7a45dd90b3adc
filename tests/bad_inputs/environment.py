"""The stack that all bad inputs go to, and what is in it."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy import Engine, MetaData, Table, select
from temporalio.client import Client

from devtools.stack.encryption import codec_settings
from devtools.stack.local import OPS_USER, LocalStack
from devtools.stack.log_scan import scan_logs
from devtools.stack.ports import HOST, free_ports
from signedfor.store.database import open_engine
from tests.bad_inputs.page_rows import CODEC_TOKEN
from tests.bad_inputs.rows import CANARIES, FORM, Request
from tests.fixtures.stack import SHORT_WAITS
from tests.webhook.support import ACCOUNT, PUBLIC, TOKEN

_BACKGROUND: Final = frozenset(
    {
        "watermarks",
        "ops_sessions",
        "message_index",
        "dead_letter_index",
        "sender_results",
        "hash_keys",
    }
)
"""Tables that processes write without being asked: looks, sign-ins, the index of messages."""
_SECONDS: Final = 20


@dataclass(frozen=True)
class Answer:
    """What a server answers; status 0: it closed the connection without an answer."""

    status: int
    text: str
    """Headers and body."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A running stack with every server, and somebody who has signed in to the page."""

    stack: LocalStack
    ports: Mapping[str, int]
    """By surface."""
    session: tuple[tuple[str, str], ...]
    engine: Engine
    tables: Sequence[Table]
    """All that are written for a reason only."""
    loop: asyncio.Runner
    temporal: Client
    _seen: set[str] = field(default_factory=set)

    def send(self, request: Request) -> Answer:
        """Send it over a connection of its own."""
        port = self.ports.get(request.surface, self.ports["the webhook"])
        more = self.session if request.is_signed_in else ()
        return exchange(port, request.encoded(f"{HOST}:{port}", more), method=request.method)

    def changes(self) -> list[str]:
        """What has changed in the database and in Temporal since the last call."""
        found = {*self._rows(), *self.loop.run(self._workflows())}
        changed = sorted(found ^ self._seen)
        self._seen.clear()
        self._seen.update(found)
        return changed

    def _rows(self) -> list[str]:
        with self.engine.connect() as connection:
            return [
                f"{table.name}: {row}"
                for table in self.tables
                for row in connection.execute(select(table))
            ]

    async def _workflows(self) -> list[str]:
        return [f"{each.id}: {each.status}" async for each in self.temporal.list_workflows("")]


def exchange(port: int, sent: bytes, *, method: str = "POST") -> Answer:
    """Send these bytes and read the answer."""
    with socket.create_connection((HOST, port), timeout=_SECONDS) as connection:
        # It may answer before it has read everything.
        with contextlib.suppress(OSError):
            connection.sendall(sent)
        response = HTTPResponse(connection, method=method)
        try:
            response.begin()
            body = response.read()
        except (HTTPException, ConnectionError):
            return Answer(0, "")
        return Answer(response.status, f"{response.headers}\n{body.decode(errors='replace')}")


@contextlib.contextmanager
def running(folder: Path, database_url: str | None) -> Iterator[Environment]:
    """Run it; afterwards no log has a canary, or says that something unexpected happened."""
    (worker_probes,) = free_ports(1)
    own = {
        **SHORT_WAITS,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "PUBLIC_BASE_URL": PUBLIC,
        "EVENT_STREAMS": "true",
        "INBOUND_CATCH_UP_MINUTES": "0",
        "WORKER_METRICS_ADDRESS": f"{HOST}:{worker_probes}",
        **({} if database_url is None else {"DATABASE_URL": database_url}),
    }
    folder.mkdir(exist_ok=True)
    stack = LocalStack(folder, settings=own, with_ops=True)
    Path(codec_settings(folder, port=0)["CODEC_SERVER_TOKEN_FILE"]).write_text(CODEC_TOKEN)
    with stack:
        ports = {
            "the webhook": stack.ports.webhook,
            "the webhook's probes": stack.ports.webhook,
            "the worker's probes": worker_probes,
            "the operations page": stack.ports.ops,
            "the codec server": stack.ports.codec,
        }
        with asyncio.Runner() as loop:
            engine = open_engine(stack.settings["DATABASE_URL"])
            metadata = MetaData()
            metadata.reflect(engine)
            environment = Environment(
                stack=stack,
                ports=ports,
                session=_signed_in(stack),
                engine=engine,
                tables=[
                    table for name, table in metadata.tables.items() if name not in _BACKGROUND
                ],
                loop=loop,
                temporal=loop.run(stack.client()),
            )
            environment.changes()
            yield environment
            engine.dispose()
    scan = scan_logs(
        (folder / "logs").glob("*.log"),
        numbers=[CANARIES[0]],
        texts=[*CANARIES[1:], "Traceback", "nexpected"],
        secrets=[TOKEN, CODEC_TOKEN],
    )
    assert () == scan.found
    assert scan.lines > 0


def _signed_in(stack: LocalStack) -> tuple[tuple[str, str], ...]:
    """The headers of an operator's requests: the session's cookie and its token."""
    body = urlencode({"name": OPS_USER, "password": stack.ops_password}).encode()
    form = Request(surface="", name="", status=303, target="/sign-in", body=body,
                   headers=[("Content-Type", FORM)])  # fmt: skip
    host = f"{HOST}:{stack.ports.ops}"
    answer = exchange(stack.ports.ops, form.encoded(host))
    cookie = _found(r"signedfor_ops=[^;]+", answer.text)[0]
    page = Request(surface="", name="", status=200, method="GET", target="/audit-log")
    shown = exchange(stack.ports.ops, page.encoded(host, [("Cookie", cookie)]))
    token = _found(r'name="csrf_token" value="([^"]+)"', shown.text)[1]
    return ("Cookie", cookie), ("X-CSRF-Token", token)


def _found(pattern: str, text: str) -> Any:
    found = re.search(pattern, text)
    assert found, pattern
    return found
