"""Each invariant, violated: a check that cannot fail would prove nothing."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from devtools.sandbox.client import AcceptedRow, CallbackRow
from signedfor.contract import Outcome
from signedfor.message_activities import Found, NeverSubmitted
from tests.faults.soak.history import Event, History, Searched, SendOutcome
from tests.faults.soak.invariants import MessageRecord
from tests.faults.soak.samples import (
    ACCEPTED,
    DELIVERED,
    FIRST,
    GOOD,
    OPEN_DEAD_LETTER,
    SECOND,
    SECOND_ACCEPTED,
    TO,
    a_callback,
    a_history,
    a_refusal,
    a_report,
    a_row,
    absent,
    at,
    finished,
    found_in,
    message_with,
    observations_of,
    received,
    shown,
    started,
)


def test_a_delivered_message_violates_nothing() -> None:
    """Otherwise the rest of this file would prove nothing."""
    assert [] == found_in(observations_of())


_DELAYED = (received(2, "undelivered", 30003), shown(2, "delayed"))
_SENT_LATER = message_with(
    *ACCEPTED, *_DELAYED, started(60), *SECOND_ACCEPTED, report=a_report(sid=SECOND)
)
_UNKNOWN = (started(0), finished(20, SendOutcome.UNKNOWN), shown(20, "resolving"))
_RESENT = message_with(
    *_UNKNOWN, absent(30), absent(50), started(60), *SECOND_ACCEPTED, report=a_report(sid=SECOND)
)
_RETRIED = message_with(
    started(0),
    finished(20, SendOutcome.NOT_SENT),
    started(60),
    *SECOND_ACCEPTED,
    report=a_report(sid=SECOND),
)


_NOT_ATTEMPTED = message_with(
    *_UNKNOWN,
    Searched(at=at(50), finding=NeverSubmitted()),
    started(60),
    *SECOND_ACCEPTED,
    report=a_report(sid=SECOND),
)


@pytest.mark.parametrize(
    ("message", "rows"),
    [
        (_SENT_LATER, [a_row(0.5, status="undelivered"), a_row(60.5, SECOND)]),
        (_RESENT, [a_row(60.5, SECOND)]),
        (_RETRIED, [a_row(60.5, SECOND)]),
        (_NOT_ATTEMPTED, [a_row(60.5, SECOND)]),
    ],
    ids=["delayed", "resent without a trace", "retried after a refusal", "not attempted"],
)
def test_a_submission_with_a_reason_is_intended(
    message: MessageRecord, rows: list[AcceptedRow]
) -> None:
    """After DeliveryDelayed, after two searches without a trace, and after a temporary refusal."""
    assert [] == found_in(observations_of(message, rows, attempts=[0.4, 60.1], callbacks=[]))


_INVARIANT_1 = {
    "two acceptances of one submission": (
        GOOD,
        [a_row(0.5), a_row(0.6, SECOND)],
        {(1, "accepted twice for one submission")},
    ),
    "two acceptances in the retries of one submission": (
        _RETRIED,
        [a_row(0.5), a_row(60.5, SECOND)],
        {(1, "accepted twice for one submission")},
    ),
    "accepted by a POST without an attempt record": (
        _NOT_ATTEMPTED,
        [a_row(0.5), a_row(60.5, SECOND)],
        {(1, "accepted twice for one submission")},
    ),
    "sent again after one search": (
        message_with(
            *_UNKNOWN, absent(30), started(60), *SECOND_ACCEPTED, report=a_report(sid=SECOND)
        ),
        [a_row(60.5, SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again without a search": (
        message_with(*_UNKNOWN, started(60), *SECOND_ACCEPTED, report=a_report(sid=SECOND)),
        [a_row(60.5, SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again though it was found": (
        message_with(
            *_UNKNOWN,
            Searched(
                at=at(30),
                finding=Found(message_sid=FIRST, status="sent", error_code=None, created_at=at(0)),
            ),
            absent(40),
            absent(50),
            started(60),
            *SECOND_ACCEPTED,
            report=a_report(sid=SECOND),
        ),
        [a_row(60.5, SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again though a callback had named it": (
        message_with(
            *_UNKNOWN,
            received(25, "sent"),
            absent(30),
            absent(50),
            started(60),
            *SECOND_ACCEPTED,
            report=a_report(sid=SECOND),
        ),
        [a_row(60.5, SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again after a permanent failure": (
        message_with(
            *ACCEPTED,
            received(2, "undelivered", 30006),
            shown(2, "delayed"),
            started(60),
            *SECOND_ACCEPTED,
            report=a_report(sid=SECOND),
        ),
        [a_row(0.5, status="undelivered"), a_row(60.5, SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "resent though Twilio had accepted it": (
        _RESENT,
        [a_row(0.5), a_row(60.5, SECOND)],
        {(1, "resent although Twilio had accepted it")},
    ),
    "sent later though it was delivered": (
        _SENT_LATER,
        [a_row(0.5, status="delivered"), a_row(60.5, SECOND)],
        {(1, "sent again later although its delivery had not failed")},
    ),
    "accepted before it was submitted": (
        GOOD,
        [a_row(-1)],
        {(1, "accepted before it was submitted"), (3, "a POST without its last check")},
    ),
    "accepted without a workflow": (
        replace(GOOD, history=None),
        [a_row(0.5)],
        {
            (1, "accepted without a workflow"),
            (2, "lost: it was started and there is no workflow"),
        },
    ),
    "accepted without a request": (
        GOOD,
        [a_row(0.5), a_row(0.6, SECOND, message_id="unknown")],
        {(1, "accepted without being requested")},
    ),
}


@pytest.mark.parametrize(
    ("message", "rows", "found"), _INVARIANT_1.values(), ids=_INVARIANT_1.keys()
)
def test_sent_once(
    message: MessageRecord, rows: list[AcceptedRow], found: set[tuple[int, str]]
) -> None:
    """Invariant 1: an unintended acceptance is found, whatever caused it."""
    observed = observations_of(message, rows, attempts=[0.4, 0.55, 60.1], callbacks=[])

    assert found == set(found_in(observed))


_INVARIANT_2 = {
    "lost": (replace(GOOD, history=None), "lost: it was started and there is no workflow"),
    "open": (message_with(*ACCEPTED, closed=None), "still running although the system is idle"),
    "failed": (
        replace(GOOD, history=History(run_id="r", closed_at=at(3))),
        "its workflow ended without a report",
    ),
    "no dead letter": (
        message_with(started(0), report=a_report(Outcome.UNCONFIRMED, None)),
        "its dead letter does not exist",
    ),
    "no dead letter in its report": (
        message_with(
            started(0),
            report=a_report(Outcome.FAILED, None).model_copy(update={"dead_letter_id": None}),
        ),
        "failed without a dead letter",
    ),
    "bad input": (replace(GOOD, is_bad_input=True), "bad input was processed"),
}


@pytest.mark.parametrize(("message", "what"), _INVARIANT_2.values(), ids=_INVARIANT_2.keys())
def test_never_lost(message: MessageRecord, what: str) -> None:
    """Invariant 2: a message without an outcome, or without its dead letter, is found."""
    found = found_in(observations_of(message, [], callbacks=[]))

    assert [(2, what)] == [each for each in found if each[0] == 2]


def test_a_message_with_an_open_dead_letter_is_not_lost() -> None:
    """An unknown outcome with an open dead letter violates nothing."""
    unresolved = message_with(
        started(0), finished(1, SendOutcome.UNKNOWN), report=a_report(Outcome.UNCONFIRMED, None)
    )

    message = replace(unresolved, dead_letter=OPEN_DEAD_LETTER)

    assert [] == found_in(observations_of(message, [], callbacks=[]))


_INVARIANT_3 = {
    "STOP": ({"opted_out_at": at(0.3)}, [0.4], "a POST after the recipient's STOP"),
    "expired": ({"expires_at": at(0.3)}, [0.4], "a POST after it had expired"),
    "canceled": ({"canceled_at": at(0.45)}, [0.4], "a POST after it was canceled"),
    "frozen": ({}, [-10], "a POST long after its last check"),
    "unchecked": ({}, [], "a POST without its last check"),
}


@pytest.mark.parametrize(
    ("fields", "attempts", "what"), _INVARIANT_3.values(), ids=_INVARIANT_3.keys()
)
def test_never_too_late(fields: dict[str, Any], attempts: list[float], what: str) -> None:
    """Invariant 3: a POST after STOP, expiry or cancel, or without a last check just before it."""
    observed = observations_of(
        replace(GOOD, **fields), attempts=attempts, opted_out=frozenset({TO})
    )

    assert (3, what) in found_in(observed)


def test_every_post_is_checked() -> None:
    """Invariant 3: a refused create without a last check is found too."""
    observed = observations_of(refused=[a_refusal(0.2)])

    assert [(3, "more POSTs than last checks")] == found_in(observed)


def test_in_time_is_not_too_late() -> None:
    """A POST before STOP, expiry and cancel is valid, even if Twilio accepts it afterwards."""
    message = replace(GOOD, opted_out_at=at(0.45), expires_at=at(0.45), canceled_at=at(0.6))

    assert [] == found_in(observations_of(message, opted_out=frozenset({TO})))


def test_a_frozen_twilio_accepts_a_post_late() -> None:
    """Invariant 3: the time for which Twilio was frozen is subtracted, and no more than that."""

    def found(*spans: tuple[float, float]) -> list[tuple[int, str]]:
        return found_in(observations_of(attempts=[-14], sandbox_frozen=spans))

    late = [(3, "a POST long after its last check")]
    assert [] == found((-7, -4), (-3, 0))
    assert late == found((-7, -4))
    assert late == found((-30, -12), (0, 20))


_WRONG_STATUSES = {
    "receipt": (
        (*ACCEPTED, shown(2, "sending"), shown(3, "delivered")),
        "went back from awaiting_receipt to sending",
    ),
    "outcome": (
        (*DELIVERED, shown(4, "undelivered"), shown(5, "delivered")),
        "changed from delivered to undelivered",
    ),
    "another": ((*ACCEPTED, shown(3, "undelivered")), "shows undelivered and reports delivered"),
}


@pytest.mark.parametrize(("events", "what"), _WRONG_STATUSES.values(), ids=_WRONG_STATUSES.keys())
def test_never_backwards(events: tuple[Event, ...], what: str) -> None:
    """Invariant 4: a status that goes back, or changes after the outcome, is found."""
    assert (4, what) in found_in(observations_of(message_with(*events, received(2))))


def test_repeating_a_request_changes_nothing() -> None:
    """Invariant 4: a second run of the same id, and a report that has changed, are found."""
    message = replace(
        GOOD,
        run_ids=frozenset({"r", "another"}),
        report_before=a_report(Outcome.UNDELIVERED),
    )

    assert [
        (4, "it ran again when it was started again"),
        (4, "its report changed when the requests were repeated"),
    ] == found_in(observations_of(message))


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.DELIVERED, "undelivered"),
        (Outcome.UNDELIVERED, "delivered"),
        (Outcome.CANCELED, "delivered"),
        (Outcome.FAILED, "sent"),
        (Outcome.EXPIRED, "delivered"),
        (Outcome.SUPPRESSED, "delivered"),
    ],
)
def test_the_report_agrees_with_twilio(outcome: Outcome, status: str) -> None:
    """Invariant 4: an outcome that Twilio's own record contradicts is found."""
    message = replace(
        message_with(*ACCEPTED, shown(3, outcome.value), report=a_report(outcome)),
        dead_letter=OPEN_DEAD_LETTER,
    )

    assert [(4, f"reports {outcome} where Twilio says {status}")] == found_in(
        observations_of(message, [a_row(0.5, status=status)], callbacks=[])
    )


