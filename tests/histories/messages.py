"""The straight way and its near neighbours: receipts in any order, consent, times, retries."""

import threading
from datetime import timedelta

from temporalio.exceptions import ApplicationError

from signedfor.consent import Reason
from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE, message_workflow_id
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    CampaignCanceled,
    Expired,
    Paused,
    Resumed,
    SendRequest,
    SendResult,
    StatusResult,
    Suppressed,
)
from signedfor.retry import QUICK_ATTEMPTS
from tests.histories.recording import Handle, reaches
from tests.workflows.fakes import (
    REQUEST,
    SENDER,
    TimeSkippingEnvironment,
    accept,
    accept_after,
    callback,
    deferred,
    failure,
    refuse,
    sid,
    window_closed,
)

TEMPORARY = FailureClass.TEMPORARILY_UNAVAILABLE


async def _until_posted(world: TimeSkippingEnvironment, times: int = 1) -> None:
    await world.until(lambda: len(world.fakes.posts) == times)


async def delivered(world: TimeSkippingEnvironment) -> Handle:
    """Sent, and confirmed by the carrier."""
    handle = await world.start({**REQUEST, "tenant": "shop", "tags": {"order": "17"}})
    await _until_posted(world)
    await callback(handle, "sent")
    await callback(handle, "delivered")
    return handle


async def read(world: TimeSkippingEnvironment) -> Handle:
    """On WhatsApp, read."""
    handle = await world.start(
        {**REQUEST, "to": "whatsapp:+15558675309", "from": "whatsapp:+15005550006"}
    )
    await _until_posted(world)
    await callback(handle, "read")
    return handle


async def receipt_before_the_send_returns(world: TimeSkippingEnvironment) -> Handle:
    """The callback overtakes the create response."""
    answered = threading.Event()
    world.fakes.sends = [accept_after(answered)]
    handle = await world.submitted()
    await callback(handle, "delivered")
    answered.set()
    return handle


async def called_back_before_its_post(world: TimeSkippingEnvironment) -> Handle:
    """A run that was reset meets its receipts before its POST, and makes none."""
    return await world.client.start_workflow(
        SEND_MESSAGE,
        REQUEST,
        id=message_workflow_id("reset"),
        task_queue=MESSAGES_QUEUE,
        start_signal="delivery_status",
        start_signal_args=[{"message_sid": sid(), "message_status": "delivered"}],
    )


async def malformed_and_unknown_signals(world: TimeSkippingEnvironment) -> Handle:
    """Signals that are no status are dropped; a status that nobody knows is ignored."""
    handle = await world.submitted()
    await handle.signal("delivery_status", {"message_status": "delivered"})
    await handle.signal("delivery_status", args=[{"message_sid": sid()}, "delivered"])
    await callback(handle, "teleported")
    await callback(handle, "delivered")
    return handle


async def default_sender(world: TimeSkippingEnvironment) -> Handle:
    """No `from`: the configured sender."""
    world.fakes.default_sender = SENDER
    handle = await world.start({"to": REQUEST["to"], "body": "x"})
    await _until_posted(world)
    await callback(handle, "delivered")
    return handle


async def send_at(world: TimeSkippingEnvironment) -> Handle:
    """Held until its time."""
    later = await world.now() + timedelta(hours=3)
    handle = await world.start({**REQUEST, "send_at": later.isoformat()})
    await world.sleep(timedelta(hours=3, minutes=1))
    await _until_posted(world)
    await callback(handle, "delivered")
    return handle


async def waited_for_its_reserved_time(world: TimeSkippingEnvironment) -> Handle:
    """Admitted for a moment that lies ahead."""
    world.fakes.reserved_at = await world.now() + timedelta(minutes=5)
    handle = await world.start()
    await world.sleep(timedelta(minutes=6))
    await _until_posted(world)
    await callback(handle, "delivered")
    return handle


async def requeued(world: TimeSkippingEnvironment) -> Handle:
    """Its slot was borrowed by others while it waited."""
    world.fakes.sends = [refuse(deferred(timedelta(minutes=5))), accept()]
    world.fakes.statuses = [StatusResult(status="delivered")]
    return await world.start()


async def paused_and_resumed(world: TimeSkippingEnvironment) -> Handle:
    """Its sender was paused for a while."""
    world.fakes.sends = [refuse(Paused()), accept()]
    world.fakes.resumes = [None, Resumed()]
    world.fakes.statuses = [StatusResult(status="delivered")]
    return await world.start()


async def paused_and_expired(world: TimeSkippingEnvironment) -> Handle:
    """Its time passed while its sender was paused."""
    world.fakes.sends = [refuse(Paused())]
    world.fakes.resumes = [None] * 100
    expires_at = await world.now() + timedelta(minutes=30)
    return await world.start({**REQUEST, "expires_at": expires_at.isoformat()})


async def window_closed_at_admission(world: TimeSkippingEnvironment) -> Handle:
    """It waited for its send window, and was admitted anew."""
    world.fakes.closed_until = [await world.now() + timedelta(hours=9)]
    world.fakes.statuses = [StatusResult(status="delivered")]
    return await world.start()


async def window_closed_at_the_last_check(world: TimeSkippingEnvironment) -> Handle:
    """Its window closed while it waited."""
    world.fakes.sends = [refuse(window_closed(timedelta(hours=9))), accept()]
    world.fakes.statuses = [StatusResult(status="delivered")]
    return await world.start()


