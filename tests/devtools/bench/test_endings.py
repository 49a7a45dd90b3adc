"""How a message ended: what Twilio could have said of it, and what became of its dead letter."""

from dataclasses import replace
from datetime import datetime

import pytest

from devtools.bench.books import Account, balance
from devtools.bench.trails import SendEnd, Trail
from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from tests.devtools.bench.crafting import (
    FIRST,
    OPEN_LETTER,
    SECOND,
    TAKEN,
    a_report,
    a_row,
    a_trail,
    account_with,
    at,
    begun,
    books_of,
    ended,
    found_in,
    heard,
    shown,
)


def _unconfirmed(settled: float) -> Account:
    report = a_report(settled=settled, outcome=Outcome.UNCONFIRMED)
    account = account_with(*TAKEN, shown(settled, "unconfirmed"), report=report)
    return replace(account, letter=OPEN_LETTER)


@pytest.mark.parametrize("status", ["delivered", "undelivered", "failed"])
def test_what_twilio_has_long_said_is_no_secret(status: str) -> None:
    """Rule 4: look-ups that tell nothing, though Twilio's record has its last status, are found."""
    books = books_of(
        _unconfirmed(40), [a_row(0.5, status=status)], callbacks=[], last_words={FIRST: at(20)}
    )

    assert [(4, f"unconfirmed although Twilio had long said {status}")] == found_in(books)


@pytest.mark.parametrize(
    ("status", "last_words"),
    [("delivered", {FIRST: at(39)}), ("sent", {FIRST: at(1)})],
    ids=["after the last look", "never said"],
)
def test_what_twilio_had_not_said_cannot_be_known(
    status: str, last_words: dict[str, datetime]
) -> None:
    """Where the last word came after the last look, or says no more than `sent`."""
    row = a_row(0.5, status=status)

    assert [] == found_in(books_of(_unconfirmed(40), [row], callbacks=[], last_words=last_words))


_PARKED = replace(
    account_with(
        begun(0),
        ended(1, SendEnd.UNKNOWN),
        shown(3, "unconfirmed"),
        report=a_report(Outcome.UNCONFIRMED, None, FailureClass.OUTCOME_UNKNOWN),
    ),
    letter=OPEN_LETTER,
)


def test_what_twilio_has_is_not_parked() -> None:
    """Rule 4: searches that do not find what Twilio lists are found; without a row all is well."""
    assert [] == found_in(books_of(_PARKED, [], callbacks=[]))
    assert [(4, "parked although Twilio has it and lists it")] == found_in(
        books_of(_PARKED, [a_row(0.5)], callbacks=[])
    )


def test_a_later_try_may_be_parked() -> None:
    """Its row is the earlier submission's, and known."""
    report = a_report(Outcome.UNCONFIRMED, FIRST, FailureClass.OUTCOME_UNKNOWN)
    delayed = (heard(2, "undelivered", 30003), shown(2, "delayed"))
    steps = (*TAKEN, *delayed, begun(60), ended(61, SendEnd.UNKNOWN), shown(62, "unconfirmed"))
    account = replace(account_with(*steps, report=report), letter=OPEN_LETTER)
    rows = [a_row(0.5, status="undelivered")]

    assert [] == found_in(books_of(account, rows, callbacks=[]))
    assert [(4, "parked although Twilio has it and lists it")] == found_in(
        books_of(account, [*rows, a_row(60.5, SECOND)], notes=[0.4, 60.4], callbacks=[])
    )


def test_a_row_may_be_its_twins() -> None:
    """Of twins nobody can tell whose a row is, so one may be parked though Twilio has it."""
    books = books_of(_PARKED, [a_row(0.5)], callbacks=[])
    twin = replace(_PARKED, message_id="twin")

    def found(notes_of_twin: list[datetime]) -> list[str]:
        both = replace(books, accounts=[_PARKED, twin], notes={"m": [at(0)], "twin": notes_of_twin})
        return [violation.what for violation in balance(both)]

    assert [] == found([at(0.1)])
    assert ["parked although Twilio has it and lists it"] == found([])


_GOOD_LETTERS = {
    "open": (None, OPEN_LETTER),
    "closed by a late receipt": (None, a_trail(heard(4), shown(4, "delivered_late"), closed=4)),
    "told otherwise": (None, replace(OPEN_LETTER, steps=(heard(4, "undelivered"),))),
    "recorded": (FailureClass.RECIPIENT_OPTED_OUT, a_trail(shown(4, "recorded"), closed=4)),
}
_BAD_LETTERS = {
    "not there": (None, None, "does not exist"),
    "only started": (
        None,
        a_trail(closed=None),
        "was started and does not wait for anybody",
    ),
    "closed by nobody": (
        None,
        a_trail(shown(4, "discarded"), closed=4),
        "was closed as discarded and should be open",
    ),
    "failed": (
        None,
        replace(a_trail(closed=4), completed=False),
        "was closed as nothing and should be open",
    ),
    "open though delivered": (
        None,
        replace(OPEN_LETTER, steps=(heard(4),)),
        "is open and should be closed as delivered_late",
    ),
    "open though recorded": (
        FailureClass.RECIPIENT_UNREACHABLE,
        OPEN_LETTER,
        "is open and should be closed as recorded",
    ),
}


def _failed(failure_class: FailureClass | None, letter: Trail | None) -> Account:
    report = a_report(Outcome.FAILED, None, failure_class)
    account = account_with(begun(0), ended(1, SendEnd.REFUSED), shown(3, "failed"), report=report)
    return replace(account, letter=letter)


@pytest.mark.parametrize(
    ("failure_class", "letter"), _GOOD_LETTERS.values(), ids=_GOOD_LETTERS.keys()
)
def test_a_letter_as_it_should_be(failure_class: FailureClass | None, letter: Trail) -> None:
    """It waits for a decision, or was closed by what closes it."""
    assert [] == found_in(books_of(_failed(failure_class, letter), [], callbacks=[]))


@pytest.mark.parametrize(
    ("failure_class", "letter", "what"), _BAD_LETTERS.values(), ids=_BAD_LETTERS.keys()
)
def test_a_letter_is_open_while_nobody_has_decided(
    failure_class: FailureClass | None, letter: Trail | None, what: str
) -> None:
    """Rule 2: a letter that nobody can find, that does no work or that closed itself is found."""
    account = _failed(failure_class, letter)

    assert [(2, f"its dead letter {what}")] == found_in(books_of(account, [], callbacks=[]))
