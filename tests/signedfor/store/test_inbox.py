"""The inbox: receipts are kept once, handed out in order, and never lost."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, text

from signedfor.contract import DeliveryStatus
from signedfor.store.database import DatabaseUnavailable, open_engine, transaction
from signedfor.store.inbox import Backlog, Inbox, QueuedReceipt

BEGIN = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
LEASE = timedelta(seconds=30)


@dataclass
class Clock:
    """The inbox's time, moved by hand."""

    now: datetime = BEGIN

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def pass_(self, **length: float) -> None:
        """Let time pass."""
        self.now += timedelta(**length)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def inbox(engine: Engine, clock: Clock) -> Inbox:
    """An empty inbox, on each kind of database."""
    return Inbox(engine, now=clock)


def _sid(number: int) -> str:
    return f"SM{number:032x}"


def _status(status: str = "delivered", *, sid: int = 1, code: int | None = None) -> DeliveryStatus:
    return DeliveryStatus(
        message_sid=_sid(sid), message_status=status, error_code=code, received_at=BEGIN
    )


def _take(inbox: Inbox, most: int = 100) -> list[QueuedReceipt]:
    return inbox.lease(limit=most, duration=LEASE)


def _names(receipts: list[QueuedReceipt]) -> list[tuple[str, str]]:
    return [(each.message_id, each.message_status) for each in receipts]


def test_hands_out_what_was_put(inbox: Inbox) -> None:
    """A receipt comes out as it went in, with the time it was received."""
    inbox.put([("order-1", _status("undelivered", code=30003))])

    (taken,) = _take(inbox)
    assert ("order-1", 0) == (taken.message_id, taken.failed_attempts)
    assert _status("undelivered", code=30003) == taken.delivery_status()


def test_order_of_arrival(inbox: Inbox) -> None:
    """Receipts come out in the order they went in, over several transactions and takers."""
    arrived = [(f"order-{n % 3}", status) for n in range(6) for status in ("sent", "delivered")]
    for n, (message_id, status) in enumerate(arrived):
        inbox.put([(message_id, _status(status, sid=n))])

    first = _take(inbox, 5)
    inbox.settle(delivered=[each.id for each in first])

    assert arrived == _names(first) + _names(_take(inbox))


def test_duplicates_are_kept_once(inbox: Inbox) -> None:
    """The same message, SID and status is one receipt; another of any of them is another."""
    inbox.put([("order-1", _status())] * 3)
    inbox.put([("order-1", _status())])
    inbox.put([("order-2", _status()), ("order-1", _status(sid=2)), ("order-1", _status("read"))])

    assert 4 == inbox.backlog().count


