"""The Twilio SDK's client with enforced limits and without retries.

The SDK's own transport has no timeout by default, and its retries cover connection errors only; its
asynchronous one ignores its own timeout and repeats a POST on any 5xx. The transport here has no
retries, and a limit on everything that could hold its thread: connecting as a whole, the first
byte, the whole answer, and its size.
"""

import contextlib
import http.client
import io
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from ssl import SSLCertVerificationError, SSLSocket, SSLWantReadError
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http import HttpClient
from twilio.http.response import Response as TwilioResponse
from twilio.rest import Client
from urllib3 import BaseHTTPResponse, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    SSLError,
)
from urllib3.poolmanager import ProxyManager
from urllib3.util import make_headers
from urllib3.util.connection import is_connection_dropped

from signedfor.retry import CONNECT_TIMEOUT, READ_TIMEOUT

# Linux stops its monotonic clock while the machine sleeps; this one goes on.
_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_MAX_ANSWER_BYTES = 16 * 2**20
"""Of an answer's body, compressed and not. A page of 1,000 messages has about 2 MB."""
_PART_BYTES = 64 * 2**10
_HOSTS = 8
"""More than Twilio has for one account's API, so that no pool of connections is given up."""
_ANY_ENCODING = make_headers(accept_encoding="gzip,deflate")
_MAX_RETRY_AFTER = timedelta(hours=24)
"""Twilio's longest limits cover a day; a longer wait would be a mistake."""


class Operation(StrEnum):
    """What a request asks of Twilio."""

    CREATE = "create"
    """The POST of a message."""
    LIST = "list"
    """A page of the list of messages."""
    FETCH = "fetch"
    """The status of one message."""
    OTHER = "other"


TWILIO_ERRORS: Final = (TwilioException, HTTPError, ValueError)
"""What the SDK raises: a refusal, a request that was not answered, or an answer it cannot read."""


class UnusableProxy(ConnectTimeoutError):
    """The environment names a proxy that cannot be used, so there is no connection."""


Observer = Callable[[Operation, int | None, float], None]
"""Called after each request with its HTTP status, None if there was no answer, and its seconds."""


@dataclass(frozen=True, kw_only=True)
class ResponseHead:
    """The status and headers of Twilio's HTTP response, independent of its body."""

    http_status: int
    retry_after: timedelta | None


@dataclass(frozen=True, kw_only=True)
class Instant:
    """A moment by two clocks, neither of which is enough.

    The elapsed time stands still while a virtual machine is suspended, on some hosts, and the wall
    clock may be set back. A deadline has passed if it has by either.
    """

    elapsed: float
    wall: float

    @classmethod
    def now(cls) -> "Instant":
        """This moment."""
        return cls(elapsed=time.clock_gettime(_ELAPSED), wall=time.time())

    def after(self, seconds: float) -> "Instant":
        """The moment so many seconds later."""
        return Instant(elapsed=self.elapsed + seconds, wall=self.wall + seconds)

    def seconds_since(self, earlier: "Instant") -> float:
        """How long ago the earlier moment was, by the clock that says longer."""
        return max(self.elapsed - earlier.elapsed, self.wall - earlier.wall)

    def has_passed(self) -> bool:
        """Whether it is later now, by either clock."""
        now = Instant.now()
        return now.elapsed > self.elapsed or now.wall > self.wall


class _Deadline(threading.local):
    """The moment after which this thread starts no request."""

    at: Instant | None = None
    may_connect: bool = True
    """Whether it may open a connection for its next request."""
    first_byte_at: float = 0.0
    """When it began to write its newest request, by `time.perf_counter`."""

    def has_passed(self) -> bool:
        return self.at is not None and self.at.has_passed()


