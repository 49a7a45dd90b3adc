"""The wait for a receipt: lost, late and bad ones, and later tries as new Twilio messages."""

from datetime import timedelta

from signedfor.consent import Reason
from signedfor.message_activities import StatusResult
from signedfor.twilio import codes
from tests.histories.recording import Handle, reaches
from tests.workflows.fakes import REQUEST, Environment, TimeSkippingEnvironment, accept, callback

HANDSET_OFF = 30003
LANDLINE = 30006


async def _submitted(world: TimeSkippingEnvironment) -> Handle:
    handle = await world.start()
    await world.until(lambda: len(world.fakes.posts) == 1)
    return handle


async def receipt_by_status_check(world: TimeSkippingEnvironment) -> Handle:
    """No callback: Twilio is asked, and the second answer is final."""
    world.fakes.statuses = [StatusResult(status="sent"), StatusResult(status="delivered")]
    return await world.start()


async def status_checks_without_an_answer(world: TimeSkippingEnvironment) -> Handle:
    """Twilio cannot be asked at first, and then does not know the SID."""
    world.fakes.status_fails = 4
    world.fakes.statuses = [StatusResult(status=None), StatusResult(status="delivered")]
    return await world.start()


async def receipt_timeout(world: TimeSkippingEnvironment) -> Handle:
    """Twilio took it, and nobody ever said more."""
    return await world.start()


async def receipt_timeout_of_the_callers(world: TimeSkippingEnvironment) -> Handle:
    """Shorter than the first look-up."""
    return await world.start({**REQUEST, "receipt_timeout_seconds": 60})


async def undelivered_for_good(world: TimeSkippingEnvironment) -> Handle:
    """A landline."""
    handle = await _submitted(world)
    await callback(handle, "undelivered", code=LANDLINE)
    return handle


async def undelivered_with_an_unknown_code(world: TimeSkippingEnvironment) -> Handle:
    """A code that the table does not know."""
    handle = await _submitted(world)
    await callback(handle, "failed", code=39999)
    return handle


async def canceled_at_twilio(world: TimeSkippingEnvironment) -> Handle:
    """Twilio's own word."""
    handle = await _submitted(world)
    await callback(handle, "canceled")
    return handle


async def delayed_and_tried_again(world: TimeSkippingEnvironment) -> Handle:
    """The handset was off; the second message arrives."""
    world.fakes.sends = [accept(1), accept(2)]
    handle = await _submitted(world)
    await callback(handle, "undelivered", code=HANDSET_OFF)
    await world.sleep(timedelta(seconds=codes.delay_for(HANDSET_OFF) + 60))
    await world.until(lambda: len(world.fakes.posts) == 2)
    await callback(handle, "delivered", number=2)
    return handle


async def later_tries_exhausted(world: TimeSkippingEnvironment) -> Handle:
    """The handset stays off."""
    world.fakes.sends = [accept(1), accept(2), accept(3)]
    world.fakes.statuses = [StatusResult(status="undelivered", error_code=HANDSET_OFF)] * 3
    return await world.start()


async def delayed_beyond_its_time(world: TimeSkippingEnvironment) -> Handle:
    """A later try would come after `expires_at`."""
    soon = await world.now() + timedelta(minutes=9)
    handle = await world.start({**REQUEST, "expires_at": soon.isoformat()})
    await world.until(lambda: len(world.fakes.posts) == 1)
    await callback(handle, "undelivered", code=HANDSET_OFF)
    return handle


async def delayed_and_then_suppressed(world: TimeSkippingEnvironment) -> Handle:
    """A STOP came before the later try."""
    handle = await _submitted(world)
    world.fakes.suppressed_by = Reason.OPTED_OUT
    await callback(handle, "undelivered", code=HANDSET_OFF)
    return handle


async def delayed_and_delivered_after_all(world: Environment) -> Handle:
    """The first message arrives while the later try is waited for."""
    handle = await world.submitted()
    await callback(handle, "undelivered", code=HANDSET_OFF)
    await reaches(handle, "delayed")
    await callback(handle, "read")
    return handle
