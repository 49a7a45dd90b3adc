"""How a message ended: what Twilio could have said about it, and the state of its dead letter."""

from dataclasses import replace
from datetime import datetime

import pytest

from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from tests.faults.soak.history import History, SendOutcome
from tests.faults.soak.invariants import MessageRecord, violations_in
from tests.faults.soak.samples import (
    ACCEPTED,
    FIRST,
    OPEN_DEAD_LETTER,
    SECOND,
    a_history,
    a_report,
    a_row,
    at,
    finished,
    found_in,
    message_with,
    observations_of,
    received,
    shown,
    started,
)


def _unconfirmed(at_seconds: float) -> MessageRecord:
    report = a_report(finished=at_seconds, outcome=Outcome.UNCONFIRMED)
    message = message_with(*ACCEPTED, shown(at_seconds, "unconfirmed"), report=report)
    return replace(message, dead_letter=OPEN_DEAD_LETTER)


@pytest.mark.parametrize("status", ["delivered", "undelivered", "failed"])
def test_a_final_status_that_look_ups_missed_is_found(status: str) -> None:
    """Invariant 4: unconfirmed, although Twilio's record had long been final."""
    observed = observations_of(
        _unconfirmed(40), [a_row(0.5, status=status)], callbacks=[], final_status_at={FIRST: at(20)}
    )

    assert [(4, f"unconfirmed although Twilio had long reported {status}")] == found_in(observed)


@pytest.mark.parametrize(
    ("status", "final_status_at"),
    [("delivered", {FIRST: at(39)}), ("sent", {FIRST: at(1)})],
    ids=["after the last look-up", "never final"],
)
def test_a_status_that_twilio_did_not_have_is_not_expected(
    status: str, final_status_at: dict[str, datetime]
) -> None:
    """The final status came after the last look-up, or never."""
    row = a_row(0.5, status=status)

    assert [] == found_in(
        observations_of(_unconfirmed(40), [row], callbacks=[], final_status_at=final_status_at)
    )


_UNRESOLVED = replace(
    message_with(
        started(0),
        finished(1, SendOutcome.UNKNOWN),
        shown(3, "unconfirmed"),
        report=a_report(Outcome.UNCONFIRMED, None, FailureClass.OUTCOME_UNKNOWN),
    ),
    dead_letter=OPEN_DEAD_LETTER,
)


def test_a_message_that_twilio_lists_is_resolved() -> None:
    """Invariant 4: searches that missed what Twilio lists are found; without a row none did."""
    assert [] == found_in(observations_of(_UNRESOLVED, [], callbacks=[]))
    assert [(4, "unresolved although Twilio has accepted and lists it")] == found_in(
        observations_of(_UNRESOLVED, [a_row(0.5)], callbacks=[])
    )


def test_a_later_submission_may_stay_unresolved() -> None:
    """The row belongs to the earlier submission, which is known."""
    report = a_report(Outcome.UNCONFIRMED, FIRST, FailureClass.OUTCOME_UNKNOWN)
    delayed = (received(2, "undelivered", 30003), shown(2, "delayed"))
    events = (
        *ACCEPTED,
        *delayed,
        started(60),
        finished(61, SendOutcome.UNKNOWN),
        shown(62, "unconfirmed"),
    )
    message = replace(message_with(*events, report=report), dead_letter=OPEN_DEAD_LETTER)
    rows = [a_row(0.5, status="undelivered")]

    assert [] == found_in(observations_of(message, rows, callbacks=[]))
    assert [(4, "unresolved although Twilio has accepted and lists it")] == found_in(
        observations_of(message, [*rows, a_row(60.5, SECOND)], attempts=[0.4, 60.4], callbacks=[])
    )


def test_a_row_may_belong_to_a_duplicate() -> None:
    """Rows of duplicates cannot be distinguished, so one may stay unresolved."""
    observed = observations_of(_UNRESOLVED, [a_row(0.5)], callbacks=[])
    duplicate = replace(_UNRESOLVED, message_id="duplicate")

    def found(attempts_of_duplicate: list[datetime]) -> list[str]:
        both = replace(
            observed,
            messages=[_UNRESOLVED, duplicate],
            attempts={"m": [at(0)], "duplicate": attempts_of_duplicate},
        )
        return [violation.what for violation in violations_in(both)]

    assert [] == found([at(0.1)])
    assert ["unresolved although Twilio has accepted and lists it"] == found([])


_CORRECT = {
    "open": (None, OPEN_DEAD_LETTER),
    "closed by a late receipt": (
        None,
        a_history(received(4), shown(4, "delivered_late"), closed=4),
    ),
    "undelivered receipt": (None, replace(OPEN_DEAD_LETTER, events=(received(4, "undelivered"),))),
    "recorded": (FailureClass.RECIPIENT_OPTED_OUT, a_history(shown(4, "recorded"), closed=4)),
}
_WRONG = {
    "missing": (None, None, "does not exist"),
    "only started": (
        None,
        a_history(closed=None),
        "was started and is not waiting for a decision",
    ),
    "closed without a decision": (
        None,
        a_history(shown(4, "discarded"), closed=4),
        "was closed as discarded and should be open",
    ),
    "failed": (
        None,
        replace(a_history(closed=4), completed=False),
        "was closed as nothing and should be open",
    ),
    "open though delivered": (
        None,
        replace(OPEN_DEAD_LETTER, events=(received(4),)),
        "is open and should be closed as delivered_late",
    ),
    "open though recorded": (
        FailureClass.RECIPIENT_UNREACHABLE,
        OPEN_DEAD_LETTER,
        "is open and should be closed as recorded",
    ),
}


def _failed(failure_class: FailureClass | None, dead_letter: History | None) -> MessageRecord:
    report = a_report(Outcome.FAILED, None, failure_class)
    message = message_with(
        started(0), finished(1, SendOutcome.REFUSED), shown(3, "failed"), report=report
    )
    return replace(message, dead_letter=dead_letter)


@pytest.mark.parametrize(("failure_class", "dead_letter"), _CORRECT.values(), ids=_CORRECT.keys())
def test_a_correct_dead_letter(failure_class: FailureClass | None, dead_letter: History) -> None:
    """It is waiting for a decision, or was closed for a valid reason."""
    assert [] == found_in(observations_of(_failed(failure_class, dead_letter), [], callbacks=[]))


@pytest.mark.parametrize(
    ("failure_class", "dead_letter", "what"), _WRONG.values(), ids=_WRONG.keys()
)
def test_a_wrong_dead_letter_is_found(
    failure_class: FailureClass | None, dead_letter: History | None, what: str
) -> None:
    """Invariant 2: one that is missing, does not run, or has the wrong state."""
    message = _failed(failure_class, dead_letter)

    assert [(2, f"its dead letter {what}")] == found_in(observations_of(message, [], callbacks=[]))
