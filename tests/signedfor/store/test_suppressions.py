"""Suppressions: who and what they cover, recording, lifting, and their history."""

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
from signedfor.store.people import People
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
    to_sender: str = "",
) -> Suppression:
    return Suppression(
        recipient=recipient,
        reason=reason,
        source=Source.INBOUND,
        scope=scope,
        scope_value=scope_value,
        evidence="SM1",
        to_sender=to_sender,
    )


@pytest.fixture
def store(engine: Engine) -> Suppressions:
    """The suppressions in a new database, with a clock that advances a second per reading."""
    return Suppressions(engine, now=_clock())


def _is_suppressed(
    store: Suppressions, recipient: str, sender: str | None = SENDER, category: str | None = None
) -> bool:
    return store.find(recipient, sender=sender, category=category) is not None


def test_without_a_record_there_is_no_suppression(store: Suppressions) -> None:
    """Messages may be sent."""
    assert not _is_suppressed(store, PERSON)


def test_a_recorded_suppression_is_found(store: Suppressions) -> None:
    """It has an id and the time at which it was recorded."""
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
def test_opt_outs_cover_all_channels_of_a_person(
    store: Suppressions, *, recorded: str, reason: Reason, asked: str, expected: bool
) -> None:
    """Suppressions for other reasons cover the exact address only."""
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
        (Scope.SENDER_CATEGORY, "marketing", SENDER, "marketing", True),
        (Scope.SENDER_CATEGORY, "marketing", SENDER, "receipts", False),
        (Scope.SENDER_CATEGORY, "marketing", SENDER, None, False),
        (Scope.SENDER_CATEGORY, "marketing", "+15005550001", "marketing", False),
        (Scope.SENDER_CATEGORY, "marketing", None, "marketing", False),
    ],
)
def test_a_suppression_covers_its_scope(
    store: Suppressions,
    *,
    scope: Scope,
    scope_value: str,
    sender: str | None,
    category: str | None,
    expected: bool,
) -> None:
    """The scope is everything, one sender, one category or one category of a sender."""
    to_sender = SENDER if scope is Scope.SENDER_CATEGORY else ""
    store.record(_suppression(scope=scope, scope_value=scope_value, to_sender=to_sender), by="test")

    assert _is_suppressed(store, PERSON, sender, category) == expected


def test_an_opt_out_is_found_before_other_suppressions(store: Suppressions) -> None:
    """If several suppressions apply, the person's own decision comes first."""
    for reason in (Reason.MANUAL, Reason.UNDELIVERABLE, Reason.OPTED_OUT):
        store.record(_suppression(reason=reason), by="test")
    found = store.find(PERSON, sender=SENDER, category=None)

    assert found is not None
    assert found.reason is Reason.OPTED_OUT


def test_recording_again_changes_nothing(store: Suppressions) -> None:
    """The first row is kept, and the history has no second entry."""
    results = [store.record(_suppression(), by=by) for by in ("first", "second")]
    found = store.find(PERSON, sender=SENDER, category=None)

    assert results == [True, False]
    assert found is not None
    assert found.created_at == BEGIN
    assert [entry.changed_by for entry in store.history(PERSON)] == ["first"]


def test_opt_outs_on_two_channels_are_one_record(store: Suppressions) -> None:
    """An opt-out on a channel and one by SMS are the same."""
    results = [store.record(_suppression(each), by="test") for each in (WHATSAPP, PERSON)]

    assert results == [True, False]


def test_record_all_counts_only_new_suppressions(store: Suppressions) -> None:
    """Repeated and existing suppressions do not count and are not in the history."""
    store.record(_suppression(), by="test")
    batch = [_suppression(), _suppression(OTHER), _suppression(OTHER)]

    assert store.record_all(batch, by="test") == 1
    assert store.record_all([], by="test") == 0
    assert len(store.history(OTHER)) == 1


