"""Opt-ins: whom they cover, recording, withdrawing, and importing them."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from signedfor.consent import OptIn
from signedfor.contract import MessageRequest
from signedfor.store.claim_statements import Blocked
from signedfor.store.csv_files import InvalidCsv
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.opt_in_csv import OPTIONAL, REQUIRED, import_opt_ins
from signedfor.store.opt_ins import OptIns
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import Claimed, SendAttempts
from signedfor.twilio.rates import SenderKind

PERSON = "+15558675309"
OTHER = "+15558675310"
SERVICE = "MG" + "5a" * 16
AT = datetime(2026, 11, 21, 20, 15, tzinfo=UTC)
HEADER = ",".join(REQUIRED + OPTIONAL)


def _opt_in(recipient: str = PERSON, **fields: Any) -> OptIn:
    usual: dict[str, Any] = {"category": "news", "source": "web-form", "opted_in_at": AT}
    return OptIn(recipient=recipient, **usual | fields)


def _claim(
    engine: Engine, to: str = PERSON, category: str | None = "news", **options: Any
) -> object:
    limiter = RateLimiter(engine, rates=dict.fromkeys(SenderKind, 1000.0))
    message = MessageRequest(to=to, sender=SERVICE, body="Hello", category=category)
    return SendAttempts(engine, limiter).claim("m-1", message, sender=SERVICE, **options)


def test_a_category_that_demands_it_needs_an_opt_in(engine: Engine) -> None:
    """The check and the claim are one statement: without an opt-in nothing is claimed."""
    assert Blocked.NO_OPT_IN is _claim(engine, needs_opt_in=True)
    OptIns(engine).record_all([_opt_in()], by="Ada")

    assert Claimed() == _claim(engine, needs_opt_in=True)


def test_other_categories_need_none(engine: Engine) -> None:
    """Most messages, such as one-time codes, are sent without."""
    assert Claimed() == _claim(engine)


@pytest.mark.parametrize(
    ("opt_in", "to"),
    [
        (_opt_in(category="offers"), PERSON),
        (_opt_in(OTHER), PERSON),
        (_opt_in("whatsapp:+15558675310"), PERSON),
    ],
)
def test_another_category_or_person_is_not_covered(engine: Engine, opt_in: OptIn, to: str) -> None:
    """An opt-in says what it says and no more."""
    OptIns(engine).record_all([opt_in], by="Ada")

    assert Blocked.NO_OPT_IN is _claim(engine, to, needs_opt_in=True)


@pytest.mark.parametrize(
    ("given", "to"), [(PERSON, f"whatsapp:{PERSON}"), (f"whatsapp:{PERSON}", PERSON)]
)
def test_an_opt_in_covers_every_channel_of_the_number(engine: Engine, given: str, to: str) -> None:
    """As an opt-out does: it is the person who agrees."""
    OptIns(engine).record_all([_opt_in(given)], by="Ada")

    assert Claimed() == _claim(engine, to, needs_opt_in=True)


def test_a_withdrawn_opt_in_counts_no_more_and_stays_on_record(engine: Engine) -> None:
    """The record says who withdrew it, and why; a new one counts again."""
    store = OptIns(engine, now=lambda: AT + timedelta(days=1))
    store.record_all([_opt_in()], by="Ada")

    assert 1 == store.withdraw(PERSON, category="news", because="by letter", by="Grace")
    assert 0 == store.withdraw(PERSON, category="news", because="again", by="Grace")

    assert Blocked.NO_OPT_IN is _claim(engine, needs_opt_in=True)
    assert [] == store.list_(recipient=PERSON)
    (kept,) = store.list_(recipient=PERSON, include_withdrawn=True)
    assert ("Grace", "by letter", AT + timedelta(days=1)) == (
        kept.withdrawn_by,
        kept.withdrawn_because,
        kept.withdrawn_at,
    )
    assert 1 == store.record_all([_opt_in()], by="Ada")
    assert Claimed() == _claim(engine, needs_opt_in=True)


def test_the_same_opt_in_counts_once(engine: Engine) -> None:
    """A file may be imported again; another time or other evidence is another opt-in."""
    store = OptIns(engine)

    assert 1 == store.record_all([_opt_in(), _opt_in()], by="Ada")
    assert 0 == store.record_all([_opt_in()], by="Ada")
    assert 1 == store.record_all([_opt_in(evidence="form 7")], by="Ada")
    assert 2 == len(store.list_(recipient=PERSON, category="news"))


def test_a_long_list_is_paged(engine: Engine) -> None:
    """Each page begins after the last row of the one before."""
    store = OptIns(engine)
    store.record_all([_opt_in(f"+1555867{number:04}") for number in range(5)], by="Ada")

    first = store.list_(limit=3)
    second = store.list_(limit=3, after_id=first[-1].id or 0)

    assert (3, 2) == (len(first), len(second))


@pytest.mark.parametrize(
    "fields",
    [
        {"category": ""},
        {"source": ""},
        {"evidence": "x" * 501},
        {"opted_in_at": AT.replace(tzinfo=None)},
    ],
)
def test_what_cannot_be_evidence_is_refused(fields: dict[str, Any]) -> None:
    """The error names the field."""
    with pytest.raises(ValueError, match=f"^{next(iter(fields))}: "):
        _opt_in(**fields)


def _file(*lines: str) -> io.StringIO:
    return io.StringIO("\r\n".join(lines) + "\r\n", newline="")


def test_a_file_of_opt_ins(engine: Engine) -> None:
    """Each row has its time and evidence; imported again, nothing is new."""
    lines = (
        HEADER,
        f"{PERSON},news,paper,2026-11-21T20:15:00Z,box 4,v2",
        f"{OTHER},news,x,2026-11-21T20:15:00Z,,",
    )

    assert 2 == import_opt_ins(engine, _file(*lines), by="Ada")
    assert 0 == import_opt_ins(engine, _file(*lines), by="Ada")

    first, _ = OptIns(engine).list_()
    assert _opt_in(source="paper", evidence="box 4", wording="v2") == _opt_in(
        source=first.source, evidence=first.evidence, wording=first.wording
    )
    assert AT == first.opted_in_at


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("5558675309,news,x,2026-11-21T20:15:00Z,,", "line 3: recipient"),
        (f"{PERSON},,x,2026-11-21T20:15:00Z,,", "line 3: category: must not be empty"),
        (f"{PERSON},news,,2026-11-21T20:15:00Z,,", "line 3: source: must not be empty"),
        (f"{PERSON},news,x,,,", "line 3: opted_in_at: must not be empty"),
        (f"{PERSON},news,x,2026-11-21T20:15:00,,", "line 3: opted_in_at: give the time with a"),
        (f"{PERSON},news,x,yesterday 5558675309,,", "line 3: opted_in_at: must be like"),
    ],
)
def test_nothing_is_imported_if_a_row_is_bad(engine: Engine, row: str, problem: str) -> None:
    """The error names the line and field, but not the content."""
    good = f"{OTHER},news,x,2026-11-21T20:15:00Z,,"
    with pytest.raises(InvalidCsv) as caught:
        import_opt_ins(engine, _file(HEADER, good, row), by="Ada")

    assert str(caught.value.problems.listed[0]).startswith(problem)
    assert "5558675309" not in str(caught.value)
    assert [] == OptIns(engine).list_()


def test_a_message_is_held_back_once(engine: Engine) -> None:
    """A repeated attempt does not change what was recorded first."""
    times = iter([AT, AT + timedelta(hours=1)])
    store = HeldBackMessages(engine, now=lambda: next(times))
    message = MessageRequest(to=f"whatsapp:{PERSON}", sender=SERVICE, body="Hello", category="news")

    for _ in range(2):
        store.record("m-1", message, sender=SERVICE, because=None)

    (held,) = store.of(PERSON)
    assert ("m-1", AT, SERVICE, "news", "no_opt_in", "") == (
        held.message_id,
        held.at,
        held.sender,
        held.category,
        held.reason,
        held.evidence,
    )
    assert [] == store.of(OTHER)
