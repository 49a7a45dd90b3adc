"""Faults on the whole system, then the invariants: `python -m devtools.bench.soak --messages 300`.

Real processes are killed, frozen and restarted, and the database is locked, while messages are
handed in and the sandbox follows a seeded plan of faults. Then bystanders are handed in amid
messages that are pure poison. When all is quiet, some are handed in a second time, and every
promise is held against Twilio's ledger.
"""

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from twilio.request_validator import RequestValidator

from devtools.bench.books import balance, message_id_in
from devtools.bench.chaos import Chaos, habits_of, schedule
from devtools.bench.crowd import SCRIPTS, Crowd, Errand, bystanders, poison_crowd, storm_crowd
from devtools.bench.findings import Findings, faults_in, find
from devtools.bench.gathering import Gatherer, settle
from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.sandbox.client import AcceptedRow
from devtools.stack.local import LocalStack
from devtools.stack.processes import interrupt_on_signals
from signedfor.contract import MessageReport, message_workflow_id

SETTINGS = {
    "UNKNOWN_WAIT_SECONDS": "2",
    "RECEIPT_CHECK_SECONDS": "4,10,20",
    "SEND_RETRY_BUDGET_SECONDS": "30",
    "CATCH_UP_MINUTES": "0",
    "DEFAULT_RATES": "long_code=50",
}
"""Short waits, and a sender as fast as this takes; everything else is as in production."""
FAULTS = {
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
"""How likely each fault strikes a create: half of them go wrong in one way or another.

`slow` is an acceptance whose answer takes a second: the moment in which a kill hurts most."""
_LISTED_AFTER = 3
"""Seconds, where it is late: the second search comes four seconds after the end of a POST."""
_BYSTANDERS_WITHIN = timedelta(seconds=30)
"""Poison holds who waits behind it for minutes; two busy cores alone cost up to fifteen seconds."""
_NEXT_PLAN = 1_000_003
_POISON_BEFORE_THE_END = 12
_CATCHING_UP = 4
"""Seconds for the parts that were struck last to take up what lies there."""
_SECOND_TIMES = 40
_REPLAYED = 100
_THREADS = 24


@dataclass(frozen=True, kw_only=True)
class Weather:
    """One soak: its seed decides the messages, the strikes and Twilio's faults."""

    seed: int
    messages: int
    storm_seconds: float
    later_tries: bool = False
    settle_within: float = 120


async def soak(stack: LocalStack, weather: Weather) -> Findings:
    """Run one soak on a running stack with `SETTINGS`."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    client, database_url = await stack.client(), stack.settings["DATABASE_URL"]
    crowd = Crowd(client, stack.sandbox)
    errands = storm_crowd(
        weather.seed,
        messages=weather.messages,
        seconds=weather.storm_seconds,
        later_tries=weather.later_tries,
    )
    poison = poison_crowd(first=weather.messages)
    innocent = bystanders(first=weather.messages + len(poison))
    briefings = itertools.count()

    def brief_the_sandbox() -> None:
        # A sandbox that was restarted counts creates anew: it would repeat each one's first fault.
        seed = weather.seed + _NEXT_PLAN * next(briefings)
        stack.sandbox.plan(seed, FAULTS, unlisted_seconds=_LISTED_AFTER)
        for errand in (*errands, *poison, *innocent):
            if errand.kind in SCRIPTS:
                steps, then = SCRIPTS[errand.kind]
                stack.sandbox.script(errand.to, steps, then=then)

    await asyncio.to_thread(brief_the_sandbox)
    chaos = Chaos(stack, on_sandbox_up=lambda: _patiently(brief_the_sandbox))
    strikes = schedule(weather.seed, seconds=weather.storm_seconds, habits=habits_of(stack))
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(chaos.run(strikes))
        group.create_task(crowd.run(errands))
        await asyncio.sleep(max(0.0, weather.storm_seconds - _POISON_BEFORE_THE_END))
        await crowd.run(poison)
    storm_seconds = time.monotonic() - begun
    await asyncio.sleep(_CATCHING_UP)
    await crowd.run(innocent)
    within = weather.settle_within
    settled = await settle(client, stack.sandbox, database_url=database_url, within=within)
    seconds_to_settle = time.monotonic() - begun - storm_seconds
    journal = stack.folder / "sandbox.jsonl"
    gatherer = Gatherer(client, stack.sandbox, database_url=database_url, journal=journal)
    before = await _everything_again(stack, gatherer, crowd, _sample(errands, weather.seed))
    calm = await settle(client, stack.sandbox, database_url=database_url, within=within)
    books = await gatherer.books(
        crowd.done.values(),
        before=before,
        bystanders_within=_BYSTANDERS_WITHIN,
        twilio_frozen=chaos.twilio_frozen,
    )
    replayed = [errand.message_id for errand in errands[:_REPLAYED]]
    violations = [*balance(books), *await gatherer.replayed_otherwise(replayed)]
    return find(
        books,
        violations,
        done=crowd.done,
        faults=faults_in(journal),
        seed=weather.seed,
        storm_seconds=storm_seconds,
        seconds_to_settle=seconds_to_settle,
        quiet=settled.is_quiet and calm.is_quiet,
        strikes=chaos.struck,
        ended_by_itself=chaos.ended_by_itself,
    )


def _patiently(brief: Callable[[], None]) -> None:
    """The sandbox may be frozen, or killed once more, before it has heard everything."""
    with suppress(httpx.TransportError):
        brief()


def _sample(errands: list[Errand], seed: int) -> list[str]:
    ids = [errand.message_id for errand in errands]
    chance = random.Random(f"{seed}:again")  # noqa: S311 - seeded chance, not a secret
    return chance.sample(ids, min(_SECOND_TIMES, len(ids)))


async def _everything_again(
    stack: LocalStack, gatherer: Gatherer, crowd: Crowd, message_ids: list[str]
) -> dict[str, MessageReport]:
    """Hand these in once more and post their receipts once more; their reports from before that."""
    before: dict[str, MessageReport] = {}
    rows = {message_id_in(row): row for row in stack.sandbox.ledger()["accepted"]}
    async with httpx.AsyncClient(trust_env=False) as poster:
        for message_id in message_ids:
            trail = await gatherer.trail(message_workflow_id(message_id))
            if trail is not None and trail.report is not None:
                before[message_id] = trail.report
            await crowd.hand_in_again(message_id)
            if message_id in rows:
                await receipt_again(poster, rows[message_id], status=rows[message_id]["status"])
    return before


async def receipt_again(poster: httpx.AsyncClient, row: AcceptedRow, *, status: str) -> int:
    """Post a signed status callback for an accepted message; the webhook's answer."""
    url = (row["status_callback"] or "").partition("#")[0]
    fields = {"AccountSid": DEFAULT_ACCOUNT_SID, "MessageSid": row["sid"], "MessageStatus": status}
    validator = RequestValidator(DEFAULT_AUTH_TOKEN)  # type: ignore[no-untyped-call] # the SDK's
    signature: str = validator.compute_signature(  # type: ignore[no-untyped-call] # the SDK's
        url, fields
    )
    answer = await poster.post(url, data=fields, headers={"X-Twilio-Signature": signature})
    return answer.status_code


def main() -> int:
    """Run it, print and write the report; 1 when a promise was broken."""
    interrupt_on_signals()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--seconds", type=float, help="length of the storm (default by --rate)")
    parser.add_argument("--rate", type=float, default=10, help="messages a second")
    parser.add_argument("--seed", type=int, help="default: a fresh one")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--later-tries", action="store_true", help="messages too that take over five minutes"
    )
    parser.add_argument("--report", type=Path, help="write the report here, as JSON")
    parser.add_argument("--folder", type=Path, help="keep logs and databases here")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    # That Temporal cannot be reached now and then is the point.
    only_errors = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=only_errors)))
    weather = Weather(
        seed=seed,
        messages=arguments.messages,
        storm_seconds=arguments.seconds or max(45.0, arguments.messages / arguments.rate),
        later_tries=arguments.later_tries,
        settle_within=900,
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(
            arguments.folder or Path(folder), settings=SETTINGS, workers=arguments.workers
        ) as stack,
    ):
        findings = asyncio.run(soak(stack, weather))
    print(findings.text())
    if arguments.report is not None:
        findings.write(arguments.report)
    return 0 if findings.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
