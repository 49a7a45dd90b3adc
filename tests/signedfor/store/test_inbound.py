"""Inbound messages: recorded once, with their effect on suppressions."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, select, text

from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract import InboundKind
from signedfor.inbound import InboundRecord
from signedfor.store.database import DatabaseUnavailable, open_engine, transaction
from signedfor.store.inbound import Decision, InboundMessages, PendingReviews, Watermarks
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import inbound_messages

PERSON = "+15558675309"
SENDER = "+15005550006"
SERVICE = "MG0123456789abcdef0123456789abcdef"
USER = "whatsapp:US.13491208655302741918"
BEGIN = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
MINUTES = {"early": BEGIN, "late": BEGIN + timedelta(minutes=5)}


def _receive(
    inbound: InboundMessages,
    kind: InboundKind,
    *,
    message_sid: str = "SM1",
    from_: str = PERSON,
    to: str = SENDER,
    messaging_service_sid: str | None = None,
    also_from: tuple[str, ...] = (),
    body: str = "a text",
    received_at: datetime | None = None,
    connection: Connection | None = None,
) -> bool:
    return inbound.receive(
        InboundRecord(
            message_sid=message_sid,
            from_=from_,
            also_from=also_from,
            to=to,
            kind=kind,
            body=body,
            messaging_service_sid=messaging_service_sid,
            received_at=received_at or datetime.now(UTC),
        ),
        connection=connection,
    )


def _suppressions(engine: Engine) -> list[tuple[str, Reason, Scope, str]]:
    rows = Suppressions(engine).list_()
    return [(row.recipient, row.reason, row.scope, row.scope_value) for row in rows]


def test_a_stop_records_an_opt_out(engine: Engine) -> None:
    """It covers all messages to the person, with the message's SID as evidence."""
    inbound = InboundMessages(engine)

    assert _receive(inbound, InboundKind.STOP, from_=f"whatsapp:{PERSON}")
    found = Suppressions(engine).find(PERSON, sender=SENDER, category=None)
    assert found is not None
    assert (found.scope, found.reason, found.source, found.evidence) == (
        Scope.EVERYTHING,
        Reason.OPTED_OUT,
        Source.INBOUND,
        "SM1",
    )


@pytest.mark.parametrize(
    ("service", "expected"), [(None, SENDER), ("", SENDER), (SERVICE, SERVICE)]
)
def test_a_stop_can_be_limited_to_its_sender(
    engine: Engine, service: str | None, expected: str
) -> None:
    """With the scope `sender` it covers the Messaging Service it was sent to, or the number."""
    inbound = InboundMessages(engine, scope=Scope.SENDER)
    _receive(inbound, InboundKind.STOP, messaging_service_sid=service)

    assert _suppressions(engine) == [(PERSON, Reason.OPTED_OUT, Scope.SENDER, expected)]


def test_all_addresses_of_a_message_are_one_person(engine: Engine) -> None:
    """A STOP from a number with a user id is lifted by a START from the user id with the number."""
    inbound = InboundMessages(engine)
    number = f"whatsapp:{PERSON}"

    _receive(
        inbound, InboundKind.STOP, from_=number, also_from=(USER,), received_at=MINUTES["early"]
    )
    assert {PERSON, USER} == {recipient for recipient, *_ in _suppressions(engine)}

    _receive(
        inbound,
        InboundKind.START,
        message_sid="SM2",
        from_=USER,
        also_from=(number,),
        received_at=MINUTES["late"],
    )
    assert [] == _suppressions(engine)


@pytest.mark.parametrize("also_from", [(f"whatsapp:{PERSON}",), ()])
def test_a_start_from_one_address_counts_over_an_older_stop_from_another(
    engine: Engine, also_from: tuple[str, ...]
) -> None:
    """If the STOP that comes late names that address too; in doubt the STOP counts."""
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.START, from_=f"whatsapp:{PERSON}", received_at=MINUTES["late"])

    _receive(
        inbound,
        InboundKind.STOP,
        message_sid="SM2",
        from_=USER,
        also_from=also_from,
        received_at=MINUTES["early"],
    )

    assert bool(also_from) == (not _suppressions(engine))


