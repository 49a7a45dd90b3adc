"""InboundRecorder messages from Temporal and from Twilio's list."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import Engine, func, select
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment

from activities.inbound import InboundRecorder
from signedfor.inbound import CATCH_UP_ID, CatchUp, CatchUpResult, InboundRecord
from signedfor.store.database import DatabaseUnavailable, open_engine, transaction
from signedfor.store.inbound import InboundMessages, Watermarks
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import inbound_messages
from signedfor.twilio.keywords import InboundKind
from tests.activities.conftest import Connect
from tests.activities.edge import (
    ACCOUNT,
    BODY,
    RECIPIENT,
    SENDER,
    Edge,
    Misbehaviour,
    http,
    problem_details,
    refused,
)
from tests.activities.sending import assert_silent

NOW = datetime(2026, 11, 21, 20, 0, 30, 500_000, tzinfo=UTC)
SERVICE = "MG" + "d" * 32

Make = Callable[..., InboundRecorder]


@pytest.fixture
def make(connect: Connect, edge: Edge, sqlite_engine: Engine) -> Make:
    """The activities against the edge, at NOW, with a database."""

    def inbound(
        engine: Engine = sqlite_engine, now: datetime = NOW, **options: Any
    ) -> InboundRecorder:
        return InboundRecorder(
            InboundMessages(engine, now=lambda: now),
            watermarks=Watermarks(engine),
            twilio=connect(edge.url),
            now=lambda: now,
            **options,
        )

    return inbound


def _sid(number: int) -> str:
    return f"SM{number:032x}"


def _row(number: int, body: str, *, ago: timedelta, **fields: Any) -> dict[str, Any]:
    """A message as Twilio lists it."""
    sent = (NOW - ago).strftime("%a, %d %b %Y %H:%M:%S +0000")
    return {
        "sid": _sid(number),
        "from": RECIPIENT,
        "to": SENDER,
        "body": body,
        "direction": "inbound",
        "status": "received",
        "date_created": sent,
        "date_sent": sent,
        "messaging_service_sid": None,
        **fields,
    }


def _page(*rows: dict[str, Any], more: str | None = None) -> bytes:
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    return http(
        200,
        {
            "messages": rows,
            "page": 0,
            "page_size": 500,
            "start": 0,
            "end": max(len(rows) - 1, 0),
            "uri": path,
            "first_page_uri": path,
            "next_page_uri": f"{path}?PageToken={more}" if more else None,
            "previous_page_uri": None,
        },
    )


def _catch_up(inbound: InboundRecorder, since: datetime | None = None) -> CatchUpResult:
    caught: CatchUpResult = ActivityEnvironment().run(
        inbound.catch_up_inbound, CatchUp(since=since)
    )
    return caught


def _kept(engine: Engine) -> int:
    with transaction(engine, read_only=True) as connection:
        return connection.execute(select(func.count()).select_from(inbound_messages)).scalar_one()


def _asked(edge: Edge) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(each.line.split(" ")[1]).query) for each in edge.asked]


def test_records_once(make: Make, sqlite_engine: Engine) -> None:
    """A message from the webhook is recorded with what it asks for, and only once."""
    record = InboundRecord(
        message_sid=_sid(1), from_=RECIPIENT, to=SENDER, kind=InboundKind.STOP, received_at=NOW
    )
    inbound = make()

    results = [ActivityEnvironment().run(inbound.record_inbound, record) for _ in range(2)]

    assert [True, False] == results
    assert [_sid(1)] == [each.evidence for each in Suppressions(sqlite_engine).list_()]


def test_without_the_database(make: Make) -> None:
    """While the database is away the activity says so, silently, and is tried again."""
    engine = open_engine("postgresql://somebody@127.0.0.1:1/name")
    record = InboundRecord(
        message_sid=_sid(1), from_=RECIPIENT, to=SENDER, kind=InboundKind.STOP, received_at=NOW
    )

    with pytest.raises(DatabaseUnavailable) as caught:
        ActivityEnvironment().run(make(engine).record_inbound, record)
    engine.dispose()

    assert_silent(caught.value)


def test_records_what_never_reached_us(make: Make, edge: Edge, sqlite_engine: Engine) -> None:
    """A STOP in Twilio's list that we do not have is recorded; what we sent is left alone."""
    minute = timedelta(minutes=1)
    edge.answers = [
        _page(
            _row(3, "hello", ago=1 * minute, to=f"whatsapp:{SENDER}", **{"from": "+15558675310"}),
            _row(2, "STOP", ago=2 * minute, direction="outbound-api", status="delivered"),
            _row(1, "Stop!", ago=3 * minute, messaging_service_sid=SERVICE),
        )
    ]

    caught_up = _catch_up(make(), NOW - timedelta(minutes=30))

    assert (3, 2, 2, 0) == (
        caught_up.listed,
        caught_up.inbound,
        caught_up.new,
        caught_up.unusable,
    )
    (suppression,) = Suppressions(sqlite_engine).list_()
    assert (RECIPIENT, _sid(1)) == (suppression.recipient, suppression.evidence)
    assert 2 == _kept(sqlite_engine)


