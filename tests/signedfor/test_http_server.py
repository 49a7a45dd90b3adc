"""The HTTP server's limits, with times that a test can wait for."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from signedfor.http_server import Limits, Server
from signedfor.logging import configure_logging

LIMITS = Limits(
    head_seconds=0.6,
    body_seconds=0.6,
    answer_seconds=0.6,
    idle_seconds=0.6,
    connections=5,
    idle_connections=2,
)
SOON = 5.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"


async def _hello(_request: Request) -> Response:
    return PlainTextResponse("hello")


async def _echo(request: Request) -> Response:
    return Response(await request.body())


async def _large(_request: Request) -> Response:
    return Response(b"x" * 20_000_000)


APP = Starlette(
    routes=[
        Route("/", _hello),
        Route("/echo", _echo, methods=["POST"]),
        Route("/large", _large),
    ]
)


@contextlib.asynccontextmanager
async def _serving(limits: Limits = LIMITS) -> AsyncIterator[int]:
    server = Server(APP, host="127.0.0.1", port=0, limits=limits)
    listening = server.listening()
    async with server.beside(listening):
        yield listening.getsockname()[1]


class _Connection:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._opened_at = time.monotonic()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self) -> bytes:
        """The head of the next answer, and five bytes of its body."""
        async with asyncio.timeout(SOON):
            return await self._reader.readuntil(b"\r\n\r\n") + await self._reader.readexactly(5)

    async def closed_after(self) -> float:
        """Read on until the server closes it, and return how many seconds it was open."""
        async with asyncio.timeout(SOON):
            with contextlib.suppress(ConnectionError):
                while await self._reader.read(65_536):
                    pass
        self._writer.close()
        return time.monotonic() - self._opened_at

    async def drip(self, data: bytes) -> None:
        """Send a byte now and then, until the server closes it."""
        with contextlib.suppress(ConnectionError):
            for byte in data:
                self.send(bytes([byte]))
                await self._writer.drain()
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[_Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield _Connection(reader, writer)
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET", GET[:-2], POST, POST + b"hel", GET + GET[:-2], GET],
    ids=["nothing", "a word", "half a head", "no body", "half a body", "half a second", "idle"],
)
async def test_a_connection_that_waits_for_its_client_is_closed(sent: bytes) -> None:
    """After the time for this step, not much later."""
    async with _serving() as port, _connected(port) as connection:
        connection.send(sent)

        assert 0.5 < await connection.closed_after() < 2


@pytest.mark.parametrize(
    "data", [GET[:-2] + b"X: " + b"y" * 300, POST + b"y" * 5], ids=["head", "body"]
)
async def test_a_byte_now_and_then_wins_no_time(data: bytes) -> None:
    """The time of a step is for all of it."""
    async with _serving() as port, _connected(port) as connection:
        dripping = asyncio.create_task(connection.drip(data))

        assert 0.5 < await connection.closed_after() < 3
        await dripping


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    """It holds memory and a connection."""
    async with _serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(GET.replace(b"/ ", b"/large "))
        await asyncio.sleep(1.5)
        received = 0
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(SOON):
                while part := await reader.read(1_000_000):
                    received += len(part)
        writer.close()

        assert received < 20_000_000


async def test_each_request_of_a_connection_has_its_own_time() -> None:
    """Together they may take longer."""
    async with _serving() as port, _connected(port) as connection:
        for _ in range(4):
            await asyncio.sleep(0.3)
            connection.send(POST)
            await asyncio.sleep(0.3)
            connection.send(b"hello!")
            assert b"hello" == (await connection.answer())[-5:]
            connection.send(b"")
            await connection._reader.readexactly(1)


async def test_pipelined_requests_are_answered() -> None:
    """One after the other, each within its own time."""
    async with _serving() as port, _connected(port) as connection:
        connection.send(GET * 3)
        for _ in range(3):
            assert b" 200 OK" in await connection.answer()


async def test_silent_connections_keep_nobody_out() -> None:
    """The one that has been silent longest is closed for a new one."""
    async with _serving() as port, contextlib.AsyncExitStack() as opened:
        silent = [await opened.enter_async_context(_connected(port)) for _ in range(20)]
        for _ in range(10):
            async with _connected(port) as connection:
                connection.send(GET)
                assert b" 200 OK" in await connection.answer()

        assert await silent[0].closed_after() < 0.5


async def test_few_connections_are_idle() -> None:
    """A further one closes the one that has been idle longest."""
    limits = Limits(connections=50, idle_connections=2)
    async with _serving(limits) as port, contextlib.AsyncExitStack() as opened:
        idle = []
        for _ in range(3):
            idle.append(await opened.enter_async_context(_connected(port)))
            idle[-1].send(GET)
            await idle[-1].answer()

        assert await idle[0].closed_after() < 2
        for each in idle[1:]:
            each.send(GET)
            assert b" 200 OK" in await each.answer()


async def test_strangers_write_few_lines_into_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """However many requests are no HTTP, or never come."""
    level, handlers = logging.root.level, logging.root.handlers[:]
    configure_logging("INFO")
    try:
        async with _serving() as port:
            for _ in range(40):
                async with _connected(port) as connection:
                    connection.send(b"\x16\x03\x01 nonsense\r\n\r\n")
                    await connection.closed_after()
                async with _connected(port) as connection:
                    connection.send(GET[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n")
                    await connection.answer()
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
            for _, writer in silent:
                writer.close()
    finally:
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers
    lines = capsys.readouterr().err.splitlines()

    assert 0 < len(lines) < 12, lines
