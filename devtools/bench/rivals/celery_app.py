"""Celery on Redis: a task that sends, and a webhook that settles.

By Celery's documentation: "Tasks" (acks_late for idempotent tasks, autoretry_for with
retry_backoff, the on_failure handler), "Optimizing" (prefetch multiplier 1 with late
acknowledgment), "Using Redis" (visibility_timeout) and "Concurrency" (threads for I/O), all at
https://docs.celeryq.dev/en/stable/.

`python -m devtools.bench.rivals.celery_app caller` is the caller; the worker is `celery -A
devtools.bench.rivals.celery_app worker`, and uvicorn serves `webhook`.
"""

import asyncio
import os
from typing import Any

from celery import Celery, Task
from celery.signals import worker_ready
from fastapi import FastAPI, Request, Response
from redis import Redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis

from devtools.bench.rivals import caller, twilio_api

URL = os.environ["REDIS_URL"]
READY = "celery worker ready"

app = Celery("rival", broker=URL, backend=URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    # The default of an hour would leave the messages of a killed worker alone for as long.
    broker_transport_options={"visibility_timeout": 20},
    broker_connection_retry_on_startup=True,
)
outcomes = Redis.from_url(URL, decode_responses=True)


class Sending(Task):
    """A task whose final failure is written down."""

    def on_failure(self, _error: Any, task_id: str, *_: Any) -> None:
        """Settle the message as failed."""
        outcomes.hsetnx("outcomes", task_id, caller.FAILED)


@app.task(
    name="send_message",
    base=Sending,
    autoretry_for=(twilio_api.TemporarilyUnavailable,),
    retry_backoff=True,
    max_retries=5,
)
def send_message(message_id: str, to: str, body: str) -> str:
    """Send it; the receipt settles it."""
    return twilio_api.send(message_id, to, body)


@worker_ready.connect
def _say_ready(**_: Any) -> None:
    print(READY, flush=True)


webhook = FastAPI()
# Its default pool refuses the 101st callback at a time; this one lets it wait.
settled = AsyncRedis(connection_pool=BlockingConnectionPool.from_url(URL, max_connections=50))


@webhook.post("/status")
async def status(message_id: str, request: Request) -> Response:
    """Settle the message."""
    if final := twilio_api.final_status(await request.body()):
        await settled.hset("outcomes", message_id, final)
    return Response(status_code=204)


@webhook.get("/healthz")
async def healthz() -> Response:
    """Answer that it is running."""
    return Response("ok")


class _Caller:
    """Starts tasks, and looks for outcomes in Redis fifty times a second."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[str]] = {}

    async def send(self, message: dict[str, Any]) -> str:
        """Send one message."""
        message_id = message["id"]
        found = self._waiting[message_id] = asyncio.get_running_loop().create_future()
        await asyncio.to_thread(
            send_message.apply_async,
            (message_id, message["to"], message["body"]),
            task_id=message_id,
        )
        return await found

    async def look(self) -> None:
        """Resolve those that are settled, forever."""
        while True:
            await asyncio.sleep(0.02)
            if ids := list(self._waiting):
                for message_id, outcome in zip(
                    ids, await settled.hmget("outcomes", ids), strict=True
                ):
                    if outcome is not None:
                        self._waiting.pop(message_id).set_result(outcome.decode())


async def _call() -> None:
    calling = _Caller()
    looking = asyncio.create_task(calling.look())
    await caller.serve(calling.send)
    looking.cancel()


if __name__ == "__main__":
    asyncio.run(_call())