async def campaign_canceled_at_the_last_check(world: TimeSkippingEnvironment) -> Handle:
    """Its campaign was canceled while it waited."""
    world.fakes.sends = [refuse(CampaignCanceled())]
    return await world.start({**REQUEST, "campaign_id": "spring"})


async def suppressed_by_an_opt_out(world: TimeSkippingEnvironment) -> Handle:
    """Found at admission."""
    world.fakes.suppressed_by = Reason.OPTED_OUT
    return await world.start()


async def suppressed_as_undeliverable(world: TimeSkippingEnvironment) -> Handle:
    """Found at admission."""
    world.fakes.suppressed_by = Reason.UNDELIVERABLE
    return await world.start()


async def suppressed_by_hand(world: TimeSkippingEnvironment) -> Handle:
    """Found at admission."""
    world.fakes.suppressed_by = Reason.MANUAL
    return await world.start()


async def suppressed_at_the_last_check(world: TimeSkippingEnvironment) -> Handle:
    """A STOP came between admission and POST."""
    world.fakes.sends = [refuse(Suppressed(reason=Reason.OPTED_OUT))]
    return await world.start()


async def expired_at_admission(world: TimeSkippingEnvironment) -> Handle:
    """Its time had passed when it was to be admitted."""
    soon = await world.now() + timedelta(minutes=1)
    world.fakes.now = lambda: soon
    return await world.start({**REQUEST, "expires_at": soon.isoformat()})


async def expired_at_the_last_check(world: TimeSkippingEnvironment) -> Handle:
    """Its time passed between admission and POST."""
    world.fakes.sends = [refuse(Expired())]
    return await world.start()


async def database_unavailable(world: TimeSkippingEnvironment) -> Handle:
    """The inline admission fails; the regular one goes on until the database answers."""
    world.fakes.admit_fails = 10
    handle = await world.start()
    await world.sleep(timedelta(hours=1))
    await _until_posted(world)
    await callback(handle, "delivered")
    return handle


async def database_slow(world: TimeSkippingEnvironment) -> Handle:
    """The inline admission is not answered in time, twice; the regular one is."""
    answers = world.fakes.hold_admissions = threading.Event()
    handle = await world.start()
    await reaches(handle, "waiting")
    answers.set()
    await _until_posted(world)
    await callback(handle, "delivered")
    return handle


async def retried_quickly(world: TimeSkippingEnvironment) -> Handle:
    """Taken at the third try."""
    world.fakes.sends = [failure(TEMPORARY, code=20429), failure(TEMPORARY), accept()]
    handle = await world.start()
    await _until_posted(world, 3)
    await callback(handle, "delivered")
    return handle


async def send_that_cannot_begin(world: TimeSkippingEnvironment) -> Handle:
    """The last check before the POST fails, without a class of its own: nothing was sent."""

    def fail(_: SendRequest) -> SendResult:
        raise ApplicationError("The database cannot be read.", type="DatabaseUnavailable")

    world.fakes.sends = [fail] * QUICK_ATTEMPTS + [accept()]
    handle = await world.start()
    await world.sleep(timedelta(minutes=1))
    await _until_posted(world, QUICK_ATTEMPTS + 1)
    await callback(handle, "delivered")
    return handle


async def retried_patiently(world: TimeSkippingEnvironment) -> Handle:
    """Taken after the quick tries are used up."""
    many = QUICK_ATTEMPTS + 4
    world.fakes.sends = [failure(TEMPORARY, code=20429)] * many + [accept()]
    handle = await world.start()
    await _until_posted(world, many + 1)
    await callback(handle, "delivered")
    return handle


async def sender_queue_full(world: TimeSkippingEnvironment) -> Handle:
    """21611 asks for more than a minute: the wait is the workflow's."""
    world.fakes.sends = [
        failure(TEMPORARY, code=21611, retry_after=timedelta(seconds=70), final=True),
        accept(),
    ]
    handle = await world.start()
    await _until_posted(world)
    await world.sleep(timedelta(seconds=80))
    await _until_posted(world, 2)
    await callback(handle, "delivered")
    return handle


async def retry_budget_ended(world: TimeSkippingEnvironment) -> Handle:
    """Twilio could not take it for four hours."""
    world.fakes.sends = [failure(TEMPORARY, code=20429, retry_after=timedelta(minutes=2))]
    return await world.start()


async def expired_while_retrying(world: TimeSkippingEnvironment) -> Handle:
    """Its time passed while Twilio could not take it."""
    soon = await world.now() + timedelta(minutes=5)
    world.fakes.sends = [failure(TEMPORARY, code=20429, retry_after=timedelta(seconds=20))]
    return await world.start({**REQUEST, "expires_at": soon.isoformat()})


async def expires_before_the_first_wait_is_over(world: TimeSkippingEnvironment) -> Handle:
    """Twilio asks for a wait that the message does not have."""
    soon = await world.now() + timedelta(seconds=30)
    world.fakes.sends = [
        failure(TEMPORARY, code=21611, retry_after=timedelta(seconds=70), final=True)
    ]
    return await world.start({**REQUEST, "expires_at": soon.isoformat()})
