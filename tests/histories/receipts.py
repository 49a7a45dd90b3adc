"""Waiting for a receipt: lost, late and negative ones, and later attempts."""

from datetime import timedelta

from signedfor.consent import Reason
from signedfor.message_activities import StatusResult
from signedfor.twilio import codes
from tests.histories.recording import Handle, reaches
from tests.workflows.fakes import REQUEST, Environment, TimeSkippingEnvironment, accept, callback

HANDSET_OFF = 30003
LANDLINE = 30006


async def _submitted(env: TimeSkippingEnvironment) -> Handle:
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    return handle


async def receipt_by_status_check(env: TimeSkippingEnvironment) -> Handle:
    """There is no callback; the second status check finds the final status."""
    env.fakes.statuses = [StatusResult(status="sent"), StatusResult(status="delivered")]
    return await env.start()


async def status_checks_without_an_answer(env: TimeSkippingEnvironment) -> Handle:
    """Twilio is unreachable at first, and then does not know the SID."""
    env.fakes.status_fails = 4
    env.fakes.statuses = [StatusResult(status=None), StatusResult(status="delivered")]
    return await env.start()


async def receipt_timeout(env: TimeSkippingEnvironment) -> Handle:
    """Twilio accepted the message, and no final status ever came."""
    return await env.start()


async def receipt_timeout_set_by_the_caller(env: TimeSkippingEnvironment) -> Handle:
    """It ends before the first regular status check."""
    return await env.start({**REQUEST, "receipt_timeout_seconds": 60})


async def undelivered_permanently(env: TimeSkippingEnvironment) -> Handle:
    """The recipient is a landline."""
    handle = await _submitted(env)
    await callback(handle, "undelivered", code=LANDLINE)
    return handle


async def undelivered_with_an_unknown_code(env: TimeSkippingEnvironment) -> Handle:
    """The code is not in our table."""
    handle = await _submitted(env)
    await callback(handle, "failed", code=39999)
    return handle


async def canceled_at_twilio(env: TimeSkippingEnvironment) -> Handle:
    """Twilio's status is `canceled`."""
    handle = await _submitted(env)
    await callback(handle, "canceled")
    return handle


async def delayed_and_sent_again(env: TimeSkippingEnvironment) -> Handle:
    """The handset was off; the second Twilio message is delivered."""
    env.fakes.sends = [accept(1), accept(2)]
    handle = await _submitted(env)
    await callback(handle, "undelivered", code=HANDSET_OFF)
    await env.sleep(timedelta(seconds=codes.delay_for(HANDSET_OFF) + 60))
    await env.until(lambda: len(env.fakes.posts) == 2)
    await callback(handle, "delivered", number=2)
    return handle


async def later_attempts_exhausted(env: TimeSkippingEnvironment) -> Handle:
    """The handset stays off."""
    env.fakes.sends = [accept(1), accept(2), accept(3)]
    env.fakes.statuses = [StatusResult(status="undelivered", error_code=HANDSET_OFF)] * 3
    return await env.start()


async def delayed_beyond_its_expiry(env: TimeSkippingEnvironment) -> Handle:
    """A later attempt would come after `expires_at`."""
    soon = await env.now() + timedelta(minutes=9)
    handle = await env.start({**REQUEST, "expires_at": soon.isoformat()})
    await env.until(lambda: len(env.fakes.posts) == 1)
    await callback(handle, "undelivered", code=HANDSET_OFF)
    return handle


async def delayed_and_then_suppressed(env: TimeSkippingEnvironment) -> Handle:
    """A STOP came before the later attempt."""
    handle = await _submitted(env)
    env.fakes.suppressed_by = Reason.OPTED_OUT
    await callback(handle, "undelivered", code=HANDSET_OFF)
    return handle


async def delayed_and_delivered_after_all(env: Environment) -> Handle:
    """The first Twilio message is delivered before the later attempt."""
    handle = await env.submitted()
    await callback(handle, "undelivered", code=HANDSET_OFF)
    await reaches(handle, "delayed")
    await callback(handle, "read")
    return handle
