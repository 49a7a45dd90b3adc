"""A message that waits: for its time, its window, a paused sender, the account or the database."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from signedfor.contract import PROGRESS_QUERY, Outcome, Progress, Stage
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    AccountHeld,
    CampaignCanceled,
    DatabaseAway,
    NotSent,
    Paused,
    Resumed,
    SendRequest,
    StatusResult,
    WrongClock,
)
from tests.histories.recording import reaches
from tests.workflows.fakes import (
    POLICY,
    REQUEST,
    TimeSkippingEnvironment,
    accept,
    callback,
    deferred,
    failure,
    refuse,
    window_closed,
)

HOUR = timedelta(hours=1)


async def _delivered(env: TimeSkippingEnvironment, request: dict[str, Any], *, posts: int) -> None:
    # A status check instead of a callback, so that only the message's own waits let time pass.
    env.fakes.statuses = [StatusResult(status="delivered")]
    assert Outcome.DELIVERED is (await env.report(request)).outcome
    assert posts == len(env.fakes.posts)


async def test_a_deferred_message_waits_for_its_new_reservation(
    env: TimeSkippingEnvironment,
) -> None:
    """The wait is no attempt and does not use up the retry budget."""
    env.fakes.sends = [refuse(deferred(2 * HOUR)), accept()]

    await _delivered(env, REQUEST, posts=2)

    first, second = env.fakes.posts
    assert (0, None) == (second.earlier_attempts, first.deadline)
    assert second.requested_at - first.requested_at >= timedelta(hours=1.9)
    assert second.requested_at + POLICY.retry_budget == second.deadline
    assert (False, True) == (first.is_reserved, second.is_reserved)
    assert not second.is_retry


async def test_a_failed_attempt_keeps_its_place_and_its_budget(
    env: TimeSkippingEnvironment,
) -> None:
    """A retry does not queue again, and its deadline only moves by the wait to be sent."""
    env.fakes.sends = [
        failure(FailureClass.TEMPORARILY_UNAVAILABLE),
        refuse(deferred(timedelta(seconds=1)), after_attempts=1),
        accept(),
    ]

    await _delivered(env, REQUEST, posts=3)

    first, last = env.fakes.posts[0], env.fakes.posts[-1]
    assert (True, 1) == (last.is_retry, last.earlier_attempts)
    assert last.deadline is not None
    waited = last.deadline - (first.requested_at + POLICY.retry_budget)
    assert timedelta(0) <= waited < timedelta(minutes=1)


async def test_a_canceled_message_releases_its_reservation(env: TimeSkippingEnvironment) -> None:
    """Canceled before its reserved time, it leaves that time to other messages."""
    reserved_at = await env.now() + HOUR
    env.fakes.reserved_at = reserved_at
    handle = await env.start()
    await reaches(handle, Stage.WAITING)

    await handle.execute_update("cancel")
    await handle.result()

    assert [(reserved_at, 1, False)] == [
        (each.reserved_at, each.segments, each.is_urgent)
        for each in env.fakes.released_reservations
    ]


async def test_a_send_request_has_the_number_of_segments(env: TimeSkippingEnvironment) -> None:
    """A long text counts by its segments, media without text as one."""
    await _delivered(env, {**REQUEST, "body": "x" * 161}, posts=1)
    media = {"to": REQUEST["to"], "from": REQUEST["from"], "media_urls": ["https://e.com/a"]}
    await _delivered(env, media, posts=2)

    assert [2, 1] == [request.segments for request in env.fakes.posts]


async def test_a_message_waits_until_its_window_opens(env: TimeSkippingEnvironment) -> None:
    """It waits without a reservation, and is then checked again."""
    opens = await env.now() + 10 * HOUR
    env.fakes.closed_until = [opens]
    window = {"from": "09:00", "until": "20:00", "time_zone": "Europe/Berlin"}

    await _delivered(env, {**REQUEST, "send_window": window}, posts=1)

    assert [False, False] == [each.is_reserved for each in env.fakes.requests]
    assert await env.now() >= opens


async def test_a_window_that_closed_while_it_waited(env: TimeSkippingEnvironment) -> None:
    """At its reserved time the window is closed: it waits, and queues again when it opens."""
    env.fakes.sends = [refuse(deferred(HOUR)), refuse(window_closed(10 * HOUR)), accept()]

    await _delivered(env, REQUEST, posts=3)

    assert [False, True, False] == [each.is_reserved for each in env.fakes.posts]


@pytest.mark.parametrize("not_yet", [deferred, window_closed])
async def test_a_message_that_would_expire_while_it_waits_expires_at_once(
    env: TimeSkippingEnvironment, not_yet: Callable[[timedelta], Callable[[SendRequest], NotSent]]
) -> None:
    """It does not wait for a time at which it cannot be sent any more."""
    env.fakes.sends = [refuse(not_yet(2 * POLICY.retry_budget))]
    started = await env.now()
    expires_at = (started + POLICY.retry_budget).isoformat()

    report = await env.report({**REQUEST, "expires_at": expires_at})

    assert (Outcome.EXPIRED, 0, None) == (report.outcome, report.attempts, report.dead_letter_id)
    assert report.finished_at < started + HOUR


async def test_a_message_waits_while_its_sender_is_paused(env: TimeSkippingEnvironment) -> None:
    """It checks until the sender is resumed, and is then sent without queueing again."""
    env.fakes.sends = [refuse(Paused()), accept()]
    env.fakes.resumes = [None, None, Resumed()]

    await _delivered(env, REQUEST, posts=2)

    assert 3 == len(env.fakes.resume_checks)
    assert [False, True] == [each.is_reserved for each in env.fakes.posts]


async def test_messages_of_a_canceled_campaign_are_canceled(env: TimeSkippingEnvironment) -> None:
    """A paused message finds out while it waits, another one at its last check."""
    env.fakes.sends = [refuse(Paused()), refuse(CampaignCanceled())]
    env.fakes.resumes = [CampaignCanceled()]
    request = {**REQUEST, "campaign_id": "spring"}

    for _ in range(2):
        assert Outcome.CANCELED is (await env.report(request)).outcome
    assert ["spring"] == [request.campaign_id for request in env.fakes.resume_checks]


async def test_a_paused_message_expires(env: TimeSkippingEnvironment) -> None:
    """It ends at its `expires_at` although the sender is still paused."""
    env.fakes.sends = [refuse(Paused())]
    env.fakes.resumes = [None] * 1000
    expires_at = await env.now() + HOUR

    report = await env.report({**REQUEST, "expires_at": expires_at.isoformat()})

    assert Outcome.EXPIRED is report.outcome
    assert await env.now() >= expires_at


async def test_a_paused_message_can_be_canceled(env: TimeSkippingEnvironment) -> None:
    """The update returns although the sender is still paused."""
    env.fakes.sends = [refuse(Paused())]
    env.fakes.resumes = [None] * 1000
    handle = await env.start(REQUEST)
    await env.until(lambda: bool(env.fakes.resume_checks))

    canceled = await handle.execute_update("cancel")

    assert canceled["canceled"]
    assert Outcome.CANCELED is (await handle.result()).outcome


async def test_a_message_waits_for_an_unavailable_database(env: TimeSkippingEnvironment) -> None:
    """While opt-outs cannot be read, it waits, says so, and is sent afterwards."""
    env.fakes.database_away = 40
    handle = await env.start()
    await env.until(lambda: len(env.fakes.resume_checks) > 1)
    progress = await handle.query(PROGRESS_QUERY, result_type=Progress)
    assert (Stage.WAITING, "the database") == (progress.status, progress.waiting_for)
    assert [] == env.fakes.posts
    await env.sleep(HOUR)
    await callback(handle, "delivered")

    report = await handle.result()

    assert (Outcome.DELIVERED, 1) == (report.outcome, report.attempts)
    assert 1 == len(env.fakes.posts)


@pytest.mark.parametrize(
    "not_yet",
    [Paused(), AccountHeld(error_code=20003), DatabaseAway(), WrongClock()],
    ids=lambda each: each.kind,
)
async def test_such_a_wait_may_be_longer_than_the_retry_budget(
    env: TimeSkippingEnvironment, not_yet: NotSent
) -> None:
    """A failed attempt and the waits around it: the budget is the same, and it is sent."""
    env.fakes.sends = [
        refuse(not_yet),
        failure(FailureClass.TEMPORARILY_UNAVAILABLE, final=True),
        refuse(not_yet),
        accept(),
    ]
    minutes = 1 + POLICY.retry_budget // timedelta(minutes=1)
    env.fakes.resumes = [*[None] * minutes, Resumed()] * 2

    await _delivered(env, REQUEST, posts=4)

    last = env.fakes.posts[-1]
    assert last.deadline is not None
    # A pause begins a new budget; the other waits move its end.
    left = last.deadline - last.requested_at
    assert POLICY.retry_budget - timedelta(minutes=1) <= left <= POLICY.retry_budget
    assert last.is_retry


async def test_a_message_that_waits_for_the_account_says_so(env: TimeSkippingEnvironment) -> None:
    """Its progress has Twilio's code."""
    env.fakes.sends = [refuse(AccountHeld(error_code=20003)), accept()]
    env.fakes.resumes = [None] * 1000
    handle = await env.start()
    await env.until(lambda: bool(env.fakes.resume_checks))

    progress = await handle.query(PROGRESS_QUERY, result_type=Progress)

    assert (Stage.WAITING, 20003) == (progress.status, progress.error_code)
    assert "Twilio to take the account's requests again" == progress.waiting_for
    await handle.execute_update("cancel")
