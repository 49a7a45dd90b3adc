"""The happy path and its variations: receipts in any order, consent, scheduling, expiry."""

import contextlib
import threading
from datetime import timedelta

import pytest
from temporalio.service import RPCError

from signedfor.consent import Reason
from signedfor.contract import PROGRESS_QUERY, Outcome, Progress
from signedfor.contract.failures import FailureClass
from signedfor.masks import masked_sender
from signedfor.message_activities import NoOptIn, Paused, Suppressed
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
)


async def test_a_delivered_receipt_ends_the_message(env: TimeSkippingEnvironment) -> None:
    """The report says delivered and has Twilio's SID, the attempts and the segments."""
    handle = await env.start(message_id="parcel-1")
    await env.until(lambda: len(env.fakes.posts) == 1)
    await callback(handle, "delivered")

    report = await handle.result()

    assert (Outcome.DELIVERED, "parcel-1", sid(), 1, 1) == (
        report.outcome,
        report.message_id,
        report.message_sid,
        report.attempts,
        report.segments,
    )
    assert (None, None, None) == (report.error_code, report.failure_class, report.dead_letter_id)
    assert report.submitted_at is not None


@pytest.mark.parametrize("was_unreachable", [True, False])
@pytest.mark.parametrize("status", ["delivered", "undelivered"])
async def test_a_delivery_shows_that_an_unreachable_number_can_be_reached(
    env: TimeSkippingEnvironment, status: str, *, was_unreachable: bool
) -> None:
    """Nothing is asked of the database for any other message."""
    env.fakes.sends = [accept(was_unreachable=was_unreachable)]
    handle = await env.submitted()
    await callback(handle, status)
    await handle.result()

    expected = [(REQUEST["to"], SENDER, sid())] if was_unreachable and status == "delivered" else []
    assert expected == [(each.to, each.sender, each.message_sid) for each in env.fakes.reached]


async def test_tags_are_returned_unchanged(env: TimeSkippingEnvironment) -> None:
    """The caller's tags are in the report."""
    handle = await env.submitted({**REQUEST, "tags": {"order": "17"}})
    await callback(handle, "delivered")

    assert {"order": "17"} == (await handle.result()).tags


async def test_a_read_receipt_counts_as_delivered(env: TimeSkippingEnvironment) -> None:
    """On WhatsApp and RCS, read implies delivered."""
    handle = await env.submitted(
        {**REQUEST, "to": "whatsapp:+15558675309", "from": "whatsapp:+15005550006"}
    )
    await callback(handle, "read")

    assert Outcome.DELIVERED is (await handle.result()).outcome


async def test_a_receipt_before_the_create_response_counts(env: TimeSkippingEnvironment) -> None:
    """A callback that overtakes the create response is used; its status is not fetched again."""
    answered = threading.Event()
    env.fakes.sends = [accept_after(answered)]
    handle = await env.submitted()
    await callback(handle, "delivered")
    answered.set()

    assert Outcome.DELIVERED is (await handle.result()).outcome
    assert 1 == len(env.fakes.posts)
    assert [] == env.fakes.status_checks


@pytest.mark.parametrize("order", [["sent", "queued"], ["queued", "sent"], ["sent", "sent"]])
async def test_intermediate_statuses_do_not_change_the_outcome(
    env: TimeSkippingEnvironment, order: list[str]
) -> None:
    """Whatever comes before or after the receipt, in any order, the receipt decides."""
    handle = await env.submitted()
    for status in order:
        await callback(handle, status)
    await callback(handle, "delivered")
    with contextlib.suppress(RPCError):  # the workflow may have completed
        await callback(handle, "sent")

    assert Outcome.DELIVERED is (await handle.result()).outcome


async def test_unknown_statuses_are_shown_and_otherwise_ignored(
    env: TimeSkippingEnvironment,
) -> None:
    """A status that Twilio adds in future is visible in the progress query only."""
    handle = await env.submitted()
    await callback(handle, "teleported")
    assert ["teleported"] == (await handle.query("progress"))["unknown_statuses"]
    await callback(handle, "delivered")

    assert Outcome.DELIVERED is (await handle.result()).outcome


async def test_a_malformed_signal_is_dropped(env: TimeSkippingEnvironment) -> None:
    """A signal without a SID or with two arguments neither changes nor fails the message."""
    handle = await env.submitted()
    await handle.signal("delivery_status", {"message_status": "delivered"})
    await handle.signal("delivery_status", args=[{"message_sid": sid()}, "delivered"])
    await callback(handle, "delivered")

    assert Outcome.DELIVERED is (await handle.result()).outcome