def test_a_receipt_may_say_more_than_twilios_record() -> None:
    """Invariant 4: for some carriers the record stays at `sent`; only the receipt is final."""
    row = a_row(0.5, status="sent")

    assert [] == found_in(observations_of(rows=[row]))
    assert [(4, "reports delivered where Twilio says sent")] == found_in(
        observations_of(rows=[row], callbacks=[])
    )


def test_a_sandbox_killed_during_a_callback_has_not_recorded_it() -> None:
    """Invariant 4: where only the receipt says delivered, the history must have that receipt."""
    row = a_row(0.5, status="sent")
    with_receipt = replace(GOOD, is_callback_only=True)
    without = replace(message_with(*ACCEPTED, shown(3, "delivered")), is_callback_only=True)

    assert [] == found_in(observations_of(with_receipt, [row], callbacks=[]))
    assert [(4, "reports delivered where Twilio says sent")] == found_in(
        observations_of(without, [row], callbacks=[])
    )


_WITHOUT_RECEIPT = replace(
    message_with(*ACCEPTED, shown(3, "unconfirmed"), report=a_report(Outcome.UNCONFIRMED)),
    dead_letter=OPEN_DEAD_LETTER,
)


_DELIVERED_LATE = a_history(received(4), shown(4, "delivered_late"), closed=4)


