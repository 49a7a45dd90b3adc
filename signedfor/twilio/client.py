"""The Twilio SDK's client, with timeouts it keeps and retries it does not make.

The SDK's synchronous client waits for ever by default and, told a number of retries, repeats only
what never connected; its asynchronous one ignores its own timeout and repeats a POST on any 5xx.
So: the synchronous one, both timeouts given, retries off (twilio-facts.md, section 10).
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

_LONGEST_RETRY_AFTER = timedelta(hours=24)
"""Twilio's longest limits are a day's; what asks for more is a mistake."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What Twilio's HTTP answer itself said, whatever is in its body."""

    http_status: int
    retry_after: timedelta | None


class _Limit(threading.local):
    """The monotonic time after which this thread's requests are not begun any more."""

    not_after: float | None = None

    def is_over(self) -> bool:
        return self.not_after is not None and time.monotonic() > self.not_after


class _HttpClient(TwilioHttpClient):
    """One pooled session, explicit timeouts, and what of an answer the SDK's errors drop."""

    def __init__(
        self, *, connections: int, connect_timeout: timedelta, read_timeout: timedelta
    ) -> None:
        super().__init__()
        assert self.session is not None  # noqa: S101 - pooling is the base class's default
        self.limit = _Limit()
        adapter = _PunctualAdapter(
            self.limit,
            connections=connections,
            connect_seconds=connect_timeout.total_seconds(),
            read_seconds=read_timeout.total_seconds(),
        )
        self.session.mount("https://", adapter)
        self.session.mount("http://", adapter)
        self._last = threading.local()

    def request(self, *args: Any, **kwargs: Any) -> Response:
        """See base class."""
        self._last.answer = None
        response = super().request(*args, **kwargs)
        self._last.answer = Answer(
            http_status=response.status_code,
            retry_after=_seconds((response.headers or {}).get("Retry-After", "")),
        )
        return response

    def last_answer(self) -> Answer | None:
        """The answer to this thread's last request, if there was one."""
        answer: Answer | None = getattr(self._last, "answer", None)
        return answer


def _seconds(retry_after: str) -> timedelta | None:
    """`Retry-After` in its seconds form, at most `_LONGEST_RETRY_AFTER`."""
    # Six digits are plenty; more could be too large for a timedelta, or for Temporal.
    if not re.fullmatch(r"[0-9]{1,6}", retry_after):
        return None
    return min(timedelta(seconds=int(retry_after)), _LONGEST_RETRY_AFTER)


class TwilioClient(Client):
    """The SDK's client for one account, safe for several threads."""

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
        super().__init__(  # type: ignore[no-untyped-call] # the SDK's own lacks a return type
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

    def last_answer(self) -> Answer | None:
        """The answer to this thread's last request, if there was one."""
        return self.http_client.last_answer()

    @contextmanager
    def no_request_after(self, moment: float) -> Iterator[None]:
        """No request of this thread begins after `moment` (`time.monotonic`) while the block runs.

        It is looked at immediately before the first byte is written: a process that is frozen
        anywhere before that, and thaws too late, sends nothing. Such a request fails as one that
        never connected.
        """
        limit = self.http_client.limit
        limit.not_after = moment
        try:
            yield
        finally:
            limit.not_after = None


class _PunctualAdapter(HTTPAdapter):
    """Gives each request both timeouts, retries off; connects within a time in all, or not at all.

    The SDK's own timeout is one number for connecting and reading. And a connect timeout holds for
    each address tried and for each step of the TLS handshake, and not at all for the name's
    resolution. Together they can outlive the send activity's own deadline, after which the message
    may already have been sent again.
    """

    def __init__(
        self, limit: _Limit, *, connections: int, connect_seconds: float, read_seconds: float
    ) -> None:
        self._timeouts = (connect_seconds, read_seconds)
        self._limit = limit
        super().__init__(pool_connections=2, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """See base class."""
        super().init_poolmanager(*args, **kwargs)
        within, _ = self._timeouts
        limit = self._limit

        class Http(HTTPConnectionPool):
            ConnectionCls = _punctual(HTTPConnection, within, limit)

        class Https(HTTPSConnectionPool):
            ConnectionCls = _punctual(HTTPSConnection, within, limit)

        self.poolmanager.pool_classes_by_scheme = {"http": Http, "https": Https}

    def send(  # type: ignore[override] # a session passes the options by name
        self, request: PreparedRequest, **options: Any
    ) -> requests.Response:
        """See base class."""
        options["timeout"] = self._timeouts
        return super().send(request, **options)


def _punctual(connection: type[HTTPConnection], within: float, limit: _Limit) -> type[Any]:
    class Punctual(connection):  # type: ignore[misc, valid-type] # one body for both schemes
        def endheaders(self, *args: Any, **options: Any) -> None:
            # The first byte is written in here, after connecting if that is still to be done.
            if limit.is_over():
                self.close()
                raise ConnectTimeoutError(self, "the time to begin this request is over")
            super().endheaders(*args, **options)

        def connect(self) -> None:
            begun = time.monotonic()
            super().connect()
            if time.monotonic() - begun > within:
                self.close()
                raise ConnectTimeoutError(self, "connecting took too long in all")

    return Punctual


def never_connected(error: requests.RequestException) -> bool:
    """Whether a transport error proves that no byte of the request left this machine.

    `requests` says ConnectionError both for "refused" and for "dropped after sending"; only the
    urllib3 error inside tells them apart. Anything else must be taken as possibly sent.
    """
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = error.args[0] if error.args else None
    if isinstance(reason, MaxRetryError):
        reason = reason.reason
    if isinstance(reason, ProxyError):
        reason = reason.original_error
    if isinstance(reason, SSLError):
        # A certificate is refused before anything is written; other TLS errors come at any time.
        return isinstance(reason.args[0] if reason.args else None, SSLCertVerificationError)
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)