@pytest.mark.parametrize(
    ("reason", "failure_class"),
    [
        (Reason.OPTED_OUT, FailureClass.RECIPIENT_OPTED_OUT),
        (Reason.UNDELIVERABLE, FailureClass.RECIPIENT_UNREACHABLE),
        (Reason.MANUAL, None),
        (Reason.REVIEW, None),
    ],
)
async def test_nothing_is_sent_to_a_suppressed_recipient(
    env: TimeSkippingEnvironment, reason: Reason, failure_class: FailureClass | None
) -> None:
    """A recipient who is suppressed gets no message; no dead letter is opened."""
    env.fakes.suppressed_by = reason

    report = await env.report()

    assert (Outcome.SUPPRESSED, failure_class, 0, None) == (
        report.outcome,
        report.failure_class,
        report.attempts,
        report.dead_letter_id,
    )
    assert [] == env.fakes.posts


async def test_a_message_whose_category_demands_an_opt_in(env: TimeSkippingEnvironment) -> None:
    """Without one it is suppressed; the report says why, and no dead letter is opened."""
    env.fakes.sends = [refuse(NoOptIn())]

    report = await env.report()

    assert (Outcome.SUPPRESSED, 0, None) == (report.outcome, report.attempts, report.dead_letter_id)
    assert "has not opted in" in report.reason


async def test_a_stop_during_a_wait_suppresses_the_message(
    env: TimeSkippingEnvironment,
) -> None:
    """A STOP that comes before the message's reserved time ends it as suppressed."""
    env.fakes.sends = [
        refuse(deferred(timedelta(hours=1))),
        refuse(Suppressed(reason=Reason.OPTED_OUT)),
    ]

    report = await env.report()

    assert (Outcome.SUPPRESSED, 0) == (report.outcome, report.attempts)


async def test_the_default_sender_is_used_when_none_is_given(
    env: TimeSkippingEnvironment,
) -> None:
    """The first attempt reports the configured sender; later ones keep to it."""
    env.fakes.default_sender = SENDER
    env.fakes.sends = [failure(FailureClass.TEMPORARILY_UNAVAILABLE, final=True), accept()]
    handle = await env.start({"to": REQUEST["to"], "body": "x"})
    await env.until(lambda: len(env.fakes.posts) == 2)
    env.fakes.default_sender = "+15005550009"
    await callback(handle, "delivered")
    await handle.result()

    assert [None, SENDER] == [each.sender for each in env.fakes.requests]
    progress = await handle.query(PROGRESS_QUERY, result_type=Progress)
    assert masked_sender(SENDER) == progress.sender


async def test_a_message_waits_for_its_send_at(env: TimeSkippingEnvironment) -> None:
    """Nothing is checked or sent before `send_at`."""
    now = await env.now()
    env.fakes.sends = [accept()]
    handle = await env.start(
        {**REQUEST, "send_at": (now + timedelta(hours=3)).isoformat()}, message_id="later"
    )
    progress = await handle.query("progress")
    assert "scheduled" == progress["status"]
    await env.sleep(timedelta(hours=2, minutes=59))
    assert [] == env.fakes.posts

    await env.sleep(timedelta(minutes=2))
    await callback(handle, "delivered")

    assert Outcome.DELIVERED is (await handle.result()).outcome


async def test_an_expired_message_is_not_sent(env: TimeSkippingEnvironment) -> None:
    """It ends without a dead letter."""
    expired = (await env.now() - timedelta(minutes=1)).isoformat()

    report = await env.report({**REQUEST, "expires_at": expired})

    assert [] == env.fakes.posts
    assert (Outcome.EXPIRED, None, None) == (
        report.outcome,
        report.dead_letter_id,
        report.failure_class,
    )


async def test_a_message_that_expires_before_it_is_due_is_not_tried_again(
    env: TimeSkippingEnvironment,
) -> None:
    """At the end of its pause it has expired: there is no second check."""
    env.fakes.sends = [refuse(Paused())]
    env.fakes.resumes = [None] * 1000
    expires_at = (await env.now() + timedelta(minutes=30)).isoformat()

    report = await env.report({**REQUEST, "expires_at": expires_at})

    assert (Outcome.EXPIRED, 1) == (report.outcome, len(env.fakes.requests))


async def test_a_delivered_message_has_few_events(env: TimeSkippingEnvironment) -> None:
    """The checks and the POST are a local activity: nothing is scheduled on a task queue."""
    handle = await env.submitted()
    await callback(handle, "delivered")
    await handle.result()

    assert [] == [
        event
        for event in (await handle.fetch_history()).events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
