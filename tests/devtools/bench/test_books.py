"""The books are worth something only if they find what is wrong: each promise, broken."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from signedfor.steps import Finding

from devtools.bench.books import Account
from devtools.bench.trails import Searched, SendEnd, Step, Trail
from devtools.sandbox.client import AcceptedRow, CallbackRow
from signedfor.contract import Outcome
from tests.devtools.bench.crafting import (
    AGAIN,
    DELIVERED,
    FIRST,
    GOOD,
    OPEN_LETTER,
    SECOND,
    TAKEN,
    TO,
    a_callback,
    a_refusal,
    a_report,
    a_row,
    a_trail,
    absent,
    account_with,
    at,
    begun,
    books_of,
    ended,
    found_in,
    heard,
    shown,
)


def test_a_delivered_message_keeps_every_promise() -> None:
    """The plain way is no violation; otherwise the rest of this file would say nothing."""
    assert [] == found_in(books_of())


_DELAYED = (heard(2, "undelivered", 30003), shown(2, "delayed"))
_SENT_LATER = account_with(*TAKEN, *_DELAYED, begun(60), *AGAIN, report=a_report(sid=SECOND))
_UNKNOWN = (begun(0), ended(20, SendEnd.UNKNOWN), shown(20, "resolving"))
_SENT_ANEW = account_with(
    *_UNKNOWN, absent(30), absent(50), begun(60), *AGAIN, report=a_report(sid=SECOND)
)
_TRIED_AGAIN = account_with(
    begun(0),
    ended(20, SendEnd.NOT_SENT),
    begun(60),
    *AGAIN,
    report=a_report(sid=SECOND),
)


_NOT_BEGUN = account_with(
    *_UNKNOWN,
    Searched(at=at(50), finding=Finding.NOT_SUBMITTED),
    begun(60),
    *AGAIN,
    report=a_report(sid=SECOND),
)


@pytest.mark.parametrize(
    ("account", "rows"),
    [
        (_SENT_LATER, [a_row(0.5, status="undelivered"), a_row(60.5, SECOND)]),
        (_SENT_ANEW, [a_row(60.5, SECOND)]),
        (_TRIED_AGAIN, [a_row(60.5, SECOND)]),
        (_NOT_BEGUN, [a_row(60.5, SECOND)]),
    ],
    ids=["later, not delivered", "anew, without a trace", "again, not taken", "not begun"],
)
def test_what_is_sent_again_for_a_reason_is_intended(
    account: Account, rows: list[AcceptedRow]
) -> None:
    """After DeliveryDelayed, after two searches without a trace, and after a certain no."""
    assert [] == found_in(books_of(account, rows, notes=[0.4, 60.1], callbacks=[]))


_RULE_1 = {
    "two acceptances of one submission": (
        GOOD,
        [a_row(0.5), a_row(0.6, SECOND)],
        {(1, "accepted twice for one submission")},
    ),
    "two acceptances in the retries of one submission": (
        _TRIED_AGAIN,
        [a_row(0.5), a_row(60.5, SECOND)],
        {(1, "accepted twice for one submission")},
    ),
    "taken by a POST of which there was no note": (
        _NOT_BEGUN,
        [a_row(0.5), a_row(60.5, SECOND)],
        {(1, "accepted twice for one submission")},
    ),
    "sent again after one search": (
        account_with(*_UNKNOWN, absent(30), begun(60), *AGAIN, report=a_report(sid=SECOND)),
        [a_row(60.5, SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again blindly": (
        account_with(*_UNKNOWN, begun(60), *AGAIN, report=a_report(sid=SECOND)),
        [a_row(60.5, SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again though it was found": (
        account_with(
            *_UNKNOWN,
            Searched(at=at(30), finding=Finding.FOUND, message_sid=FIRST),
            absent(40),
            absent(50),
            begun(60),
            *AGAIN,
            report=a_report(sid=SECOND),
        ),
        [a_row(60.5, SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again though a callback had named it": (
        account_with(
            *_UNKNOWN,
            heard(25, "sent"),
            absent(30),
            absent(50),
            begun(60),
            *AGAIN,
            report=a_report(sid=SECOND),
        ),
        [a_row(60.5, SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again after a lasting failure": (
        account_with(
            *TAKEN,
            heard(2, "undelivered", 30006),
            shown(2, "delayed"),
            begun(60),
            *AGAIN,
            report=a_report(sid=SECOND),
        ),
        [a_row(0.5, status="undelivered"), a_row(60.5, SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent anew though Twilio had it": (
        _SENT_ANEW,
        [a_row(0.5), a_row(60.5, SECOND)],
        {(1, "sent anew although Twilio had it")},
    ),
    "sent later though it was delivered": (
        _SENT_LATER,
        [a_row(0.5, status="delivered"), a_row(60.5, SECOND)],
        {(1, "sent again later although it was not refused")},
    ),
    "accepted before it was submitted": (
        GOOD,
        [a_row(-1)],
        {(1, "accepted before it was submitted"), (3, "a POST without its last check")},
    ),
    "accepted without a workflow": (
        replace(GOOD, trail=None),
        [a_row(0.5)],
        {
            (1, "accepted without a workflow"),
            (2, "lost: it was handed in and there is no workflow"),
        },
    ),
    "accepted for nobody": (
        GOOD,
        [a_row(0.5), a_row(0.6, SECOND, message_id="stranger")],
        {(1, "accepted without being handed in")},
    ),
}


@pytest.mark.parametrize(("account", "rows", "found"), _RULE_1.values(), ids=_RULE_1.keys())
def test_sent_once(account: Account, rows: list[AcceptedRow], found: set[tuple[int, str]]) -> None:
    """Rule 1: an acceptance that nobody intended is found, however it came about."""
    books = books_of(account, rows, notes=[0.4, 0.55, 60.1], callbacks=[])

    assert found == set(found_in(books))


_RULE_2 = {
    "lost": (replace(GOOD, trail=None), "lost: it was handed in and there is no workflow"),
    "open": (account_with(*TAKEN, closed=None), "still open after everything had settled"),
    "failed": (
        replace(GOOD, trail=Trail(run_id="r", closed_at=at(3))),
        "its workflow ended without a report",
    ),
    "no letter": (
        account_with(begun(0), report=a_report(Outcome.UNCONFIRMED, None)),
        "its dead letter does not exist",
    ),
    "no letter named": (
        account_with(
            begun(0),
            report=a_report(Outcome.FAILED, None).model_copy(update={"dead_letter_id": None}),
        ),
        "failed without a dead letter",
    ),
    "bad input": (replace(GOOD, is_bad_input=True), "bad input was carried out"),
}


@pytest.mark.parametrize(("account", "what"), _RULE_2.values(), ids=_RULE_2.keys())
def test_never_lost(account: Account, what: str) -> None:
    """Rule 2: a message without an outcome, or without its dead letter, is found."""
    found = found_in(books_of(account, [], callbacks=[]))

    assert [(2, what)] == [each for each in found if each[0] == 2]


def test_a_message_with_an_open_letter_is_not_forgotten() -> None:
    """An unknown fate with an open dead letter is a promise kept."""
    parked = account_with(
        begun(0), ended(1, SendEnd.UNKNOWN), report=a_report(Outcome.UNCONFIRMED, None)
    )

    account = replace(parked, letter=OPEN_LETTER)

    assert [] == found_in(books_of(account, [], callbacks=[]))


_RULE_3 = {
    "STOP": ({"stopped_at": at(0.3)}, [0.4], "a POST after the recipient's STOP"),
    "expired": ({"expires_at": at(0.3)}, [0.4], "a POST after it had expired"),
    "canceled": ({"canceled_at": at(0.45)}, [0.4], "a POST after it was canceled"),
    "frozen": ({}, [-10], "a POST long after its last check"),
    "unchecked": ({}, [], "a POST without its last check"),
}


@pytest.mark.parametrize(("fields", "notes", "what"), _RULE_3.values(), ids=_RULE_3.keys())
def test_never_too_late(fields: dict[str, Any], notes: list[float], what: str) -> None:
    """Rule 3: a POST after STOP, expiry or cancel, or without a last check shortly before."""
    books = books_of(replace(GOOD, **fields), notes=notes, stops=frozenset({TO}))

    assert (3, what) in found_in(books)


def test_every_post_is_checked() -> None:
    """Rule 3: a create that was refused, and of which no last check knows, is found too."""
    books = books_of(refused=[a_refusal(0.2)])

    assert [(3, "more POSTs than last checks")] == found_in(books)


def test_in_time_is_not_too_late() -> None:
    """A POST before STOP, expiry and cancel breaks no promise, even if Twilio takes it after."""
    account = replace(GOOD, stopped_at=at(0.45), expires_at=at(0.45), canceled_at=at(0.6))

    assert [] == found_in(books_of(account, stops=frozenset({TO})))


def test_a_twilio_that_stands_still_takes_a_post_late() -> None:
    """Rule 3: while Twilio is frozen nothing is taken, whenever it came; no longer than that."""

    def found(*spans: tuple[float, float]) -> list[tuple[int, str]]:
        return found_in(books_of(notes=[-14], twilio_frozen=spans))

    late = [(3, "a POST long after its last check")]
    assert [] == found((-7, -4), (-3, 0))
    assert late == found((-7, -4))
    assert late == found((-30, -12), (0, 20))


_BAD_SHOWS = {
    "receipt": (
        (*TAKEN, shown(2, "sending"), shown(3, "delivered")),
        "went back from awaiting_receipt to sending",
    ),
    "outcome": (
        (*DELIVERED, shown(4, "undelivered"), shown(5, "delivered")),
        "went on from delivered to undelivered",
    ),
    "another": ((*TAKEN, shown(3, "undelivered")), "shows undelivered and reports delivered"),
}


@pytest.mark.parametrize(("steps", "what"), _BAD_SHOWS.values(), ids=_BAD_SHOWS.keys())
def test_never_backwards(steps: tuple[Step, ...], what: str) -> None:
    """Rule 4: a status that goes back, or on after the end, is found."""
    assert (4, what) in found_in(books_of(account_with(*steps, heard(2))))


def test_the_second_time_changes_nothing() -> None:
    """Rule 4: a second run of the same id, and a report that has changed, are found."""
    account = replace(
        GOOD,
        run_ids=frozenset({"r", "another"}),
        report_before=a_report(Outcome.UNDELIVERED),
    )

    assert [
        (4, "handed in again, it ran again"),
        (4, "its report changed the second time"),
    ] == found_in(books_of(account))


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
def test_the_report_says_what_twilio_says(outcome: Outcome, status: str) -> None:
    """Rule 4: an outcome that Twilio's own record contradicts is found."""
    account = replace(
        account_with(*TAKEN, shown(3, outcome.value), report=a_report(outcome)),
        letter=OPEN_LETTER,
    )

    assert [(4, f"reports {outcome} where Twilio says {status}")] == found_in(
        books_of(account, [a_row(0.5, status=status)], callbacks=[])
    )


