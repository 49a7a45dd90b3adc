"""One soak, from the first message to the report.

Real processes are killed, frozen and restarted and the database is locked, while messages are sent
and the sandbox follows a seeded plan of faults. Then healthy messages are sent together with
messages that can never be sent. When the system is idle, some requests are repeated, and every
invariant is checked against Twilio's ledger.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import httpx
from temporalio.client import Client

from devtools.stack.local import LocalStack, row_message_id
from signedfor.contract import MessageReport, message_workflow_id
from signedfor.store.database import open_engine
from tests.faults.soak.collector import Collector, wait_until_idle
from tests.faults.soak.injection import FaultInjector, profiles_of, schedule
from tests.faults.soak.invariants import violations_in
from tests.faults.soak.report import SoakReport, report_on, twilio_faults_in
from tests.faults.soak.resets import MessageResets, schedule_resets
from tests.faults.soak.workload import (
    SCRIPTS,
    UNSENDABLE,
    Job,
    JobResult,
    Kind,
    Workload,
    healthy_jobs,
    mixed_jobs,
    unsendable_jobs,
)
from tests.faults.support import post_callback

SETTINGS = {
    "UNKNOWN_OUTCOME_WAIT_SECONDS": "2",
    "RECEIPT_CHECKS_SECONDS": "4,10,20",
    "SEND_RETRY_BUDGET_SECONDS": "30",
    "INBOUND_CATCH_UP_MINUTES": "0",
    "DEFAULT_SEGMENTS_PER_SECOND": "long_code=50",
    "BREAKER_FAILED_PERCENT": "off",
    "BREAKER_FILTERED_PERCENT": "off",
}
"""Short waits, and a sender that is fast and never paused; everything else is as in production."""
TWILIO_FAULTS = {
    "429": 0.04,
    "500_before": 0.01,
    "500_after": 0.02,
    "502_after": 0.02,
    "503_before": 0.01,
    "503_after": 0.02,
    "hang_before": 0.005,
    "hang_after": 0.01,
    "drop_before": 0.01,
    "drop_after": 0.02,
    "empty_201": 0.01,
    "html_201": 0.01,
    "created_no_sid": 0.01,
    "slow": 0.4,
    "callbacks_lost": 0.05,
    "callbacks_late": 0.05,
    "callbacks_doubled": 0.1,
    "callbacks_reordered": 0.05,
    "callbacks_before_response": 0.05,
    "final_sent": 0.01,
    "failed": 0.02,
    "listed_late": 0.2,
}
"""The probability of each fault for a create: half of all creates have one.

`slow` is an acceptance whose answer takes a second: the moment in which a kill does most harm."""
_UNLISTED_SECONDS = 3
"""For `listed_late`: the second search comes four seconds after the end of a POST."""
_HEALTHY_WITHIN = timedelta(seconds=30)
"""A message that waited behind unsendable ones would take minutes; two busy cores alone can cost up
to fifteen seconds."""
_NEXT_PLAN = 1_000_003
_UNSENDABLE_SECONDS = 12
"""Before the end of the faults: when the messages that cannot be sent are started."""
_RECOVERY_SECONDS = 4
"""For the parts that failed last to pick up what is waiting."""
_REPEATED = 40
_REPLAYED = 100
_THREADS = 24
_DATABASE_CONNECTIONS = 4


@dataclass(frozen=True, kw_only=True)
class SoakOptions:
    """One soak: its seed decides the messages, the faults and Twilio's faults."""

    seed: int
    messages: int
    fault_seconds: float
    late_retries: bool = False
    idle_within: float = 120


