"""Messages that are over a limit, and duplicates."""

from datetime import timedelta

from signedfor.contract import CANCEL_UPDATE, CancelRequest, Stage
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import StatusResult
from tests.histories.recording import Handle, reaches
from tests.workflows.fakes import (
    REQUEST,
    TimeSkippingEnvironment,
    accept,
    failure,
    limited,
    refuse,
)

_HOUR = timedelta(hours=1)


async def limited_and_sent(env: TimeSkippingEnvironment) -> Handle:
    """It waited twice for a place, and got one."""
    env.fakes.sends = [refuse(limited(20 * _HOUR)), refuse(limited(3 * _HOUR)), accept()]
    env.fakes.statuses = [StatusResult(status="delivered")]
    return await env.start()


async def limited_for_a_whole_window(env: TimeSkippingEnvironment) -> Handle:
    """Others took the places."""
    env.fakes.sends = [refuse(limited(20 * _HOUR))]
    return await env.start()


async def limited_until_after_its_expiry(env: TimeSkippingEnvironment) -> Handle:
    """It does not wait at all."""
    env.fakes.sends = [refuse(limited(20 * _HOUR))]
    expires_at = await env.now() + 2 * _HOUR
    return await env.start({**REQUEST, "expires_at": expires_at.isoformat()})


async def canceled_while_limited(env: TimeSkippingEnvironment) -> Handle:
    """While it waited for a place."""
    env.fakes.sends = [refuse(limited(20 * _HOUR))]
    handle = await env.start()
    await reaches(handle, Stage.WAITING)
    await handle.execute_update(CANCEL_UPDATE, CancelRequest())
    return handle


async def duplicate(env: TimeSkippingEnvironment) -> Handle:
    """Another message has the same content."""
    env.fakes.sends = [failure(FailureClass.DUPLICATE, duplicate_of="order-6")]
    return await env.start()