def test_a_message_that_came_already_changes_nothing(
    make: Make, edge: Edge, sqlite_engine: Engine
) -> None:
    """Looked at again and again, a STOP counts once, also after the opt-out was lifted."""
    edge.answers = [_page(_row(1, "STOP", ago=timedelta(minutes=3)))]
    since = NOW - timedelta(minutes=30)
    first = _catch_up(make(), since)
    suppressions = Suppressions(sqlite_engine)
    (standing,) = suppressions.list_()
    suppressions.lift(RECIPIENT, source=standing.source, evidence="asked for", by="anna")

    second = _catch_up(make(), since)

    assert [1, 0] == [first.new, second.new]
    assert [] == suppressions.list_()


@pytest.mark.parametrize("gap", [60, 0])
@pytest.mark.parametrize(("newest", "oldest"), [("START", "STOP"), ("STOP", "START")])
def test_oldest_first(  # noqa: PLR0917 - pytest gives them by name
    make: Make, edge: Edge, sqlite_engine: Engine, newest: str, oldest: str, gap: int
) -> None:
    """Twilio lists newest first; the word said last holds, also within one second."""
    ago = timedelta(minutes=10)
    edge.answers = [
        _page(_row(2, newest, ago=ago), more="PA1"),
        _page(_row(1, oldest, ago=ago + timedelta(seconds=gap))),
    ]

    assert 2 == _catch_up(make(), NOW - timedelta(minutes=30)).new
    assert (newest == "STOP") == bool(Suppressions(sqlite_engine).list_())


@pytest.mark.parametrize(
    ("started_ago", "stands"), [(timedelta(minutes=5), False), (timedelta(minutes=15), True)]
)
def test_a_start_that_came_by_the_webhook(
    make: Make, edge: Edge, sqlite_engine: Engine, started_ago: timedelta, stands: bool
) -> None:
    """A STOP of ten minutes ago that was missed holds only if no START came after it."""
    InboundMessages(sqlite_engine).receive(
        InboundRecord(
            message_sid=_sid(9),
            from_=RECIPIENT,
            to=SENDER,
            kind=InboundKind.START,
            received_at=NOW - started_ago,
        )
    )
    edge.answers = [_page(_row(1, "STOP", ago=timedelta(minutes=10)))]

    _catch_up(make(), NOW - timedelta(minutes=30))

    assert stands == bool(Suppressions(sqlite_engine).list_())


def test_asks_by_date_in_utc(make: Make, edge: Edge) -> None:
    """Times of any zone are asked for in UTC, in whole seconds that leave no gap."""
    edge.answers = [_page()]
    since = datetime.fromisoformat("2026-11-21T21:30:10.750+02:00")

    caught_up = _catch_up(make(), since)

    assert [("2026-11-21T19:30:10Z", "2026-11-21T20:00:31Z")] == [
        (query["DateSent>"][0], query["DateSent<"][0]) for query in _asked(edge)
    ]
    assert (since, NOW) == (caught_up.since, caught_up.until)


def test_looks_again_with_an_overlap(make: Make, edge: Edge, sqlite_engine: Engine) -> None:
    """The first look goes a day back, each later one to an hour before the end of the last."""
    edge.answers = [_page()]

    first = _catch_up(make())
    second = _catch_up(make(now=NOW + timedelta(minutes=5)))

    assert (NOW - timedelta(hours=24), NOW) == (first.since, first.until)
    assert NOW - timedelta(hours=1) == second.since
    assert NOW + timedelta(minutes=5) == Watermarks(sqlite_engine).read(CATCH_UP_ID)


def test_a_look_at_a_short_span_hides_nothing(
    make: Make, edge: Edge, sqlite_engine: Engine
) -> None:
    """A look that begins after the last one ended does not make the next pass over the gap."""
    edge.answers = [_page()]
    _catch_up(make())
    later = NOW + timedelta(days=2)

    _catch_up(make(now=later), later - timedelta(minutes=10))

    assert NOW == Watermarks(sqlite_engine).read(CATCH_UP_ID)


def test_a_short_first_look_hides_nothing(make: Make, edge: Edge) -> None:
    """If the very first look is at a few minutes, the next one still goes a day back."""
    edge.answers = [_page()]
    _catch_up(make(), NOW - timedelta(minutes=10))

    assert NOW - timedelta(hours=24) == _catch_up(make()).since


def test_goes_back_no_further_than_makes_sense(make: Make, edge: Edge) -> None:
    """A look is limited to thirty days."""
    edge.answers = [_page()]

    assert NOW - timedelta(days=30) == _catch_up(make(), NOW - timedelta(days=400)).since