def test_a_message_shows_that_each_of_its_addresses_can_be_reached(engine: Engine) -> None:
    """What Twilio's codes said of the user id is lifted by a message that names it."""
    Suppressions(engine).record(
        Suppression(
            recipient=USER,
            reason=Reason.UNDELIVERABLE,
            source=Source.TWILIO_CODE,
            created_at=MINUTES["early"],
            expires_at=BEGIN + timedelta(days=90),
        ),
        by="test",
    )

    _receive(
        InboundMessages(engine),
        InboundKind.OTHER,
        from_=f"whatsapp:{PERSON}",
        also_from=(USER,),
        received_at=MINUTES["late"],
    )

    assert [] == _suppressions(engine)


def test_messages_that_name_the_same_addresses_do_not_wait_for_each_other_in_a_circle(
    engine: Engine,
) -> None:
    """Whichever address comes first: a database would end one of them after a while."""
    inbound = InboundMessages(engine)
    number = f"whatsapp:{PERSON}"
    start = threading.Barrier(4)
    errors: list[Exception] = []

    def receive(thread: int) -> None:
        addresses = (number, USER) if thread % 2 else (USER, number)
        start.wait()
        for index in range(15):
            try:
                _receive(
                    inbound,
                    InboundKind.STOP,
                    message_sid=f"SM{thread}-{index}",
                    from_=addresses[0],
                    also_from=addresses[1:],
                )
            except DatabaseUnavailable as error:
                errors.append(error)

    threads = [threading.Thread(target=receive, args=(index,)) for index in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert [] == errors
    assert {PERSON, USER} == {recipient for recipient, *_ in _suppressions(engine)}


@pytest.mark.parametrize("scope", [Scope.CATEGORY, Scope.SENDER_CATEGORY])
def test_a_stop_cannot_be_limited_to_a_category(engine: Engine, scope: Scope) -> None:
    """No STOP names a category."""
    with pytest.raises(ValueError, match="scope: "):
        InboundMessages(engine, scope=scope)


@pytest.mark.parametrize("kind", [InboundKind.HELP, InboundKind.OTHER])
def test_other_messages_change_no_suppression(engine: Engine, kind: InboundKind) -> None:
    """Only STOP and START do, and what awaits review."""
    inbound = InboundMessages(engine)

    assert _receive(inbound, kind)
    assert not _suppressions(engine)


def test_a_repeated_callback_changes_nothing(engine: Engine) -> None:
    """A STOP that Twilio delivers again after a START does not opt the person out again."""
    inbound = InboundMessages(engine)
    stop, start = (InboundKind.STOP, "SM1", BEGIN), (InboundKind.START, "SM2", MINUTES["late"])
    results = [
        _receive(inbound, kind, message_sid=sid, received_at=at)
        for kind, sid, at in (stop, start, stop, start)
    ]

    assert results == [True, True, False, False]
    assert not _suppressions(engine)
    assert len(Suppressions(engine).history(PERSON)) == 2


def test_concurrent_deliveries_of_a_message_count_once(database_url: str) -> None:
    """Exactly one of them is new."""
    engine = open_engine(database_url)
    inbound = InboundMessages(engine)
    barrier = threading.Barrier(8)
    results: list[bool] = []

    def receive() -> None:
        barrier.wait()
        results.append(_receive(inbound, InboundKind.STOP))

    threads = [threading.Thread(target=receive) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert sorted(results) == [False] * 7 + [True]
        assert len(Suppressions(engine).history(PERSON)) == 1
    finally:
        engine.dispose()


OTHER_SENDER = "+15005550001"


def _opted_out(
    source: Source, to_sender: str = "", scope: Scope = Scope.EVERYTHING, value: str = ""
) -> Suppression:
    return Suppression(
        recipient=PERSON,
        reason=Reason.OPTED_OUT,
        source=source,
        scope=scope,
        scope_value=value,
        to_sender=to_sender,
        created_at=BEGIN,
    )


OPT_OUTS = {
    "own": _opted_out(Source.INBOUND, SENDER),
    "own elsewhere": _opted_out(Source.INBOUND, OTHER_SENDER),
    "own of one sender": _opted_out(Source.INBOUND, SENDER, Scope.SENDER, SENDER),
    "at Twilio": _opted_out(Source.TWILIO_CODE, SENDER),
    "of a category": _opted_out(Source.TWILIO_CODE, SENDER, Scope.CATEGORY, "marketing"),
    "by an operator": _opted_out(Source.OPERATOR),
    "of a file": _opted_out(Source.IMPORT, "", Scope.SENDER, SENDER),
}
TO_THIS_SENDER = {"own", "own of one sender", "at Twilio"}


@pytest.mark.parametrize(
    ("kind", "scope", "lifted"),
    [
        (InboundKind.START, Scope.EVERYTHING, TO_THIS_SENDER | {"own elsewhere"}),
        (InboundKind.START, Scope.SENDER, TO_THIS_SENDER),
        (InboundKind.YES, Scope.EVERYTHING, TO_THIS_SENDER),
        (InboundKind.YES, Scope.SENDER, TO_THIS_SENDER),
    ],
)
def test_an_opt_in_lifts_the_persons_own_opt_outs(
    engine: Engine, kind: InboundKind, scope: Scope, lifted: set[str]
) -> None:
    """A YES only those to the same sender; nobody lifts an operator's, a file's or a category's."""
    suppressions = Suppressions(engine)
    for each in OPT_OUTS.values():
        assert suppressions.record(each, by="test")

    _receive(InboundMessages(engine, scope=scope), kind)

    left = [each for name, each in OPT_OUTS.items() if name not in lifted]
    assert left == suppressions.list_()


def test_an_operators_opt_out_stands_beside_the_persons(engine: Engine) -> None:
    """It is not lost because the person had said STOP before, and a START leaves it."""
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.STOP, received_at=BEGIN)
    assert Suppressions(engine).record(OPT_OUTS["by an operator"], by="ops")

    _receive(inbound, InboundKind.START, message_sid="SM2", received_at=MINUTES["late"])

    assert [Source.OPERATOR] == [row.source for row in Suppressions(engine).list_()]


@pytest.mark.parametrize("kind", InboundKind)
def test_a_message_from_an_address_shows_that_it_can_be_reached(
    engine: Engine, kind: InboundKind
) -> None:
    """For every sender; what an operator wrote, or has no end, stays."""
    suppressions = Suppressions(engine)

    def unreachable(source: Source, recipient: str = PERSON, **fields: Any) -> Suppression:
        return Suppression(
            recipient=recipient,
            reason=Reason.UNDELIVERABLE,
            source=source,
            **{"expires_at": datetime.now(UTC) + timedelta(days=9), **fields},
        )

    for each in (
        unreachable(Source.TWILIO_CODE, scope=Scope.SENDER, scope_value=OTHER_SENDER),
        unreachable(Source.TWILIO_CODE),
        unreachable(Source.TWILIO_CODE, scope=Scope.SENDER, scope_value=SENDER, expires_at=None),
        unreachable(Source.OPERATOR),
        unreachable(Source.TWILIO_CODE, "+15558675310"),
    ):
        suppressions.record(each, by="test")

    _receive(InboundMessages(engine), kind)

    left = [row.id for row in suppressions.list_() if row.reason is Reason.UNDELIVERABLE]
    assert [3, 4, 5] == left


def test_an_older_message_does_not_show_that_an_address_can_be_reached_now(engine: Engine) -> None:
    """A search of Twilio's list finds it days later; the code came in between."""
    suppressions = Suppressions(engine)
    unreachable = Suppression(
        recipient=PERSON,
        reason=Reason.UNDELIVERABLE,
        source=Source.TWILIO_CODE,
        created_at=MINUTES["late"],
        expires_at=datetime.now(UTC) + timedelta(days=9),
    )
    suppressions.record(unreachable, by="test")

    _receive(InboundMessages(engine), InboundKind.OTHER, received_at=MINUTES["early"])

    assert [Reason.UNDELIVERABLE] == [row.reason for row in suppressions.list_()]


def test_a_message_without_a_time_has_the_databases(engine: Engine) -> None:
    """The webhook's host may have a wrong clock."""
    inbound = InboundMessages(engine)
    before = datetime.now(UTC)
    inbound.receive(
        InboundRecord(message_sid="SM1", from_=PERSON, to=SENDER, kind=InboundKind.REVIEW)
    )

    [review] = inbound.reviews()
    assert (
        before - timedelta(seconds=1)
        <= review.received_at
        <= datetime.now(UTC) + timedelta(seconds=1)
    )


def _review_rows(engine: Engine) -> list[tuple[str, str]]:
    rows = Suppressions(engine).list_()
    return [(row.to_sender, row.evidence) for row in rows if row.reason is Reason.REVIEW]


ALL = ("all",)
MARKETING = ("marketing",)


@pytest.mark.parametrize(
    ("scope", "suppresses", "sender", "category", "expected"),
    [
        (Scope.EVERYTHING, MARKETING, SENDER, "marketing", True),
        (Scope.EVERYTHING, MARKETING, OTHER_SENDER, "marketing", True),
        (Scope.EVERYTHING, MARKETING, SENDER, "receipts", False),
        (Scope.EVERYTHING, MARKETING, SENDER, None, False),
        (Scope.EVERYTHING, ("news", "marketing"), SENDER, "news", True),
        (Scope.EVERYTHING, ("news", "marketing"), SENDER, "marketing", True),
        (Scope.EVERYTHING, ALL, OTHER_SENDER, None, True),
        (Scope.EVERYTHING, (), SENDER, "marketing", False),
        (Scope.SENDER, MARKETING, SENDER, "marketing", True),
        (Scope.SENDER, MARKETING, SENDER, "receipts", False),
        (Scope.SENDER, MARKETING, OTHER_SENDER, "marketing", False),
        (Scope.SENDER, ALL, SENDER, None, True),
        (Scope.SENDER, ALL, OTHER_SENDER, None, False),
    ],
)
def test_a_pending_review_suppresses_its_categories(  # noqa: PLR0917 - pytest passes them by name
    engine: Engine,
    scope: Scope,
    suppresses: tuple[str, ...],
    sender: str,
    category: str | None,
    expected: bool,
) -> None:
    """On every channel of the person, as far as a STOP would, until it is decided."""
    inbound = InboundMessages(engine, scope=scope, review_suppresses=suppresses)

    _receive(inbound, InboundKind.REVIEW, from_=f"whatsapp:{PERSON}")

    found = Suppressions(engine).find(PERSON, sender=sender, category=category)
    assert expected == (found is not None)
    assert found is None or (Reason.REVIEW, "SM1") == (found.reason, found.evidence)
    assert Decision.NO_OPT_OUT is inbound.decide("SM1", is_opt_out=False, by="ops")
    assert [] == Suppressions(engine).list_()


def test_a_decided_review_is_in_the_history(engine: Engine) -> None:
    """Both ends of what it suppressed name the message; the opt-out has its time."""
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.REVIEW, received_at=BEGIN)

    assert Decision.OPT_OUT is inbound.decide("SM1", is_opt_out=True, by="Ada")

    [found] = Suppressions(engine).list_()
    assert (Reason.OPTED_OUT, "SM1", BEGIN) == (found.reason, found.evidence, found.created_at)
    assert [
        ("recorded", "review", "SM1", "inbound message"),
        ("lifted", "review", "SM1", "Ada"),
        ("recorded", "opted_out", "SM1", "Ada"),
    ] == [
        (each.action, each.reason, each.evidence, each.changed_by)
        for each in Suppressions(engine).history(PERSON)
    ]


