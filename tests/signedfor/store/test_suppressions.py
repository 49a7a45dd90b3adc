"""Suppressions: who is covered, what a second record does, and what the history keeps."""

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.store.database import DatabaseUnavailable, open_engine, transaction
from signedfor.store.suppressions import Action, Suppressions

PERSON = "+15558675309"
WHATSAPP = f"whatsapp:{PERSON}"
OTHER = "+15558675310"
SENDER = "+15005550006"
BEGIN = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


def _clock() -> Callable[[], datetime]:
    ticks = count()
    return lambda: BEGIN + timedelta(seconds=next(ticks))


def _suppression(
    recipient: str = PERSON,
    reason: Reason = Reason.OPTED_OUT,
    scope: Scope = Scope.EVERYTHING,
    scope_value: str = "",
) -> Suppression:
    return Suppression(
        recipient=recipient,
        reason=reason,
        source=Source.INBOUND,
        scope=scope,
        scope_value=scope_value,
        evidence="SM1",
    )


@pytest.fixture
def store(engine: Engine) -> Suppressions:
    """Return the store on a fresh database, with a clock that ticks once a question."""
    return Suppressions(engine, now=_clock())


def _is_suppressed(
    store: Suppressions, recipient: str, sender: str | None = SENDER, category: str | None = None
) -> bool:
    return store.find(recipient, sender=sender, category=category) is not None


def test_nobody_is_suppressed_at_first(store: Suppressions) -> None:
    """Without a record, a message may be sent."""
    assert not _is_suppressed(store, PERSON)


def test_found_as_recorded(store: Suppressions) -> None:
    """What is found is what was recorded, with the store's time and an id."""
    store.record(_suppression(), by="webhook")
    found = store.find(PERSON, sender=SENDER, category=None)

    assert found == Suppression(
        recipient=PERSON,
        reason=Reason.OPTED_OUT,
        source=Source.INBOUND,
        evidence="SM1",
        created_at=BEGIN,
    )
    assert found is not None
    assert found.id is not None


@pytest.mark.parametrize(
    ("recorded", "reason", "asked", "expected"),
    [
        (PERSON, Reason.OPTED_OUT, PERSON, True),
        (PERSON, Reason.OPTED_OUT, WHATSAPP, True),
        (PERSON, Reason.OPTED_OUT, f"rcs:{PERSON}", True),
        (WHATSAPP, Reason.OPTED_OUT, PERSON, True),
        (WHATSAPP, Reason.OPTED_OUT, f"rcs:{PERSON}", True),
        (PERSON, Reason.OPTED_OUT, OTHER, False),
        (PERSON, Reason.OPTED_OUT, f"whatsapp:{OTHER}", False),
        ("messenger:15558675309", Reason.OPTED_OUT, "messenger:15558675309", True),
        ("messenger:15558675309", Reason.OPTED_OUT, PERSON, False),
        (PERSON, Reason.UNDELIVERABLE, PERSON, True),
        (PERSON, Reason.UNDELIVERABLE, WHATSAPP, False),
        (WHATSAPP, Reason.UNDELIVERABLE, WHATSAPP, True),
        (WHATSAPP, Reason.UNDELIVERABLE, PERSON, False),
        (PERSON, Reason.MANUAL, WHATSAPP, True),
        (WHATSAPP, Reason.MANUAL, WHATSAPP, True),
        (WHATSAPP, Reason.MANUAL, PERSON, False),
    ],
)
def test_who_is_covered(
    store: Suppressions, *, recorded: str, reason: Reason, asked: str, expected: bool
) -> None:
    """An opt-out covers the person on every channel; an undeliverable address only itself."""
    store.record(_suppression(recorded, reason), by="test")

    assert _is_suppressed(store, asked) == expected


@pytest.mark.parametrize(
    ("scope", "scope_value", "sender", "category", "expected"),
    [
        (Scope.EVERYTHING, "", SENDER, "marketing", True),
        (Scope.EVERYTHING, "", None, None, True),
        (Scope.SENDER, SENDER, SENDER, None, True),
        (Scope.SENDER, SENDER, SENDER, "marketing", True),
        (Scope.SENDER, SENDER, "+15005550001", None, False),
        (Scope.SENDER, SENDER, None, SENDER, False),
        (Scope.CATEGORY, "marketing", SENDER, "marketing", True),
        (Scope.CATEGORY, "marketing", SENDER, "receipts", False),
        (Scope.CATEGORY, "marketing", "marketing", None, False),
    ],
)
def test_what_is_covered(
    store: Suppressions,
    *,
    scope: Scope,
    scope_value: str,
    sender: str | None,
    category: str | None,
    expected: bool,
) -> None:
    """A suppression covers everything, or what was named: one sender or one category."""
    store.record(_suppression(scope=scope, scope_value=scope_value), by="test")

    assert _is_suppressed(store, PERSON, sender, category) == expected


def test_the_weightiest_is_found(store: Suppressions) -> None:
    """Where several apply, the person's own word comes first."""
    for reason in (Reason.MANUAL, Reason.UNDELIVERABLE, Reason.OPTED_OUT):
        store.record(_suppression(reason=reason), by="test")
    found = store.find(PERSON, sender=SENDER, category=None)

    assert found is not None
    assert found.reason is Reason.OPTED_OUT


