"""The Twilio SDK's client, with timeouts it keeps and retries it does not make.

The SDK's synchronous client waits for ever by default and, told a number of retries, repeats only
what never connected; its asynchronous one ignores its own timeout and repeats a POST on any 5xx.
So: the synchronous one, both timeouts given, retries off (twilio-facts.md, section 10).
"""

import threading
from datetime import timedelta
from ssl import SSLCertVerificationError
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from messaging.retry import CONNECT_TIMEOUT, READ_TIMEOUT


class _HttpClient(TwilioHttpClient):
    """One pooled session, explicit timeouts, and the headers that the SDK's errors drop."""

    def __init__(self, *, connections: int) -> None:
        super().__init__()
        assert self.session is not None  # noqa: S101 - pooling is the base class's default
        adapter = HTTPAdapter(pool_connections=2, pool_maxsize=connections, max_retries=0)
        self.session.mount("https://", adapter)
        self.session.mount("http://", adapter)
        self._last = threading.local()

    def request(self, *args: Any, **kwargs: Any) -> Response:
        """See base class."""
        self._last.headers = {}
        # requests takes (connect, read); the SDK passes it through but types it as one number.
        kwargs["timeout"] = (CONNECT_TIMEOUT.total_seconds(), READ_TIMEOUT.total_seconds())
        response = super().request(*args, **kwargs)
        self._last.headers = response.headers
        return response

    def retry_after(self) -> timedelta | None:
        """What the last response of this thread asked for in `Retry-After`, in seconds form."""
        value = str(getattr(self._last, "headers", {}).get("Retry-After", ""))
        return timedelta(seconds=int(value)) if value.isascii() and value.isdecimal() else None


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
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call] # the SDK's own lacks a return type
            username,
            password,
            account_sid=account_sid,
            edge=edge,
            region=region,
            http_client=_HttpClient(connections=connections),
        )
        if base_url is not None:
            self.api.base_url = base_url

    def retry_after(self) -> timedelta | None:
        """What the last response to this thread asked for in `Retry-After`."""
        return self.http_client.retry_after()


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
