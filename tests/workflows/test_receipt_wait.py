"""The wait for a receipt: lost, late and bad ones, and what Twilio says when it is asked."""

from datetime import timedelta

import pytest

from signedfor.consent import Reason
from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import StatusResult
from signedfor.twilio import codes
from tests.workflows.fakes import REQUEST, TimeSkippingEnvironment, accept, callback, sid

HANDSET_OFF = 30003
LANDLINE = 30006


async def test_twilio_is_asked_when_no_receipt_comes(env: TimeSkippingEnvironment) -> None:
    """A lost callback is made good by asking: after 10 minutes, 1 hour, 6 hours, at the end."""
    env.fakes.statuses = [StatusResult(status="sent"), StatusResult(status="delivered")]

    report = await env.report()

    assert Outcome.DELIVERED is report.outcome
    assert [sid(), sid()] == env.fakes.asked
    assert report.submitted_at is not None


async def test_a_timeout_without_receipt_escalates(env: TimeSkippingEnvironment) -> None:
    """When even Twilio has no final word at the timeout, a dead letter is opened."""
    begins = await env.now()

    report = await env.report()

    assert (Outcome.UNCONFIRMED, FailureClass.NO_RECEIPT, 4) == (
        report.outcome,
        report.failure_class,
        len(env.fakes.asked),
    )
    assert report.dead_letter_id is not None
    assert timedelta(hours=12) <= report.finished_at - begins < timedelta(hours=12, minutes=5)


async def test_the_receipt_timeout_is_the_callers(env: TimeSkippingEnvironment) -> None:
    """`receipt_timeout_seconds` replaces the 12 hours; Twilio is asked once more at its end."""
    begins = await env.now()

    report = await env.report({**REQUEST, "receipt_timeout_seconds": 60})

    assert report.finished_at - begins < timedelta(minutes=5)
    assert 1 == len(env.fakes.asked)


@pytest.mark.parametrize(("status", "code"), [("undelivered", LANDLINE), ("failed", LANDLINE)])
async def test_a_bad_receipt_is_settled_by_its_code(
    env: TimeSkippingEnvironment, status: str, code: int
) -> None:
    """Undelivered or failed after acceptance is `undelivered`, with the code's class."""
    handle = await env.submitted()
    await callback(handle, status, code=code)

    report = await handle.result()

    assert (Outcome.UNDELIVERED, FailureClass.RECIPIENT_UNREACHABLE, code) == (
        report.outcome,
        report.failure_class,
        report.error_code,
    )


async def test_an_unknown_code_after_acceptance_is_a_dead_letter(
    env: TimeSkippingEnvironment,
) -> None:
    """A code the table does not know does not crash anything."""
    handle = await env.submitted()
    await callback(handle, "undelivered", code=39999)

    report = await handle.result()

    assert (Outcome.UNDELIVERED, FailureClass.DELIVERY_FAILED) == (
        report.outcome,
        report.failure_class,
    )
    assert report.dead_letter_id is not None


async def test_a_message_canceled_at_twilio_is_canceled(env: TimeSkippingEnvironment) -> None:
    """Twilio's own `canceled` ends the message as such."""
    handle = await env.submitted()
    await callback(handle, "canceled")

    assert Outcome.CANCELED is (await handle.result()).outcome


async def test_a_handset_that_was_off_is_tried_again_later(env: TimeSkippingEnvironment) -> None:
    """A delayed delivery becomes a new Twilio message, hours later, in the same workflow."""
    env.fakes.sends = [accept(1), accept(2)]
    begins = await env.now()
    handle = await env.submitted()
    await callback(handle, "undelivered", code=HANDSET_OFF)
    await env.sleep(timedelta(seconds=codes.delay_for(HANDSET_OFF) + 60))
    await env.until(lambda: len(env.fakes.posts) == 2)
    await callback(handle, "delivered", number=2)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(2), 2) == (report.outcome, report.message_sid, report.attempts)
    assert report.finished_at - begins >= timedelta(seconds=codes.delay_for(HANDSET_OFF))


async def test_later_tries_end_in_a_dead_letter(env: TimeSkippingEnvironment) -> None:
    """At most two later tries; then somebody decides."""
    env.fakes.sends = [accept(1), accept(2), accept(3)]
    env.fakes.statuses = [StatusResult(status="undelivered", error_code=HANDSET_OFF)] * 3

    report = await env.report()

    assert (Outcome.UNDELIVERED, FailureClass.DELIVERY_DELAYED, 1 + 2) == (
        report.outcome,
        report.failure_class,
        len(env.fakes.posts),
    )
    assert report.dead_letter_id is not None


async def test_no_later_try_after_the_message_expired(env: TimeSkippingEnvironment) -> None:
    """A try that would come after `expires_at` is not made."""
    now = await env.now()
    handle = await env.submitted(
        {**REQUEST, "expires_at": (now + timedelta(minutes=9)).isoformat()}
    )
    await callback(handle, "undelivered", code=HANDSET_OFF)

    report = await handle.result()

    assert (Outcome.UNDELIVERED, 1) == (report.outcome, len(env.fakes.posts))


async def test_consent_is_read_again_before_a_later_try(env: TimeSkippingEnvironment) -> None:
    """A STOP that came while the message waited to be tried again is heeded."""
    env.fakes.sends = [accept(1)]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    env.fakes.suppressed_by = Reason.OPTED_OUT
    await callback(handle, "undelivered", code=HANDSET_OFF)

    report = await handle.result()

    assert (Outcome.SUPPRESSED, 1) == (report.outcome, len(env.fakes.posts))


async def test_a_first_message_that_arrives_after_all_stops_the_later_try(
    env: TimeSkippingEnvironment,
) -> None:
    """Delivered is delivered, whichever SID it is said of."""
    env.fakes.sends = [accept(1), accept(2)]
    handle = await env.submitted()
    await callback(handle, "undelivered", code=HANDSET_OFF)
    await callback(handle, "read", number=1)

    report = await handle.result()

    assert (Outcome.DELIVERED, 1) == (report.outcome, len(env.fakes.posts))
