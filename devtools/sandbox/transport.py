"""A transport for httpx that opens one connection for each request.

httpx's own pool searches all connections and all waiting requests each time: under hundreds of
callbacks a second that took 1 to 2 ms of CPU a request, four times what this takes. And without
reuse no callback is lost to a connection that its server was just closing.
"""

import asyncio
import ssl
from functools import cache

import h11
import httpx

_READ_SIZE = 65_536


class OneShotTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over a fresh connection, closed after the answer.

    Of the request's timeouts it takes `connect`, and `read` for the whole answer. Raises httpx's
    own exceptions.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` and return the answer, read to its end."""
        timeouts = request.extensions["timeout"]
        content = await request.aread()
        reader, writer = await _connect(request, within=timeouts["connect"])
        try:
            async with asyncio.timeout(timeouts["read"]):
                return await _exchange(request, content, reader, writer)
        except TimeoutError:
            raise httpx.ReadTimeout("No answer in time.", request=request) from None
        except (OSError, h11.RemoteProtocolError):
            raise httpx.RemoteProtocolError("The answer broke off.", request=request) from None
        finally:
            writer.close()


async def _connect(
    request: httpx.Request, *, within: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = request.url
    secure = url.scheme == "https"
    try:
        async with asyncio.timeout(within):
            return await asyncio.open_connection(
                url.host, url.port or (443 if secure else 80), ssl=_tls() if secure else None
            )
    except TimeoutError:
        raise httpx.ConnectTimeout("No connection in time.", request=request) from None
    except OSError:  # no such host, refused, or a certificate that does not hold
        raise httpx.ConnectError("No connection.", request=request) from None


async def _exchange(
    request: httpx.Request,
    content: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> httpx.Response:
    connection = h11.Connection(h11.CLIENT)
    head = h11.Request(
        method=request.method, target=request.url.raw_path, headers=request.headers.raw
    )
    events = (head, h11.Data(data=content), h11.EndOfMessage())
    writer.write(b"".join(connection.send(event) or b"" for event in events))
    await writer.drain()
    status, headers, body = 0, httpx.Headers(), bytearray()
    while True:
        got = connection.next_event()
        if got is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_SIZE))
        elif isinstance(got, h11.Response):
            status, headers = got.status_code, httpx.Headers(got.headers.raw_items())
        elif isinstance(got, h11.Data):
            body += got.data
        elif isinstance(got, h11.EndOfMessage):
            return httpx.Response(status, headers=headers, content=bytes(body))
        elif isinstance(got, h11.ConnectionClosed):
            raise httpx.RemoteProtocolError("Closed without an answer.", request=request)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
