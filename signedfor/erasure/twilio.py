"""Twilio's copies of messages to and from a person: deleted, or redacted."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Final, TypeVar

from twilio.base import values
from twilio.rest.api.v2010.account.message import MessageInstance

from signedfor.errors import Unavailable
from signedfor.retry import Backoff
from signedfor.settings import AtTwilio
from signedfor.twilio.client import TWILIO_ERRORS, TwilioClient, http_status_of

_PAGE_SIZE: Final = 1000
_MAX_TRIES: Final = 6
_RETRY: Final = Backoff(
    initial=timedelta(seconds=1), factor=2.0, maximum=timedelta(seconds=30), jitter=0.2
)
_UNFINISHED_SECONDS: Final = 2.0
"""How often to ask again for messages that Twilio is still sending."""
_MAY_PASS: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)})
_NOT_COMPLETE: Final = 20009
"""Twilio's code: the message is still being sent."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class TwilioResult:
    """What became of Twilio's copies."""

    done: int
    left: int
    """Twilio is still sending them, and changes none of them before it has ended."""


class TwilioCopies:
    """Lists and erases what the account has of a person's addresses. All of it can be repeated.

    Raises `signedfor.errors.Unavailable`, without Twilio's text, when Twilio does not do it.
    """

    def __init__(
        self,
        twilio: TwilioClient,
        action: AtTwilio,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._twilio = twilio
        self._action = action
        self._sleep = sleep

    def find(self, addresses: Collection[str]) -> list[str]:
        """The SIDs of what is left to do: all messages to and from these, whoever has sent them."""
        if self._action is AtTwilio.KEEP:
            return []
        found: dict[str, None] = {}
        for address in addresses:
            # All of them first: pages move when something in them is deleted.
            for listed in (
                self._retried(partial(self._listed, to=address)),
                self._retried(partial(self._listed, from_=address)),
            ):
                found |= dict.fromkeys(listed or ())
        return list(found)

    def erase(
        self, sids: Collection[str], *, within: float, stop: threading.Event | None = None
    ) -> TwilioResult:
        """Delete or redact them; wait for those that Twilio is still sending, `within` seconds.

        `stop` ends it early.
        """
        stop = stop or threading.Event()
        ends_at, left = time.monotonic() + within, list(sids)
        while True:
            left = [sid for sid in left if stop.is_set() or not self._erased(sid)]
            if not left or stop.is_set() or time.monotonic() >= ends_at:
                return TwilioResult(done=len(sids) - len(left), left=len(left))
            self._sleep(_UNFINISHED_SECONDS)

    def _listed(
        self, *, to: str | object = values.unset, from_: str | object = values.unset
    ) -> list[str]:
        messages = self._twilio.messages.stream(to=to, from_=from_, page_size=_PAGE_SIZE)
        return [
            message.sid
            for message in messages
            if message.sid and (self._action is AtTwilio.DELETE or _has_content(message))
        ]

    def _erased(self, sid: str) -> bool:
        """Whether it is; False: Twilio is still sending it."""
        message = self._twilio.messages(sid)
        try:
            if self._action is AtTwilio.DELETE:
                self._retried(message.delete)
            else:
                self._retried(lambda: message.update(body=""))
                for medium in self._retried(message.media.list) or ():
                    self._retried(medium.delete)
        except _UnfinishedError:
            return False
        return True

    def _retried(self, call: Callable[[], _Result]) -> _Result | None:
        """Its result; None if Twilio has no such message any more. Each may be repeated freely."""
        for attempt in range(1, _MAX_TRIES + 1):
            try:
                return call()
            except TWILIO_ERRORS as error:
                status = http_status_of(error)
                if status == HTTPStatus.NOT_FOUND:
                    return None
                code = getattr(error, "code", None)
                if status == HTTPStatus.CONFLICT or code == _NOT_COMPLETE:
                    raise _UnfinishedError from None
                is_answered = status is not None and status not in _MAY_PASS
                if is_answered or attempt == _MAX_TRIES:
                    raise _unavailable(error, status) from None
            self._sleep(self._wait(attempt))
        raise AssertionError  # the last attempt has returned or raised

    def _wait(self, attempt: int) -> float:
        """Twilio's own limit of requests says how long; an outage does not."""
        head = self._twilio.last_response()
        at_least = None if head is None else head.retry_after
        return _RETRY.wait(attempt, at_least=at_least or timedelta(0)).total_seconds()


def _unavailable(error: Exception, status: int | None) -> Unavailable:
    why = type(error).__name__ if status is None else f"HTTP {status}"
    check = (
        "Check TWILIO_ACCOUNT_SID and its token or API key."
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        else "Try again later."
    )
    return Unavailable(f"Twilio did not list, delete or redact its messages ({why}). {check}")


def _has_content(message: MessageInstance) -> bool:
    return bool(message.body) or message.num_media not in {None, "", "0"}


class _UnfinishedError(Exception):
    """Twilio is still sending the message."""
