"""Restate: a workflow that posts in a run block and awaits a durable promise.

By Restate's documentation: "Services" (Workflow), "Durable steps" (ctx.run with a retry policy),
"External events" (a durable promise that another handler of the workflow resolves; a race with a
timer) and "Serving" (hypercorn), at https://docs.restate.dev/develop/python/. The webhook calls
that handler through the server's ingress.

`python -m devtools.bench.rivals.restate_app` is the caller; hypercorn serves `app`, uvicorn
`webhook`.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import restate
from fastapi import FastAPI, Request, Response

from devtools.bench.rivals import caller, twilio_api

INGRESS = os.environ["RESTATE_INGRESS_URL"]
RECEIPT = "receipt"

threads = ThreadPoolExecutor(twilio_api.THREADS)
message = restate.Workflow("Message")


@message.main()
async def run(ctx: restate.WorkflowContext, request: dict[str, Any]) -> dict[str, Any]:
    """Send the message and wait for its receipt."""

    async def post() -> str:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                threads, twilio_api.send, ctx.key(), request["to"], request["body"]
            )
        except twilio_api.TemporarilyUnavailable:
            raise
        except Exception as error:
            raise restate.TerminalError(type(error).__name__) from error

    retries = restate.RunOptions[str](
        max_attempts=6, initial_retry_interval=timedelta(seconds=1), retry_interval_factor=2
    )
    try:
        sid = await ctx.run_typed("post", post, retries)
    except restate.TerminalError:
        return {"outcome": caller.FAILED, "sid": None}
    match await restate.select(
        receipt=ctx.promise(RECEIPT, type_hint=str).value(),
        timeout=ctx.sleep(timedelta(seconds=float(os.environ["RECEIPT_TIMEOUT"]))),
    ):
        case ["receipt", status]:
            return {"outcome": status, "sid": sid}
        case _:
            return {"outcome": caller.UNKNOWN, "sid": sid}


@message.handler()
async def receipt(ctx: restate.WorkflowSharedContext, status: str) -> None:
    """Receive the receipt."""
    await ctx.promise(RECEIPT, type_hint=str).resolve(status)


app = restate.app([message])


@asynccontextmanager
async def _connected(app: FastAPI) -> AsyncIterator[None]:
    # Its default of five seconds includes the wait for a connection.
    async with httpx.AsyncClient(base_url=INGRESS, timeout=30, trust_env=False) as client:
        app.state.restate = client
        yield


webhook = FastAPI(lifespan=_connected)


@webhook.post("/status")
async def status(message_id: str, request: Request) -> Response:
    """Send the receipt to its workflow."""
    if final := twilio_api.final_status(await request.body()):
        await request.app.state.restate.post(f"/Message/{message_id}/{RECEIPT}", json=final)
    return Response(status_code=204)


@webhook.get("/healthz")
async def healthz() -> Response:
    """Answer that it is running."""
    return Response("ok")


async def _call() -> None:
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=100)
    async with httpx.AsyncClient(
        base_url=INGRESS,
        timeout=None,  # noqa: S113 - it waits for outcomes
        limits=limits,
        trust_env=False,
    ) as client:

        async def send(request: dict[str, Any]) -> str:
            message_id = request["id"]
            started = await client.post(f"/Message/{message_id}/run/send", json=request)
            started.raise_for_status()
            ended = await client.get(f"/restate/workflow/Message/{message_id}/attach")
            return str(ended.json()["outcome"]) if ended.is_success else caller.FAILED

        await caller.serve(send)


if __name__ == "__main__":
    asyncio.run(_call())