class _HttpClient(HttpClient):
    """The SDK's transport on `urllib3`: pooled connections, limits, and each response's head.

    The SDK has one on `requests`, which takes twice the CPU time and can log recipients.
    """

    def __init__(
        self,
        *,
        connections: int,
        connect_timeout: timedelta,
        read_timeout: timedelta,
        observe: Observer | None,
    ) -> None:
        super().__init__(logging.getLogger(__name__), is_async=False)
        self._observe = observe
        self.deadline = _Deadline()
        self._timeout = Timeout(
            connect=connect_timeout.total_seconds(), read=read_timeout.total_seconds()
        )
        self._pool_factory = _PoolFactory(
            self.deadline,
            connections=connections,
            connect_seconds=connect_timeout.total_seconds(),
            read_seconds=read_timeout.total_seconds(),
        )
        self._pools: dict[tuple[str, str], _ConnectionPool] = {}
        self._last = threading.local()

    def request(  # type: ignore[override] # the SDK passes `uri` by position, the rest by name
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        **_options: object,
    ) -> TwilioResponse:
        """See base class; the timeouts are the client's, and redirects are not followed.

        Raises:
            HTTPError: no answer, or no whole one.
        """
        self._last.response = None
        status, started = None, time.perf_counter()
        try:
            response = self._send(
                method, url, params=params or {}, data=data or {}, headers=headers or {}, auth=auth
            )
            status = response.status_code
        finally:
            if self._observe is not None:
                self._observe(_operation(method, url), status, time.perf_counter() - started)
        self._last.response = ResponseHead(
            http_status=response.status_code,
            retry_after=_seconds((response.headers or {}).get("Retry-After", "")),
        )
        return response

    def _send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, object],
        data: Mapping[str, object],
        headers: Mapping[str, str],
        auth: tuple[str, str] | None,
    ) -> TwilioResponse:
        if params:
            url += ("&" if "?" in url else "?") + _form(params)
        credentials = {} if auth is None else make_headers(basic_auth=":".join(auth))
        encode = json.dumps if "json" in headers.get("Content-Type", "") else _form
        pool = self._pool(url)
        answer = pool.urlopen(
            method,
            pool.target(url),
            body=encode(data).encode() if data else None,
            headers={**_ANY_ENCODING, **headers, **credentials},
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=self._timeout,
            preload_content=False,
        )
        text = _content(answer).decode("utf-8", "replace")
        return TwilioResponse(answer.status, text, answer.headers)

    @contextmanager
    def connected(self, url: str) -> Iterator[bool]:
        """Inside the block, a connection to `url` is ready for this thread's next request."""
        pool = None
        with contextlib.suppress(UnusableProxy):
            pool = self._pool(url)
        if pool is None:
            yield False
            return
        with pool.connected() as is_connected:
            yield is_connected

    def _pool(self, url: str) -> "_ConnectionPool":
        parts = urlsplit(url)
        origin = parts.scheme, parts.netloc
        pool = self._pools.get(origin)
        return pool or self._pools.setdefault(origin, self._pool_factory.pool(url))

    def last_response(self) -> ResponseHead | None:
        """The response to this thread's last request, if there was one."""
        response: ResponseHead | None = getattr(self._last, "response", None)
        return response

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._pool_factory.close()


def _form(fields: Mapping[str, object]) -> str:
    return urlencode(
        [(name, value) for name, value in fields.items() if value is not None], doseq=True
    )


def _content(answer: BaseHTTPResponse) -> bytes:
    """The answer's body, decompressed; it fails when that is larger than allowed."""
    content = bytearray()
    with contextlib.closing(answer):
        for part in answer.stream(_PART_BYTES, decode_content=True):
            content += part
            if len(content) > _MAX_ANSWER_BYTES:
                raise ProtocolError("the answer is too large")
    return bytes(content)


def _operation(method: str, url: str) -> Operation:
    *_, folder, name = ("", "", *url.partition("?")[0].split("/"))
    if name == "Messages.json":
        return {"POST": Operation.CREATE, "GET": Operation.LIST}.get(method, Operation.OTHER)
    is_fetch = method == "GET" and folder == "Messages"
    return Operation.FETCH if is_fetch else Operation.OTHER


def _seconds(retry_after: str) -> timedelta | None:
    """`Retry-After` in its seconds form, at most `_MAX_RETRY_AFTER`."""
    # Six digits are enough; more could overflow a timedelta or a Temporal duration.
    if not re.fullmatch(r"[0-9]{1,6}", retry_after):
        return None
    return min(timedelta(seconds=int(retry_after)), _MAX_RETRY_AFTER)