def test_of_several_pending_reviews_the_last_decision_ends_what_they_suppress(
    engine: Engine,
) -> None:
    """In whatever order they are decided; other senders have reviews of their own."""
    inbound = InboundMessages(engine)
    for number, (to, minutes) in enumerate(
        [(SENDER, 0), (SENDER, 2), (SENDER, 1), (OTHER_SENDER, 0)]
    ):
        at = BEGIN + timedelta(minutes=minutes)
        _receive(inbound, InboundKind.REVIEW, message_sid=f"SM{number}", to=to, received_at=at)
    standing = []
    for sid in ("SM1", "SM0", "SM2", "SM3"):
        standing.append(_review_rows(engine))
        inbound.decide(sid, is_opt_out=False, by="ops")

    other = (OTHER_SENDER, "SM3")
    assert [
        {(SENDER, "SM1"), other},
        {(SENDER, "SM2"), other},
        {(SENDER, "SM2"), other},
        {other},
    ] == [set(each) for each in standing]
    assert [] == _review_rows(engine)


@pytest.mark.parametrize(
    ("kind", "scope", "to", "seconds", "lifts"),
    [
        (InboundKind.START, Scope.EVERYTHING, OTHER_SENDER, 5, True),
        (InboundKind.START, Scope.EVERYTHING, SENDER, 4, False),
        (InboundKind.START, Scope.SENDER, OTHER_SENDER, 5, False),
        (InboundKind.START, Scope.SENDER, SENDER, 5, True),
        (InboundKind.YES, Scope.EVERYTHING, SENDER, 5, True),
        (InboundKind.YES, Scope.EVERYTHING, OTHER_SENDER, 5, False),
    ],
)
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_an_opt_in_ends_what_an_older_review_suppresses(  # noqa: PLR0917 - as above
    engine: Engine,
    kind: InboundKind,
    scope: Scope,
    to: str,
    seconds: int,
    lifts: bool,
    order: list[int],
) -> None:
    """In whatever order they arrive. The review stays in the list, and then opts out of nothing."""
    inbound = InboundMessages(engine, scope=scope)
    later = BEGIN + timedelta(seconds=seconds)
    messages: list[dict[str, Any]] = [
        {"kind": InboundKind.REVIEW, "message_sid": "SM1", "received_at": BEGIN},
        {"kind": kind, "message_sid": "SM2", "to": to, "received_at": later},
    ]
    for number in order:
        _receive(inbound, **messages[number])

    assert lifts == (_review_rows(engine) == [])
    assert ["SM1"] == [each.message_sid for each in inbound.reviews()]
    expected = Decision.OPTED_IN_SINCE if lifts else Decision.OPT_OUT
    assert expected is inbound.decide("SM1", is_opt_out=True, by="ops")
    assert lifts == (Suppressions(engine).list_() == [])


