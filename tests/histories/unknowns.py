"""Unknown outcomes: resolved by a callback or a search, sent again, or dead-lettered."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias

from temporalio.exceptions import ApplicationError

from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    Absent,
    Ambiguous,
    Found,
    Listed,
    NeverSubmitted,
    Paused,
    SendRequest,
    SendResult,
    StatusResult,
)
from signedfor.retry import MAX_SEARCHES, SEND_TIMEOUT
from tests.histories.recording import Handle
from tests.workflows.fakes import (
    REQUEST,
    SENDER,
    Environment,
    TimeSkippingEnvironment,
    accept,
    callback,
    deferred,
    failure,
    refuse,
    sid,
    window_closed,
)

Send: TypeAlias = Callable[[SendRequest], SendResult]

UNKNOWN = failure(FailureClass.OUTCOME_UNKNOWN)
ABSENT = Absent()


def _found(number: int, status: str) -> Found:
    return Found(message_sid=sid(number), status=status, error_code=None, created_at=None)


async def unknown_then_called_back(env: TimeSkippingEnvironment) -> Handle:
    """A callback with the SID arrives before the first search."""
    env.fakes.sends = [UNKNOWN]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_then_called_back_during_the_search(env: Environment) -> Handle:
    """A callback with the SID arrives while Twilio's list is read."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.policy = env.fakes.policy.model_copy(update={"unknown_wait": timedelta(seconds=1)})
    env.fakes.hold_searches = threading.Event()
    handle = await env.start()
    await env.until(lambda: len(env.fakes.search_requests) == 1)
    await callback(handle, "delivered", number=7)
    env.fakes.hold_searches.set()
    return handle


async def unknown_then_found(env: TimeSkippingEnvironment) -> Handle:
    """The second search finds the message; the receipt comes later."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [ABSENT, _found(9, "sent")]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await env.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=9)
    return handle


async def unknown_then_found_delivered(env: TimeSkippingEnvironment) -> Handle:
    """Twilio's list says that it was delivered."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [_found(9, "delivered")]
    return await env.start()


async def unknown_then_sent_again(env: TimeSkippingEnvironment) -> Handle:
    """Two searches did not find the message."""
    env.fakes.sends = [UNKNOWN, accept(2)]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    await env.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=2)
    return handle


async def _absent_then(env: TimeSkippingEnvironment, *waits: Send) -> Handle:
    env.fakes.sends = [UNKNOWN, *waits]
    handle = await env.submitted()
    await env.sleep(timedelta(minutes=2))
    await env.until(lambda: len(env.fakes.posts) == 1 + len(waits))
    return handle


async def unknown_then_called_back_before_its_reserved_time(
    env: TimeSkippingEnvironment,
) -> Handle:
    """Absent twice; delivered while the resend waits for its reserved time."""
    handle = await _absent_then(env, refuse(deferred(timedelta(hours=2))))
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_then_called_back_while_its_window_is_closed(
    env: TimeSkippingEnvironment,
) -> Handle:
    """Absent twice; a callback with its SID arrives while the resend waits for its send window."""
    env.fakes.statuses = [StatusResult(status="delivered")]
    handle = await _absent_then(env, refuse(window_closed(timedelta(hours=2))))
    await callback(handle, "sent", number=7)
    return handle


async def unknown_then_called_back_while_paused(env: TimeSkippingEnvironment) -> Handle:
    """Absent twice; delivered while its sender is paused."""
    env.fakes.resumes = [None] * 100
    handle = await _absent_then(env, refuse(Paused()))
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_then_called_back_between_attempts(env: TimeSkippingEnvironment) -> Handle:
    """Absent twice; delivered while the send activity waits for its next attempt."""
    temporary = FailureClass.TEMPORARILY_UNAVAILABLE
    handle = await _absent_then(
        env,
        failure(temporary, retry_after=timedelta(seconds=6), final=True),
        failure(temporary, retry_after=timedelta(minutes=10)),
    )
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_and_expired_before_its_reserved_time(env: TimeSkippingEnvironment) -> Handle:
    """It expires before the reserved time of the resend."""
    env.fakes.sends = [UNKNOWN, refuse(deferred(timedelta(hours=4)))]
    expires_at = await env.now() + timedelta(hours=2)
    return await env.start({**REQUEST, "expires_at": expires_at.isoformat()})