def test_a_receipt_may_say_more_than_twilios_record() -> None:
    """Rule 4: for some carriers the record stays at `sent`, and only the receipt says delivered."""
    row = a_row(0.5, status="sent")

    assert [] == found_in(books_of(rows=[row]))
    assert [(4, "reports delivered where Twilio says sent")] == found_in(
        books_of(rows=[row], callbacks=[])
    )


def test_a_twilio_that_died_in_its_callback_has_not_noted_it() -> None:
    """Rule 4: where only the receipt says delivered, having heard it is enough, but needed."""
    row = a_row(0.5, status="sent")
    told, untold = replace(GOOD, is_told_once=True), account_with(*TAKEN, shown(3, "delivered"))

    assert [] == found_in(books_of(told, [row], callbacks=[]))
    assert [(4, "reports delivered where Twilio says sent")] == found_in(
        books_of(replace(untold, is_told_once=True), [row], callbacks=[])
    )


_UNHEARD = replace(
    account_with(*TAKEN, shown(3, "unconfirmed"), report=a_report(Outcome.UNCONFIRMED)),
    letter=OPEN_LETTER,
)


_DELIVERED_LATE = a_trail(heard(4), shown(4, "delivered_late"), closed=4)


def test_a_2xx_is_kept() -> None:
    """Rule 5: a receipt that was answered 204 and that nobody was told of is found."""
    assert [(5, "a receipt delivered was lost")] == found_in(books_of(_UNHEARD))