def test_second_record_changes_nothing(store: Suppressions) -> None:
    """Recording again is harmless: the first row stands, and the history does not grow."""
    results = [store.record(_suppression(), by=by) for by in ("first", "second")]
    found = store.find(PERSON, sender=SENDER, category=None)

    assert results == [True, False]
    assert found is not None
    assert found.created_at == BEGIN
    assert [entry.changed_by for entry in store.history(PERSON)] == ["first"]


def test_channel_and_number_are_one_opt_out(store: Suppressions) -> None:
    """An opt-out on a channel and one by text are the same record."""
    results = [store.record(_suppression(each), by="test") for each in (WHATSAPP, PERSON)]

    assert results == [True, False]


def test_record_all_counts_the_new(store: Suppressions) -> None:
    """A batch may repeat rows and itself; only what is new counts and enters the history."""
    store.record(_suppression(), by="test")
    batch = [_suppression(), _suppression(OTHER), _suppression(OTHER)]

    assert store.record_all(batch, by="test") == 1
    assert store.record_all([], by="test") == 0
    assert len(store.history(OTHER)) == 1


def test_records_at_once(database_url: str) -> None:
    """Of many that record the same opt-out at the same moment, exactly one is told it is new."""
    engine = open_engine(database_url)
    store = Suppressions(engine)
    barrier = threading.Barrier(8)
    results: list[bool] = []

    def record() -> None:
        barrier.wait()
        results.append(store.record(_suppression(), by="test"))

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert sorted(results) == [False] * 7 + [True]
        assert len(store.history(PERSON)) == 1
    finally:
        engine.dispose()


def test_lift_ends_it_and_keeps_the_history(store: Suppressions) -> None:
    """A lifted suppression no longer holds, and both changes can be read, oldest first."""
    store.record(_suppression(), by="webhook")
    lifted = store.lift(PERSON, source=Source.OPERATOR, evidence="ticket 7", by="anna")
    entries = store.history(PERSON)

    assert lifted == 1
    assert not _is_suppressed(store, PERSON)
    assert [(e.action, e.at, e.source, e.evidence, e.changed_by) for e in entries] == [
        (Action.RECORDED, BEGIN, Source.INBOUND, "SM1", "webhook"),
        (Action.LIFTED, BEGIN + timedelta(seconds=1), Source.OPERATOR, "ticket 7", "anna"),
    ]


def test_lifting_nothing_leaves_no_trace(store: Suppressions) -> None:
    """Where nothing stood, nothing is lifted and nothing enters the history."""
    assert store.lift(PERSON, source=Source.OPERATOR, evidence="", by="anna") == 0
    assert not store.history(PERSON)


@pytest.mark.parametrize(
    ("chosen", "lifted"),
    [
        ({}, {"opted_out", "undeliverable", "manual", "sender", "category"}),
        ({"reason": Reason.OPTED_OUT}, {"opted_out", "sender", "category"}),
        ({"reason": Reason.MANUAL}, {"manual"}),
        ({"scope": Scope.EVERYTHING}, {"opted_out", "undeliverable", "manual"}),
        ({"scope": Scope.SENDER, "scope_value": SENDER}, {"sender"}),
        ({"scope": Scope.SENDER, "scope_value": "+15005550001"}, set()),
        ({"scope": Scope.CATEGORY, "reason": Reason.MANUAL}, set()),
    ],
)
def test_lift_takes_what_matches(
    store: Suppressions, chosen: dict[str, Any], lifted: set[str]
) -> None:
    """Only what matches reason, scope and value is lifted, and of this recipient only."""
    standing = {
        **{reason.value: _suppression(reason=reason) for reason in Reason},
        "sender": _suppression(scope=Scope.SENDER, scope_value=SENDER),
        "category": _suppression(scope=Scope.CATEGORY, scope_value="marketing"),
    }
    store.record_all([*standing.values(), _suppression(OTHER)], by="test")
    count = store.lift(PERSON, source=Source.OPERATOR, evidence="", by="anna", **chosen)
    left = [(s.reason, s.scope) for s in store.list_(recipient=PERSON)]

    assert count == len(lifted)
    assert sorted(left) == sorted(
        (s.reason, s.scope) for name, s in standing.items() if name not in lifted
    )
    assert _is_suppressed(store, OTHER)


def test_lift_by_channel_frees_the_person_only_of_opt_outs(store: Suppressions) -> None:
    """Lifting a channel address lifts the person's opt-out, not what holds for another address."""
    for recipient, reason in (
        (PERSON, Reason.OPTED_OUT),
        (PERSON, Reason.MANUAL),
        (PERSON, Reason.UNDELIVERABLE),
        (WHATSAPP, Reason.UNDELIVERABLE),
    ):
        store.record(_suppression(recipient, reason), by="test")
    store.lift(WHATSAPP, source=Source.OPERATOR, evidence="", by="anna")

    assert [(s.recipient, s.reason) for s in store.list_()] == [
        (PERSON, Reason.MANUAL),
        (PERSON, Reason.UNDELIVERABLE),
    ]


