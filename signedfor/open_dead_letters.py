"""The open dead letters in the index, for pages: as Temporal's, some seconds old, and faster."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine
from temporalio.client import Client

from signedfor.contract.failures import FailureClass
from signedfor.dead_letter_indexer import DeadLetterIndexer
from signedfor.dead_letters import ALL, Cause, DeadLetterFilter, DeadLetterSummary, Group, Groups
from signedfor.masks import masked_sender
from signedfor.store.dead_letter_index import (
    DeadLetterCount,
    DeadLetterIndex,
    IndexedDeadLetter,
    Wanted,
)

_CLASSES: Final = frozenset(each.value for each in FailureClass)
_EQUAL: Final = ("failure_class", "error_code", "tenant", "campaign_id", "may_have_arrived")


class OpenDeadLetters:
    """The open dead letters in the database of `engine`.

    A filter's `query` is Temporal's, and not understood here. Raises
    `signedfor.store.database.DatabaseUnavailable` when the database cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._index = DeadLetterIndex(engine)

    def group(self, which: DeadLetterFilter = ALL) -> Groups:
        """Those that match by cause, most first."""
        by_cause: dict[Cause, list[DeadLetterCount]] = {}
        for each in self._index.count_open(_wanted(which)):
            cause = Cause(failure_class=_class(each.failure_class), error_code=each.error_code)
            by_cause.setdefault(cause, []).append(each)
        groups = [_group(cause, alike) for cause, alike in by_cause.items()]
        groups.sort(key=lambda each: (-each.count, str(each.cause)))
        return Groups(groups=tuple(groups), count=sum(each.count for each in groups), is_all=True)

    def find(self, which: DeadLetterFilter, *, limit: int) -> list[DeadLetterSummary]:
        """Those that match, newest first."""
        return [_summary(each) for each in self._index.find_open(_wanted(which), limit=limit)]

    async def look_again(self, temporal: Client, message_id: str) -> None:
        """Take over now what Temporal has of one: who has just closed it sees that.

        Raises:
            RPCError: Temporal did not answer.
        """
        await DeadLetterIndexer(temporal, self._engine).check([message_id])


def _wanted(which: DeadLetterFilter) -> Wanted:
    wanted = {name: getattr(which, name) for name in _EQUAL if getattr(which, name) is not None}
    if which.has_no_code:
        wanted["error_code"] = None
    if which.sender is not None:
        wanted["sender"] = masked_sender(which.sender)
    return wanted


def _group(cause: Cause, alike: Sequence[DeadLetterCount]) -> Group:
    senders: Counter[str | None] = Counter()
    for each in alike:
        senders[each.sender] += each.count
    return Group(
        cause=cause,
        count=sum(each.count for each in alike),
        may_have_arrived=sum(each.count for each in alike if each.may_have_arrived),
        senders=dict(senders.most_common()),
        oldest=min(each.oldest for each in alike),
        newest=max(each.newest for each in alike),
    )


def _summary(row: IndexedDeadLetter) -> DeadLetterSummary:
    return DeadLetterSummary(
        message_id=row.message_id,
        status=row.status,
        opened_at=row.started_at,
        failure_class=_class(row.failure_class),
        error_code=row.error_code,
        sender=row.sender,
        tenant=row.tenant,
        campaign_id=row.campaign_id,
        message_sid=row.message_sid,
        may_have_arrived=row.may_have_arrived,
    )


def _class(name: str | None) -> FailureClass | None:
    # A later version may have written one that this one does not know.
    return FailureClass(name) if name in _CLASSES else None
