"""The inbox as one process sees it: what waits in it, and how to put more there quickly."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from signedfor.contract import DeliveryStatus
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbox import Inbox
from webhook.metrics import Metrics
from webhook.threads import DatabaseThreads

MOST_REMEMBERED = 10_000
"""Messages; with more than that in the inbox, every message is taken to have something there."""


@dataclass(eq=False)
class _Entry:
    """A receipt on its way into the database."""

    message_id: str
    status: DeliveryStatus
    kept: bool = False
    trouble: str | None = None


class ReceiptInbox:
    """Puts receipts into the inbox, and remembers which messages have some there.

    What it remembers costs the callbacks no query: it is what this process put there itself, and
    what `look` found, so it may be seconds late about another process's. Statuses have ranks, and
    a workflow takes them in any order; only of two final ones the first that it hears counts.
    """

    def __init__(self, inbox: Inbox, *, threads: DatabaseThreads, metrics: Metrics) -> None:
        self.filled = asyncio.Event()
        """Set when something was put there; whoever empties the inbox clears it."""
        self._inbox = inbox
        self._threads = threads
        self._metrics = metrics
        self._seen: frozenset[str] | None = frozenset()
        # What was put there since the last look began, and since the one under way began: a look
        # never forgets what it may have come too early to see.
        self._added: set[str] = set()
        self._added_meanwhile: set[str] = set()
        self._under_way: Counter[str] = Counter()
        self._entries: list[_Entry] = []
        self._writing = asyncio.Lock()
        self._oldest: datetime | None = None
        metrics.inbox_oldest_seconds.set_function(self._age)

    def may_hold(self, message_id: str) -> bool:
        """Whether receipts of this message wait there; later ones must queue behind them."""
        return self._seen is None or message_id in self._seen or message_id in self._added

    async def put(self, message_id: str, status: DeliveryStatus) -> None:
        """Return when it is safely there.

        Those that come while a transaction is under way share the next one: in an outage all
        callbacks come here, and a transaction each is more than a disk can do.

        Raises:
            DatabaseUnavailable: it is not there.
        """
        entry = _Entry(message_id, status)
        self._added.add(message_id)
        self._added_meanwhile.add(message_id)
        self._under_way[message_id] += 1
        self._entries.append(entry)
        try:
            async with self._writing:
                if not entry.kept and entry.trouble is None:
                    await self._write()
        finally:
            self._under_way -= Counter([message_id])
        if entry.trouble is not None:
            raise DatabaseUnavailable(entry.trouble)
        self.filled.set()

    async def look(self) -> int:
        """Learn what is there, for `may_hold` and the metrics; how many receipts it is."""
        self._added_meanwhile = set(self._under_way)
        backlog = await self._threads.run(self._inbox.backlog)
        seen: frozenset[str] | None = frozenset()
        if backlog.count:
            seen = await self._threads.run(self._inbox.message_ids, most=MOST_REMEMBERED)
        self._seen, self._added = seen, self._added_meanwhile
        self._oldest = backlog.oldest
        self._metrics.inbox_receipts.set(backlog.count)
        return backlog.count

    async def _write(self) -> None:
        batch, self._entries = self._entries, []
        try:
            await self._threads.run(
                self._inbox.put, [(entry.message_id, entry.status) for entry in batch]
            )
        except DatabaseUnavailable as error:
            for entry in batch:
                entry.trouble = str(error)
        except BaseException:
            # Perhaps written and perhaps not: whoever of them comes next writes them (again).
            self._entries = batch + self._entries
            raise
        else:
            for entry in batch:
                entry.kept = True

    def _age(self) -> float:
        return max(0.0, time.time() - self._oldest.timestamp()) if self._oldest else 0.0
