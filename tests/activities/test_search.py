"""The search in Twilio's list: what it takes for ours, and what it must not."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from temporalio import workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from twilio.base.exceptions import TwilioRestException

from activities.search import TwilioSearch
from activities.twilio_client import TwilioClient
from messaging.contract import MessageRequest, Progress, message_workflow_id
from messaging.payloads import data_converter
from messaging.steps import Finding, SearchRequest, SearchResult
from sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from sandbox.client import SandboxControl
from stack.temporal_server import TemporalServer
from store.posts import Posts
from tests.activities.conftest import pacing
from tests.integration.support import until_true
from tests.sandbox.support import SENDER, SERVICE, running_sandbox

TEXT = "Your parcel is at the door."


@workflow.defn(name="SendMessage")
class Rival:
    """Another message of ours, with the SIDs and the status that its argument says."""

    @workflow.run
    async def run(self, progress: Progress) -> None:
        """End at once; queries are answered all the same."""
        self._progress = progress

    @workflow.query
    def progress(self) -> Progress:
        """What it was started with."""
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
    return TwilioSearch(twilio, Posts(sqlite_engine, pacing(sqlite_engine)), temporal)


@asynccontextmanager
async def rival(client: Client, message_id: str, *sids: str, status: str) -> AsyncIterator[None]:
    """Another message of ours, which knows of these SIDs."""
    async with Worker(
        client,
        task_queue=f"rivals-{message_id}",
        workflows=[Rival],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await client.execute_workflow(
            "SendMessage",
            Progress(
                message_id=message_id,
                status=status,
                since=datetime.now(UTC),
                waiting_for="nothing",
                message_sids=sids,
            ),
            id=message_workflow_id(message_id),
            task_queue=f"rivals-{message_id}",
        )
        yield


def _message(to: str, **fields: Any) -> MessageRequest:
    return MessageRequest(**{"to": to, "body": TEXT, **fields})


async def _failed(twilio: TwilioClient, sandbox_url: str, to: str) -> str:
    """Create a message that fails soon after Twilio has accepted it; return its SID."""
    with SandboxControl(sandbox_url) as control:
        control.script(to, [{"final": "failed", "error_code": 30008}])
        usual = control.settings()["sent_after"]
        control.settings(sent_after=0)
        sid = str(twilio.messages.create(to=to, from_=SENDER, body=TEXT).sid)
        await until_true(
            lambda: str(twilio.messages(sid).fetch().status) == "failed",
            "the message to fail",
        )
        control.settings(sent_after=usual)
    return sid


async def _search(
    searching: TwilioSearch, message: MessageRequest, *, sender: str = SENDER, **fields: Any
) -> SearchResult:
    request = SearchRequest(
        **{
            "message_id": "mine",
            "message": message,
            "sender": sender,
            "since": datetime.now(UTC),
            "own_sids": (),
            **fields,
        }
    )
    return await ActivityEnvironment().run(searching.search, request)


async def test_a_listed_message_is_found(searching: TwilioSearch, twilio: TwilioClient) -> None:
    """Same recipient, sender and text, created since: that is ours."""
    created = twilio.messages.create(to="+15550200001", from_=SENDER, body=TEXT)

    result = await _search(searching, _message("+15550200001"))

    assert (Finding.FOUND, created.sid, "queued") == (
        result.finding,
        result.message_sid,
        result.status,
    )


@pytest.mark.parametrize(
    ("created", "sender"),
    [
        ({"from_": SENDER, "body": "Another text."}, SENDER),
        ({"from_": "+15005550009", "body": TEXT}, SENDER),
        ({"from_": SENDER, "body": TEXT, "media_url": ["https://example.com/a.png"]}, SENDER),
        ({"from_": SENDER, "body": TEXT}, SERVICE),
    ],
)
async def test_what_differs_is_not_ours(
    searching: TwilioSearch, twilio: TwilioClient, created: dict[str, Any], sender: str
) -> None:
    """Another text, sender, service or number of media is another message."""
    to = "+15550200002"
    twilio.messages.create(to=to, **created)

    assert Finding.ABSENT is (await _search(searching, _message(to), sender=sender)).finding


async def test_a_service_is_searched_by_recipient(
    searching: TwilioSearch, twilio: TwilioClient
) -> None:
    """A Messaging Service's row has its own sender, or none yet; the service is what counts."""
    to = "+15550200003"
    created = twilio.messages.create(to=to, messaging_service_sid=SERVICE, body=TEXT)

    result = await _search(searching, _message(to), sender=SERVICE)

    assert created.sid == result.message_sid