def test_recorded_again_after_lifting(store: Suppressions) -> None:
    """A person may stop, start and stop again."""
    results = [store.record(_suppression(), by="test")]
    store.lift(PERSON, source=Source.INBOUND, evidence="SM2", by="test")
    results.append(store.record(_suppression(), by="test"))

    assert results == [True, True]
    assert len(store.history(PERSON)) == 3


def test_pages(store: Suppressions) -> None:
    """Pages by id cover every row once."""
    recipients = [f"+1555000{number:04}" for number in range(7)]
    store.record_all([_suppression(each) for each in recipients], by="test")
    pages: list[list[Suppression]] = []
    after_id = 0
    while page := store.list_(after_id=after_id, limit=3):
        pages.append(page)
        after_id = page[-1].id or 0

    assert [len(page) for page in pages] == [3, 3, 1]
    assert sorted(row.recipient for page in pages for row in page) == recipients


def test_list_filters(store: Suppressions) -> None:
    """The list can be narrowed by recipient, reason and scope."""
    store.record(_suppression(), by="test")
    store.record(_suppression(OTHER, Reason.MANUAL), by="test")
    store.record(_suppression(OTHER, scope=Scope.SENDER, scope_value=SENDER), by="test")

    assert [s.recipient for s in store.list_(recipient=WHATSAPP)] == [PERSON]
    assert [s.recipient for s in store.list_(reason=Reason.MANUAL)] == [OTHER]
    assert [s.scope_value for s in store.list_(scope=Scope.SENDER)] == [SENDER]
    assert not store.list_(recipient=PERSON, reason=Reason.MANUAL)


def test_open_connection_is_joined(store: Suppressions, engine: Engine) -> None:
    """All methods see and share the caller's transaction, and end with it."""
    seen: list[object] = []

    def fail_after_recording() -> None:
        with transaction(engine) as connection:
            store.record(_suppression(), by="test", connection=connection)
            seen.append(store.find(PERSON, sender=None, category=None, connection=connection))
            seen.extend(store.list_(connection=connection))
            seen.extend(store.history(PERSON, connection=connection))
            raise LookupError

    with pytest.raises(LookupError):
        fail_after_recording()

    assert [type(each).__name__ for each in seen] == ["Suppression"] * 2 + ["HistoryEntry"]
    assert not _is_suppressed(store, PERSON)
    assert not store.history(PERSON)


@pytest.mark.parametrize("by", ["", "x" * 101, "anna\nbob"])
def test_the_author_of_a_change_is_required(store: Suppressions, by: str) -> None:
    """Nobody anonymous, and no novel, enters the history."""
    with pytest.raises(ValueError, match="by: "):
        store.record(_suppression(), by=by)
    with pytest.raises(ValueError, match="by: "):
        store.lift(PERSON, source=Source.OPERATOR, evidence="", by=by)

    assert not store.list_()


@pytest.mark.parametrize("category", [None, "news"])
def test_many_are_looked_up_as_each_is(store: Suppressions, category: str | None) -> None:
    """Of any recipients, those are told for whom `find` finds something."""
    numbers = [f"+1555867{index:04d}" for index in range(40)]
    everybody = [channel + each for each in numbers for channel in ("", "whatsapp:", "rcs:")]
    scopes = [(Scope.EVERYTHING, ""), (Scope.SENDER, SENDER), (Scope.CATEGORY, "news")]
    whom = iter(numbers)
    store.record_all(
        [
            _suppression(channel + next(whom), reason, scope, value)
            for reason in Reason
            for scope, value in [*scopes, (Scope.CATEGORY, "other")]
            for channel in ("", "whatsapp:")
        ],
        by="webhook",
    )

    found = store.find_suppressed(everybody, sender=SENDER, category=category)

    assert found == {
        each for each in everybody if store.find(each, sender=SENDER, category=category) is not None
    }
    assert 0 < len(found) < len(everybody)


def test_find_is_one_look_up_by_index(store: Suppressions, engine: Engine) -> None:
    """Finding is one query that reads the index, however many suppressions there are."""
    queries: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, values: Any, *_rest: object) -> None:
        if statement.lstrip().startswith("SELECT"):
            queries.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    store.find(WHATSAPP, sender=SENDER, category="marketing")
    event.remove(engine, "before_cursor_execute", note)
    [(statement, values)] = queries
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[engine.dialect.name]
    with transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            # It would rather read an empty table from end to end.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(map(str, connection.exec_driver_sql(f"{explain} {statement}", values)))

    assert re.search(r"SEARCH suppressions USING INDEX|Index Scan", plan)
    assert "recipient" in plan


def test_unreadable_store_never_says_no_suppression() -> None:
    """Where the database cannot be asked, the answer is an exception and not None."""
    store = Suppressions(open_engine("postgresql://somebody@127.0.0.1:1/name"))

    with pytest.raises(DatabaseUnavailable):
        store.find(PERSON, sender=SENDER, category=None)
