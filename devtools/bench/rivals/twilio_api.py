"""What the rivals' programs share: Twilio's SDK, with the sandbox in place of Twilio's servers."""

import os
from typing import Any
from urllib.parse import parse_qs

import requests
from requests.adapters import HTTPAdapter
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

THREADS = 20
"""POSTs at a time in one worker, as our default."""
_SENDER = "+15005550006"
_NOT_FINAL = frozenset({"queued", "accepted", "scheduled", "sending", "sent"})


class TemporarilyUnavailable(Exception):
    """No answer, a 429 or a 5xx: what a program by the book retries."""


class _SandboxHttpClient(TwilioHttpClient):
    """The SDK's client; only the host differs."""

    def __init__(self) -> None:
        super().__init__(timeout=15)
        assert self.session is not None  # noqa: S101 - pooling is the base class's default
        self.session.mount("http://", HTTPAdapter(pool_maxsize=THREADS))
        self.session.trust_env = False

    def request(self, *args: Any, **kwargs: Any) -> Response:
        """See base class."""
        method, url, *others = args
        local = url.replace("https://api.twilio.com", os.environ["TWILIO_API_BASE_URL"], 1)
        return super().request(method, local, *others, **kwargs)


_client = Client(  # type: ignore[no-untyped-call]  # the SDK's constructor has no types
    os.environ.get("TWILIO_ACCOUNT_SID"),
    os.environ.get("TWILIO_AUTH_TOKEN"),
    http_client=_SandboxHttpClient(),
)


def send(message_id: str, to: str, body: str) -> str:
    """POST the message; Twilio's SID.

    Raises:
        TemporarilyUnavailable: it may be tried again.
        TwilioRestException: Twilio refused it.
    """
    callback = f"{os.environ['WEBHOOK_URL']}/status?message_id={message_id}"
    try:
        created = _client.messages.create(to=to, from_=_SENDER, body=body, status_callback=callback)
    except requests.RequestException as error:
        raise TemporarilyUnavailable(type(error).__name__) from None
    except TwilioRestException as error:
        if error.status == requests.codes.too_many_requests or error.status >= 500:
            raise TemporarilyUnavailable(f"HTTP {error.status}") from None
        raise
    return str(created.sid)


def final_status(body: bytes) -> str | None:
    """The status of a callback, if it is a final one."""
    status = parse_qs(body.decode())["MessageStatus"][0]
    return None if status in _NOT_FINAL else status