async def test_refused_creates_are_passed_over(
    searching: TwilioSearch, twilio: TwilioClient, sandbox_url: str
) -> None:
    """Twilio lists a create that it refused as `failed`: that is no acceptance."""
    to = "+15550200004"
    with SandboxControl(sandbox_url) as control:
        control.script(to, [{"respond": "error", "code": 21612, "http_status": 400}])
    with pytest.raises(TwilioRestException, match="HTTP 400"):
        twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    assert Finding.ABSENT is (await _search(searching, _message(to))).finding


async def test_what_failed_after_it_was_taken_is_found(
    searching: TwilioSearch, twilio: TwilioClient, sandbox_url: str
) -> None:
    """Twilio had it: it is not sent again as if it had not, but goes the way of its code."""
    to = "+15550200014"
    sid = await _failed(twilio, sandbox_url, to)

    result = await _search(searching, _message(to))

    assert (Finding.FOUND, sid, "failed", 30008) == (
        result.finding,
        result.message_sid,
        result.status,
        result.error_code,
    )


async def test_what_failed_is_not_taken_where_something_else_could_be_it(
    searching: TwilioSearch, twilio: TwilioClient, sandbox_url: str
) -> None:
    """Beside a message that goes on, one that failed is another program's."""
    to = "+15550200015"
    await _failed(twilio, sandbox_url, to)
    created = twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    assert created.sid == (await _search(searching, _message(to))).message_sid


async def test_older_and_own_messages_are_passed_over(
    searching: TwilioSearch, twilio: TwilioClient
) -> None:
    """What was created before the POST, or is an earlier submission of ours, is not the new one."""
    to = "+15550200005"
    created = twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    later = datetime.now(UTC) + timedelta(minutes=5)

    assert Finding.ABSENT is (await _search(searching, _message(to), since=later)).finding
    assert (
        Finding.ABSENT is (await _search(searching, _message(to), own_sids=(created.sid,))).finding
    )


async def test_a_sid_of_another_message_is_never_taken(
    searching: TwilioSearch, twilio: TwilioClient, sqlite_engine: Engine, temporal: Client
) -> None:
    """Two messages with the same text at the same time: the other's SID is the other's."""
    message = _message("+15550200006")
    theirs = twilio.messages.create(to=message.to, from_=SENDER, body=TEXT)
    Posts(sqlite_engine, pacing(sqlite_engine)).begin("rival-6", message, sender=SENDER)
    async with rival(temporal, "rival-6", str(theirs.sid), status="awaiting_receipt"):
        assert Finding.ABSENT is (await _search(searching, message)).finding

        ours = twilio.messages.create(to=message.to, from_=SENDER, body=TEXT)
        result = await _search(searching, message)

    assert (Finding.FOUND, ours.sid) == (result.finding, result.message_sid)


@pytest.mark.parametrize("status", ["sending", "retrying", "resolving"])
async def test_nothing_is_guessed_while_a_rival_is_open(
    searching: TwilioSearch,
    twilio: TwilioClient,
    sqlite_engine: Engine,
    temporal: Client,
    status: str,
) -> None:
    """While the other's fate is open too, the row could be either's."""
    message, other = _message("+15550200007", body=f"open {status}"), f"rival-7-{status}"
    twilio.messages.create(to=message.to, from_=SENDER, body=message.body)
    Posts(sqlite_engine, pacing(sqlite_engine)).begin(other, message, sender=SENDER)
    async with rival(temporal, other, status=status):
        assert Finding.UNDECIDED is (await _search(searching, message)).finding


async def test_a_rival_without_workflow_is_no_rival(
    searching: TwilioSearch, twilio: TwilioClient, sqlite_engine: Engine
) -> None:
    """A note whose message is gone cannot own anything."""
    message = _message("+15550200008")
    created = twilio.messages.create(to=message.to, from_=SENDER, body=TEXT)
    Posts(sqlite_engine, pacing(sqlite_engine)).begin("gone", message, sender=SENDER)

    assert created.sid == (await _search(searching, message)).message_sid


async def test_a_search_that_fails_says_nothing_personal(
    sqlite_engine: Engine, temporal: Client, twilio: TwilioClient
) -> None:
    """Twilio's own texts repeat numbers; ours do not."""
    twilio.api.base_url = "http://127.0.0.1:9"
    searching = TwilioSearch(twilio, Posts(sqlite_engine, pacing(sqlite_engine)), temporal)
    with pytest.raises(ApplicationError) as failed:
        await _search(searching, _message("+15550200009"))

    assert "SearchFailed" == failed.value.type
    assert "5550200009" not in str(failed.value)
