"""The callback inbox: receipts are stored once, leased in order, and never lost."""

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
    """A clock that tests advance."""

    now: datetime = BEGIN

    def __call__(self) -> datetime:
        """The current time."""
        return self.now

    def advance(self, **length: float) -> None:
        """Let time pass."""
        self.now += timedelta(**length)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test advances it."""
    return Clock()


@pytest.fixture
def inbox(engine: Engine, clock: Clock) -> Inbox:
    """An empty inbox, on both kinds of database."""
    return Inbox(engine, now=clock)


def _sid(number: int) -> str:
    return f"SM{number:032x}"


def _status(status: str = "delivered", *, sid: int = 1, code: int | None = None) -> DeliveryStatus:
    return DeliveryStatus(
        message_sid=_sid(sid), message_status=status, error_code=code, received_at=BEGIN
    )


def _lease(inbox: Inbox, limit: int = 100) -> list[QueuedReceipt]:
    return inbox.lease(limit=limit, duration=LEASE)


def _names(receipts: list[QueuedReceipt]) -> list[tuple[str, str]]:
    return [(each.message_id, each.message_status) for each in receipts]


def test_a_receipt_is_leased_as_it_was_stored(inbox: Inbox) -> None:
    """It has the time at which it was received."""
    inbox.put([("order-1", _status("undelivered", code=30003))])

    (receipt,) = _lease(inbox)
    assert ("order-1", 0) == (receipt.message_id, receipt.failed_attempts)
    assert _status("undelivered", code=30003) == receipt.delivery_status()


def test_receipts_are_leased_in_the_order_of_arrival(inbox: Inbox) -> None:
    """They may have been stored and leased in several transactions."""
    arrived = [(f"order-{n % 3}", status) for n in range(6) for status in ("sent", "delivered")]
    for n, (message_id, status) in enumerate(arrived):
        inbox.put([(message_id, _status(status, sid=n))])

    first = _lease(inbox, 5)
    inbox.settle(delivered=[each.id for each in first])

    assert arrived == _names(first) + _names(_lease(inbox))


def test_duplicates_are_stored_once(inbox: Inbox) -> None:
    """A duplicate has the same message, SID and status."""
    inbox.put([("order-1", _status())] * 3)
    inbox.put([("order-1", _status())])
    inbox.put([("order-2", _status()), ("order-1", _status(sid=2)), ("order-1", _status("read"))])

    assert 4 == inbox.backlog().count


def test_concurrent_duplicates_are_stored_once(database_url: str) -> None:
    """They may arrive through several processes."""
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


def test_a_lease_covers_all_receipts_of_a_message(inbox: Inbox, clock: Clock) -> None:
    """While one receipt is leased, no other receipt of its message is, even if it comes later."""
    inbox.put([("order-1", _status("sent")), ("order-2", _status("sent"))])
    (receipt,) = _lease(inbox, 1)
    inbox.put([("order-1", _status("delivered"))])
    clock.advance(seconds=29)

    assert ("order-1", "sent") == (receipt.message_id, receipt.message_status)
    assert [("order-2", "sent")] == _names(_lease(inbox))
    assert [] == _lease(inbox)


def test_receipts_are_leased_again_after_the_lease_ends(inbox: Inbox, clock: Clock) -> None:
    """Receipts that were never settled come again, in order."""
    inbox.put([("order-1", _status("sent")), ("order-1", _status("delivered"))])
    _lease(inbox, 1)
    clock.advance(seconds=31)

    assert [("order-1", "sent"), ("order-1", "delivered")] == _names(_lease(inbox))


def test_settling_delivers_releases_or_postpones(inbox: Inbox, clock: Clock) -> None:
    """A delivered receipt is deleted, a released one available at once, a postponed one later."""
    inbox.put([(f"order-{n}", _status()) for n in range(3)])
    delivered, released, postponed = _lease(inbox)

    inbox.settle(
        delivered=[delivered.id],
        released=[released.id],
        postponed={postponed.id: clock.now + timedelta(minutes=1)},
    )

    assert [released.id] == [each.id for each in _lease(inbox)]
    inbox.settle(delivered=[released.id])
    clock.advance(minutes=1)
    (again,) = _lease(inbox)
    assert (postponed.id, 1) == (again.id, again.failed_attempts)
    assert Backlog(count=1, oldest=BEGIN) == inbox.backlog()


def test_a_postponed_receipt_does_not_block_later_ones(inbox: Inbox, clock: Clock) -> None:
    """Later receipts of the same message are leased before it."""
    inbox.put([("order-1", _status("sent"))])
    (receipt,) = _lease(inbox)
    inbox.settle(postponed={receipt.id: clock.now + timedelta(hours=1)})
    inbox.put([("order-1", _status("delivered"))])

    assert [("order-1", "delivered")] == _names(_lease(inbox))


def test_a_held_receipt_blocks_later_ones(inbox: Inbox, clock: Clock) -> None:
    """Later receipts of the same message are leased after it."""
    inbox.put([("order-1", _status("undelivered")), ("order-1", _status("delivered"))])
    inbox.put([("order-2", _status("sent"))])
    held, behind, other = _lease(inbox)

    inbox.settle(
        held={held.id: clock.now + timedelta(seconds=5)}, released=[behind.id], delivered=[other.id]
    )
    inbox.put([("order-1", _status("read")), ("order-2", _status("delivered"))])
    clock.advance(seconds=4)

    assert [("order-2", "delivered")] == _names(_lease(inbox))
    clock.advance(seconds=1)
    again = _lease(inbox)
    assert [(id_, step) for id_, step in _names(again) if id_ == "order-1"] == [
        ("order-1", "undelivered"),
        ("order-1", "delivered"),
        ("order-1", "read"),
    ]
    assert [1, 0, 0] == [each.failed_attempts for each in again]


def test_settling_a_delivered_receipt_again_changes_nothing(inbox: Inbox, clock: Clock) -> None:
    """Another process may have delivered it after the lease had ended."""
    inbox.put([("order-1", _status())])
    (receipt,) = _lease(inbox)
    inbox.settle(delivered=[receipt.id])

    late = {receipt.id: clock.now}
    inbox.settle(delivered=[receipt.id], released=[receipt.id], postponed=late, held=late)

    assert Backlog(count=0, oldest=None) == inbox.backlog()


def test_several_processes_drain_one_inbox(database_url: str) -> None:
    """Together they lease every receipt once, and those of each message in order."""
    engines = [open_engine(database_url) for _ in range(3)]
    steps = ["queued", "sent", "delivered", "read"]
    Inbox(engines[0]).put([(f"order-{n}", _status(step)) for step in steps for n in range(25)])
    applied: list[tuple[str, str]] = []
    failures: list[BaseException] = []

    def drain(inbox: Inbox) -> None:
        try:
            while inbox.backlog().count:
                for receipt in _lease(inbox, 7):
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


def test_the_messages_with_receipts_are_listed(inbox: Inbox) -> None:
    """There is no list if there are too many."""
    inbox.put([("order-1", _status()), ("order-1", _status("read")), ("order-2", _status())])

    assert frozenset({"order-1", "order-2"}) == inbox.message_ids(limit=2)
    assert inbox.message_ids(limit=1) is None


def test_an_invalid_row_is_leased(inbox: Inbox, engine: Engine) -> None:
    """It raises an error only when it is converted to a signal, and blocks no other receipt."""
    inbox.put([("order-1", _status()), ("order-2", _status())])
    with transaction(engine) as connection:
        connection.execute(text("UPDATE inbox SET message_sid = 'x' WHERE message_id = 'order-1'"))

    invalid, valid = _lease(inbox)

    with pytest.raises(ValidationError):
        invalid.delivery_status()
    assert _status() == valid.delivery_status()


@pytest.fixture
def unreachable() -> Iterator[Inbox]:
    """An inbox whose database is unreachable."""
    engine = open_engine("postgresql://user@127.0.0.1:1/name")
    yield Inbox(engine)
    engine.dispose()


def test_an_unreachable_database_raises_an_error(unreachable: Inbox) -> None:
    """The caller must not acknowledge a receipt that was not stored."""
    with pytest.raises(DatabaseUnavailable):
        unreachable.put([("order-1", _status())])
    with pytest.raises(DatabaseUnavailable):
        _lease(unreachable)
