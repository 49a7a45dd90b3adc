"""Limits, destinations and the duplicate guard on the whole system."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError

from devtools.stack.local import LocalStack
from signedfor.contract import Outcome, Stage, message_workflow_id
from signedfor.contract.failures import FailureClass
from tests.fixtures.stack import TEXT, NewNumber, silent_stack
from tests.integration.support import Caller, Sent, new_id, signedfor, until

pytestmark = pytest.mark.integration

ABROAD = "+18765550123"
"""In Jamaica, which shares its country code with the sender."""


@pytest.fixture(scope="module")
def limited_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack with both guards; its countries are those of its senders."""
    with silent_stack(
        tmp_path_factory.mktemp("limited-stack"),
        MESSAGE_LIMITS="person:code=1/1m,person:news=1/24h",
        DUPLICATE_WINDOW_SECONDS="600",
    ) as running:
        yield running


@pytest.fixture
async def limited_caller(limited_stack: LocalStack) -> Caller:
    """A service that sends through it."""
    return Caller(stack=limited_stack, client=await limited_stack.client())


async def _send(caller: Caller, to: str, text: str = "", *, category: str = "news") -> Sent:
    return await caller.send(to, body=f"{TEXT} {text}", category=category)


@pytest.mark.timeout(240)
async def test_what_is_over_the_limit_waits_and_is_never_lost(
    limited_caller: Caller, new_number: NewNumber
) -> None:
    """Of three, one is sent at once and one when there is a place; the third is a dead letter."""
    to = new_number()
    sent = [await _send(limited_caller, to, str(n), category="code") for n in range(3)]
    await until(lambda: _one_ended(sent), "the first message to be delivered")
    waiting = [each for each in sent if (await each.progress()).status == Stage.WAITING]
    shown = await waiting[0].progress()
    command = await signedfor(limited_caller.stack, "show", waiting[0].message_id)

    async with asyncio.timeout(180):
        reports = [await each.message.report() for each in sent]

    assert 2 == len(waiting)
    assert "a place within a limit: person:code=1/1m" == shown.waiting_for
    assert "person:code=1/1m" in command.stdout
    outcomes = sorted((each.outcome, each.failure_class) for each in reports if each.failure_class)
    assert [(Outcome.FAILED, FailureClass.LIMIT_REACHED)] == outcomes
    delivered = [each for each in reports if each.outcome is Outcome.DELIVERED]
    first, second = sorted(each.submitted_at for each in delivered if each.submitted_at)
    assert second - first >= timedelta(minutes=1)
    assert 2 == len(sent[0].accepted())
    (dead,) = [each for each in sent if not any(r.message_id == each.message_id for r in delivered)]
    assert "open" == (await dead.dead_letter()).status


async def _one_ended(sent: list[Sent]) -> bool:
    return any([(await each.progress()).status == Outcome.DELIVERED for each in sent])


async def test_it_expires_or_is_canceled_while_it_waits(
    limited_caller: Caller, new_number: NewNumber
) -> None:
    """Neither reaches Twilio."""
    to = new_number()
    await (await _send(limited_caller, to)).report()
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    late = await limited_caller.send(
        to, body=f"{TEXT} late", category="news", expires_at=expires_at.isoformat()
    )
    waiting = await _send(limited_caller, to, "waiting")
    await waiting.reaches(Stage.WAITING)

    canceled = await waiting.cancel()

    assert canceled.canceled
    assert Outcome.EXPIRED is (await late.report()).outcome
    assert Outcome.CANCELED is (await waiting.report()).outcome
    assert 1 == len(waiting.accepted())


async def test_a_country_without_a_sender_is_bad_input(
    limited_caller: Caller, tmp_path: Path
) -> None:
    """Of a single message and of a campaign, by the same rule; the number is not repeated."""
    message_id = new_id()
    sent = await limited_caller.send(ABROAD, message_id=message_id)
    with pytest.raises(WorkflowFailureError) as caught:
        await limited_caller.client.get_workflow_handle(message_workflow_id(message_id)).result()
    file = tmp_path / "recipients.csv"
    file.write_text(f"to\n{ABROAD}\n")

    campaign = await signedfor(
        limited_caller.stack,
        *("campaign", "start", str(file), "--from", "+15005550006", "--body", TEXT, "--yes"),
    )

    texts = [str(caught.value.cause), campaign.stderr + campaign.stdout]
    for text in texts:
        assert "to: is in JM" in text
        assert "ALLOWED_COUNTRIES" in text
        assert ABROAD[1:] not in text
    assert campaign.exit_code != 0
    assert [] == sent.accepted()


async def test_a_duplicate_is_a_dead_letter_and_a_retry_is_none(
    limited_caller: Caller, new_number: NewNumber
) -> None:
    """The first was not delivered; its dead letter can be retried at once."""
    to = new_number()
    first = await limited_caller.send(to, {"final": "undelivered", "error_code": 30007})
    await first.report()
    second = await limited_caller.send(to)
    report = await second.report()

    retried = await signedfor(limited_caller.stack, "dead-letters", "retry", first.message_id)
    retry = Sent(
        message_id=f"{first.message_id}.retry-1",
        to=to,
        stack=limited_caller.stack,
        client=limited_caller.client,
    )

    assert 0 == retried.exit_code, retried.stderr
    assert FailureClass.DUPLICATE is report.failure_class
    assert f"message {first.message_id}" in report.reason
    assert Outcome.DELIVERED is (await retry.report()).outcome
    assert 2 == len(first.accepted())
