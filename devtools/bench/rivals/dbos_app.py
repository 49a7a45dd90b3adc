"""DBOS: a workflow with one step that posts, which then receives the receipt.

By DBOS's documentation: "Workflows", "Steps" (retries_allowed, should_retry), "Communicating with
Workflows" (recv with a timeout; send from a webhook), "Queues" and "DBOS Client" (enqueue and send
from other processes), at https://docs.dbos.dev/python/. Its executor id is stable, so that a
restarted worker recovers its workflows: https://docs.dbos.dev/production/workflow-recovery.

`python -m devtools.bench.rivals.dbos_app worker|caller`; uvicorn serves `webhook`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig
from fastapi import FastAPI, Request, Response

from devtools.bench.rivals import caller, twilio_api

URL = os.environ["DBOS_SYSTEM_DATABASE_URL"]
QUEUE = "messages"
RECEIPT = "receipt"
READY = "dbos worker ready"

threads = ThreadPoolExecutor(twilio_api.THREADS)


@DBOS.step(
    retries_allowed=True,
    max_attempts=6,
    should_retry=lambda error: isinstance(error, twilio_api.TemporarilyUnavailable),
)
async def post(message: dict[str, Any]) -> str:
    """POST the message; Twilio's SID."""
    return await asyncio.get_running_loop().run_in_executor(
        threads, twilio_api.send, message["id"], message["to"], message["body"]
    )


@DBOS.workflow(name="send_message")
async def send_message(message: dict[str, Any]) -> dict[str, str | None]:
    """Send the message and wait for its receipt."""
    try:
        sid = await post(message)
    except Exception as error:  # noqa: BLE001 - whatever it was, it was the last attempt
        DBOS.logger.warning("The step failed: %s", type(error).__name__)
        return {"outcome": caller.FAILED, "sid": None}
    status = await DBOS.recv_async(RECEIPT, timeout_seconds=float(os.environ["RECEIPT_TIMEOUT"]))
    return {"outcome": status or caller.UNKNOWN, "sid": sid}


@asynccontextmanager
async def _connected(app: FastAPI) -> AsyncIterator[None]:
    app.state.dbos = DBOSClient(system_database_url=URL)
    yield
    app.state.dbos.destroy()


webhook = FastAPI(lifespan=_connected)


@webhook.post("/status")
async def status(message_id: str, request: Request) -> Response:
    """Send the receipt to its workflow."""
    if final := twilio_api.final_status(await request.body()):
        await request.app.state.dbos.send_async(message_id, final, RECEIPT)
    return Response(status_code=204)


@webhook.get("/healthz")
async def healthz() -> Response:
    """Answer that it is running."""
    return Response("ok")


async def _work() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config: DBOSConfig = {
        "name": "rival",
        "system_database_url": URL,
        "application_version": "1",
        "log_level": "WARNING",
        "executor_id": os.environ["EXECUTOR_ID"],
    }
    DBOS(config=config)
    DBOS.launch()
    await DBOS.register_queue_async(QUEUE)
    print(READY, flush=True)
    await stop.wait()
    DBOS.destroy()


async def _call() -> None:
    client = DBOSClient(system_database_url=URL)

    async def send(message: dict[str, Any]) -> str:
        handle: Any = await client.enqueue_async(
            {
                "workflow_name": "send_message",
                "queue_name": QUEUE,
                "workflow_id": message["id"],
            },
            message,
        )
        result = await handle.get_result()
        return str(result["outcome"])

    await caller.serve(send)


if __name__ == "__main__":
    asyncio.run(_work() if sys.argv[1] == "worker" else _call())
