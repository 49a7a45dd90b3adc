"""The happy path and its variations: receipts in any order, consent, waits, expiry, retries."""

import threading
from datetime import timedelta

from temporalio.exceptions import ApplicationError

from signedfor.consent import Reason
from signedfor.contract import MESSAGES_QUEUE, SEND_MESSAGE, message_workflow_id
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    AccountHeld,
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
from tests.histories.recording import Handle
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


async def _until_posted(env: TimeSkippingEnvironment, times: int = 1) -> None:
    await env.until(lambda: len(env.fakes.posts) == times)


async def delivered(env: TimeSkippingEnvironment) -> Handle:
    """Sent and delivered."""
    handle = await env.start({**REQUEST, "tenant": "shop", "tags": {"order": "17"}})
    await _until_posted(env)
    await callback(handle, "sent")
    await callback(handle, "delivered")
    return handle


async def read(env: TimeSkippingEnvironment) -> Handle:
    """Read on WhatsApp."""
    handle = await env.start(
        {**REQUEST, "to": "whatsapp:+15558675309", "from": "whatsapp:+15005550006"}
    )
    await _until_posted(env)
    await callback(handle, "read")
    return handle


async def receipt_before_the_send_returns(env: TimeSkippingEnvironment) -> Handle:
    """The callback overtakes the create response."""
    answered = threading.Event()
    env.fakes.sends = [accept_after(answered)]
    handle = await env.submitted()
    await callback(handle, "delivered")
    answered.set()
    return handle


async def callback_before_its_post(env: TimeSkippingEnvironment) -> Handle:
    """A workflow that was reset gets its callbacks before its POST, and sends nothing."""
    return await env.client.start_workflow(
        SEND_MESSAGE,
        REQUEST,
        id=message_workflow_id("reset"),
        task_queue=MESSAGES_QUEUE,
        start_signal="delivery_status",
        start_signal_args=[{"message_sid": sid(), "message_status": "delivered"}],
    )


async def malformed_and_unknown_signals(env: TimeSkippingEnvironment) -> Handle:
    """Malformed signals are dropped; an unknown status is ignored."""
    handle = await env.submitted()
    await handle.signal("delivery_status", {"message_status": "delivered"})
    await handle.signal("delivery_status", args=[{"message_sid": sid()}, "delivered"])
    await callback(handle, "teleported")
    await callback(handle, "delivered")
    return handle


async def default_sender(env: TimeSkippingEnvironment) -> Handle:
    """Without `from` the configured sender is used."""
    env.fakes.default_sender = SENDER
    handle = await env.start({"to": REQUEST["to"], "body": "x"})
    await _until_posted(env)
    await callback(handle, "delivered")
    return handle


async def send_at(env: TimeSkippingEnvironment) -> Handle:
    """Scheduled for later."""
    later = await env.now() + timedelta(hours=3)
    handle = await env.start({**REQUEST, "send_at": later.isoformat()})
    await env.sleep(timedelta(hours=3, minutes=1))
    await _until_posted(env)
    await callback(handle, "delivered")
    return handle


async def waited_for_its_reserved_time(env: TimeSkippingEnvironment) -> Handle:
    """Its sender was busy."""
    env.fakes.reserved_at = await env.now() + timedelta(minutes=5)
    handle = await env.start()
    await env.sleep(timedelta(minutes=6))
    await _until_posted(env)
    await callback(handle, "delivered")
    return handle


async def requeued(env: TimeSkippingEnvironment) -> Handle:
    """At its reserved time it was deferred again: more urgent messages had used its turn."""
    env.fakes.sends = [refuse(deferred(timedelta(minutes=5)))] * 2 + [accept()]
    env.fakes.statuses = [StatusResult(status="delivered")]
    return await env.start()


async def paused_and_resumed(env: TimeSkippingEnvironment) -> Handle:
    """Its sender was paused for a while."""
    env.fakes.sends = [refuse(Paused()), accept()]
    env.fakes.resumes = [None, Resumed()]
    env.fakes.statuses = [StatusResult(status="delivered")]
    return await env.start()


async def paused_and_expired(env: TimeSkippingEnvironment) -> Handle:
    """It expired while its sender was paused."""
    env.fakes.sends = [refuse(Paused())]
    env.fakes.resumes = [None] * 100
    expires_at = await env.now() + timedelta(minutes=30)
    return await env.start({**REQUEST, "expires_at": expires_at.isoformat()})


async def window_closed_at_the_first_check(env: TimeSkippingEnvironment) -> Handle:
    """It waited for its send window and was then checked again."""
    env.fakes.closed_until = [await env.now() + timedelta(hours=9)]
    env.fakes.statuses = [StatusResult(status="delivered")]
    return await env.start()


async def window_closed_at_the_last_check(env: TimeSkippingEnvironment) -> Handle:
    """Its window closed while it waited for its reserved time."""
    env.fakes.sends = [
        refuse(deferred(timedelta(minutes=5))),
        refuse(window_closed(timedelta(hours=9))),
        accept(),
    ]
    env.fakes.statuses = [StatusResult(status="delivered")]
    return await env.start()


