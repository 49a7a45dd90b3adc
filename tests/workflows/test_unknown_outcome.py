"""Unknown outcomes: Twilio is searched for the message, and nothing is resent blindly."""

from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateStage

from signedfor.contract import Outcome, Stage
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Absent, Ambiguous, Found, NeverSubmitted, StatusResult
from signedfor.retry import MAX_RESENDS, MAX_SEARCHES
from tests.histories.recording import reaches
from tests.workflows.fakes import (
    REQUEST,
    TimeSkippingEnvironment,
    accept,
    callback,
    deferred,
    failure,
    refuse,
    sid,
)

UNKNOWN = failure(FailureClass.OUTCOME_UNKNOWN)
ABSENT = Absent()


def _found(number: int, status: str = "sent") -> Found:
    return Found(message_sid=sid(number), status=status, error_code=None, created_at=None)


async def test_a_callback_resolves_the_unknown_outcome(env: TimeSkippingEnvironment) -> None:
    """A callback has our message id and the SID: the message goes on without a search."""
    env.fakes.sends = [UNKNOWN]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await callback(handle, "delivered", number=7)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(7), 1) == (
        report.outcome,
        report.message_sid,
        len(env.fakes.posts),
    )
    assert [] == env.fakes.search_requests


async def test_a_message_found_in_twilios_list_goes_on(env: TimeSkippingEnvironment) -> None:
    """The message continues with the SID that was found and is not sent again."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [ABSENT, _found(9)]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await env.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=9)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(9), 1) == (
        report.outcome,
        report.message_sid,
        len(env.fakes.posts),
    )


async def test_a_message_found_delivered_is_delivered(env: TimeSkippingEnvironment) -> None:
    """The status in Twilio's list counts as a receipt."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [_found(9, "delivered")]

    assert Outcome.DELIVERED is (await env.report()).outcome


async def test_a_message_absent_twice_is_sent_again(env: TimeSkippingEnvironment) -> None:
    """After two searches at least 30 seconds apart found nothing, it is sent once more."""
    env.fakes.sends = [UNKNOWN, accept(2)]
    started = await env.now()
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await env.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=2)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(2), 2, 2) == (
        report.outcome,
        report.message_sid,
        len(env.fakes.posts),
        len(env.fakes.search_requests),
    )
    assert report.finished_at - started >= timedelta(seconds=60)


async def test_one_absence_is_not_enough(env: TimeSkippingEnvironment) -> None:
    """Twilio may list a message late: the second search can find what the first did not."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [ABSENT, _found(3, "delivered")]

    report = await env.report()

    assert (Outcome.DELIVERED, 1) == (report.outcome, len(env.fakes.posts))


@pytest.mark.parametrize("request_", [{"on_unknown_outcome": "dead_letter"}, {"priority": "bulk"}])
async def test_some_messages_are_dead_lettered_instead_of_resent(
    env: TimeSkippingEnvironment, request_: dict[str, str]
) -> None:
    """If the request says so, or its priority is bulk, the outcome is unconfirmed."""
    env.fakes.sends = [UNKNOWN]

    report = await env.report({**REQUEST, **request_})

    assert (Outcome.UNCONFIRMED, FailureClass.OUTCOME_UNKNOWN, 1) == (
        report.outcome,
        report.failure_class,
        len(env.fakes.posts),
    )
    assert report.dead_letter_id is not None


@pytest.mark.parametrize("policy", ["dead_letter", "resend"])
async def test_a_message_that_was_never_submitted_is_sent(
    env: TimeSkippingEnvironment, policy: str
) -> None:
    """If the worker certainly died before the POST, it is sent whatever the policy says."""
    env.fakes.sends = [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, accept(5)]
    env.fakes.searches = [NeverSubmitted()] * 4
    env.fakes.statuses = [StatusResult(status="delivered")]

    report = await env.report({**REQUEST, "on_unknown_outcome": policy})

    assert (Outcome.DELIVERED, sid(5)) == (report.outcome, report.message_sid)
    assert 4 == len(env.fakes.search_requests), "one search per attempt is enough"


async def test_a_message_that_was_never_submitted_just_expires(
    env: TimeSkippingEnvironment,
) -> None:
    """Its report does not say that the outcome is unknown."""
    env.fakes.sends = [UNKNOWN, refuse(deferred(timedelta(hours=4)))]
    env.fakes.searches = [NeverSubmitted()]
    expires_at = (await env.now() + timedelta(hours=2)).isoformat()

    report = await env.report({**REQUEST, "expires_at": expires_at})

    assert Outcome.EXPIRED is report.outcome
    assert FailureClass.OUTCOME_UNKNOWN is not report.failure_class


async def test_an_ambiguous_search_is_repeated_and_then_dead_lettered(
    env: TimeSkippingEnvironment,
) -> None:
    """While the listed message could be another of ours, nothing is guessed or sent."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [Ambiguous()] * MAX_SEARCHES

    report = await env.report()

    assert (FailureClass.OUTCOME_UNKNOWN, 1, MAX_SEARCHES) == (
        report.failure_class,
        len(env.fakes.posts),
        len(env.fakes.search_requests),
    )


async def test_resends_are_limited(env: TimeSkippingEnvironment) -> None:
    """A message whose outcome is unknown every time becomes a dead letter."""
    env.fakes.sends = [UNKNOWN]

    report = await env.report()

    assert (FailureClass.OUTCOME_UNKNOWN, 1 + MAX_RESENDS) == (
        report.failure_class,
        len(env.fakes.posts),
    )


async def test_an_expired_message_is_not_sent_again(env: TimeSkippingEnvironment) -> None:
    """It expired while Twilio was searched."""
    now = await env.now()
    env.fakes.sends = [UNKNOWN]

    report = await env.report({**REQUEST, "expires_at": (now + timedelta(seconds=45)).isoformat()})

    assert (Outcome.EXPIRED, FailureClass.OUTCOME_UNKNOWN, 1) == (
        report.outcome,
        report.failure_class,
        len(env.fakes.posts),
    )


@pytest.mark.parametrize(
    ("finding", "outcome", "opens_dead_letter"),
    [
        (NeverSubmitted(), Outcome.CANCELED, False),
        (Absent(), Outcome.UNCONFIRMED, True),
        (Ambiguous(), Outcome.UNCONFIRMED, True),
    ],
)
async def test_canceling_during_an_unknown_outcome(
    env: TimeSkippingEnvironment,
    finding: NeverSubmitted | Absent | Ambiguous,
    outcome: Outcome,
    *,
    opens_dead_letter: bool,
) -> None:
    """Nothing is sent again; the outcome is canceled only if certainly no POST was made."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [finding] * MAX_SEARCHES
    handle = await env.start()
    await reaches(handle, Stage.RESOLVING)
    update = await handle.start_update("cancel", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    report = await handle.result()

    answer = await update.result()
    assert (outcome is Outcome.CANCELED, outcome) == (answer["canceled"], answer["status"])
    assert (outcome, 1) == (report.outcome, len(env.fakes.posts))
    assert opens_dead_letter == (report.dead_letter_id is not None)


async def test_a_search_excludes_the_messages_own_earlier_sids(
    env: TimeSkippingEnvironment,
) -> None:
    """A lost second submission is not mistaken for the first, which has the same text."""
    env.fakes.sends = [accept(1), UNKNOWN]
    env.fakes.searches = [_found(2, "delivered")]
    handle = await env.submitted()
    await callback(handle, "undelivered", code=30003)

    report = await handle.result()

    assert (sid(2), (sid(1),)) == (report.message_sid, env.fakes.search_requests[0].own_sids)