async def unknown_and_never_submitted(env: TimeSkippingEnvironment) -> Handle:
    """Its worker died before the POST: there is no attempt record."""
    env.fakes.sends = [UNKNOWN, accept(2)]
    env.fakes.searches = [NeverSubmitted()]
    env.fakes.statuses = [StatusResult(status="delivered")]
    return await env.start({**REQUEST, "on_unknown_outcome": "dead_letter"})


async def unknown_every_time(env: TimeSkippingEnvironment) -> Handle:
    """Sent again the maximum number of times, and then dead-lettered."""
    env.fakes.sends = [UNKNOWN]
    return await env.start()


async def unknown_and_dead_letter(env: TimeSkippingEnvironment) -> Handle:
    """Absent twice; the request says not to send it again."""
    env.fakes.sends = [UNKNOWN]
    return await env.start({**REQUEST, "on_unknown_outcome": "dead_letter"})


async def unknown_and_ambiguous(env: TimeSkippingEnvironment) -> Handle:
    """In every search, the listed message could be another of ours."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.searches = [Ambiguous()] * MAX_SEARCHES
    return await env.start()


async def unknown_and_the_search_fails(env: TimeSkippingEnvironment) -> Handle:
    """Twilio's list cannot be read at first."""
    env.fakes.sends = [UNKNOWN]
    env.fakes.search_fails = 6
    env.fakes.searches = [_found(9, "delivered")]
    return await env.start()


async def unknown_and_expired(env: TimeSkippingEnvironment) -> Handle:
    """Absent twice, and expired meanwhile."""
    soon = await env.now() + timedelta(seconds=45)
    env.fakes.sends = [UNKNOWN]
    return await env.start({**REQUEST, "expires_at": soon.isoformat()})


async def claimed_by_an_earlier_run(env: TimeSkippingEnvironment) -> Handle:
    """After a reset it finds its own claim: it is searched and not sent."""
    env.fakes.claimed_at = await env.now()
    env.fakes.searches = [_found(9, "delivered")]
    return await env.start()


async def claimed_by_an_earlier_run_and_expired(env: TimeSkippingEnvironment) -> Handle:
    """The same after its time: it may have been sent before."""
    env.fakes.claimed_at = await env.now()
    env.fakes.searches = [_found(9, "delivered")]
    expired = await env.now() - timedelta(hours=1)
    return await env.start({**REQUEST, "expires_at": expired.isoformat()})


async def listed_before_its_resend(env: TimeSkippingEnvironment) -> Handle:
    """Absent twice; before the resend Twilio lists what is then found to be this message."""
    env.fakes.sends = [UNKNOWN, refuse(Listed())]
    env.fakes.searches = [ABSENT, ABSENT, _found(9, "delivered")]
    return await env.start()


async def unknown_without_a_sender(env: TimeSkippingEnvironment) -> Handle:
    """The first attempt never reported which sender it used: the next one finds its claim."""

    def lost(request: SendRequest) -> SendResult:
        env.fakes.claimed_at = request.requested_at
        raise ApplicationError("without details", type=FailureClass.OUTCOME_UNKNOWN)

    env.fakes.default_sender = SENDER
    env.fakes.sends = [lost]
    env.fakes.searches = [_found(9, "delivered")]
    return await env.start({"to": REQUEST["to"], "body": "x"})


async def worker_lost_in_a_patient_send(env: Environment) -> Handle:
    """An attempt of the task queue never reports back: Temporal times it out."""
    return await _lost(env, failure(FailureClass.TEMPORARILY_UNAVAILABLE, final=True))


async def worker_lost_in_a_send(env: Environment) -> Handle:
    """A quick attempt never reports back; the next one finds its claim."""
    return await _lost(env)


async def _lost(env: Environment, *before: Send) -> Handle:
    may_finish = threading.Event()

    def hang(request: SendRequest) -> SendResult:
        env.fakes.claimed_at = request.requested_at
        may_finish.wait(SEND_TIMEOUT.total_seconds() + 10)
        return accept()(request)

    env.fakes.sends = [*before, hang]
    env.fakes.searches = [_found(9, "delivered")]
    env.fakes.policy = env.fakes.policy.model_copy(update={"unknown_wait": timedelta(seconds=1)})
    handle = await env.start()
    await handle.result()
    may_finish.set()
    return handle
