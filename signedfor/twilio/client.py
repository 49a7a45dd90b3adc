"""The Twilio SDK's client with enforced limits and without retries.

The SDK's synchronous client has no timeout by default, and its retries cover connection errors
only; its asynchronous client ignores its own timeout and repeats a POST on any 5xx. This is the
synchronous one with retries off and a limit on everything that could hold its thread: connecting
as a whole, the first byte, the whole answer, and its size.
"""

import http.client
import io
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from ssl import SSLCertVerificationError
from typing import Any

import requests
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response as TwilioResponse
from twilio.rest import Client
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    SSLError,
)
from urllib3.poolmanager import ProxyManager
from urllib3.util.connection import is_connection_dropped

from signedfor.retry import CONNECT_TIMEOUT, READ_TIMEOUT

# Linux stops its monotonic clock while the machine sleeps; this one goes on.
_ELAPSED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_MAX_ANSWER_BYTES = 16 * 2**20
"""Of an answer's body, compressed and not. A page of 1,000 messages has about 2 MB."""
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


class _HttpClient(TwilioHttpClient):
    """One pooled session, explicit timeouts, and the parts of a response that the SDK drops."""

    def __init__(
        self,
        *,
        connections: int,
        connect_timeout: timedelta,
        read_timeout: timedelta,
        observe: Observer | None,
    ) -> None:
        super().__init__()
        self._observe = observe
        assert self.session is not None  # noqa: S101 - pooling is the base class's default
        self.deadline = _Deadline()
        adapter = _TimeoutAdapter(
            self.deadline,
            connections=connections,
            connect_seconds=connect_timeout.total_seconds(),
            read_seconds=read_timeout.total_seconds(),
        )
        self.session.mount("https://", adapter)
        self.session.mount("http://", adapter)
        self._last = threading.local()
        self._pools: dict[str, _ConnectionPool] = {}

    def request(  # type: ignore[override] # two of its base classes disagree on the names
        self, method: str, url: str, *args: Any, **kwargs: Any
    ) -> TwilioResponse:
        """See base class."""
        self._last.response = None
        status, started = None, time.perf_counter()
        try:
            response = super().request(method, url, *args, **kwargs)
            status = response.status_code
        finally:
            if self._observe is not None:
                self._observe(_operation(method, url), status, time.perf_counter() - started)
        self._last.response = ResponseHead(
            http_status=response.status_code,
            retry_after=_seconds((response.headers or {}).get("Retry-After", "")),
        )
        return response

    def read_environment(self, url: str) -> None:
        """Take proxies and certificates for `url` from the environment, once.

        The library would do so for each request, which costs a tenth of a send's CPU time.
        """
        assert self.session is not None  # noqa: S101 - pooling is the base class's default
        options = self.session.merge_environment_settings(url, {}, None, None, None)
        self.session.proxies = dict(options["proxies"])
        self.session.verify = options["verify"]
        self.session.trust_env = False

    @contextmanager
    def connected(self, url: str) -> Iterator[bool]:
        """Inside the block, a connection to `url` is ready for this thread's next request."""
        pool = self._pools.get(url) or self._pools.setdefault(url, self._pool(url))
        with pool.connected() as is_connected:
            yield is_connected

    def _pool(self, url: str) -> "_ConnectionPool":
        assert self.session is not None  # noqa: S101 - pooling is the base class's default
        request = requests.Request("POST", url).prepare()
        options = self.session.merge_environment_settings(url, {}, None, None, None)
        adapter = self.session.get_adapter(url)
        assert isinstance(adapter, HTTPAdapter)  # noqa: S101 - mounted above
        pool = adapter.get_connection_with_tls_context(
            request, options["verify"], proxies=options["proxies"], cert=options["cert"]
        )
        assert isinstance(pool, _ConnectionPool)  # noqa: S101 - the adapter's own class
        return pool

    def last_response(self) -> ResponseHead | None:
        """The response to this thread's last request, if there was one."""
        response: ResponseHead | None = getattr(self._last, "response", None)
        return response


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
        self.http_client.read_environment(self.get_hostname(self.api.base_url))

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


class _TimeoutAdapter(HTTPAdapter):
    """Sets both timeouts on each request, turns retries off, and bounds each phase as a whole.

    The SDK has a single timeout for connecting and reading. And a connect timeout applies to each
    address and each step of the TLS handshake separately, and not to name resolution; a read
    timeout applies to each read. Together they can exceed the send activity's deadline.
    """

    def __init__(
        self, deadline: _Deadline, *, connections: int, connect_seconds: float, read_seconds: float
    ) -> None:
        self._timeouts = (connect_seconds, read_seconds)
        self._deadline = deadline
        super().__init__(pool_connections=2, pool_maxsize=connections, max_retries=0)

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
        limits = (*self._timeouts, self._deadline)

        class Http(_ConnectionPool):
            ConnectionCls = _limited(HTTPConnection, *limits)
            connect_seconds = self._timeouts[0]

        class Https(_ConnectionPool, HTTPSConnectionPool):
            ConnectionCls = _limited(HTTPSConnection, *limits)
            connect_seconds = self._timeouts[0]

        return {"http": Http, "https": Https}

    def send(  # type: ignore[override] # a session passes the options by name
        self, request: PreparedRequest, **options: Any
    ) -> requests.Response:
        """See base class."""
        options["timeout"] = self._timeouts
        response = super().send(request, **options)
        response.raw = _LimitedBody(response.raw)
        return response


class _ConnectionPool(HTTPConnectionPool):
    """Lets a thread connect before its request, and keeps that connection for it."""

    connect_seconds: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ready = threading.local()

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
        if is_connection_dropped(connection):
            connection.close()
        return connection


class _LimitedBody:
    """A response's body that fails when it is larger than allowed after decompression."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        """Its parts, decompressed."""
        size = 0
        for part in self._raw.stream(*args, **kwargs):
            size += len(part)
            if size > _MAX_ANSWER_BYTES:
                self._raw.close()
                raise ProtocolError("the answer is too large")
            yield part


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


def never_connected(error: requests.RequestException) -> bool:
    """Whether a transport error proves that no byte of the request left this machine.

    `requests` raises ConnectionError both for "refused" and for "dropped after sending"; only the
    inner urllib3 error distinguishes them. Any other error means the request may have been sent.
    """
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = error.args[0] if error.args else None
    if isinstance(reason, MaxRetryError):
        reason = reason.reason
    if isinstance(reason, ProxyError):
        reason = reason.original_error
    if isinstance(reason, SSLError):
        # A certificate is rejected before anything is written; other TLS errors can come later.
        return isinstance(reason.args[0] if reason.args else None, SSLCertVerificationError)
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)