def test_what_was_answered_with_a_2xx_is_stored() -> None:
    """Invariant 5: a receipt that was answered 204 and reached no workflow is found."""
    assert [(5, "a receipt delivered was lost")] == found_in(observations_of(_WITHOUT_RECEIPT))


@pytest.mark.parametrize(
    ("message", "callback"),
    [
        (replace(_WITHOUT_RECEIPT, dead_letter=_DELIVERED_LATE), a_callback()),
        (_WITHOUT_RECEIPT, a_callback(answer=503)),
        (_WITHOUT_RECEIPT, a_callback(answer=None)),
        (_WITHOUT_RECEIPT, a_callback(status="sent")),
        (message_with(*ACCEPTED, shown(3, "delivered")), a_callback()),
    ],
    ids=["in the dead letter", "answered 503", "no answer", "no receipt", "looked up"],
)
def test_no_receipt_is_missing(message: MessageRecord, callback: CallbackRow) -> None:
    """Invariant 5 is about receipts that were answered with a 2xx and are unknown."""
    assert [] == found_in(observations_of(message, callbacks=[callback]))


def test_a_stop_answered_with_a_2xx_is_stored() -> None:
    """Invariant 5: a STOP that was answered and is not in the database is found."""
    message = replace(GOOD, opted_out_at=at(5))

    assert [(5, "a STOP was lost")] == found_in(observations_of(message))
    assert [] == found_in(observations_of(message, opted_out=frozenset({TO})))


def test_nothing_stays_in_the_inbox() -> None:
    """Invariant 5: what is still in the inbox of an idle system is never processed."""
    assert [(5, "2 left in the inbox")] == found_in(observations_of(inbox_backlog=2))


def test_healthy_messages_are_quick() -> None:
    """Invariant 6: a healthy message that takes too long is found."""
    quick = replace(GOOD, finishes_within=timedelta(seconds=3))
    slow = replace(GOOD, finishes_within=timedelta(seconds=2.9))

    assert [] == found_in(observations_of(quick))
    assert [(6, "took 3.0 s although no fault affected it")] == found_in(observations_of(slow))