async def soak(stack: LocalStack, options: SoakOptions) -> SoakReport:
    """Run one soak on a running stack with `SETTINGS`."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    client, database_url = await stack.client(), stack.settings["DATABASE_URL"]
    engine = open_engine(database_url, pool_size=_DATABASE_CONNECTIONS)
    stranger = await Client.connect(stack.temporal.address)
    workload = Workload(client, stack.sandbox, stranger=stranger, engine=engine)
    mixed = mixed_jobs(
        options.seed,
        messages=options.messages,
        seconds=options.fault_seconds,
        late_retries=options.late_retries,
    )
    unsendable = unsendable_jobs(first=options.messages)
    healthy = healthy_jobs(first=options.messages + len(unsendable))
    plans = itertools.count()

    def configure_sandbox() -> None:
        # A sandbox that was restarted counts creates from one: the same seed would give each
        # recipient the faults of its first creates again.
        seed = options.seed + _NEXT_PLAN * next(plans)
        stack.sandbox.plan(seed, TWILIO_FAULTS, unlisted_seconds=_UNLISTED_SECONDS)
        for job in (*mixed, *unsendable, *healthy):
            if job.kind in SCRIPTS:
                steps, then = SCRIPTS[job.kind]
                stack.sandbox.script(job.to, steps, then=then)

    def configure_new_sandbox() -> None:
        with suppress(httpx.TransportError):  # it may be frozen or killed again meanwhile
            configure_sandbox()

    await asyncio.to_thread(configure_sandbox)
    faults = schedule(options.seed, seconds=options.fault_seconds, profiles=profiles_of(stack))
    resets = MessageResets(client, message_ids=lambda: _resettable(workload.results))
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        injector = FaultInjector(
            stack,
            on_sandbox_start=configure_new_sandbox,
            on_restore=lambda period: group.create_task(workload.repeat(*period)),
        )
        group.create_task(injector.run(faults))
        scheduled_resets = schedule_resets(options.seed, seconds=options.fault_seconds)
        group.create_task(resets.run(scheduled_resets, options.seed))
        group.create_task(workload.run(mixed))
        await asyncio.sleep(max(0.0, options.fault_seconds - _UNSENDABLE_SECONDS))
        await workload.run(unsendable)
    fault_seconds = time.monotonic() - started
    await asyncio.sleep(_RECOVERY_SECONDS)
    await workload.run(healthy)
    within = options.idle_within
    after_faults = await wait_until_idle(
        client, stack.sandbox, database_url=database_url, within=within
    )
    seconds_to_idle = time.monotonic() - started - fault_seconds
    journal = stack.folder / "sandbox.jsonl"
    collector = Collector(client, stack.sandbox, database_url=database_url, journal=journal)
    reports_before = await _repeat(stack, collector, workload, _sample(mixed, options.seed))
    after_repeats = await wait_until_idle(
        client, stack.sandbox, database_url=database_url, within=within
    )
    observed = await collector.observations(
        workload.results.values(),
        reports_before=reports_before,
        healthy_within=_HEALTHY_WITHIN,
        injector=injector,
        resets=resets,
    )
    engine.dispose()
    replayed = [job.message_id for job in mixed[:_REPLAYED]]
    violations = [*violations_in(observed), *await collector.replay_violations(replayed)]
    return report_on(
        observed,
        violations,
        results=workload.results,
        twilio_faults=twilio_faults_in(journal),
        seed=options.seed,
        fault_seconds=fault_seconds,
        seconds_to_idle=seconds_to_idle,
        is_idle=after_faults.is_idle and after_repeats.is_idle,
        faults=injector.injected + resets.counts(),
        unexpected_exits=injector.unexpected_exits,
    )


def _resettable(results: Mapping[str, JobResult]) -> frozenset[str]:
    """Those that take faults: the others show that nothing else is delayed."""
    spared = {*UNSENDABLE, Kind.HEALTHY}
    return frozenset(
        message_id for message_id, each in results.items() if each.job.kind not in spared
    )


def _sample(jobs: list[Job], seed: int) -> list[str]:
    ids = [job.message_id for job in jobs]
    chance = random.Random(f"{seed}:again")  # noqa: S311 - seeded chance, not a secret
    return chance.sample(ids, min(_REPEATED, len(ids)))


async def _repeat(
    stack: LocalStack, collector: Collector, workload: Workload, message_ids: list[str]
) -> dict[str, MessageReport]:
    """Start these again and post their receipts again; their reports from before that."""
    before: dict[str, MessageReport] = {}
    rows = {row_message_id(row): row for row in stack.sandbox.ledger()["accepted"]}
    async with httpx.AsyncClient(trust_env=False) as http:
        for message_id in message_ids:
            history = await collector.history(message_workflow_id(message_id))
            if history is not None and history.report is not None:
                before[message_id] = history.report
            await workload.start_again(message_id)
            if message_id in rows:
                await post_callback(http, rows[message_id], status=rows[message_id]["status"])
    return before
