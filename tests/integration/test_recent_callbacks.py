"""A message of unknown outcome that only an early callback can identify."""

from collections.abc import Iterator

import pytest

from devtools.stack.local import LocalStack
from signedfor.contract import Outcome, Stage
from tests.fixtures.stack import NewNumber, silent_stack
from tests.integration.support import Caller, until_true

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def patient_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack whose searches are so far apart that the webhook replays callbacks between them."""
    folder = tmp_path_factory.mktemp("patient-stack")
    with silent_stack(folder, UNKNOWN_OUTCOME_WAIT_SECONDS="15") as running:
        yield running


@pytest.mark.timeout(180)
async def test_an_early_callback_replaces_twilios_response(
    patient_stack: LocalStack, new_number: NewNumber
) -> None:
    """Twilio accepted it, the response was lost, its list is late: only `sent` names the SID.

    So it is not sent again, and it is delivered later.
    """
    caller = Caller(stack=patient_stack, client=await patient_stack.client())
    message = await caller.send(
        new_number(),
        {
            "respond": "drop_after_accept",
            "listed_after": 3600,
            "callbacks": {"lost": ["delivered"]},
        },
    )

    await until_true(lambda: bool(message.callbacks("sent")), "the callback")
    adopted = await message.reaches(Stage.AWAITING_RECEIPT)
    report = await message.report()

    [row] = message.accepted()
    assert row["sid"] == adopted.message_sid
    assert (Outcome.DELIVERED, row["sid"], 1) == (
        report.outcome,
        report.message_sid,
        report.attempts,
    )
    assert ["sent"] == [each["status"] for each in message.callbacks()]
