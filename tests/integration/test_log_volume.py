"""An outage does not fill the disk."""

import asyncio

import pytest

from signedfor.contract import Outcome
from tests.fixtures.databases import PostgresServer
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.line import Line
from tests.integration.support import Caller, Sent, until

pytestmark = pytest.mark.integration

_MESSAGES = 100
_ATTEMPTS = 3
_MAX_BYTES = 10_000
"""Of any outage of this many messages; with a traceback for each attempt it were megabytes."""


async def _is_tried_often(sent: Sent) -> None:
    async def is_tried() -> bool:
        activities = (await sent.handle.describe()).raw_description.pending_activities
        return any(each.attempt >= _ATTEMPTS for each in activities)

    await until(is_tried, "a message to be tried several times")


@pytest.mark.timeout(300)
async def test_messages_that_wait_for_the_database_write_few_lines(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory, new_number: NewNumber
) -> None:
    """However often each is tried, and the same while they are sent afterwards."""
    name = postgres_server.create()
    folder = tmp_path_factory.mktemp("quiet-stack")
    with Line(postgres_server.port) as line:
        url = PostgresServer(port=line.port).url(name)
        with silent_stack(folder, DATABASE_URL=url, LOG_LEVEL="INFO") as stack:
            caller = Caller(stack=stack, client=await stack.client())
            before = stack.worker.log.stat().st_size
            line.cut()
            sent = [await caller.send(new_number()) for _ in range(_MESSAGES)]
            for each in sent:
                await _is_tried_often(each)
            written = stack.worker.log.read_bytes()[before:]
            line.restore()
            reports = await asyncio.gather(*(each.report() for each in sent))
            lines = stack.worker.log.read_text().splitlines()
    postgres_server.drop(name)

    assert len(written) < _MAX_BYTES, written[:2000].decode()
    assert b"DatabaseUnavailable: " in written
    assert b"similar warnings suppressed" in written
    assert b'File "' not in written
    assert {Outcome.DELIVERED} == {each.outcome for each in reports}
    for each in sent:
        about = [line for line in lines if f"message_id={each.message_id} " in line]
        assert ["Sent", "Ended: delivered"] == [
            text for line in about for text in ("Sent", "Ended: delivered") if f" {text} " in line
        ]
