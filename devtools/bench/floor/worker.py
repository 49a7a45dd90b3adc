"""`python -m devtools.bench.floor.worker`: the floor's worker, with our worker's dimensions.

The same Temporal SDK, cache, threads and slots, and the same kind of HTTP client (one pooled
`requests` session), but the POST is written by hand, and only the SID of the answer is read. Like
ours it runs its workflow without Temporal's sandbox, which would take a third of its CPU.
"""

import argparse
import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from devtools.bench.floor.message import (
    FLOOR_POST,
    FLOOR_PREFIX,
    FLOOR_QUEUE,
    FLOOR_SENDS_QUEUE,
    FloorMessage,
)
from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from signedfor.contract import STATUS_PATH
from signedfor.settings import Settings
from worker import STICKY_TIMEOUT

READY = "floor worker ready"
SENDS: int = Settings.model_fields["max_concurrent_sends"].default
CACHED: int = Settings.model_fields["max_cached_workflows"].default
_TIMEOUTS = (5, 15)


class Posting:
    """Holds the session that all threads share."""

    def __init__(self, *, sandbox_url: str, webhook_url: str) -> None:
        self._url = f"{sandbox_url}/2010-04-01/Accounts/{DEFAULT_ACCOUNT_SID}/Messages.json"
        self._status_url = webhook_url + STATUS_PATH
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = (DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN)
        self._session.mount("http://", HTTPAdapter(pool_maxsize=SENDS, max_retries=0))

    @activity.defn(name=FLOOR_POST)
    def post(self, message: dict[str, Any]) -> str:
        """Post the message; Twilio's SID."""
        message_id = (activity.info().workflow_id or "").removeprefix(FLOOR_PREFIX)
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


async def serve(*, temporal: str, sandbox_url: str, webhook_url: str) -> None:
    """Run until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await Client.connect(temporal)
    posting = Posting(sandbox_url=sandbox_url, webhook_url=webhook_url)
    with ThreadPoolExecutor(SENDS, "send") as threads:
        messages = Worker(
            client,
            task_queue=FLOOR_QUEUE,
            workflows=[FloorMessage],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=CACHED,
            sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
            disable_eager_activity_execution=True,
        )
        sends = Worker(
            client,
            task_queue=FLOOR_SENDS_QUEUE,
            activities=[posting.post],
            activity_executor=threads,
            max_concurrent_activities=SENDS,
        )
        async with messages, sends:
            print(READY, flush=True)
            await stop.wait()


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--temporal", required=True, help="host:port")
    parser.add_argument("--sandbox-url", required=True)
    parser.add_argument("--webhook-url", required=True, help="where callbacks are to go")
    arguments = parser.parse_args()
    asyncio.run(
        serve(
            temporal=arguments.temporal,
            sandbox_url=arguments.sandbox_url,
            webhook_url=arguments.webhook_url,
        )
    )


if __name__ == "__main__":
    main()
