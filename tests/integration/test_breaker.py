"""The breaker in the whole system: a sender that fails, is filtered or spends too much waits."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import Engine, func, select

from devtools.sandbox.client import Step
from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from devtools.stack.log_scan import scan_logs
from signedfor.contract import Outcome, Stage
from signedfor.store.breakers import Breakers, OpenBreaker
from signedfor.store.database import open_engine, transaction
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.tables import sender_results
from tests.fixtures.stack import SHORT_WAITS, TEXT, NewNumber
from tests.integration.support import SERVICE, Caller, Sent, signedfor, until, until_true

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
]

MIN_MESSAGES = 6
REFUSED: Step = {"respond": "error", "code": 20422, "http_status": 400}
FILTERED: Step = {"final": "undelivered", "error_code": 30007}
DELIVERED: Step = {}
_BRITAIN = "+4477009001"
"""Where a segment is dear."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Two workers with low limits; a segment to Britain costs a third of what may be spent."""
    folder = tmp_path_factory.mktemp("breaker-stack")
    prices = folder / "prices.csv"
    prices.write_text("country,price_per_segment\nGB,0.35\n*,0.0001\n")
    settings = SHORT_WAITS | {
        "DEFAULT_SEGMENTS_PER_SECOND": "long_code=1000,messaging_service=1000,international=1000",
        "BREAKER_MIN_MESSAGES": str(MIN_MESSAGES),
        "BREAKER_FAILED_PERCENT": "50",
        "BREAKER_FILTERED_PERCENT": "40",
        "BREAKER_SPEND_PER_DAY": "1",
        "PRICES_FILE": str(prices),
    }
    with LocalStack(folder, settings=settings, workers=2) as running:
        yield running
    logs = (folder / "logs").glob("*.log")
    assert () == scan_logs(logs, numbers=["+1555867", "+44770090"], texts=[TEXT], secrets=[]).found


@pytest_asyncio.fixture(loop_scope="module")
async def caller(stack: LocalStack) -> Caller:
    """A service that sends messages through the two workers."""
    return Caller(stack=stack, client=await stack.client())


@pytest.fixture(scope="module")
def engine(stack: LocalStack) -> Iterator[Engine]:
    """The stack's database."""
    engine = open_engine(stack.settings["DATABASE_URL"])
    yield engine
    engine.dispose()


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _both_workers_run(stack: LocalStack) -> AsyncIterator[None]:
    yield
    for each in stack.workers:
        if not each.is_running:
            each.start()


async def _opened(engine: Engine, sender: str) -> OpenBreaker:
    """The sender's breaker, once it is open."""

    async def found() -> OpenBreaker | None:
        return next(
            (each for each in Breakers(engine).open_breakers() if each.sender == sender), None
        )

    return await until(found, "the breaker to open")


async def _ended(engine: Engine, sender: str, count: int) -> None:
    """Return once so many of the sender's messages are counted."""
    query = select(func.coalesce(func.sum(sender_results.c.ended), 0)).where(
        sender_results.c.sender == sender
    )

    async def counted() -> bool:
        with transaction(engine, read_only=True) as connection:
            return int(connection.scalar(query) or 0) >= count

    await until(counted, f"{count} messages to be counted")


async def _send_all(
    caller: Caller, new_number: NewNumber, sender: str, *steps: Step
) -> list[Outcome]:
    """Send a message for each step; how each ended."""
    sent = [await caller.send(new_number(), step, sender=sender) for step in steps]
    return [each.outcome for each in await asyncio.gather(*(each.report() for each in sent))]


async def _document(stack: LocalStack, *arguments: str) -> dict[str, Any]:
    ended = await signedfor(stack, *arguments, "--json")
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


def _errors(stack: LocalStack) -> list[str]:
    """The lines in which workers said that the breaker has paused a sender."""
    logs = [(stack.folder / "logs" / f"{each.name}.log").read_text() for each in stack.workers]
    return [line for log in logs for line in log.splitlines() if "The breaker has paused" in line]


async def _delivered_once(waiting: list[Sent]) -> None:
    reports = await asyncio.gather(*(each.report() for each in waiting))
    assert [Outcome.DELIVERED] * len(waiting) == [each.outcome for each in reports]
    assert [1] * len(waiting) == [len(each.accepted()) for each in waiting]


