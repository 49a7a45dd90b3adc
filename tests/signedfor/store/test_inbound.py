"""Inbound messages: kept once, and obeyed once."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, select

from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.inbound import InboundRecord
from signedfor.store.database import DatabaseUnavailable, open_engine, transaction
from signedfor.store.inbound import InboundMessages, Watermarks
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import inbound_messages
from signedfor.twilio.keywords import InboundKind

PERSON = "+15558675309"
SENDER = "+15005550006"
SERVICE = "MG0123456789abcdef0123456789abcdef"
BEGIN = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


def _receive(  # the message that the tests differ from
    inbound: InboundMessages,
    kind: InboundKind,
    *,
    message_sid: str = "SM1",
    from_: str = PERSON,
    to: str = SENDER,
    messaging_service_sid: str | None = None,
    body: str = "a text",
    received_at: datetime | None = None,
    connection: Connection | None = None,
) -> bool:
    return inbound.receive(
        InboundRecord(
            message_sid=message_sid,
            from_=from_,
            to=to,
            kind=kind,
            body=body,
            messaging_service_sid=messaging_service_sid,
            received_at=received_at or datetime.now(UTC),
        ),
        connection=connection,
    )


def _standing(engine: Engine) -> list[tuple[str, Reason, Scope, str]]:
    rows = Suppressions(engine).list_()
    return [(row.recipient, row.reason, row.scope, row.scope_value) for row in rows]


def test_stop_records_an_opt_out(engine: Engine) -> None:
    """A STOP ends everything for the person, with the message's SID as evidence."""
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
def test_stop_for_the_sender(engine: Engine, service: str | None, expected: str) -> None:
    """By option a STOP concerns the Messaging Service it was sent to, or else the number."""
    inbound = InboundMessages(engine, scope=Scope.SENDER)
    _receive(inbound, InboundKind.STOP, messaging_service_sid=service)

    assert _standing(engine) == [(PERSON, Reason.OPTED_OUT, Scope.SENDER, expected)]


def test_category_is_no_option(engine: Engine) -> None:
    """No STOP names a category."""
    with pytest.raises(ValueError, match="scope: "):
        InboundMessages(engine, scope=Scope.CATEGORY)


@pytest.mark.parametrize("kind", [InboundKind.HELP, InboundKind.OTHER, InboundKind.REVIEW])
def test_other_messages_change_no_consent(engine: Engine, kind: InboundKind) -> None:
    """Only STOP and START change what may be sent."""
    inbound = InboundMessages(engine)

    assert _receive(inbound, kind)
    assert not _standing(engine)


def test_replayed_callback_changes_nothing(engine: Engine) -> None:
    """A STOP that Twilio delivers again after the START does not opt the person out again."""
    inbound = InboundMessages(engine)
    results = [
        _receive(inbound, InboundKind.STOP, message_sid="SM1"),
        _receive(inbound, InboundKind.START, message_sid="SM2"),
        _receive(inbound, InboundKind.STOP, message_sid="SM1"),
        _receive(inbound, InboundKind.START, message_sid="SM2"),
    ]

    assert results == [True, True, False, False]
    assert not _standing(engine)
    assert len(Suppressions(engine).history(PERSON)) == 2


def test_same_message_at_once(database_url: str) -> None:
    """Of many deliveries of one message at the same moment, exactly one counts."""
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


STANDING = {
    "all": (Reason.OPTED_OUT, Scope.EVERYTHING, ""),
    "sender": (Reason.OPTED_OUT, Scope.SENDER, SENDER),
    "other sender": (Reason.OPTED_OUT, Scope.SENDER, "+15005550001"),
    "category": (Reason.OPTED_OUT, Scope.CATEGORY, "marketing"),
    "undeliverable": (Reason.UNDELIVERABLE, Scope.EVERYTHING, ""),
    "manual": (Reason.MANUAL, Scope.SENDER, SENDER),
}


@pytest.mark.parametrize(
    ("scope", "lifted"),
    [(Scope.EVERYTHING, {"all", "sender"}), (Scope.SENDER, {"sender"})],
)
def test_start_lifts_opt_outs_of_its_scope(engine: Engine, scope: Scope, lifted: set[str]) -> None:
    """A START lifts what a STOP to the same sender records, and never another reason."""
    suppressions = Suppressions(engine)
    for reason, each_scope, scope_value in STANDING.values():
        suppression = Suppression(
            recipient=PERSON,
            reason=reason,
            source=Source.OPERATOR,
            scope=each_scope,
            scope_value=scope_value,
        )
        suppressions.record(suppression, by="test")
    _receive(InboundMessages(engine, scope=scope), InboundKind.START)

    assert _standing(engine) == [
        (PERSON, *row) for name, row in STANDING.items() if name not in lifted
    ]


def test_only_review_keeps_the_body(engine: Engine) -> None:
    """A text is kept only where a person has to read it."""
    inbound = InboundMessages(engine)
    for kind in InboundKind:
        _receive(inbound, kind, message_sid=f"SM-{kind}")
    table = inbound_messages.c
    with transaction(engine, read_only=True) as connection:
        kept = dict(connection.execute(select(table.kind, table.body)).all())

    assert kept == {
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
def test_any_text_can_be_kept(engine: Engine, body: str, expected: str) -> None:
    """A text that a database cannot hold is kept without the part that it cannot."""
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.REVIEW, body=body)

    assert [review.body for review in inbound.reviews()] == [expected]