def test_a_pending_review_before_an_opt_in_does_not_suppress_again(engine: Engine) -> None:
    """Not when a later review, which did, has been decided."""
    inbound = InboundMessages(engine)
    for kind, sid, seconds in (
        (InboundKind.REVIEW, "SM1", 0),
        (InboundKind.START, "SM2", 5),
        (InboundKind.REVIEW, "SM3", 6),
    ):
        at = BEGIN + timedelta(seconds=seconds)
        _receive(inbound, kind, message_sid=sid, received_at=at)
    assert [(SENDER, "SM3")] == _review_rows(engine)

    inbound.decide("SM3", is_opt_out=False, by="ops")

    assert [] == _review_rows(engine)
    assert 1 == inbound.pending_reviews().count


def test_what_an_operator_lifted_is_not_suppressed_by_the_same_review(engine: Engine) -> None:
    """Deciding it later finds nothing to lift."""
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.REVIEW)
    Suppressions(engine).lift(
        PERSON, reason=Reason.REVIEW, source=Source.OPERATOR, evidence="", by="ops"
    )

    assert Decision.NO_OPT_OUT is inbound.decide("SM1", is_opt_out=False, by="ops")
    assert 2 == len(Suppressions(engine).history(PERSON))


def test_a_reviewed_message_is_an_opt_out_that_a_start_lifts(engine: Engine) -> None:
    """The person said it, in their own words."""
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.REVIEW, received_at=BEGIN)

    assert Decision.OPT_OUT is inbound.decide("SM1", is_opt_out=True, by="ops")
    assert [(PERSON, Reason.OPTED_OUT, Scope.EVERYTHING, "")] == _suppressions(engine)
    _receive(inbound, InboundKind.START, message_sid="SM2", received_at=MINUTES["late"])

    assert not _suppressions(engine)