def test_concurrent_records_count_once(database_url: str) -> None:
    """Exactly one of many threads that record the same opt-out has recorded a new one."""
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


def test_a_lifted_suppression_stays_in_the_history(store: Suppressions) -> None:
    """It no longer applies; the history has both changes, oldest first."""
    store.record(_suppression(), by="webhook")
    lifted = store.lift(PERSON, source=Source.OPERATOR, evidence="ticket 7", by="ops")
    entries = store.history(PERSON)

    assert lifted == 1
    assert not _is_suppressed(store, PERSON)
    assert [(e.action, e.at, e.source, e.evidence, e.changed_by) for e in entries] == [
        (Action.RECORDED, BEGIN, Source.INBOUND, "SM1", "webhook"),
        (Action.LIFTED, BEGIN + timedelta(seconds=1), Source.OPERATOR, "ticket 7", "ops"),
    ]


def test_lifting_nothing_is_not_in_the_history(store: Suppressions) -> None:
    """If there is no suppression, nothing is lifted."""
    assert store.lift(PERSON, source=Source.OPERATOR, evidence="", by="ops") == 0
    assert not store.history(PERSON)


@pytest.mark.parametrize(
    ("chosen", "lifted"),
    [
        ({}, {*Reason, "sender", "category"}),
        ({"reason": Reason.OPTED_OUT}, {"opted_out", "sender", "category"}),
        ({"reason": Reason.MANUAL}, {"manual"}),
        ({"scope": Scope.EVERYTHING}, {*Reason}),
        ({"scope": Scope.SENDER, "scope_value": SENDER}, {"sender"}),
        ({"scope": Scope.SENDER, "scope_value": "+15005550001"}, set()),
        ({"scope": Scope.CATEGORY, "reason": Reason.MANUAL}, set()),
    ],
)
def test_only_matching_suppressions_are_lifted(
    store: Suppressions, chosen: dict[str, Any], lifted: set[str]
) -> None:
    """They match the recipient and, if given, reason, scope and value."""
    recorded = {
        **{reason.value: _suppression(reason=reason) for reason in Reason},
        "sender": _suppression(scope=Scope.SENDER, scope_value=SENDER),
        "category": _suppression(scope=Scope.CATEGORY, scope_value="marketing"),
    }
    store.record_all([*recorded.values(), _suppression(OTHER)], by="test")
    count = store.lift(PERSON, source=Source.OPERATOR, evidence="", by="ops", **chosen)
    remaining = [(s.reason, s.scope) for s in store.list_(recipient=PERSON)]

    assert count == len(lifted)
    assert sorted(remaining) == sorted(
        (s.reason, s.scope) for name, s in recorded.items() if name not in lifted
    )
    assert _is_suppressed(store, OTHER)


def test_lifting_by_channel_address_lifts_the_opt_out_of_the_person(store: Suppressions) -> None:
    """Suppressions of the person's other addresses for other reasons are kept."""
    for recipient, reason in (
        (PERSON, Reason.OPTED_OUT),
        (PERSON, Reason.MANUAL),
        (PERSON, Reason.UNDELIVERABLE),
        (WHATSAPP, Reason.UNDELIVERABLE),
    ):
        store.record(_suppression(recipient, reason), by="test")
    store.lift(WHATSAPP, source=Source.OPERATOR, evidence="", by="ops")

    assert [(s.recipient, s.reason) for s in store.list_()] == [
        (PERSON, Reason.MANUAL),
        (PERSON, Reason.UNDELIVERABLE),
    ]


def test_a_lifted_suppression_can_be_recorded_again(store: Suppressions) -> None:
    """A person may opt out, opt in and opt out again."""
    results = [store.record(_suppression(), by="test")]
    store.lift(PERSON, source=Source.INBOUND, evidence="SM2", by="test")
    results.append(store.record(_suppression(), by="test"))

    assert results == [True, True]
    assert len(store.history(PERSON)) == 3


