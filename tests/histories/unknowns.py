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
from tests.workflows.courier import (
    REQUEST,
    SkippingWorld,
    World,
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


async def unknown_then_called_back(world: SkippingWorld) -> Handle:
    """A callback names the SID while it is waited for."""
    world.courier.sends = [UNKNOWN]
    handle = await world.start()
    await world.until(lambda: len(world.courier.posts) == 1)
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_then_called_back_during_the_search(world: World) -> Handle:
    """A callback names the SID while Twilio's list is read."""
    world.courier.sends = [UNKNOWN]
    world.courier.policy = world.courier.policy.model_copy(
        update={"unknown_wait": timedelta(seconds=1)}
    )
    world.courier.hold_searches = threading.Event()
    handle = await world.start()
    await world.until(lambda: len(world.courier.searched) == 1)
    await callback(handle, "delivered", number=7)
    world.courier.hold_searches.set()
    return handle


async def unknown_then_found(world: SkippingWorld) -> Handle:
    """The second search finds it; the receipt comes later."""
    world.courier.sends = [UNKNOWN]
    world.courier.searches = [ABSENT, _found(9, "sent")]
    handle = await world.start()
    await world.until(lambda: len(world.courier.posts) == 1)
    await world.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=9)
    return handle


async def unknown_then_found_delivered(world: SkippingWorld) -> Handle:
    """Twilio's list says that it was delivered."""
    world.courier.sends = [UNKNOWN]
    world.courier.searches = [_found(9, "delivered")]
    return await world.start()


async def unknown_then_sent_again(world: SkippingWorld) -> Handle:
    """Absent twice."""
    world.courier.sends = [UNKNOWN, accept(2)]
    handle = await world.start()
    await world.until(lambda: len(world.courier.posts) == 1)
    await world.sleep(timedelta(minutes=2))
    await callback(handle, "delivered", number=2)
    return handle


async def _absent_then(world: SkippingWorld, *waits: Send) -> Handle:
    world.courier.sends = [UNKNOWN, *waits]
    handle = await world.submitted()
    await world.sleep(timedelta(minutes=2))
    await world.until(lambda: len(world.courier.posts) == 1 + len(waits))
    return handle


async def unknown_then_called_back_before_its_reserved_time(world: SkippingWorld) -> Handle:
    """Absent twice, and delivered after all while the next POST waits for a slot."""
    handle = await _absent_then(world, refuse(deferred(timedelta(hours=2))))
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_then_called_back_while_its_window_is_closed(world: SkippingWorld) -> Handle:
    """Absent twice, and named by a callback while the next POST waits for its send window."""
    world.courier.statuses = [StatusResult(status="delivered")]
    handle = await _absent_then(world, refuse(window_closed(timedelta(hours=2))))
    await callback(handle, "sent", number=7)
    return handle


async def unknown_then_called_back_while_paused(world: SkippingWorld) -> Handle:
    """Absent twice, and delivered after all while its sender is paused."""
    world.courier.resumes = [None] * 100
    handle = await _absent_then(world, refuse(Paused()))
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_then_called_back_between_tries(world: SkippingWorld) -> Handle:
    """Absent twice, and delivered after all while the send activity waits to try again."""
    temporary = FailureClass.TEMPORARILY_UNAVAILABLE
    handle = await _absent_then(
        world,
        failure(temporary, retry_after=timedelta(seconds=6), final=True),
        failure(temporary, retry_after=timedelta(minutes=10)),
    )
    await callback(handle, "delivered", number=7)
    return handle


async def unknown_and_expired_before_its_reserved_time(world: SkippingWorld) -> Handle:
    """Its time is over before the slot of the next POST."""
    world.courier.sends = [UNKNOWN, refuse(deferred(timedelta(hours=4)))]
    expires_at = await world.now() + timedelta(hours=2)
    return await world.start({**REQUEST, "expires_at": expires_at.isoformat()})


async def unknown_and_never_submitted(world: SkippingWorld) -> Handle:
    """Its worker died before the POST, of which there is no note."""
    world.courier.sends = [UNKNOWN, accept(2)]
    world.courier.searches = [NeverSubmitted()]
    world.courier.statuses = [StatusResult(status="delivered")]
    return await world.start({**REQUEST, "on_unknown_outcome": "dead_letter"})


async def unknown_every_time(world: SkippingWorld) -> Handle:
    """Sent again as often as is allowed, and then parked."""
    world.courier.sends = [UNKNOWN]
    return await world.start()


async def unknown_and_dead_letter(world: SkippingWorld) -> Handle:
    """Absent twice, and the message says not to send it again."""
    world.courier.sends = [UNKNOWN]
    return await world.start({**REQUEST, "on_unknown_outcome": "dead_letter"})


async def unknown_and_ambiguous(world: SkippingWorld) -> Handle:
    """Another message of ours could be the one in the list, to the last search."""
    world.courier.sends = [UNKNOWN]
    world.courier.searches = [Ambiguous()] * MAX_SEARCHES
    return await world.start()


async def unknown_and_the_search_fails(world: SkippingWorld) -> Handle:
    """Twilio's list cannot be read for a while."""
    world.courier.sends = [UNKNOWN]
    world.courier.search_fails = 6
    world.courier.searches = [_found(9, "delivered")]
    return await world.start()


async def unknown_and_expired(world: SkippingWorld) -> Handle:
    """Absent twice, and its time has passed."""
    soon = await world.now() + timedelta(seconds=45)
    world.courier.sends = [UNKNOWN]
    return await world.start({**REQUEST, "expires_at": soon.isoformat()})


async def worker_lost_in_a_send(world: World) -> Handle:
    """The attempt never reports back: Temporal's timeout, not the activity's word."""
    go_on = threading.Event()

    def hang(request: SendRequest) -> SendResult:
        go_on.wait(SEND_TIMEOUT.total_seconds() + 10)
        return accept()(request)

    world.courier.sends = [hang]
    world.courier.searches = [_found(9, "delivered")]
    world.courier.policy = world.courier.policy.model_copy(
        update={"unknown_wait": timedelta(seconds=1)}
    )
    handle = await world.start()
    await handle.result()
    go_on.set()
    return handle