def test_decisions_at_the_same_time_count_once(database_url: str) -> None:
    """Of several operators one decides; the others learn that it has been."""
    engine = open_engine(database_url)
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.REVIEW)
    barrier = threading.Barrier(8)
    decisions: list[Decision | None] = []

    def decide(number: int) -> None:
        barrier.wait()
        decisions.append(inbound.decide("SM1", is_opt_out=number % 2 == 0, by=f"ops {number}"))

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        [decision] = [each for each in decisions if each is not None]
        assert (decision is Decision.OPT_OUT) == bool(_suppressions(engine))
    finally:
        engine.dispose()


def test_a_decision_waits_for_the_persons_opt_in_in_progress(database_url: str) -> None:
    """Otherwise neither would know of the other, and the opt-out would outlive a newer START."""
    engine = open_engine(database_url)
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.REVIEW, received_at=BEGIN)
    decisions: list[Decision | None] = []
    deciding = threading.Thread(
        target=lambda: decisions.append(inbound.decide("SM1", is_opt_out=True, by="ops"))
    )
    try:
        with transaction(engine) as connection:
            start: dict[str, Any] = {"message_sid": "SM2", "received_at": MINUTES["late"]}
            _receive(inbound, InboundKind.START, **start, connection=connection)
            deciding.start()
            while deciding.is_alive() and not _is_anyone_waiting(engine):
                deciding.join(0.02)
        deciding.join()

        assert [Decision.OPTED_IN_SINCE] == decisions
        assert not _suppressions(engine)
    finally:
        engine.dispose()


