"""Messages, operators and files that concern one person at the same time, from several processes.

What stands in the end must be what some order of them gives, one after the other, on a plain model.
`INTERLEAVINGS=10000 pytest <this file>` tries as many.
"""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from random import Random

import pytest
from sqlalchemy import Engine

from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract import InboundKind
from signedfor.inbound import InboundRecord
from signedfor.store.database import open_engine
from signedfor.store.inbound import InboundMessages
from signedfor.store.suppressions import Suppressions
from tests.signedfor.store.consent_oracle import (
    DECISIONS,
    REASON,
    Action,
    Change,
    Span,
    Standing,
    possible,
)

INTERLEAVINGS = int(os.environ.get("INTERLEAVINGS", "60"))
BEGIN = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
SENDERS = ("+15005550006", "+15005550001", "MG0123456789abcdef0123456789abcdef")
MAX_ACTIONS = 5
_WHAT: list[InboundKind | Change] = [
    *(InboundKind.STOP, InboundKind.START, InboundKind.YES) * 3,
    *(InboundKind.REVIEW, Change.DECIDE_DONE, Change.DECIDE_OPT_OUT) * 4,
    *(Change.ADD, Change.IMPORT, Change.REMOVE_ALL, Change.REMOVE_OPT_OUTS, Change.TWILIO_CODE),
]

Timed = dict[tuple[int, int], Span]
"""When each action ran, by its person and its number."""


def _person(number: int) -> str:
    return f"+1555{number:07}"


def _actions(random: Random, person: int) -> list[Action]:
    what = [random.choice(_WHAT) for _ in range(random.randint(2, MAX_ACTIONS))]
    sids = [f"SM-{person}-{number}" for number in range(len(what))]
    reviews = [sid for sid, each in zip(sids, what, strict=True) if each is InboundKind.REVIEW]
    return [
        Action(
            each,
            random.choice(SENDERS),
            # Steps around the margin, within which clocks may explain an order.
            BEGIN + timedelta(seconds=3 * random.randrange(8)),
            random.choice(reviews) if each in DECISIONS and reviews else sid,
            random.choice(["", "whatsapp:"]),
        )
        for sid, each in zip(sids, what, strict=True)
    ]


class _Actor:
    """Carries actions out in one process."""

    def __init__(self, url: str, scope: Scope) -> None:
        self.engine = open_engine(url, lock_wait_seconds=60)
        self._inbound = InboundMessages(self.engine, scope=scope)
        self._suppressions = Suppressions(self.engine)

    def do(self, person: int, number: int, action: Action) -> Span:
        """Carry it out and say when."""
        began = time.monotonic()
        address = action.channel + _person(person)
        match action.what:
            case InboundKind() as kind:
                is_service = action.to_sender.startswith("MG")
                self._inbound.receive(
                    InboundRecord(
                        message_sid=action.sid,
                        from_=address,
                        to=SENDERS[0] if is_service else action.to_sender,
                        messaging_service_sid=action.to_sender if is_service else None,
                        kind=kind,
                        received_at=action.at,
                    )
                )
            case Change.DECIDE_DONE | Change.DECIDE_OPT_OUT as decision:
                self._inbound.decide(
                    action.sid, is_opt_out=decision is Change.DECIDE_OPT_OUT, by="ops"
                )
            case Change.ADD:
                self._suppressions.record(
                    Suppression(recipient=address, reason=REASON, source=Source.OPERATOR), by="ops"
                )
            case Change.IMPORT:
                self._suppressions.record_all(
                    [Suppression(recipient=address, reason=REASON, source=Source.IMPORT)], by="ops"
                )
            case Change.TWILIO_CODE:
                self._suppressions.renew(
                    Suppression(
                        recipient=address,
                        reason=REASON,
                        source=Source.TWILIO_CODE,
                        to_sender=action.to_sender,
                        evidence=f"code 21610 {number}",
                        created_at=action.at,
                    ),
                    by="a message",
                )
            case Change.REMOVE_ALL | Change.REMOVE_OPT_OUTS as change:
                self._suppressions.lift(
                    address,
                    reason=None if change is Change.REMOVE_ALL else REASON,
                    source=Source.OPERATOR,
                    evidence="",
                    by="ops",
                )
        return Span(began, time.monotonic())


_BARRIER: list[Barrier] = []
"""Of this process; it can only be inherited."""


def _set_barrier(barrier: Barrier) -> None:
    _BARRIER.append(barrier)


def _share(
    url: str, scope: Scope, all_actions: Sequence[Sequence[Action]], number: int, processes: int
) -> Timed:
    """One process's share; all begin with each person at the same time."""
    actor, timed = _Actor(url, scope), Timed()
    for person, actions in enumerate(all_actions):
        _BARRIER[0].wait()
        for each in range(number, len(actions), processes):
            timed[person, each] = actor.do(person, each, actions[each])
    actor.engine.dispose()
    return timed


def _run(
    url: str, scope: Scope, all_actions: Sequence[Sequence[Action]], *, processes: int
) -> Timed:
    context = get_context("spawn")
    barrier = context.Barrier(processes, timeout=120)
    with context.Pool(processes, initializer=_set_barrier, initargs=(barrier,)) as pool:
        shares = [
            pool.apply_async(_share, (url, scope, all_actions, number, processes))
            for number in range(processes)
        ]
        return {key: span for share in shares for key, span in share.get(timeout=3600).items()}


def _standing(engine: Engine, people: int) -> Iterator[Standing]:
    suppressions = Suppressions(engine)
    for person in range(people):
        rows = suppressions.list_(recipient=_person(person), limit=1000)
        yield frozenset(
            (
                row.reason,
                row.source,
                row.to_sender,
                row.evidence if row.reason is Reason.REVIEW else "",
            )
            for row in rows
        )


@pytest.mark.parametrize("scope", [Scope.EVERYTHING, Scope.SENDER])
@pytest.mark.parametrize("processes", [1, 4])
def test_what_stands_is_what_some_order_gives(
    database_url: str, scope: Scope, processes: int
) -> None:
    """Whatever the processes do at the same time, on both databases."""
    random = Random(f"{scope} {processes} {INTERLEAVINGS}")  # noqa: S311 - a fixed seed
    all_actions = [_actions(random, person) for person in range(INTERLEAVINGS)]

    timed = _run(database_url, scope, all_actions, processes=processes)

    engine = open_engine(database_url)
    try:
        for person, standing in enumerate(_standing(engine, len(all_actions))):
            actions = [
                (action, timed[person, number]) for number, action in enumerate(all_actions[person])
            ]
            assert standing in possible(scope, actions), actions
    finally:
        engine.dispose()
