"""The Twilio SDK's client with enforced timeouts and without retries.

The SDK's synchronous client has no timeout by default, and its retries cover connection errors
only; its asynchronous client ignores its own timeout and repeats a POST on any 5xx. This is the
synchronous one with both timeouts set and retries off.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from ssl import SSLCertVerificationError
from typing import Any

import requests
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from signedfor.retry import CONNECT_TIMEOUT, READ_TIMEOUT

_MAX_RETRY_AFTER = timedelta(hours=24)
"""Twilio's longest limits cover a day; a longer wait would be a mistake."""


@dataclass(frozen=True, kw_only=True)
class ResponseHead:
    """The status and headers of Twilio's HTTP response, independent of its body."""

    http_status: int
    retry_after: timedelta | None


class _Deadline(threading.local):
    """The monotonic time after which this thread starts no request."""

    at: float | None = None

    def has_passed(self) -> bool:
        return self.at is not None and time.monotonic() > self.at


class _HttpClient(TwilioHttpClient):
    """One pooled session, explicit timeouts, and the parts of a response that the SDK drops."""

    def __init__(
        self, *, connections: int, connect_timeout: timedelta, read_timeout: timedelta
    ) -> None:
        super().__init__()
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

    def request(self, *args: Any, **kwargs: Any) -> Response:
        """See base class."""
        self._last.response = None
        response = super().request(*args, **kwargs)
        self._last.response = ResponseHead(
            http_status=response.status_code,
            retry_after=_seconds((response.headers or {}).get("Retry-After", "")),
        )
        return response

    def last_response(self) -> ResponseHead | None:
        """The response to this thread's last request, if there was one."""
        response: ResponseHead | None = getattr(self._last, "response", None)
        return response


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
            ),
        )
        if base_url is not None:
            self.api.base_url = base_url

    def last_response(self) -> ResponseHead | None:
        """The response to this thread's last request, if there was one."""
        return self.http_client.last_response()

    @contextmanager
    def no_request_after(self, moment: float) -> Iterator[None]:
        """Inside the block, this thread starts no request after `moment` (`time.monotonic`).

        The check is immediately before the first byte is written, so a process that was frozen
        until after the deadline sends nothing. Such a request fails as one that never connected.
        """
        deadline = self.http_client.deadline
        deadline.at = moment
        try:
            yield
        finally:
            deadline.at = None


class _TimeoutAdapter(HTTPAdapter):
    """Sets both timeouts on each request, turns retries off, and bounds connecting as a whole.

    The SDK has a single timeout for connecting and reading. And a connect timeout applies to each
    address and each step of the TLS handshake separately, and not to name resolution. Together
    they can exceed the send activity's deadline, after which the message may be sent again.
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
        connect_seconds, _ = self._timeouts
        deadline = self._deadline

        class Http(HTTPConnectionPool):
            ConnectionCls = _with_deadline(HTTPConnection, connect_seconds, deadline)

        class Https(HTTPSConnectionPool):
            ConnectionCls = _with_deadline(HTTPSConnection, connect_seconds, deadline)

        self.poolmanager.pool_classes_by_scheme = {"http": Http, "https": Https}

    def send(  # type: ignore[override] # a session passes the options by name
        self, request: PreparedRequest, **options: Any
    ) -> requests.Response:
        """See base class."""
        options["timeout"] = self._timeouts
        return super().send(request, **options)


def _with_deadline(
    connection: type[HTTPConnection], connect_seconds: float, deadline: _Deadline
) -> type[Any]:
    class Connection(connection):  # type: ignore[misc, valid-type] # one body for both schemes
        def endheaders(self, *args: Any, **options: Any) -> None:
            # This writes the first byte, after connecting if necessary.
            if deadline.has_passed():
                self.close()
                raise ConnectTimeoutError(self, "the deadline for starting this request has passed")
            super().endheaders(*args, **options)

        def connect(self) -> None:
            started = time.monotonic()
            super().connect()
            if time.monotonic() - started > connect_seconds:
                self.close()
                raise ConnectTimeoutError(self, "connecting took too long in total")

    return Connection


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