class TwilioClient(Client):
    """The SDK's client for one account; thread-safe."""

    http_client: _HttpClient

    def __init__(
        self,
        *,
        account_sid: str,
        username: str,
        password: str,
        connections: int,
        base_url: str | None = None,
        edge: str | None = None,
        region: str | None = None,
        connect_timeout: timedelta = CONNECT_TIMEOUT,
        read_timeout: timedelta = READ_TIMEOUT,
        observe: Observer | None = None,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call] # the SDK lacks a return type
            username,
            password,
            account_sid=account_sid,
            edge=edge,
            region=region,
            http_client=_HttpClient(
                connections=connections,
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                observe=observe,
            ),
        )
        if base_url is not None:
            for domain in (self.api, self.messaging, self.webhooks):
                domain.base_url = base_url

    def last_response(self) -> ResponseHead | None:
        """The response to this thread's last request, if there was one."""
        return self.http_client.last_response()

    def first_byte_at(self) -> float:
        """When this thread began to write its newest request, by `time.perf_counter`."""
        return self.http_client.deadline.first_byte_at

    @contextmanager
    def connected(self) -> Iterator[bool]:
        """Inside the block, a connection is ready for this thread's next request.

        Resolving the name, connecting and TLS take up to seconds, and are done before. It yields
        whether that succeeded.
        """
        with self.http_client.connected(self.get_hostname(self.api.base_url)) as is_connected:
            yield is_connected

    @contextmanager
    def no_request_after(self, moment: Instant) -> Iterator[None]:
        """Inside the block, this thread starts no request after `moment`, and none that connects.

        The check is immediately before the first byte is written, so a process that was frozen
        until after the deadline sends nothing. Such a request fails as one that never connected.
        """
        deadline = self.http_client.deadline
        deadline.at, deadline.may_connect = moment, False
        try:
            yield
        finally:
            deadline.at, deadline.may_connect = None, True


class _PoolFactory(HTTPAdapter):
    """Creates pools whose connections bound each phase of a request as a whole.

    A connect timeout applies to each address and each step of the TLS handshake separately, and not
    to name resolution; a read timeout applies to each read. Together they can exceed the send
    activity's deadline. What `requests` reads from the environment, proxies and certificates,
    applies here too.
    """

    def __init__(
        self, deadline: _Deadline, *, connections: int, connect_seconds: float, read_seconds: float
    ) -> None:
        self._limits = (connect_seconds, read_seconds, deadline)
        super().__init__(pool_connections=_HOSTS, pool_maxsize=connections)

    def pool(self, url: str) -> "_ConnectionPool":
        """The pool for the host of `url`, by the environment as it is now.

        Raises:
            UnusableProxy: nothing can be sent.
        """
        with requests.Session() as session:
            options = session.merge_environment_settings(url, {}, None, None, None)
        try:
            pool = self.get_connection_with_tls_context(
                requests.Request("POST", url).prepare(),
                DEFAULT_CA_BUNDLE_PATH if options["verify"] is True else options["verify"],
                proxies=options["proxies"],
            )
        except (requests.RequestException, HTTPError):
            # Without the text, which may quote a password.
            raise UnusableProxy("the proxy in the environment cannot be used") from None
        assert isinstance(pool, _ConnectionPool)  # noqa: S101 - by `_pool_classes`
        return pool

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """See base class."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pool_classes()

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> ProxyManager:
        """See base class."""
        manager: ProxyManager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pool_classes()
        return manager

    def _pool_classes(self) -> dict[str, type[HTTPConnectionPool]]:
        class Http(_ConnectionPool):
            ConnectionCls = _limited(HTTPConnection, *self._limits)
            connect_seconds = self._limits[0]

        class Https(_ConnectionPool, HTTPSConnectionPool):
            ConnectionCls = _limited(HTTPSConnection, *self._limits)
            connect_seconds = self._limits[0]

        return {"http": Http, "https": Https}


class _ConnectionPool(HTTPConnectionPool):
    """Lets a thread connect before its request, and keeps that connection for it."""

    connect_seconds: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ready = threading.local()

    def target(self, url: str) -> str:
        """What the request line names: for a proxy that opens no tunnel, the whole URL."""
        if self.proxy is not None and self.scheme == "http":
            return url
        return urlsplit(url)._replace(scheme="", netloc="").geturl()

    @contextmanager
    def connected(self) -> Iterator[bool]:
        """Inside the block, a connection is ready, unless it yields False."""
        connection = self._get_conn()
        try:
            self._connect(connection)
        except (HTTPError, OSError):
            connection.close()
        self._ready.connection = connection
        try:
            yield not connection.is_closed
        finally:
            unused = self._take_ready()
            if unused is not None:
                self._put_conn(unused)

    def _connect(self, connection: Any) -> None:
        if not connection.is_closed:
            return
        connection.timeout = self.connect_seconds  # otherwise a request sets it
        if self.proxy is not None and self.scheme == "https":
            self._prepare_proxy(connection)
        else:
            connection.connect()

    def _take_ready(self) -> Any:
        connection = getattr(self._ready, "connection", None)
        self._ready.connection = None
        return connection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = self._take_ready()
        if connection is None:
            return super()._get_conn(timeout)
        if _is_dropped(connection):
            connection.close()
        return connection


def _is_dropped(connection: Any) -> bool:
    """Whether the server has closed this connection, on which nothing was asked yet.

    `urllib3` takes anything to read for that. But with TLS 1.3 a server sends session tickets as
    soon as it is connected.
    """
    if not is_connection_dropped(connection):
        return False
    if not isinstance(connection.sock, SSLSocket):
        return True
    timeout = connection.sock.gettimeout()
    try:
        connection.sock.settimeout(0)
        connection.sock.recv(1)
    except SSLWantReadError:  # there were only tickets
        connection.sock.settimeout(timeout)
        return False
    except OSError:
        pass
    return True


class _LimitedReader(io.RawIOBase):
    """Reads an answer from its socket until a deadline, and only so many bytes."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, seconds: float) -> None:
        self._raw = raw
        self._connection = connection
        self._ends_at = time.monotonic() + seconds
        self._bytes_left = 2 * _MAX_ANSWER_BYTES

    def readable(self) -> bool:
        """See base class."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """See base class."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        self._connection.settimeout(left)
        count = self._raw.readinto(buffer)
        self._bytes_left -= count or 0
        if self._bytes_left < 0:
            raise OSError("the answer is too large")
        return count

    def close(self) -> None:
        """See base class."""
        self._raw.close()
        super().close()


