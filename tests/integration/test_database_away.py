import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.contract import Outcome, Stage
from signedfor.store.database import open_engine
from signedfor.store.suppressions import Suppressions
from tests.fixtures.databases import PostgresServer
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.line import Line
from tests.integration.support import Caller, until_true

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def line(postgres_server: PostgresServer) -> Iterator[Line]:
    """The proxy in front of PostgreSQL."""
    with Line(postgres_server.port) as whole:
        yield whole


@pytest.fixture(scope="module")
def postgres_stack(
    postgres_server: PostgresServer, line: Line, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalStack]:
    """A stack whose database is PostgreSQL, behind the proxy."""
    name = postgres_server.create()
    url = PostgresServer(port=line.port).url(name)
    with silent_stack(tmp_path_factory.mktemp("postgres-stack"), DATABASE_URL=url) as running:
        yield running
    postgres_server.drop(name)


@pytest.fixture
def suppressions(postgres_stack: LocalStack) -> Iterator[Suppressions]:
    """The suppressions in that database."""
    engine = open_engine(postgres_stack.settings["DATABASE_URL"], pool_size=1)
    yield Suppressions(engine)
    engine.dispose()


async def test_nothing_is_sent_while_the_database_is_unreachable(
    postgres_stack: LocalStack,
    line: Line,
    suppressions: Suppressions,
    new_number: NewNumber,
) -> None:
    """Consent cannot be checked, so new messages and retries wait; afterwards each is sent once."""
    caller = Caller(stack=postgres_stack, client=await postgres_stack.client())
    busy = {"respond": "error", "code": 20429, "http_status": 429}
    before = await caller.send(new_number())
    assert Outcome.DELIVERED is (await before.report()).outcome
    soon = datetime.now(UTC) + timedelta(seconds=4)
    scheduled = await caller.send(new_number(), send_at=soon.isoformat())
    retried = await caller.send(new_number(), *[busy] * 3)
    # The fourth attempt comes two seconds after the third, as a regular activity.
    await until_true(lambda: len(retried.refused()) == 3, "the third try")

    line.cut()
    cut_at = time.time()
    new = await caller.send(new_number())
    await new.reaches(Stage.WAITING)
    await scheduled.reaches(Stage.WAITING)
    await retried.reaches(Stage.WAITING)
    person = new_number()
    stop = postgres_stack.sandbox.inbound(person, GOOD_SENDER, "STOP")
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        ready = await http.get(f"{postgres_stack.webhook_url}/readyz")
    posts = [(len(each.accepted()), len(each.refused())) for each in (new, scheduled, retried)]
    line.restore()
    reports = await asyncio.gather(*(each.report() for each in (new, scheduled, retried)))

    assert [(0, 0), (0, 0), (0, 3)] == posts
    assert 503 == ready.status_code
    assert [Outcome.DELIVERED] * 3 == [each.outcome for each in reports]
    for each in (new, scheduled, retried):
        [row] = each.accepted()
        assert row["created"] > cut_at

    # The STOP was acknowledged, so it must be in force now.
    assert (200, []) == (stop["http_status"], stop["replies"])
    await until_true(lambda: bool(suppressions.list_(recipient=person)), "the STOP to be in force")
    stopped = await caller.send(person)
    assert Outcome.SUPPRESSED is (await stopped.report()).outcome
    assert ([], []) == (stopped.accepted(), stopped.refused())