def _is_anyone_waiting(engine: Engine) -> bool:
    """For a lock; SQLite's writers wait without a trace."""
    if engine.dialect.name == "sqlite":
        return True
    with transaction(engine, read_only=True) as connection:
        waiting = connection.scalar(
            text(
                "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
                "WHERE NOT granted AND datname = current_database()"
            )
        )
    return bool(waiting)


def test_a_decision_and_its_effect_are_one_transaction(engine: Engine) -> None:
    """If it fails, the message awaits review and suppresses as before."""
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.REVIEW)

    def fail_after_deciding() -> None:
        with transaction(engine) as connection:
            inbound.decide("SM1", is_opt_out=True, by="ops", connection=connection)
            raise LookupError

    with pytest.raises(LookupError):
        fail_after_deciding()

    assert [(SENDER, "SM1")] == _review_rows(engine)
    assert Decision.OPT_OUT is inbound.decide("SM1", is_opt_out=True, by="ops")


def test_pending_reviews_are_counted_by_an_index(engine: Engine) -> None:
    """It holds the pending ones only, however many have been decided."""
    inbound = InboundMessages(engine)
    assert PendingReviews(count=0, oldest=None) == inbound.pending_reviews()
    decided = [
        {
            "message_sid": f"SM{number}",
            "from_address": PERSON,
            "to_address": SENDER,
            "kind": InboundKind.REVIEW.value,
            "received_at": BEGIN - timedelta(days=1),
            "reviewed_at": BEGIN,
        }
        for number in range(2000)
    ]
    with transaction(engine) as connection:
        connection.execute(inbound_messages.insert(), decided)
        if engine.dialect.name == "postgresql":
            connection.execute(text("ANALYZE inbound_messages"))
    for sid, at in (("SM-1", MINUTES["late"]), ("SM-2", MINUTES["early"])):
        _receive(inbound, InboundKind.REVIEW, message_sid=sid, received_at=at)

    plan = _plan(engine, inbound.pending_reviews)

    assert PendingReviews(count=2, oldest=MINUTES["early"]) == inbound.pending_reviews()
    assert "ix_inbound_messages_pending" in plan


def test_only_messages_for_review_keep_their_body(engine: Engine) -> None:
    """The body is stored only if a person has to read it."""
    inbound = InboundMessages(engine)
    for kind in InboundKind:
        _receive(inbound, kind, message_sid=f"SM-{kind}")
    table = inbound_messages.c
    with transaction(engine, read_only=True) as connection:
        bodies = dict(connection.execute(select(table.kind, table.body)).all())

    assert bodies == {
        kind.value: "a text" if kind is InboundKind.REVIEW else None for kind in InboundKind
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("stop\0it", "stop\ufffdit"),
        ("stop \ud800", "stop ?"),
        ("\U0001f6d1 arrêtez", "\U0001f6d1 arrêtez"),
    ],
)
def test_any_text_can_be_stored(engine: Engine, body: str, expected: str) -> None:
    """Characters that a database cannot store are replaced."""
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.REVIEW, body=body)

    assert [review.body for review in inbound.reviews()] == [expected]


def test_message_and_opt_out_are_one_transaction(engine: Engine) -> None:
    """If it fails, neither is recorded, and the next delivery of the message counts."""
    inbound = InboundMessages(engine)

    def fail_after_receiving() -> None:
        with transaction(engine) as connection:
            _receive(inbound, InboundKind.STOP, connection=connection)
            raise LookupError

    with pytest.raises(LookupError):
        fail_after_receiving()

    assert not _suppressions(engine)
    assert _receive(inbound, InboundKind.STOP)
    assert len(_suppressions(engine)) == 1


