"""Waiting for a receipt: lost and negative callbacks, status checks, later attempts."""

from datetime import timedelta
from typing import Final

import pytest
from temporalio.api.enums.v1 import EventType

from signedfor.consent import Reason
from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import StatusResult
from signedfor.twilio import codes
from tests.histories.recording import history_files, read
from tests.workflows.fakes import REQUEST, TimeSkippingEnvironment, accept, callback, sid

HANDSET_OFF = 30003
LANDLINE = 30006
_STARTED: Final = EventType.EVENT_TYPE_TIMER_STARTED
_FIRED: Final = EventType.EVENT_TYPE_TIMER_FIRED
_CANCELED: Final = EventType.EVENT_TYPE_TIMER_CANCELED
_OF_TIMERS: Final = frozenset({_STARTED, _FIRED, _CANCELED})


async def test_a_status_check_replaces_a_lost_callback(env: TimeSkippingEnvironment) -> None:
    """The status is fetched after 10 minutes, 1 hour, 6 hours and at the timeout."""
    env.fakes.statuses = [StatusResult(status="sent"), StatusResult(status="delivered")]

    report = await env.report()

    assert Outcome.DELIVERED is report.outcome
    assert [sid(), sid()] == env.fakes.status_checks
    assert report.submitted_at is not None


async def test_a_receipt_timeout_opens_a_dead_letter(env: TimeSkippingEnvironment) -> None:
    """If the last status check finds no final status either, the outcome is unconfirmed."""
    started = await env.now()

    report = await env.report()

    assert (Outcome.UNCONFIRMED, FailureClass.NO_RECEIPT, 4) == (
        report.outcome,
        report.failure_class,
        len(env.fakes.status_checks),
    )
    assert report.dead_letter_id is not None
    assert timedelta(hours=12) <= report.finished_at - started < timedelta(hours=12, minutes=5)


async def test_the_request_can_set_the_receipt_timeout(env: TimeSkippingEnvironment) -> None:
    """`receipt_timeout_seconds` replaces the 12 hours; the status is checked once at its end."""
    started = await env.now()

    report = await env.report({**REQUEST, "receipt_timeout_seconds": 60})

    assert report.finished_at - started < timedelta(minutes=5)
    assert 1 == len(env.fakes.status_checks)


@pytest.mark.parametrize(("status", "code"), [("undelivered", LANDLINE), ("failed", LANDLINE)])
async def test_the_code_of_a_negative_receipt_decides_the_failure_class(
    env: TimeSkippingEnvironment, status: str, code: int
) -> None:
    """`undelivered` or `failed` after acceptance leads to the outcome `undelivered`."""
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
    """A code that is not in our table counts as a failed delivery."""
    handle = await env.submitted()
    await callback(handle, "undelivered", code=39999)

    report = await handle.result()

    assert (Outcome.UNDELIVERED, FailureClass.DELIVERY_FAILED) == (
        report.outcome,
        report.failure_class,
    )
    assert report.dead_letter_id is not None


async def test_a_message_canceled_at_twilio_is_canceled(env: TimeSkippingEnvironment) -> None:
    """Twilio's status `canceled` leads to the outcome canceled."""
    handle = await env.submitted()
    await callback(handle, "canceled")

    assert Outcome.CANCELED is (await handle.result()).outcome


async def test_a_message_to_a_handset_that_was_off_is_sent_again_later(
    env: TimeSkippingEnvironment,
) -> None:
    """After a delay the same workflow submits a new Twilio message."""
    env.fakes.sends = [accept(1), accept(2)]
    started = await env.now()
    handle = await env.submitted()
    await callback(handle, "undelivered", code=HANDSET_OFF)
    await env.sleep(timedelta(seconds=codes.delay_for(HANDSET_OFF) + 60))
    await env.until(lambda: len(env.fakes.posts) == 2)
    await callback(handle, "delivered", number=2)

    report = await handle.result()

    assert (Outcome.DELIVERED, sid(2), 2) == (report.outcome, report.message_sid, report.attempts)
    assert report.finished_at - started >= timedelta(seconds=codes.delay_for(HANDSET_OFF))


@pytest.mark.parametrize(
    ("recorded", "timers"),
    [
        ("delivered", [_STARTED]),
        ("delayed_and_sent_again", [_STARTED, _CANCELED, _STARTED, _FIRED, _STARTED]),
    ],
)
def test_a_timer_is_canceled_only_if_another_wait_begins(
    recorded: str, timers: list[EventType.ValueType]
) -> None:
    """The end of the workflow closes the last one without an event."""
    events = read(history_files()[recorded]).events

    assert timers == [each.event_type for each in events if each.event_type in _OF_TIMERS]


async def test_later_attempts_end_in_a_dead_letter(env: TimeSkippingEnvironment) -> None:
    """There are at most two of them."""
    env.fakes.sends = [accept(1), accept(2), accept(3)]
    env.fakes.statuses = [StatusResult(status="undelivered", error_code=HANDSET_OFF)] * 3

    report = await env.report()

    assert (Outcome.UNDELIVERED, FailureClass.DELIVERY_DELAYED, 1 + 2) == (
        report.outcome,
        report.failure_class,
        len(env.fakes.posts),
    )
    assert report.dead_letter_id is not None


async def test_no_later_attempt_after_the_message_expired(env: TimeSkippingEnvironment) -> None:
    """An attempt that would come after `expires_at` is not made."""
    now = await env.now()
    handle = await env.submitted(
        {**REQUEST, "expires_at": (now + timedelta(minutes=9)).isoformat()}
    )
    await callback(handle, "undelivered", code=HANDSET_OFF)

    report = await handle.result()

    assert (Outcome.UNDELIVERED, 1) == (report.outcome, len(env.fakes.posts))


async def test_opt_outs_are_checked_again_before_a_later_attempt(
    env: TimeSkippingEnvironment,
) -> None:
    """A STOP that came while the message was waiting suppresses it."""
    env.fakes.sends = [accept(1)]
    handle = await env.start()
    await env.until(lambda: len(env.fakes.posts) == 1)
    env.fakes.suppressed_by = Reason.OPTED_OUT
    await callback(handle, "undelivered", code=HANDSET_OFF)

    report = await handle.result()

    assert (Outcome.SUPPRESSED, 1) == (report.outcome, len(env.fakes.posts))


async def test_a_late_receipt_of_the_first_message_stops_the_later_attempt(
    env: TimeSkippingEnvironment,
) -> None:
    """The message is delivered, whichever of its SIDs the receipt belongs to."""
    env.fakes.sends = [accept(1), accept(2)]
    handle = await env.submitted()
    await callback(handle, "undelivered", code=HANDSET_OFF)
    await callback(handle, "read", number=1)

    report = await handle.result()

    assert (Outcome.DELIVERED, 1) == (report.outcome, len(env.fakes.posts))
