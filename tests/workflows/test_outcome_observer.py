"""The interceptor that tells what became of each message and its sender."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from temporalio.client import Client, WorkflowFailureError

from signedfor.contract import PROGRESS_QUERY, MessageReport, Outcome, Progress
from signedfor.contract.failures import FailureClass
from tests.workflows.fakes import REQUEST, SENDER, Environment, FakeActivities, failure, serving
from workflows.outcome_observer import OutcomeObserver

pytestmark = pytest.mark.integration


@dataclass
class Observed:
    """The environment, and what the observer was told."""

    env: Environment
    told: list[tuple[str | None, MessageReport]] = field(default_factory=list)

    def observe(self, sender: str | None, report: MessageReport) -> None:
        """Take it in."""
        self.told.append((sender, report))


@pytest.fixture
async def observed(temporal: Client) -> AsyncIterator[Observed]:
    """Our workflows on the real server, with an observer."""
    fakes = FakeActivities()
    found = Observed(Environment(temporal, fakes))
    async with serving(temporal, fakes, OutcomeObserver(found.observe)):
        yield found


async def test_each_message_is_told_once(observed: Observed) -> None:
    """With the sender that its attempt reported and its report; its dead letter is no message."""
    observed.env.fakes.sends = [failure(FailureClass.CARRIER_FILTERED, code=30007)]

    handle = await observed.env.start()
    report = await handle.result()

    assert Outcome.FAILED is report.outcome
    assert [(SENDER, report)] == observed.told


async def test_a_replay_tells_nothing(observed: Observed) -> None:
    """A query of a message that has ended replays all of it."""
    observed.env.fakes.sends = [failure(FailureClass.CARRIER_FILTERED, code=30007)]
    handle = await observed.env.start()
    await handle.result()

    for _ in range(3):
        progress = await handle.query(PROGRESS_QUERY, result_type=Progress)
        assert Outcome.FAILED == progress.status

    assert 1 == len(observed.told)


async def test_bad_input_is_not_told(observed: Observed) -> None:
    """It has no report."""
    handle = await observed.env.start({**REQUEST, "to": "nobody"})
    with pytest.raises(WorkflowFailureError):
        await handle.result()

    assert [] == observed.told