def test_a_message_is_pending_until_it_is_reviewed(engine: Engine) -> None:
    """It can be decided once; other messages cannot be."""
    inbound = InboundMessages(engine, now=lambda: BEGIN)
    _receive(inbound, InboundKind.REVIEW, body="please end this", received_at=BEGIN)
    _receive(inbound, InboundKind.STOP, message_sid="SM2")
    decisions = [
        inbound.decide(sid, is_opt_out=False, by=by)
        for sid, by in (("SM1", "ops"), ("SM1", "support"), ("SM2", "ops"), ("SM3", "ops"))
    ]
    [review] = inbound.reviews(pending_only=False)

    assert [Decision.NO_OPT_OUT, None, None, None] == decisions
    assert not inbound.reviews()
    assert (review.body, review.received_at, review.reviewed_at, review.reviewed_by) == (
        "please end this",
        BEGIN,
        BEGIN,
        "ops",
    )
    assert review == inbound.review("SM1")
    assert inbound.review("SM2") is None


@pytest.mark.parametrize("by", ["", "x" * 101, "two\nlines"])
def test_a_decision_names_who_made_it(engine: Engine, by: str) -> None:
    """It must not be empty, too long or more than a line."""
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.REVIEW)

    with pytest.raises(ValueError, match="by: "):
        inbound.decide("SM1", is_opt_out=False, by=by)
    assert 1 == inbound.pending_reviews().count


def test_reviews_are_listed_in_pages(engine: Engine) -> None:
    """Every message is listed once, oldest first, even if several have the same time."""
    inbound = InboundMessages(engine)
    for number in range(7):
        at = BEGIN + timedelta(seconds=number // 3)
        _receive(inbound, InboundKind.REVIEW, message_sid=f"SM{number}", received_at=at)
    listed: list[str] = []
    after = None
    while page := inbound.reviews(after=after, limit=2):
        listed += [review.message_sid for review in page]
        after = page[-1]

    assert listed == [f"SM{number}" for number in range(7)]


def test_the_repr_of_a_review_contains_no_number_and_no_text(engine: Engine) -> None:
    """It may get into a log."""
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.REVIEW, body="please end this")
    text = repr(inbound.reviews())

    assert PERSON not in text
    assert "please" not in text


_NAMES = ("message_sid", "from_", "to")


@pytest.mark.parametrize("field", _NAMES)
def test_a_message_without_sid_or_addresses_is_refused(engine: Engine, field: str) -> None:
    """The error names the field."""
    message_sid, from_, to = ("" if field == each else "x" for each in _NAMES)
    with pytest.raises(ValueError, match=f"^{field.rstrip('_')}: must not be empty"):
        _receive(
            InboundMessages(engine), InboundKind.STOP, message_sid=message_sid, from_=from_, to=to
        )


def test_an_unreachable_database_raises_an_error() -> None:
    """The caller must not acknowledge a message that was not recorded."""
    inbound = InboundMessages(open_engine("postgresql://user@127.0.0.1:1/name"))

    with pytest.raises(DatabaseUnavailable):
        _receive(inbound, InboundKind.STOP)


@pytest.mark.parametrize(
    ("keywords", "suppressed"),
    [
        ([("START", "late"), ("STOP", "early")], False),
        ([("STOP", "late"), ("START", "early")], True),
        ([("STOP", "early"), ("START", "late")], False),
        ([("START", "early"), ("STOP", "late")], True),
        ([("STOP", "early"), ("START", "early")], True),
        ([("START", "early"), ("STOP", "early")], True),
    ],
)
def test_the_last_keyword_decides(
    engine: Engine, keywords: list[tuple[str, str]], suppressed: bool
) -> None:
    """The order in which they are recorded does not matter; in doubt the STOP counts."""
    inbound = InboundMessages(engine)
    for number, (keyword, when) in enumerate(keywords):
        assert _receive(
            inbound,
            InboundKind(keyword.lower()),
            message_sid=f"SM{number}",
            received_at=MINUTES[when],
        )

    assert suppressed == bool(_suppressions(engine))