def test_suppressions_are_listed_in_pages(store: Suppressions) -> None:
    """Every row is listed once."""
    recipients = [f"+1555000{number:04}" for number in range(7)]
    store.record_all([_suppression(each) for each in recipients], by="test")
    pages: list[list[Suppression]] = []
    after_id = 0
    while page := store.list_(after_id=after_id, limit=3):
        pages.append(page)
        after_id = page[-1].id or 0

    assert [len(page) for page in pages] == [3, 3, 1]
    assert sorted(row.recipient for page in pages for row in page) == recipients


def test_the_list_can_be_filtered(store: Suppressions) -> None:
    """The filters are recipient, reason and scope."""
    store.record(_suppression(), by="test")
    store.record(_suppression(OTHER, Reason.MANUAL), by="test")
    store.record(_suppression(OTHER, scope=Scope.SENDER, scope_value=SENDER), by="test")

    assert [s.recipient for s in store.list_(recipient=WHATSAPP)] == [PERSON]
    assert [s.recipient for s in store.list_(reason=Reason.MANUAL)] == [OTHER]
    assert [s.scope_value for s in store.list_(scope=Scope.SENDER)] == [SENDER]
    assert not store.list_(recipient=PERSON, reason=Reason.MANUAL)


def test_methods_can_join_the_callers_transaction(store: Suppressions, engine: Engine) -> None:
    """They see its changes, and theirs are rolled back with it."""
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


@pytest.mark.parametrize("by", ["", "x" * 101, "two\nlines"])
def test_changes_need_a_valid_author(store: Suppressions, by: str) -> None:
    """It must not be empty, too long or more than a line."""
    with pytest.raises(ValueError, match="by: "):
        store.record(_suppression(), by=by)
    with pytest.raises(ValueError, match="by: "):
        store.lift(PERSON, source=Source.OPERATOR, evidence="", by=by)

    assert not store.list_()


@pytest.mark.parametrize("category", [None, "news"])
def test_find_suppressed_agrees_with_find(store: Suppressions, category: str | None) -> None:
    """It returns the recipients for whom `find` finds a suppression."""
    numbers = [f"+1555867{index:04d}" for index in range(60)]
    recipients = [channel + each for each in numbers for channel in ("", "whatsapp:", "rcs:")]
    scopes = [
        (Scope.EVERYTHING, "", ""),
        (Scope.SENDER, SENDER, ""),
        (Scope.CATEGORY, "news", ""),
        (Scope.CATEGORY, "other", ""),
        (Scope.SENDER_CATEGORY, "news", SENDER),
        (Scope.SENDER_CATEGORY, "news", "+15005550001"),
    ]
    unused = iter(numbers)
    store.record_all(
        [
            _suppression(channel + next(unused), reason, scope, value, to_sender=to_sender)
            for reason in Reason
            for scope, value, to_sender in scopes
            for channel in ("", "whatsapp:")
        ],
        by="webhook",
    )

    found = store.find_suppressed(recipients, sender=SENDER, category=category)

    assert found == {
        each
        for each in recipients
        if store.find(each, sender=SENDER, category=category) is not None
    }
    assert 0 < len(found) < len(recipients)


def test_find_is_one_query_that_uses_the_index(store: Suppressions, engine: Engine) -> None:
    """It stays fast however many suppressions there are."""
    People(engine).reference(PERSON)  # makes the key, which a process reads once
    store.find(OTHER, sender=SENDER, category=None)
    queries: list[tuple[str, Any]] = []

    def collect(_c: object, _cursor: object, statement: str, values: Any, *_rest: object) -> None:
        if statement.lstrip().startswith("SELECT"):
            queries.append((statement, values))

    event.listen(engine, "before_cursor_execute", collect)
    store.find(WHATSAPP, sender=SENDER, category="marketing")
    event.remove(engine, "before_cursor_execute", collect)
    [(statement, values)] = queries
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[engine.dialect.name]
    with transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            # For an empty table it would prefer a sequential scan.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(map(str, connection.exec_driver_sql(f"{explain} {statement}", values)))

    assert re.search(r"SEARCH suppressions USING INDEX|Index Scan", plan)
    assert "recipient" in plan


