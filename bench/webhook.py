"""Callbacks a second through the webhook, and how long each answer takes.

`python -m bench.webhook --rate 100 --seconds 30`: real Temporal server, real webhook process,
signed callbacks over real HTTP at a fixed rate whether or not the answers keep up (open loop), each
for a message that waits for it. Latency counts from the moment a callback was due.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
from temporalio.client import Client
from twilio.request_validator import RequestValidator

from messaging.contract import MESSAGES_QUEUE, SEND_MESSAGE, STATUS_PATH, message_workflow_id
from sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from stack.local import LocalStack

_CALLBACKS_A_MESSAGE = 10
"""Spread over messages as real ones are, without needing one message for each."""
_REQUEST = {"to": "+15550100001", "from": "+15005550006", "body": "bench"}


@dataclass(frozen=True)
class Signed:
    """One callback, ready to be posted."""

    url: str
    body: bytes
    headers: dict[str, str]


def signed_callback(base_url: str, number: int, *, messages: int) -> Signed:
    """A `delivered` callback of the sandbox's account for one of the bench's messages."""
    url = f"{base_url}{STATUS_PATH}?message_id=bench-{number % messages}"
    sid = f"SM{number:032x}"
    parameters = {
        "AccountSid": DEFAULT_ACCOUNT_SID,
        "ApiVersion": "2010-04-01",
        "From": _REQUEST["from"],
        "MessageSid": sid,
        "MessageStatus": "delivered",
        "SmsSid": sid,
        "SmsStatus": "delivered",
        "To": _REQUEST["to"],
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


async def open_messages(client: Client, count: int) -> None:
    """Messages that take signals; no worker runs, so what is measured is webhook and server."""
    for number in range(count):
        await client.start_workflow(
            SEND_MESSAGE,
            _REQUEST,
            id=message_workflow_id(f"bench-{number}"),
            task_queue=MESSAGES_QUEUE,
        )


async def post_at_rate(callbacks: list[Signed], *, rate: float) -> tuple[list[float], Counter[int]]:
    """Post each when it is due; the seconds each took from then, and the answers' statuses."""
    latencies: list[float] = []
    answers: Counter[int] = Counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        begun = time.perf_counter()

        async def post(callback: Signed, due: float) -> None:
            async with session.post(
                callback.url, data=callback.body, headers=callback.headers
            ) as answer:
                await answer.read()
                answers[answer.status] += 1
            latencies.append(time.perf_counter() - due)

        async with asyncio.TaskGroup() as group:
            for number, callback in enumerate(callbacks):
                due = begun + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(post(callback, due))
    return latencies, answers


def figures(latencies: list[float], *, rate: float, seconds: float) -> dict[str, float]:
    """The figures, in milliseconds where not said otherwise."""
    cuts = statistics.quantiles(latencies, n=1000)
    return {
        "rate": rate,
        "callbacks": len(latencies),
        "answered_per_second": round(len(latencies) / seconds, 1),
        "p50_ms": round(cuts[499] * 1000, 1),
        "p95_ms": round(cuts[949] * 1000, 1),
        "p99_ms": round(cuts[989] * 1000, 1),
        "max_ms": round(max(latencies) * 1000, 1),
    }


async def measure(stack: LocalStack, *, rate: float, seconds: float) -> dict[str, float]:
    """One run against a stack whose worker is stopped."""
    count = int(rate * seconds)
    messages = count // _CALLBACKS_A_MESSAGE + 1
    await open_messages(await stack.client(), messages)
    callbacks = [signed_callback(stack.webhook_url, n, messages=messages) for n in range(count)]
    await post_at_rate(callbacks[: int(rate)], rate=rate)  # connections and caches get warm
    begun = time.perf_counter()
    latencies, answers = await post_at_rate(callbacks, rate=rate)
    if set(answers) != {HTTPStatus.NO_CONTENT}:
        sys.exit(f"Not every callback was taken: {dict(answers)}")
    return figures(latencies, rate=rate, seconds=time.perf_counter() - begun)


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=float, default=100, help="callbacks a second")
    parser.add_argument("--seconds", type=float, default=30)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(Path(folder)) as stack,
    ):
        stack.worker.stop()
        result = asyncio.run(measure(stack, rate=arguments.rate, seconds=arguments.seconds))
    for name, value in result.items():
        print(f"{name:>20}: {value:g}")
    print(json.dumps({"benchmark": "webhook", **result}))


if __name__ == "__main__":
    main()
