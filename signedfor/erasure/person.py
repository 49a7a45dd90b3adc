"""Erasing a person, in an order in which it can be interrupted anywhere and be run again.

Messages are found by the person's reference in the index of messages, by the hash of the address in
the attempt records, and by the rows that have the number. So these are deleted last, when no
workflow has their messages any more.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine
from temporalio.client import Client

from signedfor.erasure.twilio import TwilioCopies, TwilioResult
from signedfor.erasure.workflows import PersonWorkflows, workflow_ids
from signedfor.errors import Unavailable
from signedfor.message_indexer import MessageIndexer
from signedfor.retry import SEND_TIMEOUT
from signedfor.store.database import overwrite_free_space
from signedfor.store.erasure import Erasure, Found

_MAX_ROUNDS: Final = 5
"""What arrives while it is being erased is erased as well, but not for ever."""
_POST_MARGIN: Final = SEND_TIMEOUT + timedelta(seconds=10)
"""A POST that was claimed so long ago has ended, and Twilio lists its message."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What there is of a person. No part of it says who it is."""

    records: Found = field(repr=False)
    workflows: Counter[str]
    """In Temporal, by kind."""
    twilio_sids: list[str]
    unreadable: int
    """Messages in the index that may be anybody's: their history is gone, or cannot be read."""

    def document(self) -> dict[str, Any]:
        """The counts, for programs."""
        return {
            "database": dict(self.records.counts),
            "temporal": dict(sorted(self.workflows.items())),
            "twilio": len(self.twilio_sids),
            "unreadable": self.unreadable,
        }


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What was erased, and what is left to do."""

    database: Counter[str]
    temporal: Counter[str]
    twilio: TwilioResult
    left: tuple[str, ...]
    """What is not done, in sentences; the same command does it later."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left."""
        return not self.left

    def document(self) -> dict[str, Any]:
        """The counts, for programs."""
        return {
            "complete": self.is_complete,
            "database": dict(sorted(self.database.items())),
            "temporal": dict(sorted(self.temporal.items())),
            "twilio": self.twilio.done,
            "left": list(self.left),
        }


class PersonErasure:
    """Surveys and erases one person.

    Raises:
        DatabaseUnavailable, RPCError, Unavailable: what it needs does not answer; what was done so
            far stays done.
    """

    def __init__(
        self,
        engine: Engine,
        temporal: Client,
        recipient: str,
        *,
        by: str,
        within: float,
        twilio: TwilioCopies,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """`within` seconds, workers and Temporal must answer, and Twilio must end what it sends."""
        self._engine = engine
        self._temporal = temporal
        self._by = by
        self._within = within
        self._twilio = twilio
        self._sleep = sleep
        self._records = Erasure(engine, recipient)
        # Twilio's messages by Messenger have no numbers.
        self._addresses = [
            each for each in self._records.addresses if not each.startswith("messenger:+")
        ]
        self._workflows = PersonWorkflows(temporal, by=by, block=self._block, within=within)

    @property
    def reference(self) -> str:
        """By which logs may name the person."""
        return self._records.reference

    async def survey(self) -> Survey:
        """What there is, without changing anything but the index of messages."""
        unreadable = await self._bring_index_up_to_date()
        records = await asyncio.to_thread(self._records.find)
        ids = workflow_ids(records.message_ids, records.inbound_sids)
        return Survey(
            records=records,
            workflows=await self._workflows.count(ids),
            twilio_sids=await asyncio.to_thread(self._twilio.find, self._addresses),
            unreadable=unreadable,
        )

    async def erase(self) -> Erased:
        """Erase it all, as far as it can be done now."""
        database, temporal, left = Counter[str](), Counter[str](), list[str]()
        for _ in range(_MAX_ROUNDS):
            await self._bring_index_up_to_date()
            records = await asyncio.to_thread(self._records.find)
            await asyncio.to_thread(self._records.hold, records)
            ids = workflow_ids(records.message_ids, records.inbound_sids)
            removed = await self._workflows.remove(ids)
            temporal.update(removed.counts)
            if records.is_nothing:
                break
            await self._await_posts(removed.unanswered)
            await asyncio.to_thread(self._records.finish, records, by=self._by)
            database.update(records.counts)
        else:
            left.append("Messages to or from the person keep arriving.")
        twilio = await self._erase_at_twilio(left)
        if not await asyncio.to_thread(overwrite_free_space, self._engine):
            left.append(
                "Another process reads from the SQLite file, so its log still has what was deleted."
            )
        return Erased(database=+database, temporal=temporal, twilio=twilio, left=tuple(left))

    async def _bring_index_up_to_date(self) -> int:
        """Find out who the recipients of all messages are; of how many it cannot be found out."""
        indexer = MessageIndexer(self._temporal, self._engine)
        before: int | None = None
        while True:
            await indexer.bring_up_to_date()
            unknown, unreadable = await asyncio.to_thread(self._records.unidentified)
            # Those that are started all the time do not keep it from ending.
            if not unknown or (before is not None and unknown >= before):
                return unreadable + unknown
            before = unknown

    async def _block(self, message_id: str) -> None:
        await asyncio.to_thread(self._records.block, [message_id])

    async def _await_posts(self, unanswered: frozenset[str]) -> None:
        """Wait for the POST that a worker may still be making for one of these messages."""
        newest = await asyncio.to_thread(self._records.newest_claim, unanswered)
        if newest is not None:
            over_in = newest + _POST_MARGIN - datetime.now(UTC)
            await self._sleep(max(over_in.total_seconds(), 0))

    async def _erase_at_twilio(self, left: list[str]) -> TwilioResult:
        try:
            sids = await asyncio.to_thread(self._twilio.find, self._addresses)
            result = await self._until_canceled(sids)
        except Unavailable as error:
            left.append(str(error))
            return TwilioResult(done=0, left=0)
        if result.left:
            left.append(
                f"Twilio is still sending {result.left} of the messages, and lets nobody delete "
                "them before that has ended."
            )
        return result

    async def _until_canceled(self, sids: Collection[str]) -> TwilioResult:
        """Have Ctrl-C wait for one message, not for thousands."""
        stop = threading.Event()
        try:
            return await asyncio.to_thread(self._twilio.erase, sids, within=self._within, stop=stop)
        finally:
            stop.set()