def test_an_unreachable_database_raises_an_error() -> None:
    """It must not look like there were no suppression."""
    store = Suppressions(open_engine("postgresql://user@127.0.0.1:1/name"))

    with pytest.raises(DatabaseUnavailable):
        store.find(PERSON, sender=SENDER, category=None)


SHORT_CODE, LONG_CODE, OTHER_LONG_CODE = "72345", "+15005550006", "+15005550001"


@pytest.mark.parametrize(
    ("by_sender", "left"),
    [(LONG_CODE, {SHORT_CODE}), (SHORT_CODE, {LONG_CODE, OTHER_LONG_CODE}), (None, set())],
)
def test_a_delivery_lifts_what_it_disproves(
    store: Suppressions, by_sender: str | None, left: set[str]
) -> None:
    """For senders of its kind, and for all: another kind has other routes."""
    for sender in (None, SHORT_CODE, LONG_CODE, OTHER_LONG_CODE):
        unreachable = Suppression(
            recipient=PERSON,
            reason=Reason.UNDELIVERABLE,
            source=Source.TWILIO_CODE,
            scope=Scope.EVERYTHING if sender is None else Scope.SENDER,
            scope_value=sender or "",
            expires_at=datetime.now(UTC) + timedelta(days=90),
        )
        store.record(unreachable, by="a message")

    lifted = store.lift_undeliverable(
        PERSON, by_sender=by_sender, source=Source.TWILIO_CODE, evidence="delivered", by="a message"
    )

    assert 4 - len(left) == lifted
    assert left == {row.scope_value for row in store.list_()}


@pytest.fixture
def listed(store: Suppressions) -> Suppressions:
    """Five suppressions, a second apart."""
    for recipient, reason, scope, value, to_sender in (
        (PERSON, Reason.OPTED_OUT, Scope.EVERYTHING, "", ""),
        (PERSON, Reason.OPTED_OUT, Scope.SENDER, SENDER, ""),
        (WHATSAPP, Reason.UNDELIVERABLE, Scope.EVERYTHING, "", ""),
        (OTHER, Reason.OPTED_OUT, Scope.SENDER_CATEGORY, "marketing", SENDER),
        (OTHER, Reason.OPTED_OUT, Scope.SENDER, "MG1", ""),
    ):
        store.record(_suppression(recipient, reason, scope, value, to_sender), by="kim")
    return store


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({"is_newest_first": True}, [5, 4, 3, 2, 1]),
        ({"is_newest_first": True, "before_id": 4, "limit": 2}, [3, 2]),
        ({"before_id": 3}, [1, 2]),
        ({"senders": [SENDER]}, [2, 4]),
        ({"senders": [SENDER, "MG1"]}, [2, 4, 5]),
        ({"senders": []}, []),
        ({"since": BEGIN + timedelta(seconds=3)}, [4, 5]),
        ({"source": Source.INBOUND, "reason": Reason.UNDELIVERABLE}, [3]),
        ({"source": Source.OPERATOR}, []),
    ],
)
def test_the_list_is_filtered(
    wanted: dict[str, Any], numbers: list[int], listed: Suppressions
) -> None:
    """By sender, source and time, in either order."""
    assert numbers == [row.id for row in listed.list_(**wanted)]


@pytest.mark.parametrize("address", [PERSON, WHATSAPP, f"rcs:{PERSON}"])
def test_all_of_a_person(address: str, listed: Suppressions) -> None:
    """What stands and what happened, on every channel of theirs, and nobody else's."""
    assert [1, 2, 3] == [row.id for row in listed.of(address)]
    assert [1, 2, 3] == [entry.id for entry in listed.history(address)]
