import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Engine
from temporalio import workflow
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.search import TwilioSearch
from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from signedfor.contract import MessageReport, MessageRequest, Outcome, Progress, message_workflow_id
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Absent, Ambiguous, Found, NeverSubmitted, SearchRequest
from signedfor.store.send_attempts import SendAttempts
from signedfor.twilio.client import TwilioClient
from tests.activities.conftest import unlimited_rates
from tests.devtools.sandbox.support import SENDER, running_sandbox

TEXT = "Your parcel is at the door."
_NUMBERS = count(1)
BROKEN = "broken"
"""The status of a candidate whose progress query fails."""


@workflow.defn(name="SendMessage")
class OtherMessage:
    """Another message of ours, which returns the progress and report it was started with."""

    @workflow.run
    async def run(self, progress: Progress, report: MessageReport) -> MessageReport:
        """Complete at once; queries are still answered."""
        self._progress = progress
        return report

    @workflow.query
    def progress(self) -> Progress:
        """The given progress; fails if its status is `BROKEN`."""
        if self._progress.status == BROKEN:
            raise RuntimeError("broken")
        return self._progress


@pytest.fixture(scope="module")
def sandbox_url() -> Iterator[str]:
    """A Twilio sandbox for these tests."""
    with running_sandbox("--sent-after", "60") as (url, _):
        yield url


@pytest.fixture
def twilio(sandbox_url: str) -> Iterator[TwilioClient]:
    """The real Twilio client, with the sandbox's URL."""
    client = TwilioClient(
        account_sid=DEFAULT_ACCOUNT_SID,
        username=DEFAULT_ACCOUNT_SID,
        password=DEFAULT_AUTH_TOKEN,
        connections=2,
        base_url=sandbox_url,
    )
    yield client
    client.http_client.close()


@pytest.fixture
def search(twilio: TwilioClient, sqlite_engine: Engine, temporal: Client) -> TwilioSearch:
    """The search activity."""
    return TwilioSearch(
        twilio, SendAttempts(sqlite_engine, unlimited_rates(sqlite_engine)), temporal
    )


Finding = Found | Absent | NeverSubmitted | Ambiguous


class Candidates:
    """Adds other messages of ours, each with an attempt record and a workflow."""

    def __init__(self, attempts: SendAttempts, client: Client) -> None:
        self._attempts = attempts
        self._client = client
        self.queue = f"candidates-{uuid.uuid4()}"

    async def add(
        self,
        message: MessageRequest,
        *sids: str,
        status: str,
        failure_class: FailureClass | None = None,
        answers: bool = True,
    ) -> None:
        """Add a message with these SIDs; if it does not answer queries, it has no worker."""
        message_id = f"t-{uuid.uuid4()}"
        self._attempts.claim(message_id, message, sender=SENDER)
        now = datetime.now(UTC)
        progress = Progress(
            message_id=message_id, status=status, since=now, waiting_for="-", message_sids=sids
        )
        report = MessageReport(
            message_id=message_id,
            outcome=Outcome(status) if status in set(Outcome) else Outcome.UNCONFIRMED,
            failure_class=failure_class,
            reason="-",
            attempts=1,
            segments=1,
            finished_at=now,
            tags={},
        )
        handle = await self._client.start_workflow(
            "SendMessage",
            args=[progress, report],
            id=message_workflow_id(message_id),
            task_queue=self.queue if answers else "no-worker",
        )
        if answers:
            await handle.result()


@pytest.fixture
async def candidates(sqlite_engine: Engine, temporal: Client) -> AsyncIterator[Candidates]:
    """Other messages of ours, and a worker that answers their queries."""
    candidates = Candidates(SendAttempts(sqlite_engine, unlimited_rates(sqlite_engine)), temporal)
    async with Worker(
        temporal,
        task_queue=candidates.queue,
        workflows=[OtherMessage],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield candidates


@pytest.fixture
def to() -> str:
    """A new recipient for each test, since the tests share a sandbox."""
    return f"+1555020{next(_NUMBERS):04d}"


def message(to: str, **fields: Any) -> MessageRequest:
    """A text message to the recipient."""
    return MessageRequest(**{"to": to, "body": TEXT, **fields})


def template(to: str) -> MessageRequest:
    """A content template to the recipient."""
    return MessageRequest(to=to, content_sid="HX" + "0c" * 16)


async def find(
    search: TwilioSearch,
    wanted: MessageRequest,
    *,
    sender: str = SENDER,
    recorded: bool = True,
    **fields: Any,
) -> Finding:
    """Search for a message; if `recorded`, its POST was recorded just now."""
    if recorded:
        search._attempts.claim("mine", wanted, sender=sender)
    request = SearchRequest(
        **{
            "message_id": "mine",
            "unresolved_from": 1,
            "message": wanted,
            "sender": sender,
            "since": datetime.now(UTC),
            "own_sids": (),
            **fields,
        }
    )
    result = await ActivityEnvironment().run(search.find_message, request)
    return result.finding


async def found_sid(finding: Awaitable[Finding]) -> str:
    """The SID of a message that must be found."""
    found = await finding
    assert isinstance(found, Found)
    return found.message_sid
