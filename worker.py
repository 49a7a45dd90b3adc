"""The worker: which workflows and activities run on which queues, and nothing else."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.worker import Worker

from signedfor.contract import MESSAGES_QUEUE, TWILIO_SENDS_QUEUE
from signedfor.logging import configure_logging
from signedfor.runner import workflow_runner
from signedfor.schedules import schedule_catch_up
from signedfor.settings import InvalidSettings, Settings, load_settings
from signedfor.store.database import DatabaseUnavailable, InvalidDatabaseUrl, open_engine
from signedfor.store.migrate import SchemaMismatch, require_current
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.temporal import TemporalUnavailable, connect_temporal, end_process
from wiring import activities, deployment
from workflows.campaign import Campaign
from workflows.catch_up_inbound import CatchUpInbound
from workflows.dead_letter import DeadLetter
from workflows.inputs import OneArgument
from workflows.record_inbound import RecordInbound
from workflows.send_message import SendMessage
from workflows.versioning import UpgradingDeadLetter

_logger = logging.getLogger("signedfor.worker")

BOOKKEEPING_THREADS = 8
STICKY_TIMEOUT = timedelta(seconds=3)
POSTS_KEPT = timedelta(days=2)
"""A message of unknown fate is looked for within hours."""
_FORGET_EVERY = timedelta(hours=1)


@contextlib.asynccontextmanager
async def running_workers(
    client: Client, engine: Engine, settings: Settings
) -> AsyncIterator[None]:
    """Serve both queues while the context is open, then drain them."""
    parts = activities(settings, engine=engine, client=client)
    drain = timedelta(seconds=settings.drain_seconds)
    version = deployment(settings)
    with (
        ThreadPoolExecutor(BOOKKEEPING_THREADS, "bookkeeping") as bookkeeping_threads,
        ThreadPoolExecutor(settings.max_concurrent_sends, "send") as send_threads,
    ):
        messages_worker = Worker(
            client,
            task_queue=MESSAGES_QUEUE,
            workflows=[
                SendMessage,
                UpgradingDeadLetter if version else DeadLetter,
                RecordInbound,
                CatchUpInbound,
                Campaign,
            ],
            activities=parts.messages,
            activity_executor=bookkeeping_threads,
            max_concurrent_activities=BOOKKEEPING_THREADS,
            max_concurrent_local_activities=BOOKKEEPING_THREADS,
            max_cached_workflows=settings.max_cached_workflows,
            # When a worker is gone its messages wait this long before another takes them up.
            sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
            graceful_shutdown_timeout=drain,
            deployment_config=version,
            interceptors=[OneArgument()],
            workflow_runner=workflow_runner(),
            # A send started eagerly with its workflow task would pass the queue's ceiling by.
            disable_eager_activity_execution=True,
        )
        sends_worker = Worker(
            client,
            task_queue=TWILIO_SENDS_QUEUE,
            activities=parts.twilio_sends,
            activity_executor=send_threads,
            max_concurrent_activities=settings.max_concurrent_sends,
            max_task_queue_activities_per_second=settings.max_sends_per_second,
            graceful_shutdown_timeout=drain,
            # With a version of its own: an activity goes to the version of its workflow.
            deployment_config=version,
        )
        async with messages_worker, sends_worker:
            try:
                yield
            finally:
                # Both at once: each stops its polls now and then waits for what is in flight.
                await asyncio.gather(messages_worker.shutdown(), sends_worker.shutdown())


@contextlib.asynccontextmanager
async def forgetting_posts(send_attempts: SendAttempts) -> AsyncIterator[None]:
    """Drop old notes of POSTs now and then while the context is open."""

    async def forget() -> None:
        while True:
            # A database that is away is told of by everything else that needs it.
            with contextlib.suppress(DatabaseUnavailable):
                await asyncio.to_thread(send_attempts.forget, before=datetime.now(UTC) - POSTS_KEPT)
            await asyncio.sleep(_FORGET_EVERY.total_seconds())

    task = asyncio.create_task(forget())
    try:
        yield
    finally:
        task.cancel()


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then finish the sends in flight."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    engine = open_engine(
        settings.database_url, pool_size=BOOKKEEPING_THREADS + settings.max_concurrent_sends
    )
    await asyncio.to_thread(require_current, engine)
    client = await connect_temporal(metrics_address=settings.worker_metrics_address)
    await schedule_catch_up(client, every=timedelta(minutes=settings.catch_up_minutes))
    async with (
        running_workers(client, engine, settings),
        forgetting_posts(SendAttempts(engine, RateLimiter(engine))),
    ):
        _logger.info("worker ready on queues %s and %s", MESSAGES_QUEUE, TWILIO_SENDS_QUEUE)
        await stop.wait()
        _logger.info("worker stopping; finishing the sends in flight")
    engine.dispose()
    _logger.info("worker stopped")


def main() -> int:
    """The process: 0 after a clean stop, 1 with a plain sentence when it cannot begin."""
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        asyncio.run(serve(settings))
    except (
        InvalidSettings,
        InvalidDatabaseUrl,
        DatabaseUnavailable,
        SchemaMismatch,
        TemporalUnavailable,
    ) as error:
        sys.stderr.write(f"signedfor worker: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    end_process(main())
