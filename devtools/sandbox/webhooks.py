"""Posting to webhooks as Twilio does: signed, with the connection overrides of the URL fragment.

Rules: Twilio's pages on webhook security and on connection overrides.

Each request opens its own connection. httpx's pool searches all connections and all waiting
requests each time: with hundreds of callbacks a second that took 1 to 2 ms of CPU a request, four
times as much. Without reuse, no callback is lost to a connection that its server is closing.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from typing import Self
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

import h11
import httpx
from twilio.request_validator import RequestValidator

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
    except OSError:  # unknown host, refused, or an invalid certificate
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


_RANGES = {
    "ct": (100, 10_000),
    "rt": (100, 15_000),
    "tt": (100, 15_000),
    "rc": (0, 5),
}
_SINK_SECONDS = 5.0
"""Within which a sink must answer; connection overrides do not apply to it."""
_RETRY_KINDS = frozenset({"4xx", "5xx", "ct", "rt"})
_RETRY_SECONDS = 0.1
"""Doubled after each attempt. Our choice: Twilio does not publish its own."""


@dataclass(frozen=True, slots=True)
class ConnectionOverrides:
    """Timeouts in milliseconds, the number of retries, and the failures that are retried.

    The defaults are Twilio's: one retry, and only if no connection was made.
    """

    ct: int = 5_000
    rt: int = 15_000
    tt: int = 15_000
    rc: int = 1
    rp: frozenset[str] = frozenset({"ct"})

    @classmethod
    def parse(cls, fragment: str) -> Self:
        """Read a URL fragment such as `rc=5&rp=all`; values out of range keep their defaults.

        `sni` and `e` (edges) have no meaning on one machine and are ignored.
        """
        given = dict(parse_qsl(fragment))
        numbers = {
            name: int(given[name])
            for name, (lowest, highest) in _RANGES.items()
            if given.get(name, "").isdecimal() and lowest <= int(given[name]) <= highest
        }
        kinds = frozenset(given.get("rp", "").split(","))
        known = _RETRY_KINDS | {"dropped"} if "all" in kinds else kinds & _RETRY_KINDS
        return replace(cls(), **numbers, rp=known or cls().rp)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: the answer, or why there was none. `at` is an epoch time.

    `failure` is a kind of the retry rules: `4xx`, `5xx`, `ct` (no connection), `rt` (no
    answer in time), `tt` (no time left) or `dropped` (connection closed without an answer).
    """

    attempt: int
    response: httpx.Response | None
    failure: str | None
    at: float


class Webhooks:
    """Signs and posts; one HTTP client for everything."""

    def __init__(self, auth_token: str) -> None:
        self._signer = RequestValidator(auth_token)  # type: ignore[no-untyped-call]
        self._client = httpx.AsyncClient(
            transport=OneShotTransport(), headers={"Connection": "close"}
        )

    async def post(
        self, url: str, parameters: Mapping[str, str], *, on_attempt: Callable[[Attempt], None]
    ) -> Attempt:
        """Post `parameters` to `url`; see `request`."""
        return await self.request("POST", url, parameters, on_attempt=on_attempt)

    async def request(
        self,
        method: str,
        url: str,
        parameters: Mapping[str, str],
        *,
        on_attempt: Callable[[Attempt], None],
    ) -> Attempt:
        """Call `url` until its retry rules end; return the last attempt.

        `parameters` are sent as a form, or with GET in the query. The fragment of `url` is neither
        sent nor signed. `on_attempt` gets each attempt. All of them have the same
        I-Twilio-Idempotency-Token.
        """
        target, _, fragment = url.partition("#")
        rules = ConnectionOverrides.parse(fragment)
        if method == "GET":
            target = f"{target}{'&' if '?' in target else '?'}{urlencode(parameters)}"
            parameters = {}
        request = self._request(method, target, parameters, rules)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + rules.tt / 1000
        pause = _RETRY_SECONDS
        attempt = 1
        while True:
            last = await self._attempt(request, attempt, within=deadline - loop.time())
            on_attempt(last)
            is_last = attempt > rules.rc or last.failure not in rules.rp
            if is_last or loop.time() + pause >= deadline:
                return last
            await asyncio.sleep(pause)
            pause *= 2
            attempt += 1

    async def post_json(self, url: str, body: bytes) -> Attempt:
        """Post a batch of events once; the signature covers its hash in the query."""
        separator = "&" if "?" in url else "?"
        target = f"{url}{separator}bodySHA256={sha256(body).hexdigest()}"
        request = self._client.build_request(
            "POST",
            target,
            content=body,
            headers={
                "Content-Type": "application/json",
                "X-Twilio-Signature": self._signature(target, {}),
            },
            timeout=httpx.Timeout(_SINK_SECONDS),
        )
        return await self._attempt(request, 1, within=_SINK_SECONDS)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _request(
        self, method: str, target: str, parameters: Mapping[str, str], rules: ConnectionOverrides
    ) -> httpx.Request:
        return self._client.build_request(
            method,
            target,
            content=urlencode(parameters).encode(),
            headers={
                "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
                "User-Agent": "TwilioProxy/1.1",
                "X-Twilio-Signature": self._signature(target, parameters),
                "I-Twilio-Idempotency-Token": str(uuid4()),
            },
            timeout=httpx.Timeout(rules.rt / 1000, connect=rules.ct / 1000),
        )

    def _signature(self, target: str, parameters: Mapping[str, str]) -> str:
        signed = self._signer.compute_signature(target, parameters)  # type: ignore[no-untyped-call]
        return str(signed)

    async def _attempt(self, request: httpx.Request, attempt: int, *, within: float) -> Attempt:
        response, failure = None, None
        try:
            async with asyncio.timeout(within):
                response = await self._client.send(request)
        except TimeoutError:
            failure = "tt"
        except (httpx.ConnectError, httpx.ConnectTimeout):
            failure = "ct"
        except httpx.ReadTimeout:
            failure = "rt"
        except httpx.RemoteProtocolError:
            failure = "dropped"
        else:
            failure = {4: "4xx", 5: "5xx"}.get(response.status_code // 100)
        return Attempt(attempt, response, failure, time.time())
