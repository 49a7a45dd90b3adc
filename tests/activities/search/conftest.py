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
from devtools.stack.temporal_server import TemporalServer
from signedfor.contract import MessageReport, MessageRequest, Outcome, Progress, message_workflow_id
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Absent, Ambiguous, Found, NeverSubmitted, SearchRequest
from signedfor.payloads import data_converter
from signedfor.store.send_attempts import SendAttempts
from signedfor.twilio.client import TwilioClient
from tests.activities.conftest import pacing
from tests.devtools.sandbox.support import SENDER, running_sandbox

TEXT = "Your parcel is at the door."
_NUMBERS = count(1)
BROKEN = "broken"
"""The status of a candidate that cannot say where it stands."""


@workflow.defn(name="SendMessage")
class OtherMessage:
    """Another message of ours: it says and reports what it was started with."""

    @workflow.run
    async def run(self, progress: Progress, report: MessageReport) -> MessageReport:
        """End at once; queries are answered all the same."""
        self._progress = progress
        return report

    @workflow.query
    def progress(self) -> Progress:
        """What it was started with; fails if that is broken."""
        if self._progress.status == BROKEN:
            raise RuntimeError("poisoned")
        return self._progress


@pytest.fixture(scope="module")
def sandbox_url() -> Iterator[str]:
    """A sandbox for these tests."""
    with running_sandbox("--sent-after", "60") as (url, _):
        yield url


@pytest.fixture
def twilio(sandbox_url: str) -> Iterator[TwilioClient]:
    """The real client, aimed at the sandbox."""
    client = TwilioClient(
        account_sid=DEFAULT_ACCOUNT_SID,
        username=DEFAULT_ACCOUNT_SID,
        password=DEFAULT_AUTH_TOKEN,
        connections=2,
        base_url=sandbox_url,
    )
    yield client
    assert client.http_client.session is not None
    client.http_client.session.close()


@pytest.fixture
async def temporal(temporal_server: TemporalServer) -> Client:
    """A client of the real server."""
    return await Client.connect(temporal_server.address, data_converter=data_converter)


@pytest.fixture
def searching(twilio: TwilioClient, sqlite_engine: Engine, temporal: Client) -> TwilioSearch:
    """The activity."""
    return TwilioSearch(twilio, SendAttempts(sqlite_engine, pacing(sqlite_engine)), temporal)


Finding = Found | Absent | NeverSubmitted | Ambiguous


class Candidates:
    """Makes other messages of ours, with an attempt record and a workflow each."""

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
        """Another message, which knows of these SIDs; one that does not answer has no worker."""
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
            task_queue=self.queue if answers else "nobody",
        )
        if answers:
            await handle.result()


@pytest.fixture
async def candidates(sqlite_engine: Engine, temporal: Client) -> AsyncIterator[Candidates]:
    """Other messages, and the worker that lets them answer."""
    made = Candidates(SendAttempts(sqlite_engine, pacing(sqlite_engine)), temporal)
    async with Worker(
        temporal,
        task_queue=made.queue,
        workflows=[OtherMessage],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield made


@pytest.fixture
def to() -> str:
    """A recipient to whom nothing was sent before: the sandbox outlasts a test."""
    return f"+1555020{next(_NUMBERS):04d}"


def message(to: str, **fields: Any) -> MessageRequest:
    """One text to them."""
    return MessageRequest(**{"to": to, "body": TEXT, **fields})


def template(to: str) -> MessageRequest:
    """A message to them made of a template."""
    return MessageRequest(to=to, content_sid="HX" + "0c" * 16)


async def look(
    searching: TwilioSearch,
    wanted: MessageRequest,
    *,
    sender: str = SENDER,
    recorded: bool = True,
    **fields: Any,
) -> Finding:
    """Search for it, as a message whose POST was recorded a moment ago."""
    if recorded:
        searching._attempts.claim("mine", wanted, sender=sender)
    request = SearchRequest(
        **{
            "message_id": "mine",
            "message": wanted,
            "sender": sender,
            "since": datetime.now(UTC),
            "own_sids": (),
            **fields,
        }
    )
    result = await ActivityEnvironment().run(searching.find_message, request)
    return result.finding


async def found_sid(looking: Awaitable[Finding]) -> str:
    """The SID of a message that must be found."""
    found = await looking
    assert isinstance(found, Found)
    return found.message_sid
