"""The books are worth something only if they find what is wrong: each promise, broken."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.books import Account, Books, balance
from bench.trails import Heard, Searched, SendBegun, SendEnd, SendEnded, Shown, Step, Trail
from messaging.contract import MessageReport, Outcome
from messaging.steps import Finding
from sandbox.client import AcceptedRow, CallbackRow, LedgerView, RefusedRow

_BEGIN = datetime(2026, 11, 21, 12, tzinfo=UTC)
_TO = "+15558670001"
_FIRST, _SECOND = "SM" + "1" * 32, "SM" + "2" * 32


def _at(seconds: float) -> datetime:
    return _BEGIN + timedelta(seconds=seconds)


def _row(
    seconds: float, sid: str = _FIRST, status: str = "delivered", message_id: str = "m"
) -> AcceptedRow:
    return {
        "n": 1,
        "sid": sid,
        "to": _TO,
        "from": "+15005550006",
        "messaging_service_sid": None,
        "body": "",
        "body_sha256": "",
        "segments": 1,
        "status": status,
        "error_code": None,
        "status_callback": f"http://127.0.0.1/webhook/status?message_id={message_id}#rc=5&rp=all",
        "created": _at(seconds).timestamp(),
        "sent": None,
        "finished": True,
    }


def _refusal(seconds: float) -> RefusedRow:
    return {
        "to": _TO,
        "body": "",
        "body_sha256": "",
        "reason": "scripted",
        "code": 20429,
        "http_status": 429,
        "sid": None,
        "at": _at(seconds).timestamp(),
        "from": None,
    }


def _callback(status: str = "delivered", answer: int | None = 204) -> CallbackRow:
    return {
        "sid": _FIRST,
        "to": _TO,
        "status": status,
        "attempt": 1,
        "http_status": answer,
        "error": None,
        "at": _at(2).timestamp(),
    }


def _report(outcome: Outcome = Outcome.DELIVERED, sid: str | None = _FIRST) -> MessageReport:
    letter = outcome in {Outcome.UNCONFIRMED, Outcome.UNDELIVERED, Outcome.FAILED}
    return MessageReport(
        message_id="m",
        outcome=outcome,
        message_sid=sid,
        reason="",
        attempts=1,
        segments=1,
        settled_at=_at(3),
        dead_letter_id="dead-letter:m" if letter else None,
        tags={},
    )


def _begun(seconds: float) -> SendBegun:
    return SendBegun(at=_at(seconds))


def _ended(seconds: float, end: SendEnd, sid: str | None = None) -> SendEnded:
    return SendEnded(at=_at(seconds), end=end, message_sid=sid)


def _shown(seconds: float, status: str) -> Shown:
    return Shown(at=_at(seconds), status=status)


def _heard(seconds: float, status: str = "delivered", code: int | None = None) -> Heard:
    return Heard(at=_at(seconds), message_sid=_FIRST, status=status, error_code=code)


def _absent(seconds: float) -> Searched:
    return Searched(at=_at(seconds), finding=Finding.ABSENT)


_TAKEN = (_begun(0), _ended(1, SendEnd.TAKEN, _FIRST), _shown(1, "awaiting_receipt"))
_DELIVERED = (*_TAKEN, _heard(2), _shown(3, "delivered"))
_AGAIN = (_ended(61, SendEnd.TAKEN, _SECOND), _shown(62, "delivered"))


def _trail(
    *steps: Step, report: MessageReport | None = None, closed: float | None = 3, run_id: str = "r"
) -> Trail:
    return Trail(
        run_id=run_id,
        steps=steps,
        closed_at=None if closed is None else _at(closed),
        completed=closed is not None,
        report=report,
    )


_GOOD = Account(
    message_id="m",
    to=_TO,
    handed_in_at=_at(0),
    run_ids=frozenset({"r"}),
    trail=_trail(*_DELIVERED, report=_report()),
)


def _books(
    account: Account = _GOOD,
    rows: Sequence[AcceptedRow] = (_row(0.5),),
    *,
    notes: Sequence[float] = (0.4,),
    refused: Sequence[RefusedRow] = (),
    callbacks: Sequence[CallbackRow] = (_callback(),),
    stops: frozenset[str] = frozenset(),
    inbox_left: int = 0,
) -> Books:
    ledger: LedgerView = {
        "accepted": list(rows),
        "refused": list(refused),
        "callbacks": list(callbacks),
    }
    return Books(
        accounts=[account],
        ledger=ledger,
        notes={"m": [_at(each) for each in notes]},
        stops=stops,
        inbox_left=inbox_left,
    )


def _with(*steps: Step, report: MessageReport | None = None, closed: float | None = 3) -> Account:
    return replace(_GOOD, trail=_trail(*steps, report=report or _report(), closed=closed))


def _found(books: Books) -> list[tuple[int, str]]:
    return [(violation.rule, violation.what) for violation in balance(books)]


def test_a_delivered_message_keeps_every_promise() -> None:
    """The plain way is no violation; otherwise the rest of this file would say nothing."""
    assert [] == _found(_books())


_DELAYED = (_heard(2, "undelivered", 30003), _shown(2, "delayed"))
_SENT_LATER = _with(*_TAKEN, *_DELAYED, _begun(60), *_AGAIN, report=_report(sid=_SECOND))
_UNKNOWN = (_begun(0), _ended(20, SendEnd.UNKNOWN), _shown(20, "resolving"))
_SENT_ANEW = _with(
    *_UNKNOWN, _absent(30), _absent(50), _begun(60), *_AGAIN, report=_report(sid=_SECOND)
)
_TRIED_AGAIN = _with(
    _begun(0),
    _ended(20, SendEnd.NOT_SENT),
    _begun(60),
    *_AGAIN,
    report=_report(sid=_SECOND),
)


@pytest.mark.parametrize(
    ("account", "rows"),
    [
        (_SENT_LATER, [_row(0.5, status="undelivered"), _row(60.5, _SECOND)]),
        (_SENT_ANEW, [_row(60.5, _SECOND)]),
        (_TRIED_AGAIN, [_row(60.5, _SECOND)]),
    ],
    ids=["later, not delivered", "anew, without a trace", "again, not taken"],
)
def test_what_is_sent_again_for_a_reason_is_intended(
    account: Account, rows: list[AcceptedRow]
) -> None:
    """After DeliveryDelayed, after two searches without a trace, and after a certain no."""
    assert [] == _found(_books(account, rows, notes=[0.4, 60.1], callbacks=[]))


_RULE_1 = {
    "two acceptances of one submission": (
        _GOOD,
        [_row(0.5), _row(0.6, _SECOND)],
        {(1, "accepted twice for one submission")},
    ),
    "two acceptances in the retries of one submission": (
        _TRIED_AGAIN,
        [_row(0.5), _row(60.5, _SECOND)],
        {(1, "accepted twice for one submission")},
    ),
    "sent again after one search": (
        _with(*_UNKNOWN, _absent(30), _begun(60), *_AGAIN, report=_report(sid=_SECOND)),
        [_row(60.5, _SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again blindly": (
        _with(*_UNKNOWN, _begun(60), *_AGAIN, report=_report(sid=_SECOND)),
        [_row(60.5, _SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again though it was found": (
        _with(
            *_UNKNOWN,
            Searched(at=_at(30), finding=Finding.FOUND, message_sid=_FIRST),
            _absent(40),
            _absent(50),
            _begun(60),
            *_AGAIN,
            report=_report(sid=_SECOND),
        ),
        [_row(60.5, _SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again though a callback had named it": (
        _with(
            *_UNKNOWN,
            _heard(25, "sent"),
            _absent(30),
            _absent(50),
            _begun(60),
            *_AGAIN,
            report=_report(sid=_SECOND),
        ),
        [_row(60.5, _SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent again after a lasting failure": (
        _with(
            *_TAKEN,
            _heard(2, "undelivered", 30006),
            _shown(2, "delayed"),
            _begun(60),
            *_AGAIN,
            report=_report(sid=_SECOND),
        ),
        [_row(0.5, status="undelivered"), _row(60.5, _SECOND)],
        {(1, "sent again without a reason in its history")},
    ),
    "sent anew though Twilio had it": (
        _SENT_ANEW,
        [_row(0.5), _row(60.5, _SECOND)],
        {(1, "sent anew although Twilio had it")},
    ),
    "sent later though it was delivered": (
        _SENT_LATER,
        [_row(0.5, status="delivered"), _row(60.5, _SECOND)],
        {(1, "sent again later although it was not refused")},
    ),
    "accepted before it was submitted": (
        _GOOD,
        [_row(-1)],
        {(1, "accepted before it was submitted"), (3, "a POST without its last check")},
    ),
    "accepted without a workflow": (
        replace(_GOOD, trail=None),
        [_row(0.5)],
        {
            (1, "accepted without a workflow"),
            (2, "lost: it was handed in and there is no workflow"),
        },
    ),
    "accepted for nobody": (
        _GOOD,
        [_row(0.5), _row(0.6, _SECOND, message_id="stranger")],
        {(1, "accepted without being handed in")},
    ),
}


@pytest.mark.parametrize(("account", "rows", "found"), _RULE_1.values(), ids=_RULE_1.keys())
def test_sent_once(account: Account, rows: list[AcceptedRow], found: set[tuple[int, str]]) -> None:
    """Rule 1: an acceptance that nobody intended is found, however it came about."""
    books = _books(account, rows, notes=[0.4, 0.55, 60.1], callbacks=[])

    assert found == set(_found(books))


_RULE_2 = {
    "lost": (replace(_GOOD, trail=None), "lost: it was handed in and there is no workflow"),
    "open": (_with(*_TAKEN, closed=None), "still open after everything had settled"),
    "failed": (
        replace(_GOOD, trail=Trail(run_id="r", closed_at=_at(3))),
        "its workflow ended without a report",
    ),
    "no letter": (
        _with(_begun(0), report=_report(Outcome.UNCONFIRMED, None)),
        "its dead letter does not exist",
    ),
    "no letter named": (
        _with(
            _begun(0),
            report=_report(Outcome.FAILED, None).model_copy(update={"dead_letter_id": None}),
        ),
        "failed without a dead letter",
    ),
    "bad input": (replace(_GOOD, is_bad_input=True), "bad input was carried out"),
}


@pytest.mark.parametrize(("account", "what"), _RULE_2.values(), ids=_RULE_2.keys())
def test_never_lost(account: Account, what: str) -> None:
    """Rule 2: a message without an outcome, or without its dead letter, is found."""
    found = _found(_books(account, [], callbacks=[]))

    assert [(2, what)] == [each for each in found if each[0] == 2]


def test_a_message_with_an_open_letter_is_not_forgotten() -> None:
    """An unknown fate with an open dead letter is a promise kept."""
    parked = _with(_begun(0), _ended(1, SendEnd.UNKNOWN), report=_report(Outcome.UNCONFIRMED, None))

    account = replace(parked, letter=_trail(closed=None))

    assert [] == _found(_books(account, [], callbacks=[]))


_RULE_3 = {
    "STOP": ({"stopped_at": _at(0.3)}, [0.4], "a POST after the recipient's STOP"),
    "expired": ({"expires_at": _at(0.3)}, [0.4], "a POST after it had expired"),
    "canceled": ({"canceled_at": _at(0.45)}, [0.4], "a POST after it was canceled"),
    "frozen": ({}, [-20], "a POST long after its last check"),
    "unchecked": ({}, [], "a POST without its last check"),
}


@pytest.mark.parametrize(("fields", "notes", "what"), _RULE_3.values(), ids=_RULE_3.keys())
def test_never_too_late(fields: dict[str, Any], notes: list[float], what: str) -> None:
    """Rule 3: a POST after STOP, expiry or cancel, or without a last check shortly before."""
    books = _books(replace(_GOOD, **fields), notes=notes, stops=frozenset({_TO}))

    assert (3, what) in _found(books)


def test_every_post_is_checked() -> None:
    """Rule 3: a create that was refused, and of which no last check knows, is found too."""
    books = _books(refused=[_refusal(0.2)])

    assert [(3, "more POSTs than last checks")] == _found(books)


def test_in_time_is_not_too_late() -> None:
    """A POST before STOP, expiry and cancel breaks no promise, even if Twilio takes it after."""
    account = replace(_GOOD, stopped_at=_at(0.45), expires_at=_at(0.45), canceled_at=_at(0.6))

    assert [] == _found(_books(account, stops=frozenset({_TO})))


_BAD_SHOWS = {
    "receipt": (
        (*_TAKEN, _shown(2, "sending"), _shown(3, "delivered")),
        "went back from awaiting_receipt to sending",
    ),
    "outcome": (
        (*_DELIVERED, _shown(4, "undelivered"), _shown(5, "delivered")),
        "went on from delivered to undelivered",
    ),
    "another": ((*_TAKEN, _shown(3, "undelivered")), "shows undelivered and reports delivered"),
}


@pytest.mark.parametrize(("steps", "what"), _BAD_SHOWS.values(), ids=_BAD_SHOWS.keys())
def test_never_backwards(steps: tuple[Step, ...], what: str) -> None:
    """Rule 4: a status that goes back, or on after the end, is found."""
    assert (4, what) in _found(_books(_with(*steps, _heard(2))))


def test_the_second_time_changes_nothing() -> None:
    """Rule 4: a second run of the same id, and a report that has changed, are found."""
    account = replace(
        _GOOD,
        run_ids=frozenset({"r", "another"}),
        report_before=_report(Outcome.UNDELIVERED),
    )

    assert [
        (4, "handed in again, it ran again"),
        (4, "its report changed the second time"),
    ] == _found(_books(account))


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
        _with(*_TAKEN, _shown(3, outcome.value), report=_report(outcome)),
        letter=_trail(closed=None),
    )

    assert [(4, f"reports {outcome} where Twilio says {status}")] == _found(
        _books(account, [_row(0.5, status=status)], callbacks=[])
    )


_UNHEARD = replace(
    _with(*_TAKEN, _shown(3, "unconfirmed"), report=_report(Outcome.UNCONFIRMED)),
    letter=_trail(closed=None),
)


def test_a_2xx_is_kept() -> None:
    """Rule 5: a receipt that was answered 204 and that nobody was told of is found."""
    assert [(5, "a receipt delivered was lost")] == _found(_books(_UNHEARD))


@pytest.mark.parametrize(
    ("account", "callback"),
    [
        (replace(_UNHEARD, letter=_trail(_heard(4), closed=4)), _callback()),
        (_UNHEARD, _callback(answer=503)),
        (_UNHEARD, _callback(answer=None)),
        (_UNHEARD, _callback(status="sent")),
        (_with(*_TAKEN, _shown(3, "delivered")), _callback()),
    ],
    ids=["told to the letter", "answered 503", "no answer", "no receipt", "looked up"],
)
def test_what_was_not_lost(account: Account, callback: CallbackRow) -> None:
    """Rule 5 speaks of receipts with a 2xx that nobody knows, and of nothing else."""
    assert [] == _found(_books(account, callbacks=[callback]))


def test_a_stop_with_a_2xx_is_kept() -> None:
    """Rule 5: a STOP that was answered and is not in the database is found."""
    account = replace(_GOOD, stopped_at=_at(5))

    assert [(5, "a STOP was lost")] == _found(_books(account))
    assert [] == _found(_books(account, stops=frozenset({_TO})))


def test_nothing_stays_in_the_inbox() -> None:
    """Rule 5: what still waits when all is quiet will never be taken on."""
    assert [(5, "2 left in the inbox")] == _found(_books(inbox_left=2))


def test_bystanders_are_quick() -> None:
    """Rule 6: a message with nothing in its way that takes too long is found."""
    quick = replace(_GOOD, settles_within=timedelta(seconds=3))
    slow = replace(_GOOD, settles_within=timedelta(seconds=2.9))

    assert [] == _found(_books(quick))
    assert [(6, "took 3.0 s and had nothing in its way")] == _found(_books(slow))
