"""The worker: settings to activities and workers, their queues, and a clean stop."""

import asyncio
import contextlib
import logging
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import uvloop
from sqlalchemy import Engine
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

from activities.attempt_reports import AttemptReports
from activities.campaigns import CampaignDispatcher
from activities.dead_letters import DeadLetterResolver
from activities.inbound import InboundRecorder
from activities.search import TwilioSearch, TwilioStatuses
from activities.send import TwilioSends
from activities.suppression import SuppressionRecorder
from activities.waits import Waits
from signedfor.breaker import Breaker
from signedfor.contract import (
    DEAD_LETTER,
    MESSAGES_QUEUE,
    TWILIO_SENDS_QUEUE,
    DeadLetterReport,
    DeadLetterRequest,
)
from signedfor.destinations import Destinations
from signedfor.errors import InvalidSettings
from signedfor.inbound import CATCH_UP_ID, CATCH_UP_WORKFLOW, CatchUp
from signedfor.inbound_settings import Role, comparing_inbound_settings
from signedfor.interceptors import OneArgument
from signedfor.key_checks import require_readable_workflows, until_keys_fit
from signedfor.logging import configure_logging
from signedfor.message_activities import PolicySnapshot
from signedfor.outage_hold import InboundBacklog, OutageHold
from signedfor.process import collect_garbage_less, end_process, keep_memory_private
from signedfor.retention import purging
from signedfor.schedules import schedule_catch_up
from signedfor.secret_files import read_secret_files
from signedfor.settings import Settings, load_settings
from signedfor.store.account_hold import AccountHold
from signedfor.store.campaigns import Campaigns
from signedfor.store.database import DatabaseUnavailable, InvalidDatabaseUrl, open_engine
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.inbound import InboundMessages, Watermarks
from signedfor.store.migrate import SchemaMismatch, require_usable
from signedfor.store.own_senders import OwnSenders
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.store.suppressions import Suppressions
from signedfor.temporal import TemporalUnavailable, connect_temporal, worker_runtime
from signedfor.trace_export import exporting_traces
from signedfor.twilio.client import TwilioClient
from signedfor.worker_checks import Obstacle, WorkerChecks
from signedfor.worker_metrics import WorkerMetrics
from signedfor.worker_server import Phase, WorkerHealth, serving
from workflows.campaign import Campaign
from workflows.dead_letter import DeadLetter
from workflows.dead_letter_job import DeadLetterJob
from workflows.inbound import CatchUpInbound, RecordInbound
from workflows.outcome_observer import OutcomeObserver
from workflows.send_message import SendMessage

_logger = logging.getLogger("signedfor.worker")

ACTIVITY_THREADS = 8
"""For everything but sends, which have threads of their own."""
WORKFLOW_TASKS = 80
"""Workflow tasks in progress besides those that wait for a send."""
_WORKFLOW_POLLS = 16
_NEW_POLLS = 0.5
"""The part of these polls that new messages can be given to; the others are for cached ones."""
STICKY_TIMEOUT = timedelta(seconds=3)
_MAX_GAP = timedelta(minutes=15)
_LOOK_AGAIN = timedelta(seconds=10)


@dataclass(frozen=True, kw_only=True)
class Activities:
    """The activities of each queue."""

    messages: Sequence[Callable[..., Any]]
    twilio_sends: Sequence[Callable[..., Any]]