def test_duplicates_at_once(database_url: str) -> None:
    """Of copies that arrive at the same moment through several processes one is kept."""
    engines = [open_engine(database_url) for _ in range(4)]
    barrier = threading.Barrier(8)

    def put(engine: Engine) -> None:
        barrier.wait()
        Inbox(engine).put([("order-1", _status()), ("order-2", _status())])

    threads = [threading.Thread(target=put, args=(engine,)) for engine in engines * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = Inbox(engines[0]).backlog().count
    for engine in engines:
        engine.dispose()

    assert 2 == count


def test_a_message_is_leased_whole(inbox: Inbox, clock: Clock) -> None:
    """While somebody has a receipt, nobody gets another of its message, whatever comes in."""
    inbox.put([("order-1", _status("sent")), ("order-2", _status("sent"))])
    (taken,) = _take(inbox, 1)
    inbox.put([("order-1", _status("delivered"))])
    clock.pass_(seconds=29)

    assert ("order-1", "sent") == (taken.message_id, taken.message_status)
    assert [("order-2", "sent")] == _names(_take(inbox))
    assert [] == _take(inbox)


def test_a_lease_ends(inbox: Inbox, clock: Clock) -> None:
    """What a taker never settled is handed out again, in order."""
    inbox.put([("order-1", _status("sent")), ("order-1", _status("delivered"))])
    _take(inbox, 1)
    clock.pass_(seconds=31)

    assert [("order-1", "sent"), ("order-1", "delivered")] == _names(_take(inbox))


def test_settling(inbox: Inbox, clock: Clock) -> None:
    """What is done is gone, what is released comes at once, what is postponed when it is due."""
    inbox.put([(f"order-{n}", _status()) for n in range(3)])
    done, released, postponed = _take(inbox)

    inbox.settle(
        delivered=[done.id],
        released=[released.id],
        postponed={postponed.id: clock.now + timedelta(minutes=1)},
    )

    assert [released.id] == [each.id for each in _take(inbox)]
    inbox.settle(delivered=[released.id])
    clock.pass_(minutes=1)
    (again,) = _take(inbox)
    assert (postponed.id, 1) == (again.id, again.failed_attempts)
    assert Backlog(count=1, oldest=BEGIN) == inbox.backlog()


def test_a_postponed_receipt_holds_up_nothing(inbox: Inbox, clock: Clock) -> None:
    """Later receipts of the same message pass one that was postponed."""
    inbox.put([("order-1", _status("sent"))])
    (poison,) = _take(inbox)
    inbox.settle(postponed={poison.id: clock.now + timedelta(hours=1)})
    inbox.put([("order-1", _status("delivered"))])

    assert [("order-1", "delivered")] == _names(_take(inbox))


def test_nothing_passes_a_held_receipt(inbox: Inbox, clock: Clock) -> None:
    """What waits behind a held receipt, and what comes later, is handed out after it."""
    inbox.put([("order-1", _status("undelivered")), ("order-1", _status("delivered"))])
    inbox.put([("order-2", _status("sent"))])
    held, behind, other = _take(inbox)

    inbox.settle(
        held={held.id: clock.now + timedelta(seconds=5)}, released=[behind.id], delivered=[other.id]
    )
    inbox.put([("order-1", _status("read")), ("order-2", _status("delivered"))])
    clock.pass_(seconds=4)

    assert [("order-2", "delivered")] == _names(_take(inbox))
    clock.pass_(seconds=1)
    again = _take(inbox)
    assert [(id_, step) for id_, step in _names(again) if id_ == "order-1"] == [
        ("order-1", "undelivered"),
        ("order-1", "delivered"),
        ("order-1", "read"),
    ]
    assert [1, 0, 0] == [each.failed_attempts for each in again]


def test_settling_what_another_has_done(inbox: Inbox, clock: Clock) -> None:
    """A taker that comes too late changes nothing."""
    inbox.put([("order-1", _status())])
    (taken,) = _take(inbox)
    inbox.settle(delivered=[taken.id])

    late = {taken.id: clock.now}
    inbox.settle(delivered=[taken.id], released=[taken.id], postponed=late, held=late)

    assert Backlog(count=0, oldest=None) == inbox.backlog()


def test_several_processes_drain_one_inbox(database_url: str) -> None:
    """Together they hand out every receipt once, and each message's in order."""
    engines = [open_engine(database_url) for _ in range(3)]
    steps = ["queued", "sent", "delivered", "read"]
    Inbox(engines[0]).put([(f"order-{n}", _status(step)) for step in steps for n in range(25)])
    applied: list[tuple[str, str]] = []
    failures: list[BaseException] = []

    def drain(inbox: Inbox) -> None:
        try:
            while inbox.backlog().count:
                for receipt in _take(inbox, 7):
                    applied.append((receipt.message_id, receipt.message_status))
                    inbox.settle(delivered=[receipt.id])
        except BaseException as error:  # noqa: BLE001 - the test fails with it
            failures.append(error)

    threads = [threading.Thread(target=drain, args=(Inbox(engine),)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()

    assert [] == failures
    assert 100 == len(applied)
    assert [steps] * 25 == [
        [step for message_id, step in applied if message_id == f"order-{n}"] for n in range(25)
    ]


def test_knows_which_messages_wait(inbox: Inbox) -> None:
    """The messages with receipts are named, unless they are too many."""
    inbox.put([("order-1", _status()), ("order-1", _status("read")), ("order-2", _status())])

    assert frozenset({"order-1", "order-2"}) == inbox.message_ids(limit=2)
    assert inbox.message_ids(limit=1) is None


def test_a_row_that_is_no_receipt(inbox: Inbox, engine: Engine) -> None:
    """A row that somebody spoilt is handed out, and says so only when it is to be a signal."""
    inbox.put([("order-1", _status()), ("order-2", _status())])
    with transaction(engine) as connection:
        connection.execute(text("UPDATE inbox SET message_sid = 'x' WHERE message_id = 'order-1'"))

    spoilt, sound = _take(inbox)

    with pytest.raises(ValidationError):
        spoilt.delivery_status()
    assert _status() == sound.delivery_status()


@pytest.fixture
def unreachable() -> Iterator[Inbox]:
    """An inbox in a database that is not there."""
    engine = open_engine("postgresql://somebody@127.0.0.1:1/name")
    yield Inbox(engine)
    engine.dispose()


def test_unreachable_database_is_no_answer(unreachable: Inbox) -> None:
    """Where nothing can be kept, nobody is told that it was."""
    with pytest.raises(DatabaseUnavailable):
        unreachable.put([("order-1", _status())])
    with pytest.raises(DatabaseUnavailable):
        _take(unreachable)
