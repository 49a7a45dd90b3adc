"""The baseline: the same hops as the product with none of its features.

`python -m devtools.bench.baseline worker|webhook` runs its two processes.

The workflow makes one POST and waits for one signal with a timer. In common with the product, so
that only the features differ: the activity has its own task queue and is not started eagerly, the
receipt is one signal, and a timer runs meanwhile. The worker has the same Temporal SDK, cache,
threads and slots, the same kind of HTTP client (one pooled `requests` session), and no workflow
sandbox. The webhook is a plain route on the same uvicorn with the same options, and signals final
statuses only. What is missing: the checks and the claim before the POST, failure classes, search
attributes, details for the UI, query, update, Pydantic, signatures, metrics, logs, the inbox.
"""

import argparse
import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import requests
import uvicorn
from fastapi import FastAPI, Request, Response
from requests.adapters import HTTPAdapter
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from signedfor.contract import STATUS_PATH
from signedfor.settings import Settings
from worker import STICKY_TIMEOUT

BASELINE_MESSAGE = "BaselineMessage"
BASELINE_QUEUE = "baseline"
BASELINE_SENDS_QUEUE = "baseline-sends"
BASELINE_POST = "baseline_post"
BASELINE_PREFIX = "baseline:"
DELIVERY_STATUS = "delivery_status"
READY = "baseline worker ready"
SENDS: int = Settings.model_fields["max_concurrent_sends"].default
CACHED: int = Settings.model_fields["max_cached_workflows"].default
_TIMEOUTS = (5, 15)
_POST_TIMEOUT = timedelta(seconds=20)
_RECEIPT_TIMEOUT = timedelta(hours=12)


@workflow.defn(name=BASELINE_MESSAGE)
class BaselineMessage:
    """Sends a message and waits for its receipt."""

    def __init__(self) -> None:
        self._status: str | None = None

    @workflow.run
    async def run(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send the message and wait for its receipt."""
        sid: str = await workflow.execute_activity(
            BASELINE_POST,
            message,
            result_type=str,
            task_queue=BASELINE_SENDS_QUEUE,
            start_to_close_timeout=_POST_TIMEOUT,
        )
        with contextlib.suppress(asyncio.TimeoutError):
            await workflow.wait_condition(
                lambda: self._status is not None, timeout=_RECEIPT_TIMEOUT
            )
        return {"outcome": self._status, "message_sid": sid}

    @workflow.signal(name=DELIVERY_STATUS)
    def delivery_status(self, callback: dict[str, Any]) -> None:
        """Receive the receipt."""
        self._status = callback["message_status"]


_NOT_FINAL = frozenset({"queued", "accepted", "scheduled", "sending", "sent"})


def create_app(*, temporal: str) -> FastAPI:
    """The application."""
    client: Client

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        nonlocal client
        client = await Client.connect(temporal)
        yield

    async def status(request: Request) -> Response:
        """Signal the workflow."""
        fields = parse_qs((await request.body()).decode())
        message_status = fields["MessageStatus"][0]
        if message_status not in _NOT_FINAL:
            handle = client.get_workflow_handle(
                BASELINE_PREFIX + request.query_params["message_id"]
            )
            callback = {"message_sid": fields["MessageSid"][0], "message_status": message_status}
            await handle.signal(DELIVERY_STATUS, callback)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def healthz(_request: Request) -> Response:
        """Answer that it is running."""
        return Response("ok")

    app = FastAPI(
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.add_route(STATUS_PATH, status, methods=["POST"])
    app.add_route("/healthz", healthz, methods=["GET"])
    return app


def run_webhook(*, temporal: str, port: int) -> None:
    """Serve until SIGTERM."""
    uvicorn.run(
        create_app(temporal=temporal),
        port=port,
        # What follows is as in webhook/__main__.py.
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        limit_concurrency=500,
        h11_max_incomplete_event_size=16_384,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )


class Posting:
    """The activity, with one HTTP session for all threads."""

    def __init__(self, *, sandbox_url: str, webhook_url: str) -> None:
        self._url = f"{sandbox_url}/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/Messages.json"
        self._status_url = webhook_url + STATUS_PATH
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = (DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN)
        self._session.mount("http://", HTTPAdapter(pool_maxsize=SENDS, max_retries=0))

    @activity.defn(name=BASELINE_POST)
    def post(self, message: dict[str, Any]) -> str:
        """Post the message; Twilio's SID."""
        message_id = (activity.info().workflow_id or "").removeprefix(BASELINE_PREFIX)
        form = {
            "To": message["to"],
            "From": message["from"],
            "Body": message["body"],
            "StatusCallback": f"{self._status_url}?message_id={message_id}",
        }
        answer = self._session.post(self._url, data=form, timeout=_TIMEOUTS)
        answer.raise_for_status()
        sid: str = answer.json()["sid"]
        return sid


async def run_worker(*, temporal: str, sandbox_url: str, webhook_url: str) -> None:
    """Run until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await Client.connect(temporal)
    posting = Posting(sandbox_url=sandbox_url, webhook_url=webhook_url)
    with ThreadPoolExecutor(SENDS, "send") as threads:
        messages = Worker(
            client,
            task_queue=BASELINE_QUEUE,
            workflows=[BaselineMessage],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=CACHED,
            sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
            disable_eager_activity_execution=True,
        )
        sends = Worker(
            client,
            task_queue=BASELINE_SENDS_QUEUE,
            activities=[posting.post],
            activity_executor=threads,
            max_concurrent_activities=SENDS,
        )
        async with messages, sends:
            print(READY, flush=True)
            await stop.wait()


def main() -> None:
    """Run the worker or the webhook."""
    parser = argparse.ArgumentParser(prog="python -m devtools.bench.baseline")
    parser.add_argument("part", choices=("worker", "webhook"))
    parser.add_argument("--temporal", required=True, help="host:port")
    parser.add_argument("--port", type=int, help="of the webhook")
    parser.add_argument("--sandbox-url", help="for the worker")
    parser.add_argument("--webhook-url", help="for the worker: where callbacks go")
    arguments = parser.parse_args()
    if arguments.part == "webhook":
        run_webhook(temporal=arguments.temporal, port=arguments.port)
    else:
        asyncio.run(
            run_worker(
                temporal=arguments.temporal,
                sandbox_url=arguments.sandbox_url,
                webhook_url=arguments.webhook_url,
            )
        )


if __name__ == "__main__":
    main()
