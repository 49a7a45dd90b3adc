"""`signedfor opt-outs catch-up`: what a worker finds in Twilio's list."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from signedfor.contract import MESSAGES_QUEUE
from signedfor.inbound import CATCH_UP_ID, CatchUp, CatchUpResult
from tests.signedfor.cli.support import CommandLine
from workflows.inbound import CatchUpInbound

pytestmark = pytest.mark.integration


@dataclass
class _List:
    """A scripted list of Twilio's."""

    asked: list[CatchUp] = field(default_factory=list)
    is_available: bool = True

    @activity.defn
    async def catch_up_inbound(self, request: CatchUp) -> CatchUpResult:
        self.asked.append(request)
        if not self.is_available:
            raise ApplicationError("scripted", non_retryable=True)
        now = datetime.now(UTC)
        since = request.since or now - timedelta(hours=1)
        return CatchUpResult(since=since, until=now, listed=12, inbound=3, new=2)


@pytest.fixture
async def twilio_list(temporal: Client) -> AsyncIterator[_List]:
    """A worker that reads it."""
    scripted = _List()
    async with Worker(
        temporal,
        task_queue=MESSAGES_QUEUE,
        workflows=[CatchUpInbound],
        activities=[scripted.catch_up_inbound],
    ):
        yield scripted


async def test_the_result_is_shown(cli_without_worker: CommandLine, twilio_list: _List) -> None:
    """For people and for programs; the default is everything since the last catch-up."""
    result = await cli_without_worker.later("opt-outs", "catch-up")
    document = await cli_without_worker.document("opt-outs", "catch-up")

    assert 0 == result.exit_code, result.output
    assert (12, 3, 2, 0) == tuple(
        document[name] for name in ("listed", "inbound", "new", "unusable")
    )
    assert [None, None] == [each.since for each in twilio_list.asked]


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90m", timedelta(minutes=90)),
        ("24h", timedelta(hours=24)),
        ("30d", timedelta(days=30)),
    ],
)
async def test_since_sets_how_far_back_it_looks(
    cli_without_worker: CommandLine, twilio_list: _List, text: str, length: timedelta
) -> None:
    """A length of minutes, hours or days, up to thirty days."""
    await cli_without_worker.document("opt-outs", "catch-up", "--since", text)

    (asked,) = twilio_list.asked
    assert asked.since is not None
    assert timedelta(0) <= datetime.now(UTC) - asked.since - length < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["31d", "0h", "77", "7 h", "1w", "-1h", "99999999h", "soon"])
def test_bad_lengths(cli: CommandLine, text: str) -> None:
    """The error for anything else names the option, before Temporal is called."""
    result = cli("opt-outs", "catch-up", "--since", text)

    assert 2 == result.exit_code
    assert "--since: must be a length" in result.stderr
    assert text not in result.stderr


async def test_a_catch_up_that_fails(cli_without_worker: CommandLine, twilio_list: _List) -> None:
    """If Twilio does not answer, the command says where to look."""
    twilio_list.is_available = False

    result = await cli_without_worker.later("opt-outs", "catch-up")

    assert 3 == result.exit_code
    assert "signedfor doctor" in result.stderr


async def test_without_a_worker(cli_without_worker: CommandLine, temporal: Client) -> None:
    """Without a worker the command does not wait forever."""
    result = await cli_without_worker.later("opt-outs", "catch-up", "--timeout", "1")
    await temporal.get_workflow_handle(CATCH_UP_ID).terminate()

    assert 4 == result.exit_code
    assert "No result yet" in result.stderr


def test_without_temporal(cli: CommandLine) -> None:
    """Without Temporal the command says so."""
    result = cli("opt-outs", "catch-up")

    assert 1 == result.exit_code
    assert "Temporal" in result.stderr