def activities(
    settings: Settings,
    *,
    engine: Engine,
    client: Client,
    outage_hold: OutageHold,
    metrics: WorkerMetrics,
    breaker: Breaker,
) -> Activities:
    """Every activity, with its database and clients."""
    suppressions = Suppressions(engine)
    rate_limiter = RateLimiter(
        engine,
        rates=settings.default_segments_per_second,
        account_rate=settings.max_sends_per_second,
    )
    attempts = SendAttempts(
        engine,
        rate_limiter,
        limits=settings.message_limits,
        duplicate_window=timedelta(seconds=settings.duplicate_window_seconds),
    )
    campaigns = Campaigns(engine)
    twilio = twilio_client(settings, metrics)
    account_hold = AccountHold(engine)
    own_senders = OwnSenders(engine, default_sender=settings.default_sender)
    destinations = Destinations(
        settings.allowed_countries, senders=own_senders, default_sender=settings.default_sender
    )
    waits = Waits(
        rate_limiter,
        campaigns,
        account_hold,
        outage_hold,
        own_senders=own_senders,
        destinations=destinations,
    )
    inbound = InboundRecorder(
        _inbound_messages(settings, engine),
        watermarks=Watermarks(engine),
        twilio=twilio,
    )
    dispatcher = CampaignDispatcher(campaigns, rate_limiter, client)
    recorder = SuppressionRecorder(
        suppressions,
        opt_out_scope=settings.opt_out_scope,
        undeliverable_for=timedelta(days=settings.undeliverable_days),
    )
    letters = DeadLetterResolver(client, suppressions)
    statuses = TwilioStatuses(twilio)
    search = TwilioSearch(twilio, attempts, client)
    sends = TwilioSends(
        twilio,
        suppressions,
        attempts,
        account_hold,
        outage_hold=outage_hold,
        held_back=HeldBackMessages(engine),
        require_opt_in=settings.require_opt_in,
        quiet_hours=settings.quiet_hours,
        own_senders=own_senders,
        destinations=destinations,
        public_base_url=settings.public_base_url,
        default_sender=settings.default_sender,
        policy=policy(settings),
        report=AttemptReports(client, asyncio.get_running_loop()),
        metrics=metrics,
        count_accepted=breaker.accepted,
    )
    return Activities(
        messages=[
            sends.send,  # the quick attempts, as a local activity
            waits.await_resume,
            waits.release_reservation,
            waits.check_input,
            recorder.record_suppression,
            recorder.lift_undeliverable,
            statuses.fetch_status,
            statuses.classify_delivery,
            search.find_message,
            search.find_claim,
            inbound.record_inbound,
            inbound.catch_up_inbound,
            dispatcher.open_campaign,
            dispatcher.dispatch_rows,
            dispatcher.set_campaign_state,
            dispatcher.count_messages,
            dispatcher.count_outcomes,
            letters.select_dead_letters,
            letters.resolve_dead_letters,
            letters.count_resolved,
        ],
        twilio_sends=[sends.send],
    )


def _inbound_messages(settings: Settings, engine: Engine) -> InboundMessages:
    return InboundMessages(
        engine,
        scope=settings.opt_out_scope,
        review_suppresses=settings.review_suppresses,
        texts=settings.inbound_texts,
    )


def policy(settings: Settings) -> PolicySnapshot:
    """The settings that apply to each message."""
    return PolicySnapshot(
        receipt_checks=tuple(timedelta(seconds=s) for s in settings.receipt_checks_seconds),
        retry_budget=settings.send_retry_budget,
        unknown_wait=timedelta(seconds=settings.unknown_outcome_wait_seconds),
        dead_letter_hold=timedelta(days=settings.dead_letter_expiry_days),
    )


def twilio_client(settings: Settings, metrics: WorkerMetrics) -> TwilioClient:
    """A Twilio client: with the API key if there is one, else with the auth token."""
    key, secret = settings.twilio_api_key_sid, settings.twilio_api_key_secret
    return TwilioClient(
        account_sid=settings.twilio_account_sid,
        username=key or settings.twilio_account_sid,
        password=(secret or settings.twilio_auth_token).get_secret_value(),
        connections=2 * settings.max_concurrent_sends,
        base_url=settings.twilio_api_base_url,
        edge=settings.twilio_edge,
        region=settings.twilio_region,
        observe=metrics.observe_request,
    )


def deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    """Which version of which Worker Deployment this is; None without Worker Versioning.

    A workflow stays on the version that it started on, unless its definition says otherwise.
    """
    if settings.temporal_deployment_name is None or settings.temporal_worker_build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(
            deployment_name=settings.temporal_deployment_name,
            build_id=settings.temporal_worker_build_id,
        ),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


