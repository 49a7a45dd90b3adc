"""Callbacks a second through the webhook, and how long each answer takes, against a bare route.

Signed callbacks over real HTTP, each for a message that waits for it: first as fast as they are
answered, so many connections at a time, then at a fixed rate whether or not the answers keep up
(open loop; a latency counts from the moment the callback was due). No worker runs, so what is
measured is route and Temporal server. The baseline is a bare FastAPI route that signals.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

import aiohttp
from temporalio.client import WorkflowHandle
from twilio.request_validator import RequestValidator

from devtools.bench.environment import BASELINE, PRODUCT, Environment, Side, alternate, at_rate
from devtools.bench.figures import Bound, Sample, percentiles
from devtools.bench.processes import CpuMeter
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes
from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from signedfor.contract import STATUS_PATH

RATE = "callbacks/s"
_CONNECTIONS = 32
_CALLBACKS_A_MESSAGE = 10
"""Spread over messages as real ones are, without needing one message for each."""


class CallbackRefused(Exception):
    """The route did not accept a callback: its figures would be meaningless."""


@dataclass(frozen=True)
class Signed:
    """One callback, ready to be posted."""

    url: str
    body: bytes
    headers: dict[str, str]


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    rate = sizes.callback_rate

    async def measure(environment: Environment, side_name: str) -> Sample:
        side = environment.side(side_name)
        count = sizes.callbacks + round(rate * sizes.seconds)
        with environment.running(side, workers=0):
            warm_up, *callbacks = await _callbacks(environment, side, count + _CONNECTIONS * 4)
            async with _poster() as post:
                await _as_fast_as_answered(post, [warm_up, *callbacks[count:]])
                meter = CpuMeter(environment.parts(side))
                seconds = await _as_fast_as_answered(post, callbacks[: sizes.callbacks])
                used = meter.per_message(sizes.callbacks)
                latencies = await _at_rate(post, callbacks[sizes.callbacks : count], rate=rate)
        return {
            RATE: sizes.callbacks / seconds,
            "CPU webhook (ms/callback)": used["CPU webhook (ms/message)"],
            "CPU server (ms/callback)": used["CPU server (ms/message)"],
            **percentiles(latencies, f"at {rate:g}/s "),
        }

    return Report(
        benchmark="webhook",
        question="callbacks a second, and how long an answer takes",
        rounds=await alternate([PRODUCT, BASELINE], measure, rounds=sizes.rounds, legs=sizes.legs),
        baseline=BASELINE,
        bounds=[
            Bound(side=PRODUCT, figure=RATE, at_least=0.8, against=BASELINE),
            Bound(side=PRODUCT, figure=f"at {rate:g}/s p99 (ms)", at_most=50),
        ],
        conditions={
            "callbacks": sizes.callbacks,
            "connections": _CONNECTIONS,
            "seconds at the rate": sizes.seconds,
        },
    )


async def _callbacks(environment: Environment, side: Side, count: int) -> list[Signed]:
    """Signed `delivered` callbacks, for messages that are waiting for them."""
    handles: list[WorkflowHandle[object, object]] = [
        await environment.start(side) for _ in range(count // _CALLBACKS_A_MESSAGE + 1)
    ]
    ids = [handle.id.removeprefix(side.prefix) for handle in handles]
    return [_signed(side.webhook_url, ids[number % len(ids)], number) for number in range(count)]


def _signed(base_url: str, message_id: str, number: int) -> Signed:
    url = f"{base_url}{STATUS_PATH}?message_id={message_id}"
    sid = f"SM{number:032x}"
    parameters = {
        "AccountSid": DEFAULT_ACCOUNT_SID,
        "ApiVersion": "2010-04-01",
        "From": "+15005550006",
        "MessageSid": sid,
        "MessageStatus": "delivered",
        "SmsSid": sid,
        "SmsStatus": "delivered",
        "To": "+15550100001",
    }
    validator = RequestValidator(DEFAULT_AUTH_TOKEN)  # type: ignore[no-untyped-call] # the SDK's
    signature: str = validator.compute_signature(  # type: ignore[no-untyped-call] # the SDK's
        url, parameters
    )
    return Signed(
        url=url,
        body=urlencode(parameters).encode(),
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Twilio-Signature": signature,
        },
    )


class _Poster:
    """Posts callbacks over connections that stay open, as a busy Twilio's do."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(self, callback: Signed) -> None:
        async with self._session.post(
            callback.url, data=callback.body, headers=callback.headers
        ) as answer:
            await answer.read()
            if answer.status != HTTPStatus.NO_CONTENT:
                raise CallbackRefused(f"A callback was answered HTTP {answer.status}.")


@asynccontextmanager
async def _poster() -> AsyncIterator[_Poster]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield _Poster(session)


async def _as_fast_as_answered(post: _Poster, callbacks: list[Signed]) -> float:
    """Post them as fast as they are answered; the seconds it took."""
    left = iter(callbacks)

    async def post_next() -> None:
        for callback in left:
            await post(callback)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(_CONNECTIONS):
            group.create_task(post_next())
    return time.perf_counter() - started


async def _at_rate(post: _Poster, callbacks: list[Signed], *, rate: float) -> list[float]:
    latencies: list[float] = []

    async def timed(number: int, due: float) -> None:
        await post(callbacks[number])
        latencies.append(time.perf_counter() - due)

    await at_rate(len(callbacks), rate, timed)
    return latencies
