"""The message index on both databases."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from signedfor.consent import Reason, Source, Suppression
from signedfor.contract import MessageRequest
from signedfor.store.database import open_engine, transaction
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.message_index import (
    Count,
    IndexedMessage,
    Interval,
    MessageFilter,
    MessageIndex,
)
from signedfor.store.people import People
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def _message(number: int = 1, **fields: Any) -> IndexedMessage:
    return IndexedMessage(
        **{
            "message_id": f"m{number}",
            "run_id": f"r{number}",
            "started_at": START + number * MINUTE,
            "closed_at": None,
            "status": "waiting",
            "sender": "+1500***0006",
            **fields,
        }
    )


def _ended(number: int = 1, status: str = "delivered", **fields: Any) -> IndexedMessage:
    return _message(
        number, **{"closed_at": START + (number + 1) * MINUTE, "status": status, **fields}
    )


@pytest.fixture
def index(engine: Engine) -> MessageIndex:
    """An empty index."""
    return MessageIndex(engine)


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """A SQLite database."""
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


def _ids(index: MessageIndex, **wanted: Any) -> list[str]:
    return [each.message_id for each in index.find(MessageFilter(**wanted))]


def test_what_was_put_is_found(index: MessageIndex) -> None:
    """With every field."""
    message = _ended(tenant="shop", campaign_id="spring", message_sid="SM1", error_code=30003)
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
            _message(1),
            _ended(2, message_sid="SM2", tenant="shop"),
            _ended(3, sender="Acme", campaign_id="spring"),
            _ended(4, "failed", error_code=21610),
        ]
    )

    assert ids == _ids(index, **wanted)


def test_pages_follow_each_other(index: MessageIndex) -> None:
    """Also where many messages started at the same moment."""
    index.put([_message(number, started_at=START) for number in range(10, 20)])

    first = index.find(MessageFilter(), limit=6)
    rest = index.find(MessageFilter(), before=(first[-1].started_at, first[-1].message_id))

    assert [f"m{number}" for number in range(19, 9, -1)] == [
        each.message_id for each in (*first, *rest)
    ]


def test_a_row_follows_its_message(index: MessageIndex) -> None:
    """From stage to stage to its outcome."""
    index.put([_message(1, status="waiting")])
    index.put([_message(1, status="resolving", error_code=20503)])
    index.put([_ended(1)])

    assert [_ended(1)] == index.find(MessageFilter())


def test_an_earlier_look_changes_nothing(index: MessageIndex) -> None:
    """Two processes may read from Temporal at once; a message that has ended does not run again."""
    index.put([_ended(1)])
    index.put([_message(1)])

    assert [_ended(1)] == index.find(MessageFilter())


def test_a_newer_run_replaces_an_older_one(index: MessageIndex) -> None:
    """Temporal lists both after a reset, in any order."""
    older = _ended(1, "failed", person="a" * 32)
    newer = _message(1, run_id="later", started_at=START + timedelta(hours=1))
    for order in ([older, newer], [newer, older]):
        for each in order:
            index.put([each])

        assert [newer] == index.find(MessageFilter())
        index.clear()


def test_the_recipient_stays_known(index: MessageIndex) -> None:
    """Temporal does not say it again."""
    index.put([_message(1, person="a" * 32)])
    index.put([_ended(1)])

    assert ["m1"] == _ids(index, person="a" * 32)


def test_the_oldest_that_wait(index: MessageIndex) -> None:
    """Neither those with Twilio nor those that are to be sent later."""
    index.put([_message(1, status="awaiting_receipt"), _message(2, status="scheduled")])
    index.put([_message(5), _message(4, status="retrying"), _message(3, status="resolving")])

    assert ["m3", "m4"] == [each.message_id for each in index.oldest_waiting(2)]


def test_recipients_from_attempt_records(index: MessageIndex, engine: Engine) -> None:
    """They have the reference; the others are read elsewhere."""
    to = "+15558675309"
    attempts = SendAttempts(engine, RateLimiter(engine))
    attempts.claim("m1", MessageRequest(to=to, body="Hi"), sender="+15005550006")
    index.put([_message(1), _message(2), _message(3)])

    assert ["m3", "m2"] == index.without_person(10)
    index.set_people({"m2": People(engine).reference(f"whatsapp:{to}"), "m3": ""})

    assert [] == index.without_person(10)
    assert ["m2", "m1"] == _ids(index, person=People(engine).reference(to))


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
    index.put([_ended(number) for number in range(1200)])
    index.put([_message(2000)])

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
    index.put([_ended(number) for number in range(500)])
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