def test_failure_forgets_message_and_opt_out(engine: Engine) -> None:
    """Message and opt-out are one transaction: if it fails, a new delivery starts afresh."""
    inbound = InboundMessages(engine)

    def fail_after_receiving() -> None:
        with transaction(engine) as connection:
            _receive(inbound, InboundKind.STOP, connection=connection)
            raise LookupError

    with pytest.raises(LookupError):
        fail_after_receiving()

    assert not _standing(engine)
    assert _receive(inbound, InboundKind.STOP)
    assert len(_standing(engine)) == 1


def test_reviews_wait_until_read(engine: Engine) -> None:
    """A message waits for review until somebody has read it, and is marked once."""
    inbound = InboundMessages(engine, now=lambda: BEGIN)
    _receive(inbound, InboundKind.REVIEW, body="please end this", received_at=BEGIN)
    _receive(inbound, InboundKind.STOP, message_sid="SM2")
    marks = [
        inbound.mark_reviewed(sid, by=by)
        for sid, by in (("SM1", "anna"), ("SM1", "bob"), ("SM2", "anna"), ("SM3", "anna"))
    ]
    [review] = inbound.reviews(pending_only=False)

    assert marks == [True, False, False, False]
    assert not inbound.reviews()
    assert (review.body, review.received_at, review.reviewed_at, review.reviewed_by) == (
        "please end this",
        BEGIN,
        BEGIN,
        "anna",
    )


def test_reviews_come_in_pages(engine: Engine) -> None:
    """Pages show every message once, oldest first, also those of one moment."""
    inbound = InboundMessages(engine)
    for number in range(7):
        at = BEGIN + timedelta(seconds=number // 3)
        _receive(inbound, InboundKind.REVIEW, message_sid=f"SM{number}", received_at=at)
    shown: list[str] = []
    after = None
    while page := inbound.reviews(after=after, limit=2):
        shown += [review.message_sid for review in page]
        after = page[-1]

    assert shown == [f"SM{number}" for number in range(7)]


def test_review_repr_is_impersonal(engine: Engine) -> None:
    """A review that lands in a log shows neither number nor text."""
    inbound = InboundMessages(engine)
    _receive(inbound, InboundKind.REVIEW, body="please end this")
    shown = repr(inbound.reviews())

    assert PERSON not in shown
    assert "please" not in shown


_NAMES = ("message_sid", "from_", "to")


@pytest.mark.parametrize("field", _NAMES)
def test_empty_fields_are_named(engine: Engine, field: str) -> None:
    """A message without its SID or addresses is refused, by the field's name."""
    message_sid, from_, to = ("" if field == each else "x" for each in _NAMES)
    with pytest.raises(ValueError, match=f"^{field.rstrip('_')}: must not be empty"):
        _receive(
            InboundMessages(engine), InboundKind.STOP, message_sid=message_sid, from_=from_, to=to
        )


def test_unreachable_database_is_no_answer() -> None:
    """Where the message cannot be kept, the caller is told so and must not acknowledge it."""
    inbound = InboundMessages(open_engine("postgresql://somebody@127.0.0.1:1/name"))

    with pytest.raises(DatabaseUnavailable):
        _receive(inbound, InboundKind.STOP)


MINUTES = {"early": BEGIN, "late": BEGIN + timedelta(minutes=5)}


@pytest.mark.parametrize(
    ("words", "stands"),
    [
        ([("START", "late"), ("STOP", "early")], False),
        ([("STOP", "late"), ("START", "early")], True),
        ([("STOP", "early"), ("START", "late")], False),
        ([("START", "early"), ("STOP", "late")], True),
        ([("STOP", "early"), ("START", "early")], False),
        ([("START", "early"), ("STOP", "early")], True),
    ],
)
def test_the_later_word_counts(engine: Engine, words: list[tuple[str, str]], stands: bool) -> None:
    """Whatever order they are handed in, the word that was said last holds."""
    inbound = InboundMessages(engine)
    for number, (word, when) in enumerate(words):
        assert _receive(
            inbound,
            InboundKind(word.lower()),
            message_sid=f"SM{number}",
            received_at=MINUTES[when],
        )

    assert stands == bool(_standing(engine))


@pytest.mark.parametrize(
    ("scope", "later_from", "later_to", "overtakes"),
    [
        (Scope.EVERYTHING, f"whatsapp:{PERSON}", SENDER, True),
        (Scope.EVERYTHING, PERSON, "+15005550001", True),
        (Scope.EVERYTHING, "+15558675310", SENDER, False),
        (Scope.EVERYTHING, "whatsapp:+215558675309", SENDER, False),
        (Scope.SENDER, PERSON, SENDER, True),
        (Scope.SENDER, PERSON, "+15005550001", False),
    ],
)
def test_whose_later_word_counts(
    engine: Engine, scope: Scope, later_from: str, later_to: str, overtakes: bool
) -> None:
    """Only the same person's, on any channel; with the scope `sender`, only about that sender."""
    inbound = InboundMessages(engine, scope=scope, now=lambda: MINUTES["late"])
    _receive(
        inbound,
        InboundKind.START,
        from_=later_from,
        to=later_to,
        received_at=MINUTES["late"],
    )

    _receive(inbound, InboundKind.STOP, message_sid="SM2", received_at=BEGIN)

    assert overtakes == (not _standing(engine))


def test_a_watermark_that_was_never_set(engine: Engine) -> None:
    """It is None."""
    assert Watermarks(engine).read("a") is None


def test_a_watermark_only_advances(engine: Engine) -> None:
    """The latest counts, for each name by itself."""
    watermarks = Watermarks(engine)
    later = BEGIN + timedelta(hours=1)
    for name, to in (("a", BEGIN), ("b", BEGIN), ("a", later), ("a", BEGIN)):
        watermarks.advance(name, to)

    assert [later, BEGIN] == [watermarks.read(name) for name in ("a", "b")]
