"""The happy path and its variations: receipts in any order, consent, scheduling, expiry."""

import contextlib
import threading
from datetime import timedelta

import pytest
from temporalio.service import RPCError

from signedfor.consent import Reason
from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Expired, Suppressed
from tests.workflows.fakes import (
    REQUEST,
    SENDER,
    TimeSkippingEnvironment,
    accept,
    accept_after,
    callback,
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


async def test_a_stop_found_at_the_last_check_suppresses_the_message(
    env: TimeSkippingEnvironment,
) -> None:
    """A STOP while it waits ends the message as suppressed."""
    env.fakes.sends = [refuse(Suppressed(reason=Reason.OPTED_OUT))]

    report = await env.report()

    assert (Outcome.SUPPRESSED, 0) == (report.outcome, report.attempts)


async def test_the_default_sender_is_used_when_none_is_given(
    env: TimeSkippingEnvironment,
) -> None:
    """A message without `from` is sent from the configured sender."""
    env.fakes.default_sender = SENDER
    handle = await env.submitted({"to": REQUEST["to"], "body": "x"})
    await callback(handle, "delivered")
    await handle.result()

    assert [SENDER] == [post.sender for post in env.fakes.posts]


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


async def test_a_message_that_expired_at_the_last_check_is_not_sent(
    env: TimeSkippingEnvironment,
) -> None:
    """The send activity's decision `Expired` ends the message without a dead letter."""
    env.fakes.sends = [refuse(Expired())]

    report = await env.report()

    assert (Outcome.EXPIRED, None, None) == (
        report.outcome,
        report.dead_letter_id,
        report.failure_class,
    )


async def test_a_message_waits_for_an_unavailable_database(
    env: TimeSkippingEnvironment,
) -> None:
    """While opt-outs cannot be read, the message waits, says so, and is sent afterwards."""
    env.fakes.database_away = 1
    env.fakes.resumes = [None] * 40
    handle = await env.start()
    await env.until(lambda: len(env.fakes.resume_checks) > 0)
    assert "the database" == (await handle.query("progress"))["waiting_for"]
    await env.sleep(timedelta(hours=1))
    await callback(handle, "delivered")

    assert Outcome.DELIVERED is (await handle.result()).outcome
    assert 1 == len(env.fakes.posts)