async def test_a_sender_that_fails_waits_until_it_is_resumed(
    stack: LocalStack, caller: Caller, engine: Engine, new_number: NewNumber
) -> None:
    """Its messages wait, another's are sent; after the resume all that waited are sent once."""
    failed = await _send_all(caller, new_number, GOOD_SENDER, *[REFUSED] * MIN_MESSAGES)
    assert {Outcome.FAILED} == set(failed)
    opened = await _opened(engine, GOOD_SENDER)
    assert "100 % of 6 messages failed within 15 minutes; the limit is 50 %." == opened.because
    # The line is written after the commit that has paused the sender.
    await until_true(lambda: 1 == len(_errors(stack)), "the breaker's line in a log")

    waiting = [await caller.send(new_number(), sender=GOOD_SENDER) for _ in range(3)]
    for each in waiting:
        await each.reaches(Stage.WAITING)
    assert [Outcome.DELIVERED] == await _send_all(caller, new_number, SERVICE, DELIVERED)
    assert [] == [row for each in waiting for row in each.accepted()]
    (listed,) = [
        each
        for each in (await _document(stack, "senders", "list", "--reveal"))["senders"]
        if each["sender"] == GOOD_SENDER
    ]
    assert (True, "failed", opened.because) == (
        listed["is_paused"],
        listed["breaker"]["reason"],
        listed["breaker"]["because"],
    )
    checks = (await _document(stack, "doctor"))["checks"]
    (found,) = [each["what"] for each in checks if each["name"] == "breaker"]
    assert opened.because in found

    resumed = await signedfor(stack, "senders", "resume", GOOD_SENDER)
    assert 0 == resumed.exit_code, resumed.stderr
    await _delivered_once(waiting)
    # What is counted from now on has been looked at, and the old failures did not pause it again.
    await _ended(engine, GOOD_SENDER, MIN_MESSAGES + 3)
    assert not RateLimiter(engine).is_paused(GOOD_SENDER)
    assert 1 == len(_errors(stack))


async def test_a_sender_that_is_filtered_waits(
    caller: Caller, engine: Engine, new_number: NewNumber
) -> None:
    """A share of filtered messages that is below the limit of failures pauses it."""
    sender = "+447700900201"
    steps = [FILTERED] * 3 + [DELIVERED] * 4
    outcomes = await _send_all(caller, new_number, sender, *steps)
    assert [Outcome.UNDELIVERED] * 3 + [Outcome.DELIVERED] * 4 == outcomes

    opened = await _opened(engine, sender)

    assert (
        "43 % of 7 messages were filtered within 15 minutes; the limit is 40 %." == opened.because
    )
    waiting = await caller.send(new_number(), sender=sender)
    await waiting.reaches(Stage.WAITING)
    await waiting.cancel()


async def test_a_sender_that_spends_too_much_waits(
    caller: Caller, engine: Engine, new_number: NewNumber
) -> None:
    """By the price of the recipient's country, for each segment."""
    sender = "+447700900202"
    cheap = await _send_all(caller, new_number, sender, *[DELIVERED] * 2)
    assert {Outcome.DELIVERED} == set(cheap)
    long = await caller.send(f"{_BRITAIN}01", sender=sender, body="x" * 300)
    assert 2 == (await long.report()).segments
    await _ended(engine, sender, 3)
    assert not RateLimiter(engine).is_paused(sender)

    dear = await caller.send(f"{_BRITAIN}02", sender=sender)
    assert Outcome.DELIVERED is (await dear.report()).outcome
    opened = await _opened(engine, sender)

    assert "4 messages cost 1.05 USD within 24 hours; the limit is 1 USD." == opened.because
    waiting = await caller.send(new_number(), sender=sender)
    await waiting.reaches(Stage.WAITING)
    assert [] == waiting.accepted()
    await waiting.cancel()


async def test_failures_are_counted_over_restarts_of_workers(
    stack: LocalStack, caller: Caller, engine: Engine, new_number: NewNumber
) -> None:
    """A worker that stops adds what it has counted, and a new one goes on; a pause stays."""
    sender = "+447700900203"
    await _send_all(caller, new_number, sender, *[REFUSED] * (MIN_MESSAGES - 1))
    for each in stack.workers:
        await asyncio.to_thread(each.restart)
    assert not RateLimiter(engine).is_paused(sender)

    await _send_all(caller, new_number, sender, REFUSED)
    opened = await _opened(engine, sender)
    assert "100 % of 6" in opened.because
    for each in stack.workers:
        each.kill()
        await asyncio.to_thread(each.start)

    waiting = await caller.send(new_number(), sender=sender)
    await waiting.reaches(Stage.WAITING)
    assert opened in Breakers(engine).open_breakers()
    await signedfor(stack, "senders", "resume", sender)
    await _delivered_once([waiting])


async def test_a_replay_counts_nothing_again(
    caller: Caller, engine: Engine, new_number: NewNumber
) -> None:
    """A query replays a message that has ended."""
    sender = "+447700900204"
    sent = [await caller.send(new_number(), REFUSED, sender=sender) for _ in range(2)]
    await asyncio.gather(*(each.report() for each in sent))
    for _ in range(MIN_MESSAGES):
        for each in sent:
            assert Outcome.FAILED == (await each.progress()).status
    await _send_all(caller, new_number, sender, DELIVERED)
    await _ended(engine, sender, 3)

    query = select(func.sum(sender_results.c.ended)).where(sender_results.c.sender == sender)
    with transaction(engine, read_only=True) as connection:
        assert 3 == connection.scalar(query)
