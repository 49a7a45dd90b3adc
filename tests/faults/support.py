"""What the fault tests share: a send held still just before its POST."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from temporalio.api.enums.v1 import PendingActivityState

from messaging.steps import SEND
from stack.local import LocalStack
from tests.integration.support import Sent, until


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
