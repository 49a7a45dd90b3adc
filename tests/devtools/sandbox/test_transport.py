"""The transport of callbacks against real sockets that behave and misbehave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from devtools.sandbox.transport import OneShotTransport


@asynccontextmanager
async def answering(
    answer: bytes, *, then_wait: bool = False, expect: bytes = b"a=b"
) -> AsyncIterator[str]:
    """Run a server that reads up to `expect`, answers, and closes or waits for the client."""
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(expect)
        writer.write(answer)
        if then_wait:
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/status"
        await ended.wait()


async def post(url: str, *, read: float = 5) -> httpx.Response:
    """Post a small form to `url`."""
    timeout = httpx.Timeout(read, connect=5)
    async with httpx.AsyncClient(transport=OneShotTransport(), timeout=timeout) as client:
        return await client.post(url, content=b"a=b")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nok",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_answer_is_read_whole(answer: bytes) -> None:
    """However an answer is framed, its status and body arrive."""
    async with answering(answer) as url:
        response = await post(url)

    assert (response.status_code, response.text) == (200, "ok")


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Len", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"],
)
async def test_broken_answer_is_a_protocol_error(answer: bytes) -> None:
    """A connection closed before the end of the answer is told apart from a refused one."""
    async with answering(answer) as url:
        with pytest.raises(httpx.RemoteProtocolError):
            await post(url)


async def test_silence_is_a_read_timeout() -> None:
    """A server that takes the request and says nothing runs into the read timeout."""
    async with answering(b"", then_wait=True) as url:
        with pytest.raises(httpx.ReadTimeout):
            await post(url, read=0.1)


async def test_no_tls_is_a_connect_error() -> None:
    """A server that does not speak TLS counts as not connected."""
    async with answering(b"", expect=b"\x16") as url:
        with pytest.raises(httpx.ConnectError):
            await post(url.replace("http:", "https:"))
