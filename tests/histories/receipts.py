"""The wait for a receipt: lost, late and bad ones, and later tries as new Twilio messages."""

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
    """No callback: Twilio is asked, and the second answer is final."""
    env.fakes.statuses = [StatusResult(status="sent"), StatusResult(status="delivered")]
    return await env.start()


async def status_checks_without_an_answer(env: TimeSkippingEnvironment) -> Handle:
    """Twilio cannot be asked at first, and then does not know the SID."""
    env.fakes.status_fails = 4
    env.fakes.statuses = [StatusResult(status=None), StatusResult(status="delivered")]
    return await env.start()


async def receipt_timeout(env: TimeSkippingEnvironment) -> Handle:
    """Twilio took it, and nobody ever said more."""
    return await env.start()


async def receipt_timeout_of_the_callers(env: TimeSkippingEnvironment) -> Handle:
    """Shorter than the first look-up."""
    return await env.start({**REQUEST, "receipt_timeout_seconds": 60})


async def undelivered_for_good(env: TimeSkippingEnvironment) -> Handle:
    """A landline."""
    handle = await _submitted(env)
    await callback(handle, "undelivered", code=LANDLINE)
    return handle


async def undelivered_with_an_unknown_code(env: TimeSkippingEnvironment) -> Handle:
    """A code that the table does not know."""
    handle = await _submitted(env)
    await callback(handle, "failed", code=39999)
    return handle


async def canceled_at_twilio(env: TimeSkippingEnvironment) -> Handle:
    """Twilio's own word."""
    handle = await _submitted(env)
    await callback(handle, "canceled")
    return handle


async def delayed_and_tried_again(env: TimeSkippingEnvironment) -> Handle:
    """The handset was off; the second message arrives."""
    env.fakes.sends = [accept(1), accept(2)]
    handle = await _submitted(env)
    await callback(handle, "undelivered", code=HANDSET_OFF)
    await env.sleep(timedelta(seconds=codes.delay_for(HANDSET_OFF) + 60))
    await env.until(lambda: len(env.fakes.posts) == 2)
    await callback(handle, "delivered", number=2)
    return handle


async def later_tries_exhausted(env: TimeSkippingEnvironment) -> Handle:
    """The handset stays off."""
    env.fakes.sends = [accept(1), accept(2), accept(3)]
    env.fakes.statuses = [StatusResult(status="undelivered", error_code=HANDSET_OFF)] * 3
    return await env.start()


async def delayed_beyond_its_time(env: TimeSkippingEnvironment) -> Handle:
    """A later try would come after `expires_at`."""
    soon = await env.now() + timedelta(minutes=9)
    handle = await env.start({**REQUEST, "expires_at": soon.isoformat()})
    await env.until(lambda: len(env.fakes.posts) == 1)
    await callback(handle, "undelivered", code=HANDSET_OFF)
    return handle


async def delayed_and_then_suppressed(env: TimeSkippingEnvironment) -> Handle:
    """A STOP came before the later try."""
    handle = await _submitted(env)
    env.fakes.suppressed_by = Reason.OPTED_OUT
    await callback(handle, "undelivered", code=HANDSET_OFF)
    return handle


async def delayed_and_delivered_after_all(env: Environment) -> Handle:
    """The first message arrives while the later try is waited for."""
    handle = await env.submitted()
    await callback(handle, "undelivered", code=HANDSET_OFF)
    await reaches(handle, "delayed")
    await callback(handle, "read")
    return handle