@workflow.defn(name=DEAD_LETTER, versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
class UpgradingDeadLetter(DeadLetter):
    """A dead letter that moves to the current version, for workers that have one.

    Held for a month, it would otherwise keep the version alive that its message was sent by. It is
    a definition of its own because the server refuses every workflow task in which a worker without
    Worker Versioning names a behavior.
    """

    @workflow.run
    async def run(self, dead_letter: DeadLetterRequest) -> DeadLetterReport:
        """See base class."""
        return await super().run(dead_letter)


@contextlib.asynccontextmanager
async def running_workers(
    client: Client,
    engine: Engine,
    settings: Settings,
    *,
    outage_hold: OutageHold,
    metrics: WorkerMetrics,
    breaker: Breaker,
) -> AsyncIterator[None]:
    """Serve both queues while the context is open, then drain them."""
    parts = activities(
        settings,
        engine=engine,
        client=client,
        outage_hold=outage_hold,
        metrics=metrics,
        breaker=breaker,
    )
    drain = timedelta(seconds=settings.worker_shutdown_seconds)
    version = deployment(settings)
    sends = settings.max_concurrent_sends
    with (
        ThreadPoolExecutor(ACTIVITY_THREADS + sends, "activity") as activity_threads,
        ThreadPoolExecutor(sends, "send") as send_threads,
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
                DeadLetterJob,
            ],
            activities=parts.messages,
            activity_executor=activity_threads,
            max_concurrent_activities=ACTIVITY_THREADS,
            # Sends, above all. A workflow task with one in progress keeps its slot.
            max_concurrent_local_activities=sends,
            max_concurrent_workflow_tasks=WORKFLOW_TASKS + sends,
            max_cached_workflows=settings.max_cached_workflows,
            # Temporal writes a task to its database when no poll waits for it. With the SDK's five
            # polls, one of them for new messages, this took a tenth of all CPU time under load.
            max_concurrent_workflow_task_polls=_WORKFLOW_POLLS,
            nonsticky_to_sticky_poll_ratio=_NEW_POLLS,
            # When a worker is gone, its messages wait this long before another picks them up.
            sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
            graceful_shutdown_timeout=drain,
            deployment_config=version,
            # There is no external storage. With more than one the SDK makes a task of each payload.
            max_workflow_task_external_storage_concurrency=1,
            interceptors=[OneArgument(), OutcomeObserver(breaker.ended)],
            # Tests and replays run inside Temporal's sandbox, and the linter bans what it cannot
            # see. A worker without it carries a sixth more messages a second.
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        sends_worker = Worker(
            client,
            task_queue=TWILIO_SENDS_QUEUE,
            activities=parts.twilio_sends,
            activity_executor=send_threads,
            max_concurrent_activities=sends,
            graceful_shutdown_timeout=drain,
            # With a version of its own: an activity goes to the version of its workflow.
            deployment_config=version,
        )
        watching = asyncio.create_task(InboundBacklog(client, engine, outage_hold).watch())
        async with messages_worker, sends_worker:
            try:
                yield
            finally:
                watching.cancel()
                # Both at once: each stops polling now and then waits for what is in flight.
                await asyncio.gather(messages_worker.shutdown(), sends_worker.shutdown())


async def look_back(
    client: Client,
    engine: Engine,
    settings: Settings,
    metrics: WorkerMetrics,
    *,
    is_restored: bool = False,
) -> None:
    """Record the inbound messages since the last look before anything is sent.

    Only if that is long ago, or the database is known to be restored. One that was restored from an
    older copy lacks the opt-outs since then, and so does one whose workers were all down while the
    webhook was too. Twilio's list has them.
    """
    every = timedelta(minutes=settings.inbound_catch_up_minutes)
    watermarks = Watermarks(engine)
    last = await asyncio.to_thread(watermarks.read, CATCH_UP_ID)
    is_recent = last is None or datetime.now(UTC) - last < max(3 * every, _MAX_GAP)
    if not every:
        if is_restored:
            _logger.warning(
                "Inbound messages are not searched for, because INBOUND_CATCH_UP_MINUTES is 0: the "
                "opt-outs that the database has forgotten are not recorded."
            )
        return
    if is_recent and not is_restored:
        return
    _logger.warning(
        "The last search for inbound messages was at %s: those since then are recorded first",
        "an unknown time" if last is None else f"{last:%Y-%m-%d %H:%M} UTC",
    )
    recorder = InboundRecorder(
        _inbound_messages(settings, engine),
        watermarks=watermarks,
        twilio=twilio_client(settings, metrics),
    )
    name = f"{CATCH_UP_ID}-{uuid.uuid4()}"
    with ThreadPoolExecutor(1, "look-back") as thread:
        async with Worker(
            client,
            task_queue=name,
            workflows=[CatchUpInbound],
            activities=[recorder.catch_up_inbound],
            activity_executor=thread,
            max_concurrent_activities=1,
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            while True:
                try:
                    await client.execute_workflow(
                        CATCH_UP_WORKFLOW, CatchUp(), id=name, task_queue=name
                    )
                except WorkflowFailureError as error:
                    _logger.error(  # noqa: TRY400 - expected, and tried again every ten seconds
                        "Inbound messages could not be searched for (%s), so nothing is sent; "
                        "trying again. INBOUND_CATCH_UP_MINUTES=0 would send without them.",
                        _type_of_cause(error),
                    )
                    await asyncio.sleep(_LOOK_AGAIN.total_seconds())
                else:
                    return


def _type_of_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    kind = error.type if isinstance(error, ApplicationError) else None
    return kind or type(error).__name__


@contextlib.asynccontextmanager
async def _canceled_by(stop: asyncio.Event) -> AsyncIterator[None]:
    """Leave the block when `stop` is set."""
    block = asyncio.current_task()
    assert block is not None  # noqa: S101 - this is a coroutine

    async def cancel() -> None:
        await stop.wait()
        block.cancel()

    watching = asyncio.create_task(cancel())
    try:
        yield
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        block.uncancel()
    finally:
        watching.cancel()


async def _serve_until(
    stop: asyncio.Event,
    *,
    checks: WorkerChecks,
    outage_hold: OutageHold,
    client: Client,
    engine: Engine,
    settings: Settings,
    metrics: WorkerMetrics,
    health: WorkerHealth,
) -> Obstacle | None:
    """Serve until `stop` is set or the worker may not go on, then finish the sends in flight.

    A worker that may not send does not poll: other workers take the messages, or they wait.
    """
    breaker = Breaker(engine, settings.breaker_limits, settings.prices())
    async with (
        # Around the workers: what ends while they drain is counted too.
        breaker.running(),
        running_workers(
            client, engine, settings, outage_hold=outage_hold, metrics=metrics, breaker=breaker
        ),
        purging(engine, settings),
        comparing_inbound_settings(engine, settings, Role.WORKER),
    ):
        health.phase = Phase.SERVING
        _logger.info("worker ready on queues %s and %s", MESSAGES_QUEUE, TWILIO_SENDS_QUEUE)
        stopped = asyncio.create_task(stop.wait())
        obstacle = asyncio.create_task(checks.until_obstacle())
        try:
            await asyncio.wait({stopped, obstacle}, return_when=asyncio.FIRST_COMPLETED)
            health.phase = Phase.STOPPING
            _logger.info("worker stopping; finishing the sends in flight")
            return await obstacle if obstacle.done() else None
        finally:
            stopped.cancel()
            obstacle.cancel()


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then finish the sends in flight."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    engine = open_engine(
        settings.database_url, pool_size=ACTIVITY_THREADS + 2 * settings.max_concurrent_sends
    )
    settings.prices()  # that they can be read is known before anything starts
    metrics, health = WorkerMetrics(), WorkerHealth()
    metrics.database.observe(engine)
    metrics.show_health(
        silence_seconds=lambda: health.silence_seconds, is_serving=lambda: health.is_serving
    )
    schema = await asyncio.to_thread(require_usable, engine)
    if schema.warning:
        _logger.warning("%s", schema.warning)
    address = settings.worker_metrics_address
    runtime = worker_runtime(with_metrics=address is not None)
    async with contextlib.AsyncExitStack() as opened:
        await opened.enter_async_context(health.beating())
        if address is not None and runtime.metrics_url is not None:
            opened.enter_context(
                serving(
                    address,
                    health=health,
                    registry=metrics.registry,
                    sdk_metrics_url=runtime.metrics_url,
                )
            )
        client = await connect_temporal(runtime=runtime.runtime)
        await require_readable_workflows(client)
        await schedule_catch_up(client, every=timedelta(minutes=settings.inbound_catch_up_minutes))
        await _run(
            stop, client=client, engine=engine, settings=settings, metrics=metrics, health=health
        )
    engine.dispose()
    _logger.info("worker stopped")


async def _run(
    stop: asyncio.Event,
    *,
    client: Client,
    engine: Engine,
    settings: Settings,
    metrics: WorkerMetrics,
    health: WorkerHealth,
) -> None:
    """Serve until `stop` is set, whenever nothing is in the way."""
    checks = WorkerChecks(client, engine)
    outage_hold = OutageHold(engine)
    is_restored = False
    while not stop.is_set():
        async with _canceled_by(stop):
            health.phase = Phase.CHECKING_CLOCK
            await checks.until_clock_is_right()
            health.phase = Phase.CHECKING_KEYS
            await until_keys_fit(client)
            health.phase = Phase.CATCHING_UP
            await look_back(client, engine, settings, metrics, is_restored=is_restored)
            is_restored = False
        if not stop.is_set():
            obstacle = await _serve_until(
                stop,
                checks=checks,
                outage_hold=outage_hold,
                client=client,
                engine=engine,
                settings=settings,
                metrics=metrics,
                health=health,
            )
            is_restored = obstacle is Obstacle.OLDER_DATABASE
            if obstacle is Obstacle.INCOMPATIBLE_SCHEMA:
                await asyncio.to_thread(require_usable, engine)


def main() -> int:
    """The process: 0 after a clean stop, 1 with a plain sentence when it cannot start."""
    keep_memory_private()
    collect_garbage_less()
    try:
        read_secret_files()
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format)
        with exporting_traces("signedfor-worker"):
            uvloop.run(serve(settings))
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
