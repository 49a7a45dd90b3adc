import asyncio

import pytest

from devtools.sandbox.client import Step
from devtools.stack.local import LocalStack
from signedfor.contract import Outcome, Stage
from signedfor.store.database import open_engine
from signedfor.store.rate_limiter import RateLimiter
from tests.devtools.sandbox.support import twilio_client
from tests.fixtures.stack import NewNumber
from tests.integration.support import SERVICE, Caller, until_true

pytestmark = pytest.mark.integration

_REFUSED: Step = {"respond": "error", "code": 20503, "http_status": 503}
_ACCEPTED: Step = {"respond": "error_after_accept", "code": 20503, "http_status": 503}
_LOST = {"callbacks": {"lost": True}}


async def test_many_503_of_which_a_tenth_were_accepted(
    caller: Caller, new_number: NewNumber
) -> None:
    """Those that Twilio accepted are found, the others are resent: each is accepted once."""
    first = [{**_ACCEPTED, **_LOST} if number % 10 == 0 else _REFUSED for number in range(40)]
    sent = await asyncio.gather(*(caller.send(new_number(), step) for step in first))

    reports = await asyncio.gather(*(each.report() for each in sent))

    assert {Outcome.DELIVERED} == {each.outcome for each in reports}
    assert [1] * 40 == [len(each.accepted()) for each in sent]
    assert [1 if step["respond"] == "error_after_accept" else 2 for step in first] == [
        each.attempts for each in reports
    ]


async def test_an_answer_that_never_comes(caller: Caller, new_number: NewNumber) -> None:
    """Twilio accepts the message and hangs: a callback or a search finds it."""
    hangs: Step = {"respond": "hang_after_accept"}
    sent = [await caller.send(new_number(), {**hangs, **more}) for more in ({}, _LOST)]

    reports = await asyncio.gather(*(each.report() for each in sent))

    assert [(Outcome.DELIVERED, 1)] * 2 == [(each.outcome, each.attempts) for each in reports]
    assert [1, 1] == [len(each.accepted()) for each in sent]


async def test_a_connection_closed_by_the_peer(
    breakable_stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """A pooled connection from before Twilio's restart is not used: no outcome is unknown."""
    assert breakable_stack.twilio is not None
    before = [await caller.send(new_number()) for _ in range(5)]
    await asyncio.gather(*(each.report() for each in before))

    await asyncio.to_thread(breakable_stack.twilio.kill)
    await asyncio.to_thread(breakable_stack.twilio.start)
    after = [await caller.send(new_number()) for _ in range(5)]
    reports = await asyncio.gather(*(each.report() for each in after))

    assert [(Outcome.DELIVERED, 1)] * 5 == [(each.outcome, each.attempts) for each in reports]
    assert [1] * 10 == [len(each.accepted()) for each in (*before, *after)]


async def test_connections_are_refused(
    breakable_stack: LocalStack, caller: Caller, new_number: NewNumber
) -> None:
    """Without a connection nothing is sent and no outcome is unknown; then each is sent once."""
    assert breakable_stack.twilio is not None
    await asyncio.to_thread(breakable_stack.twilio.kill)
    sent = [await caller.send(new_number()) for _ in range(5)]
    await asyncio.gather(*(each.reaches("retrying") for each in sent))

    await asyncio.to_thread(breakable_stack.twilio.start)
    reports = await asyncio.gather(*(each.report() for each in sent))

    assert {Outcome.DELIVERED} == {each.outcome for each in reports}
    assert [(1, 0)] * 5 == [(len(each.accepted()), len(each.refused())) for each in sent]
    await until_true(lambda: not breakable_stack.sandbox.summary()["pending"], "callbacks")


async def test_a_resend_that_waits_does_not_repeat_what_twilio_lists_meanwhile(
    caller: Caller, new_number: NewNumber
) -> None:
    """Two searches find nothing, the sender is paused, Twilio lists the first POST, it resumes."""
    listed_late: Step = {"respond": "drop_after_accept", "listed_after": 9, **_LOST}
    rate_limiter = RateLimiter(open_engine(caller.stack.settings["DATABASE_URL"]))
    sent = await caller.send(new_number(), listed_late, sender=SERVICE)
    await sent.reaches(Stage.RESOLVING)
    try:
        rate_limiter.pause(SERVICE)
        await sent.reaches(Stage.WAITING)
        twilio = twilio_client(caller.stack.sandbox_url or "")
        await until_true(lambda: bool(twilio.messages.list(to=sent.to)), "Twilio to list it")
    finally:
        rate_limiter.resume(SERVICE)

    report = await sent.report()

    assert (Outcome.DELIVERED, 1) == (report.outcome, report.attempts)
    assert 1 == len(sent.accepted())