def _limited(
    connection: type[HTTPConnection],
    connect_seconds: float,
    answer_seconds: float,
    deadline: _Deadline,
) -> type[Any]:
    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
            super().__init__(sock, *args, **options)
            raw = self.fp.detach()
            self.fp = io.BufferedReader(_LimitedReader(raw, sock, answer_seconds))

    class Connection(connection):  # type: ignore[misc, valid-type] # one body for both schemes
        response_class = Response

        def endheaders(self, *args: Any, **options: Any) -> None:
            # This writes the first byte, after connecting if necessary.
            if deadline.has_passed():
                self.close()
                raise ConnectTimeoutError(self, "the deadline for starting this request has passed")
            deadline.first_byte_at = time.perf_counter()
            super().endheaders(*args, **options)

        def connect(self) -> None:
            if not deadline.may_connect:
                raise ConnectTimeoutError(self, "the connection that was ready is gone")
            started = time.monotonic()
            super().connect()
            if time.monotonic() - started > connect_seconds:
                self.close()
                raise ConnectTimeoutError(self, "connecting took too long in total")

    return Connection


def http_status_of(error: Exception) -> int | None:
    """The HTTP status of the answer that the SDK made this error of; None if there was none.

    Of a list, the SDK raises another error than of a single resource. Neither's text may be shown:
    it repeats Twilio's.
    """
    if isinstance(error, TwilioRestException):
        return int(error.status)
    if isinstance(error, TwilioException) and len(error.args) > 1:
        status: int | None = getattr(error.args[1], "status_code", None)
        return status
    return None


def never_connected(error: HTTPError) -> bool:
    """Whether a transport error proves that no byte of the request left this machine.

    Any other error means that the request may have been sent.
    """
    reason: object = error.original_error if isinstance(error, ProxyError) else error
    if isinstance(reason, SSLError):
        # A certificate is rejected before anything is written; other TLS errors can come later.
        return isinstance(reason.args[0] if reason.args else None, SSLCertVerificationError)
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)