@pytest.mark.parametrize(
    ("scope", "later_from", "later_to", "wins"),
    [
        (Scope.EVERYTHING, f"whatsapp:{PERSON}", SENDER, True),
        (Scope.EVERYTHING, PERSON, "+15005550001", True),
        (Scope.EVERYTHING, "+15558675310", SENDER, False),
        (Scope.EVERYTHING, "whatsapp:+215558675309", SENDER, False),
        (Scope.SENDER, PERSON, SENDER, True),
        (Scope.SENDER, PERSON, "+15005550001", False),
    ],
)
def test_a_later_start_wins_only_for_the_same_person_and_scope(
    engine: Engine, scope: Scope, later_from: str, later_to: str, wins: bool
) -> None:
    """The channel does not matter; with the scope `sender`, the sender must be the same."""
    inbound = InboundMessages(engine, scope=scope, now=lambda: MINUTES["late"])
    _receive(
        inbound,
        InboundKind.START,
        from_=later_from,
        to=later_to,
        received_at=MINUTES["late"],
    )

    _receive(inbound, InboundKind.STOP, message_sid="SM2", received_at=BEGIN)

    assert wins == (not _suppressions(engine))


def test_a_watermark_that_was_never_set_is_none(engine: Engine) -> None:
    """Reading it raises no error."""
    assert Watermarks(engine).read("a") is None


def test_a_watermark_only_advances(engine: Engine) -> None:
    """An earlier time changes nothing; each name has its own watermark."""
    watermarks = Watermarks(engine)
    later = BEGIN + timedelta(hours=1)
    for name, to in (("a", BEGIN), ("b", BEGIN), ("a", later), ("a", BEGIN)):
        watermarks.advance(name, to)

    assert [later, BEGIN] == [watermarks.read(name) for name in ("a", "b")]


def test_a_persons_later_keyword_is_found_by_an_index(engine: Engine) -> None:
    """A late STOP takes no longer, however many messages of others came after it."""
    others = [
        {
            "message_sid": f"SM2{number}",
            "from_address": f"+1555{number:07d}",
            "to_address": SENDER,
            "kind": InboundKind.START.value,
            "received_at": BEGIN + timedelta(seconds=number),
        }
        for number in range(1, 2000)
    ]
    with transaction(engine) as connection:
        connection.execute(inbound_messages.insert(), others)
        if engine.dialect.name == "postgresql":
            connection.execute(text("ANALYZE inbound_messages"))

    plan = _plan(
        engine,
        lambda: _receive(InboundMessages(engine), InboundKind.STOP, received_at=BEGIN),
    )

    assert "ix_inbound_messages_from_address_kind_received_at" in plan


def _plan(engine: Engine, work: Callable[[], object]) -> str:
    """How the database answers the query of inbound messages in `work`."""
    queries: list[tuple[str, Any]] = []

    def collect(_c: object, _cursor: object, statement: str, values: Any, *_rest: object) -> None:
        if statement.lstrip().startswith("SELECT") and "FROM inbound_messages" in statement:
            queries.append((statement, values))

    event.listen(engine, "before_cursor_execute", collect)
    work()
    event.remove(engine, "before_cursor_execute", collect)
    [(statement, values)] = queries
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[engine.dialect.name]
    with transaction(engine) as connection:
        return "\n".join(map(str, connection.exec_driver_sql(f"{explain} {statement}", values)))


def test_the_list_page_by_page(engine: Engine) -> None:
    """The newest first; of one moment, none is lost; of one person, on any channel."""
    inbound = InboundMessages(engine)
    for sid, from_, minutes in (
        ("SM1", PERSON, 0),
        ("SM2", f"whatsapp:{PERSON}", 1),
        ("SM3", "+15558675310", 1),
        ("SM4", PERSON, 2),
    ):
        at = BEGIN + timedelta(minutes=minutes)
        _receive(inbound, InboundKind.OTHER, message_sid=sid, from_=from_, received_at=at)

    def sids(**options: Any) -> list[str]:
        return [each.message_sid for each in inbound.list_(**options)]

    assert ["SM4", "SM2"] == sids(limit=2)
    assert ["SM3", "SM1"] == sids(limit=2, after="SM2")
    assert [] == sids(after="SM1")
    assert [] == sids(after="SM9")
    assert ["SM4", "SM2", "SM1"] == sids(from_person=f"rcs:{PERSON}")
    assert ["SM2", "SM1"] == sids(from_person=PERSON, after="SM4")
