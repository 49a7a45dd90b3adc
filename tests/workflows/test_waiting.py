"""A message that must wait for its turn: its slot, its send window, a sender on hold."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    CampaignCanceled,
    Paused,
    Resumed,
    SendRequest,
    StatusResult,
)
from tests.workflows.fakes import (
    POLICY,
    REQUEST,
    NotSent,
    TimeSkippingEnvironment,
    accept,
    deferred,
    failure,
    refuse,
    window_closed,
)

HOUR = timedelta(hours=1)


async def _delivered(env: TimeSkippingEnvironment, request: dict[str, Any], *, posts: int) -> None:
    # No callback, so that nothing but the message's own waits lets time pass.
    env.fakes.statuses = [StatusResult(status="delivered")]
    assert Outcome.DELIVERED is (await env.report(request)).outcome
    assert posts == len(env.fakes.posts)


async def test_a_new_slot(env: TimeSkippingEnvironment) -> None:
    """A message whose slot is gone waits for the new one and is sent then."""
    env.fakes.sends = [refuse(deferred(2 * HOUR)), accept()]

    await _delivered(env, REQUEST, posts=2)

    first, second = env.fakes.posts
    assert 0 == second.earlier_attempts, "a turn that was not taken is no attempt"
    assert second.deadline - first.deadline >= timedelta(hours=1.9), "nor does it cost patience"
    assert not second.is_retry
    assert 1 == env.fakes.admitted


async def test_trouble_in_its_turn(env: TimeSkippingEnvironment) -> None:
    """Tried and failed in its turn, a message does not queue anew, and its budget goes on."""
    env.fakes.sends = [
        failure(FailureClass.TEMPORARILY_UNAVAILABLE),
        refuse(deferred(timedelta(seconds=1)), after_attempts=1),
        accept(),
    ]

    await _delivered(env, REQUEST, posts=3)

    last = env.fakes.posts[-1]
    assert last.is_retry
    waited = last.deadline - env.fakes.posts[0].deadline
    assert timedelta(0) <= waited < timedelta(minutes=1), "but for the wait for its turn"


async def test_a_canceled_message_gives_its_slot_back(env: TimeSkippingEnvironment) -> None:
    """Canceled while it waits for its slot, it leaves it to others; one in its turn has none."""
    slot = await env.now() + HOUR
    env.fakes.reserved_at = slot
    handle = await env.start()
    await env.until(lambda: env.fakes.admitted == 1)

    await handle.execute_update("cancel")
    await handle.result()

    assert [(slot, 1, False)] == [
        (each.reserved_at, each.segments, each.is_urgent) for each in env.fakes.released
    ]


async def test_segments(env: TimeSkippingEnvironment) -> None:
    """A long text counts by its segments; a picture without a text as one."""
    await _delivered(env, {**REQUEST, "body": "x" * 161}, posts=1)
    picture = {"to": REQUEST["to"], "from": REQUEST["from"], "media_urls": ["https://e.com/a"]}
    await _delivered(env, picture, posts=2)

    assert [2, 1] == [request.segments for request in env.fakes.posts]


async def test_a_closed_window(env: TimeSkippingEnvironment) -> None:
    """Until its window opens a message waits without a slot; then it is admitted anew."""
    opens = await env.now() + 10 * HOUR
    env.fakes.closed_until = [opens]
    window = {"from": "09:00", "until": "20:00", "time_zone": "Europe/Berlin"}

    await _delivered(env, {**REQUEST, "send_window": window}, posts=1)

    assert 2 == env.fakes.admitted
    assert await env.now() >= opens


async def test_a_window_that_closes_while_it_waits(env: TimeSkippingEnvironment) -> None:
    """The last check finds it closed: the message waits, and consent is asked for again."""
    env.fakes.sends = [refuse(window_closed(10 * HOUR)), accept()]

    await _delivered(env, REQUEST, posts=2)

    assert 2 == env.fakes.admitted


@pytest.mark.parametrize("not_yet", [deferred, window_closed])
async def test_expiry_before_its_turn(
    env: TimeSkippingEnvironment, not_yet: Callable[[timedelta], Callable[[SendRequest], NotSent]]
) -> None:
    """What would have expired by its turn has expired now."""
    env.fakes.sends = [refuse(not_yet(2 * POLICY.retry_budget))]
    begun = await env.now()
    expires_at = (begun + POLICY.retry_budget).isoformat()

    report = await env.report({**REQUEST, "expires_at": expires_at})

    assert (Outcome.EXPIRED, 0, None) == (report.outcome, report.attempts, report.dead_letter_id)
    assert report.finished_at < begun + HOUR


async def test_a_sender_on_hold(env: TimeSkippingEnvironment) -> None:
    """A paused sender's message looks again until it is resumed, and is sent then."""
    env.fakes.sends = [refuse(Paused()), accept()]
    env.fakes.resumes = [None, None, Resumed()]

    await _delivered(env, REQUEST, posts=2)

    assert 3 == len(env.fakes.checked)
    assert 1 == env.fakes.admitted


async def test_a_campaign_that_is_canceled(env: TimeSkippingEnvironment) -> None:
    """A held message of a canceled campaign ends as canceled, and so does one at its last check."""
    env.fakes.sends = [refuse(Paused()), refuse(CampaignCanceled())]
    env.fakes.resumes = [CampaignCanceled()]
    request = {**REQUEST, "campaign_id": "spring"}

    for _ in range(2):
        assert Outcome.CANCELED is (await env.report(request)).outcome
    assert ["spring"] == [request.campaign_id for request in env.fakes.checked]


async def test_expiry_on_hold(env: TimeSkippingEnvironment) -> None:
    """A held message expires in its time."""
    env.fakes.sends = [refuse(Paused())]
    env.fakes.resumes = [None] * 1000
    expires_at = await env.now() + HOUR

    report = await env.report({**REQUEST, "expires_at": expires_at.isoformat()})

    assert Outcome.EXPIRED is report.outcome
    assert await env.now() >= expires_at


async def test_cancel_on_hold(env: TimeSkippingEnvironment) -> None:
    """A held message can be canceled."""
    env.fakes.sends = [refuse(Paused())]
    env.fakes.resumes = [None] * 1000
    handle = await env.start(REQUEST)
    await env.until(lambda: bool(env.fakes.checked))

    canceled = await handle.execute_update("cancel")

    assert canceled["canceled"]
    assert Outcome.CANCELED is (await handle.result()).outcome