def test_goes_on_where_it_broke_off(make: Make, edge: Edge, sqlite_engine: Engine) -> None:
    """Windows that are done are remembered, and the failure repeats nothing personal."""
    edge.answers = [
        *[_page()] * 21,
        _page(_row(1, "STOP", ago=timedelta(minutes=150))),
        refused(500, 20500),
    ]

    with pytest.raises(ApplicationError) as caught:
        _catch_up(make())

    assert ("ListFailed", False) == (caught.value.type, caught.value.non_retryable)
    assert_silent(caught.value)
    assert NOW - timedelta(hours=2) == Watermarks(sqlite_engine).read(CATCH_UP_ID)
    assert 1 == len(Suppressions(sqlite_engine).list_())


def test_a_long_list_is_taken_in_several_runs(make: Make, edge: Edge) -> None:
    """A run ends after so many messages, and each gets further than the last."""
    edge.answers = [_page(*(_row(n, "hello", ago=timedelta(minutes=1)) for n in range(5)))]
    ends = [_catch_up(make(max_listed=5)).until for _ in range(3)]

    assert [NOW - timedelta(hours=hours) for hours in (23, 22, 21)] == ends


@pytest.mark.parametrize(
    "answer",
    [
        Misbehaviour.CLOSE,
        Misbehaviour.HANG,
        Misbehaviour.HALF,
        http(200, "<html>"),
        refused(401, 20003),
        problem_details(500, code=20500),
    ],
)
def test_no_list(make: Make, edge: Edge, answer: bytes | str) -> None:
    """Whatever prevents a list may be tried again, and repeats nothing personal."""
    edge.answers = [answer]

    with pytest.raises(ApplicationError) as caught:
        _catch_up(make(), NOW - timedelta(minutes=5))

    assert ("ListFailed", False) == (caught.value.type, caught.value.non_retryable)
    assert_silent(caught.value)


def test_a_second_page_that_fails_records_nothing(
    make: Make, edge: Edge, sqlite_engine: Engine
) -> None:
    """Newer messages are not recorded before the older ones are known."""
    edge.answers = [
        _page(_row(2, "START", ago=timedelta(minutes=1)), more="PA1"),
        refused(500, 20500),
    ]

    with pytest.raises(ApplicationError):
        _catch_up(make(), NOW - timedelta(minutes=5))

    assert 0 == _kept(sqlite_engine)
    assert Watermarks(sqlite_engine).read(CATCH_UP_ID) is None


@pytest.mark.parametrize(
    ("fields", "unusable"),
    [
        ({"from": "72345"}, 0),
        ({"from": None}, 1),
        ({"from": "+15558675309x"}, 1),
        ({"to": ""}, 1),
    ],
)
def test_nobody_to_suppress(
    make: Make, edge: Edge, sqlite_engine: Engine, fields: dict[str, Any], unusable: int
) -> None:
    """Messages from a short code, or whose addresses cannot be made out, are left out."""
    edge.answers = [
        _page(
            _row(2, "STOP", ago=timedelta(minutes=1), **fields),
            _row(1, "STOP", ago=timedelta(minutes=2)),
        )
    ]

    caught_up = _catch_up(make(), NOW - timedelta(minutes=5))

    assert (2, 1, unusable) == (caught_up.inbound, caught_up.new, caught_up.unusable)
    assert 1 == len(Suppressions(sqlite_engine).list_())


def test_only_review_keeps_the_body(make: Make, edge: Edge, sqlite_engine: Engine) -> None:
    """A text is kept where a person has to read it, with the time it was sent."""
    edge.answers = [
        _page(
            _row(2, "please stop texting me", ago=timedelta(minutes=1)),
            _row(1, BODY, ago=timedelta(minutes=2)),
        )
    ]

    _catch_up(make(), NOW - timedelta(minutes=5))

    (review,) = InboundMessages(sqlite_engine).reviews()
    assert "please stop texting me" == review.body
    assert timedelta(0) <= review.received_at - (NOW - timedelta(minutes=1)) < timedelta(seconds=1)
    assert 2 == _kept(sqlite_engine)


def test_reports_while_it_works(make: Make, edge: Edge) -> None:
    """A long look is told apart from a dead worker."""
    edge.answers = [_page(_row(1, "hello", ago=timedelta(minutes=1)))]
    beats: list[Any] = []
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: beats.append(details)

    environment.run(make().catch_up_inbound, CatchUp(since=NOW - timedelta(minutes=5)))

    assert beats


@pytest.mark.parametrize("end", ["worker_shutdown", "cancel"])
def test_breaks_off(make: Make, edge: Edge, sqlite_engine: Engine, end: str) -> None:
    """A long look does not hold up a worker's stop; the next one begins where this was."""
    edge.answers = [_page(_row(1, "STOP", ago=timedelta(minutes=1)))] * 2
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_: getattr(environment, end)()
    look = CatchUp(since=NOW - timedelta(minutes=5))

    with pytest.raises(ApplicationError if end == "worker_shutdown" else CancelledError):
        environment.run(make().catch_up_inbound, look)

    assert [] == Suppressions(sqlite_engine).list_()
    assert 1 == ActivityEnvironment().run(make().catch_up_inbound, look).new
