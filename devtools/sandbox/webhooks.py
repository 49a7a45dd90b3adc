"""Posting to webhooks as Twilio does: signed, with the connection overrides of the URL fragment.

Rules: Twilio's pages on webhook security and on connection overrides.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

import httpx
from twilio.request_validator import RequestValidator

from devtools.sandbox.transport import OneShotTransport

_RANGES = {
    "ct": (100, 10_000),
    "rt": (100, 15_000),
    "tt": (100, 15_000),
    "rc": (0, 5),
}
_RETRY_KINDS = frozenset({"4xx", "5xx", "ct", "rt"})
_PAUSE_BETWEEN_TRIES = 0.1
"""Seconds, doubled after each try. Ours: Twilio does not say how long it waits."""


@dataclass(frozen=True, slots=True)
class ConnectionOverrides:
    """How hard to try: times in milliseconds, retries, and the kinds of failure they are for.

    The defaults are Twilio's: one retry, and only when no connection came about.
    """

    ct: int = 5_000
    rt: int = 15_000
    tt: int = 15_000
    rc: int = 1
    rp: frozenset[str] = frozenset({"ct"})

    @classmethod
    def parse(cls, fragment: str) -> Self:
        """Read a URL fragment such as `rc=5&rp=all`; what is out of range is left at its default.

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
class Try:
    """One try: the answer, or why there was none. `at` is an epoch time.

    `failure` is the kind that retry rules speak of: `4xx`, `5xx`, `ct` (no connection), `rt` (no
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
        self, url: str, parameters: Mapping[str, str], *, on_try: Callable[[Try], None]
    ) -> Try:
        """Post `parameters` as a form to `url` until its retry rules end; return the last try.

        The fragment of `url` is neither sent nor signed. `on_try` is told of each try. All tries
        carry the same I-Twilio-Idempotency-Token.
        """
        target, _, fragment = url.partition("#")
        rules = ConnectionOverrides.parse(fragment)
        request = self._request(target, parameters, rules)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + rules.tt / 1000
        pause = _PAUSE_BETWEEN_TRIES
        attempt = 1
        while True:
            last = await self._try(request, attempt, within=deadline - loop.time())
            on_try(last)
            out_of_tries = attempt > rules.rc or last.failure not in rules.rp
            if out_of_tries or loop.time() + pause >= deadline:
                return last
            await asyncio.sleep(pause)
            pause *= 2
            attempt += 1

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _request(
        self, target: str, parameters: Mapping[str, str], rules: ConnectionOverrides
    ) -> httpx.Request:
        return self._client.build_request(
            "POST",
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

    async def _try(self, request: httpx.Request, attempt: int, *, within: float) -> Try:
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
        return Try(attempt, response, failure, time.time())
