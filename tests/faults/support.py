"""What the fault tests share: a send held still just before its POST."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signedfor.steps import SEND
from temporalio.api.enums.v1 import PendingActivityState

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.contract import PROGRESS_QUERY, Stage
from signedfor.store.database import open_engine
from signedfor.store.rate_limiter import RateLimiter
from signedfor.twilio.rates import SenderKind
from tests.integration.support import Caller, Sent, until

_SECONDS_AHEAD = 12
"""Time to see that it waits and to hold the database, on a slow machine too."""


@contextmanager
def database_held(stack: LocalStack) -> Iterator[None]:
    """Keep everybody else from writing to the stack's database while the block runs.

    A send then stands still in its last check: begun, and not a byte of its POST written.
    """
    path = Path(stack.settings["DATABASE_URL"].removeprefix("sqlite:///"))
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


async def sent_in_a_moment(caller: Caller, to: str) -> Sent:
    """Hand a message in that was admitted and waits for its sender's slot, seconds from now."""
    engine = open_engine(caller.stack.settings["DATABASE_URL"])
    try:
        rates = {SenderKind.LONG_CODE: 1.0}
        RateLimiter(engine, rates=rates).reserve(GOOD_SENDER, _SECONDS_AHEAD, is_urgent=False)
    finally:
        engine.dispose()
    sent = await caller.send(to)

    async def waits() -> bool:
        progress = await sent.handle.query(PROGRESS_QUERY)
        return bool(progress["status"] == Stage.WAITING)

    await until(waits, "the message to wait for its slot")
    return sent


async def send_is_under_way(sent: Sent) -> None:
    """Return when a worker has begun the message's send activity."""

    async def started() -> bool:
        description = await sent.handle.describe()
        return any(
            each.activity_type.name == SEND
            and each.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
            for each in description.raw_description.pending_activities
        )

    await until(started, "the send to begin")