@pytest.mark.parametrize(
    ("account", "callback"),
    [
        (replace(_UNHEARD, letter=_DELIVERED_LATE), a_callback()),
        (_UNHEARD, a_callback(answer=503)),
        (_UNHEARD, a_callback(answer=None)),
        (_UNHEARD, a_callback(status="sent")),
        (account_with(*TAKEN, shown(3, "delivered")), a_callback()),
    ],
    ids=["told to the letter", "answered 503", "no answer", "no receipt", "looked up"],
)
def test_what_was_not_lost(account: Account, callback: CallbackRow) -> None:
    """Rule 5 speaks of receipts with a 2xx that nobody knows, and of nothing else."""
    assert [] == found_in(books_of(account, callbacks=[callback]))


def test_a_stop_with_a_2xx_is_kept() -> None:
    """Rule 5: a STOP that was answered and is not in the database is found."""
    account = replace(GOOD, stopped_at=at(5))

    assert [(5, "a STOP was lost")] == found_in(books_of(account))
    assert [] == found_in(books_of(account, stops=frozenset({TO})))


def test_nothing_stays_in_the_inbox() -> None:
    """Rule 5: what still waits when all is quiet will never be taken on."""
    assert [(5, "2 left in the inbox")] == found_in(books_of(inbox_left=2))


def test_bystanders_are_quick() -> None:
    """Rule 6: a message with nothing in its way that takes too long is found."""
    quick = replace(GOOD, settles_within=timedelta(seconds=3))
    slow = replace(GOOD, settles_within=timedelta(seconds=2.9))

    assert [] == found_in(books_of(quick))
    assert [(6, "took 3.0 s and had nothing in its way")] == found_in(books_of(slow))