async def campaign_canceled_at_the_last_check(env: TimeSkippingEnvironment) -> Handle:
    """Its campaign was canceled while it waited."""
    env.fakes.sends = [refuse(CampaignCanceled())]
    return await env.start({**REQUEST, "campaign_id": "spring"})


async def suppressed_by_an_opt_out(env: TimeSkippingEnvironment) -> Handle:
    """The suppression was found before the first POST."""
    env.fakes.suppressed_by = Reason.OPTED_OUT
    return await env.start()


async def suppressed_as_undeliverable(env: TimeSkippingEnvironment) -> Handle:
    """The suppression was found before the first POST."""
    env.fakes.suppressed_by = Reason.UNDELIVERABLE
    return await env.start()


async def suppressed_by_hand(env: TimeSkippingEnvironment) -> Handle:
    """The suppression was found before the first POST."""
    env.fakes.suppressed_by = Reason.MANUAL
    return await env.start()


async def suppressed_at_the_last_check(env: TimeSkippingEnvironment) -> Handle:
    """A STOP came while it waited for its reserved time."""
    env.fakes.sends = [
        refuse(deferred(timedelta(seconds=1))),
        refuse(Suppressed(reason=Reason.OPTED_OUT)),
    ]
    return await env.start()


async def expired_at_the_first_check(env: TimeSkippingEnvironment) -> Handle:
    """It had expired before its first check."""
    soon = await env.now() + timedelta(minutes=1)
    env.fakes.now = lambda: soon
    return await env.start({**REQUEST, "expires_at": soon.isoformat()})


async def expired_at_the_last_check(env: TimeSkippingEnvironment) -> Handle:
    """It has expired after a wait for its reserved time."""
    env.fakes.sends = [refuse(deferred(timedelta(seconds=1))), refuse(Expired())]
    return await env.start()


async def database_unavailable(env: TimeSkippingEnvironment) -> Handle:
    """It waits with a regular activity until the database answers, and is sent."""
    env.fakes.database_away = 10
    handle = await env.start()
    await env.sleep(timedelta(hours=1))
    await _until_posted(env)
    await callback(handle, "delivered")
    return handle


async def account_held(env: TimeSkippingEnvironment) -> Handle:
    """Twilio refused the account's requests, also this one's, and takes them again later."""
    env.fakes.sends = [refuse(AccountHeld(error_code=20003), after_attempts=1), accept()]
    env.fakes.resumes = [None] * 10
    env.fakes.statuses = [StatusResult(status="delivered")]
    return await env.start()


async def retried_within_quick_attempts(env: TimeSkippingEnvironment) -> Handle:
    """Accepted at the third attempt."""
    env.fakes.sends = [failure(TEMPORARY, code=20429), failure(TEMPORARY), accept()]
    handle = await env.start()
    await _until_posted(env, 3)
    await callback(handle, "delivered")
    return handle


async def send_that_cannot_begin(env: TimeSkippingEnvironment) -> Handle:
    """The last check before the POST fails with an error of no class: nothing was sent."""

    def fail(_: SendRequest) -> SendResult:
        raise ApplicationError("The database cannot be read.", type="DatabaseUnavailable")

    env.fakes.sends = [fail] * QUICK_ATTEMPTS + [accept()]
    handle = await env.start()
    await env.sleep(timedelta(minutes=1))
    await _until_posted(env, QUICK_ATTEMPTS + 1)
    await callback(handle, "delivered")
    return handle


async def retried_after_quick_attempts(env: TimeSkippingEnvironment) -> Handle:
    """Accepted after the quick attempts have been used up."""
    many = QUICK_ATTEMPTS + 4
    env.fakes.sends = [failure(TEMPORARY, code=20429)] * many + [accept()]
    handle = await env.start()
    await _until_posted(env, many + 1)
    await callback(handle, "delivered")
    return handle


async def sender_queue_full(env: TimeSkippingEnvironment) -> Handle:
    """21611 requires more than a minute: the workflow waits."""
    env.fakes.sends = [
        failure(TEMPORARY, code=21611, retry_after=timedelta(seconds=70), final=True),
        accept(),
    ]
    handle = await env.start()
    await _until_posted(env)
    await env.sleep(timedelta(seconds=80))
    await _until_posted(env, 2)
    await callback(handle, "delivered")
    return handle


async def retry_budget_ended(env: TimeSkippingEnvironment) -> Handle:
    """Twilio did not accept it for four hours."""
    env.fakes.sends = [failure(TEMPORARY, code=20429, retry_after=timedelta(minutes=2))]
    return await env.start()


async def expired_while_retrying(env: TimeSkippingEnvironment) -> Handle:
    """It expired while Twilio did not accept it."""
    soon = await env.now() + timedelta(minutes=5)
    env.fakes.sends = [failure(TEMPORARY, code=20429, retry_after=timedelta(seconds=20))]
    return await env.start({**REQUEST, "expires_at": soon.isoformat()})


async def expires_before_the_first_wait_is_over(env: TimeSkippingEnvironment) -> Handle:
    """Twilio requires a wait that is longer than the message has."""
    soon = await env.now() + timedelta(seconds=30)
    env.fakes.sends = [
        failure(TEMPORARY, code=21611, retry_after=timedelta(seconds=70), final=True)
    ]
    return await env.start({**REQUEST, "expires_at": soon.isoformat()})
