"""Unknown outcomes: found out by callback or search, sent again, or parked."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias

from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    Absent,
    Ambiguous,
    Found,
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


async def unknown_then_called_back(world: TimeSkippingEnvironment) -> Handle:
    """A callback names the SID while it is waited for."""
    world.fakes.sends = [UNKNOWN]
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_then_called_back_during_the_search(world: Environment) -> Handle:
    """A callback names the SID while Twilio's list is read."""
    world.fakes.sends = [UNKNOWN]
    world.fakes.policy = world.fakes.policy.model_copy(
        update={"unknown_wait": timedelta(seconds=1)}
    )
    world.fakes.hold_searches = threading.Event()
    handle = await world.start()
    await world.until(lambda: len(world.fakes.searched) == 1)
    await callback(handle, "delivered", number=7)
    world.fakes.hold_searches.set()
    return handle


async def unknown_then_found(world: TimeSkippingEnvironment) -> Handle:
    """The second search finds it; the receipt comes later."""
    world.fakes.sends = [UNKNOWN]
    world.fakes.searches = [ABSENT, _found(9, "sent")]
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    await world.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=9)
    return handle


async def unknown_then_found_delivered(world: TimeSkippingEnvironment) -> Handle:
    """Twilio's list says that it was delivered."""
    world.fakes.sends = [UNKNOWN]
    world.fakes.searches = [_found(9, "delivered")]
    return await world.start()


async def unknown_then_sent_again(world: TimeSkippingEnvironment) -> Handle:
    """Absent twice."""
    world.fakes.sends = [UNKNOWN, accept(2)]
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    await world.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=2)
    return handle


async def _absent_then(world: TimeSkippingEnvironment, *waits: Send) -> Handle:
    world.fakes.sends = [UNKNOWN, *waits]
    handle = await world.submitted()
    await world.sleep(timedelta(minutes=2))
    await world.until(lambda: len(world.fakes.posts) == 1 + len(waits))
    return handle


async def unknown_then_called_back_before_its_reserved_time(
    world: TimeSkippingEnvironment,
) -> Handle:
    """Absent twice, and delivered after all while the next POST waits for a slot."""
    handle = await _absent_then(world, refuse(deferred(timedelta(hours=2))))
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_then_called_back_while_its_window_is_closed(
    world: TimeSkippingEnvironment,
) -> Handle:
    """Absent twice, and named by a callback while the next POST waits for its send window."""
    world.fakes.statuses = [StatusResult(status="delivered")]
    handle = await _absent_then(world, refuse(window_closed(timedelta(hours=2))))
    await callback(handle, "sent", number=7)
    return handle


async def unknown_then_called_back_while_paused(world: TimeSkippingEnvironment) -> Handle:
    """Absent twice, and delivered after all while its sender is paused."""
    world.fakes.resumes = [None] * 100
    handle = await _absent_then(world, refuse(Paused()))
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_then_called_back_between_tries(world: TimeSkippingEnvironment) -> Handle:
    """Absent twice, and delivered after all while the send activity waits to try again."""
    temporary = FailureClass.TEMPORARILY_UNAVAILABLE
    handle = await _absent_then(
        world,
        failure(temporary, retry_after=timedelta(seconds=6), final=True),
        failure(temporary, retry_after=timedelta(minutes=10)),
    )
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_and_expired_before_its_reserved_time(world: TimeSkippingEnvironment) -> Handle:
    """Its time is over before the slot of the next POST."""
    world.fakes.sends = [UNKNOWN, refuse(deferred(timedelta(hours=4)))]
    expires_at = await world.now() + timedelta(hours=2)
    return await world.start({**REQUEST, "expires_at": expires_at.isoformat()})


async def unknown_and_never_submitted(world: TimeSkippingEnvironment) -> Handle:
    """Its worker died before the POST, of which there is no note."""
    world.fakes.sends = [UNKNOWN, accept(2)]
    world.fakes.searches = [NeverSubmitted()]
    world.fakes.statuses = [StatusResult(status="delivered")]
    return await world.start({**REQUEST, "on_unknown_outcome": "dead_letter"})


async def unknown_every_time(world: TimeSkippingEnvironment) -> Handle:
    """Sent again as often as is allowed, and then parked."""
    world.fakes.sends = [UNKNOWN]
    return await world.start()


async def unknown_and_dead_letter(world: TimeSkippingEnvironment) -> Handle:
    """Absent twice, and the message says not to send it again."""
    world.fakes.sends = [UNKNOWN]
    return await world.start({**REQUEST, "on_unknown_outcome": "dead_letter"})


async def unknown_and_ambiguous(world: TimeSkippingEnvironment) -> Handle:
    """Another message of ours could be the one in the list, to the last search."""
    world.fakes.sends = [UNKNOWN]
    world.fakes.searches = [Ambiguous()] * MAX_SEARCHES
    return await world.start()


async def unknown_and_the_search_fails(world: TimeSkippingEnvironment) -> Handle:
    """Twilio's list cannot be read for a while."""
    world.fakes.sends = [UNKNOWN]
    world.fakes.search_fails = 6
    world.fakes.searches = [_found(9, "delivered")]
    return await world.start()


async def unknown_and_expired(world: TimeSkippingEnvironment) -> Handle:
    """Absent twice, and its time has passed."""
    soon = await world.now() + timedelta(seconds=45)
    world.fakes.sends = [UNKNOWN]
    return await world.start({**REQUEST, "expires_at": soon.isoformat()})


async def worker_lost_in_a_send(world: Environment) -> Handle:
    """The attempt never reports back: Temporal's timeout, not the activity's word."""
    go_on = threading.Event()

    def hang(request: SendRequest) -> SendResult:
        go_on.wait(SEND_TIMEOUT.total_seconds() + 10)
        return accept()(request)

    world.fakes.sends = [hang]
    world.fakes.searches = [_found(9, "delivered")]
    world.fakes.policy = world.fakes.policy.model_copy(
        update={"unknown_wait": timedelta(seconds=1)}
    )
    handle = await world.start()
    await handle.result()
    go_on.set()
    return handle
