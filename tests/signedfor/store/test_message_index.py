"""The message index on both databases."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from signedfor.consent import Reason, Source, Suppression
from signedfor.contract import MessageRequest
from signedfor.store.database import observe_transactions, transaction
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.message_index import MessageFilter, MessageIndex
from signedfor.store.people import People
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.twilio.rates import SenderKind
from tests.signedfor.store.indexed_messages import MINUTE, START, ended, running

TO = "+15558675309"


@pytest.fixture
def index(engine: Engine) -> MessageIndex:
    """An empty index."""
    return MessageIndex(engine)


def _ids(index: MessageIndex, **wanted: Any) -> list[str]:
    return [each.message_id for each in index.find(MessageFilter(**wanted))]


def test_what_was_put_is_found(index: MessageIndex) -> None:
    """With every field."""
    message = ended(tenant="shop", campaign_id="spring", message_sid="SM1", error_code=30003)
    index.put([message])

    assert [message] == index.find(MessageFilter())


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"message_id": "m1"}, ["m1"]),
        ({"message_sid": "SM2"}, ["m2"]),
        ({"sender": "Acme"}, ["m3"]),
        ({"tenant": "shop"}, ["m2"]),
        ({"campaign_id": "spring"}, ["m3"]),
        ({"statuses": ("waiting", "failed")}, ["m4", "m1"]),
        ({"error_code": 21610}, ["m4"]),
        ({"since": START + 3 * MINUTE}, ["m4", "m3"]),
        ({"until": START + 3 * MINUTE}, ["m2", "m1"]),
        ({"tenant": "shop", "error_code": 21610}, []),
        ({}, ["m4", "m3", "m2", "m1"]),
    ],
)
def test_filters(index: MessageIndex, wanted: dict[str, Any], ids: list[str]) -> None:
    """Each on its own, and together; the newest first."""
    index.put(
        [
            running(1),
            ended(2, message_sid="SM2", tenant="shop"),
            ended(3, sender="Acme", campaign_id="spring"),
            ended(4, "failed", error_code=21610),
        ]
    )

    assert ids == _ids(index, **wanted)


def test_pages_follow_each_other(index: MessageIndex) -> None:
    """Also where many messages started at the same moment."""
    index.put([running(number, started_at=START) for number in range(10, 20)])

    first = index.find(MessageFilter(), limit=6)
    rest = index.find(MessageFilter(), before=(first[-1].started_at, first[-1].message_id))

    assert [f"m{number}" for number in range(19, 9, -1)] == [
        each.message_id for each in (*first, *rest)
    ]


def test_a_row_follows_itsrunning(index: MessageIndex) -> None:
    """From stage to stage to its outcome."""
    index.put([running(1, status="waiting")])
    index.put([running(1, status="resolving", error_code=20503)])
    index.put([ended(1)])

    assert [ended(1)] == index.find(MessageFilter())


def test_an_earlier_look_changes_nothing(index: MessageIndex) -> None:
    """Two processes may read from Temporal at once; a message that has ended does not run again."""
    index.put([ended(1)])
    index.put([running(1)])

    assert [ended(1)] == index.find(MessageFilter())


@pytest.mark.parametrize("are_together", [True, False])
@pytest.mark.parametrize("is_older_first", [True, False])
def test_a_newer_run_replaces_an_older_one(
    index: MessageIndex, *, is_older_first: bool, are_together: bool
) -> None:
    """Temporal lists both after a reset, in any order."""
    older = ended(1, "failed", person="a" * 32)
    newer = running(1, run_id="later", started_at=START + timedelta(hours=1))
    order = [older, newer] if is_older_first else [newer, older]
    for page in [order] if are_together else [[each] for each in order]:
        index.put(page)

    assert [newer] == index.find(MessageFilter())


def test_what_has_not_changed_is_not_written(index: MessageIndex, engine: Engine) -> None:
    """Most of what a round reads: nobody waits for a lock, and PostgreSQL has nothing to clean."""
    rows = [running(1), ended(2, person="a" * 32), *(ended(number) for number in range(3, 1300))]
    index.put(rows)
    transactions: list[bool] = []
    observe_transactions(
        engine, lambda _seconds, _result, *, read_only: transactions.append(read_only)
    )

    index.put([replace(each, person=None) for each in rows])
    assert [True] * 3 == transactions
    index.put([*rows[:-1], ended(1299, "failed")])

    assert [True, True, True, False] == sorted(transactions[3:], reverse=True)
    assert "failed" == index.find(MessageFilter(message_id="m1299"))[0].status


def test_what_temporal_says_now_can_override(index: MessageIndex) -> None:
    """After it was restored from a backup, messages run again."""
    index.put([ended(1), running(2, started_at=START + 5 * MINUTE)])

    index.put([running(1), ended(2, run_id="earlier")], overrides=True)

    assert [ended(2, run_id="earlier"), running(1)] == index.find(MessageFilter())


def test_open_messages(index: MessageIndex) -> None:
    """The oldest first."""
    index.put([running(2), running(1), ended(3)])

    assert ["m1", "m2"] == index.open_ids()
    assert {"m1", "m2", "m3"} == set(index.all_ids())


def test_messages_that_are_gone(index: MessageIndex) -> None:
    """They are forgotten."""
    index.put([ended(number) for number in range(1200)])

    index.remove([f"m{number}" for number in range(1100)] + ["unknown"])

    assert 100 == index.size()


def test_the_recipient_stays_known(index: MessageIndex) -> None:
    """Temporal does not say it again."""
    index.put([running(1, person="a" * 32)])
    index.put([ended(1)])

    assert ["m1"] == _ids(index, person="a" * 32)


def test_the_oldest_that_wait(index: MessageIndex) -> None:
    """Neither those with Twilio nor those that are to be sent later."""
    index.put([running(1, status="awaiting_receipt"), running(2, status="scheduled")])
    index.put([running(5), running(4, status="retrying"), running(3, status="resolving")])

    assert ["m3", "m4"] == [each.message_id for each in index.oldest_waiting(2)]


def _claim(engine: Engine, message_id: str) -> str:
    """An attempt record; the reference of its recipient."""
    rates = dict.fromkeys(SenderKind, 100_000.0)
    attempts = SendAttempts(engine, RateLimiter(engine, rates=rates))
    attempts.claim(message_id, MessageRequest(to=TO, body="Hi"), sender="+15005550006")
    return People(engine).reference(TO)


def test_recipients_from_attempt_records(index: MessageIndex, engine: Engine) -> None:
    """They are filled in with the row; the others are found out later."""
    reference = _claim(engine, "m1")
    index.put([running(1), running(2), running(3)])

    assert [("m3", None), ("m2", None), ("m1", reference)] == [
        (each.message_id, each.person) for each in index.find(MessageFilter())
    ]
    assert ["m3", "m2"] == index.without_person(10)
    assert ["m3"] == index.without_person(1)
    index.set_people({"m2": People(engine).reference(f"whatsapp:{TO}"), "m3": ""})

    assert [] == index.without_person(10)
    assert ["m2", "m1"] == _ids(index, person=reference)


def test_a_record_that_is_written_later(index: MessageIndex, engine: Engine) -> None:
    """A message is listed before its first attempt: its recipient comes with its next change."""
    index.put([running(1, status="sending"), running(2, status="sending")])
    reference = _claim(engine, "m1")
    _claim(engine, "m2")

    assert {"m1": reference, "m2": reference} == index.recorded_people(["m1", "m2", "m3"])
    index.put([ended(1)])

    assert ["m1"] == _ids(index, person=reference)


def test_recipients_that_were_held_back(index: MessageIndex, engine: Engine) -> None:
    """The record of it knows the person."""
    HeldBackMessages(engine).record(
        "m1",
        MessageRequest(to="+15558675309", body="Hi"),
        sender="+15005550006",
        because=Suppression(
            recipient="+15558675309", reason=Reason.MANUAL, source=Source.OPERATOR, evidence="-"
        ),
    )

    assert {"m1": "+15558675309"} == index.held_back(["m1", "m2"])


def test_a_reference_is_of_the_person_and_of_this_database(engine: Engine) -> None:
    """The same for each address of a person; not the plain hash of the number."""
    people = People(engine)

    assert people.reference("+15558675309") == People(engine).reference("rcs:+15558675309")
    assert people.reference("+15558675309") != people.reference("+15558675308")
    with transaction(engine) as connection:
        connection.execute(text("UPDATE hash_keys SET key = 'ab'"))
    assert people.reference("+15558675309") != People(engine).reference("+15558675309")


def test_old_rows_are_purged(index: MessageIndex) -> None:
    """Those that ended before; in batches."""
    index.put([ended(number) for number in range(1200)])
    index.put([running(2000)])

    assert 1100 == index.purge(before=START + 1101 * MINUTE)
    assert 101 == len(index.find(MessageFilter(), limit=1000))


@pytest.mark.parametrize(
    "wanted",
    [
        {"person": "a" * 32},
        {"message_sid": "SM1"},
        {"sender": "Acme"},
        {"tenant": "shop"},
        {"campaign_id": "spring"},
        {"statuses": ("failed",)},
        {"error_code": 21610},
        {},
    ],
)
def test_every_filter_has_an_index(sqlite_engine: Engine, wanted: dict[str, Any]) -> None:
    """No plan sorts or reads the whole table. PostgreSQL has the same indexes."""
    engine = sqlite_engine
    index = MessageIndex(engine)
    index.put([ended(number) for number in range(500)])
    statements: list[tuple[str, Any]] = []

    event.listen(
        engine,
        "before_cursor_execute",
        lambda _c, _cur, statement, parameters, *_: statements.append((statement, parameters)),
    )
    index.find(MessageFilter(**wanted), limit=10)
    (statement, parameters) = statements[-1]
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()

    assert "USING INDEX" in plan[0].detail, plan
    assert "TEMP B-TREE" not in plan[-1].detail or "message_sid" in wanted, plan
