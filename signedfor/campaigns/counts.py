"""How the rows of a campaign stand, counted in Temporal: each row once, by its newest message.

A retry is a message of its own, beside the one that it replaces, and holds that one's outcome as
`PriorOutcome`. So whatever is counted of the retries is taken off the outcomes before. Both are in
the same record: a list that lags behind counts no row twice either. A dead letter that was closed
by a late delivery makes its message a delivered one. The message index counts the same way
(`signedfor.store.message_counts`).
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from temporalio.client import Client

from signedfor.campaign_activities import messages_of
from signedfor.contract import DEAD_LETTER, DeadLetterOutcome, Outcome, Stage
from signedfor.search_attributes import CAMPAIGN_ID, MESSAGE_STATUS, PRIOR_OUTCOME
from signedfor.store.message_counts import NO_REPORT

ESCALATED: Final = (Outcome.FAILED, Outcome.UNDELIVERED, Outcome.UNCONFIRMED, Outcome.EXPIRED)
"""The outcomes that may open a dead letter."""

_WITHOUT_REPORT = "ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut', 'Canceled')"
_IS_RETRY = f"{PRIOR_OUTCOME.name} IS NOT NULL"


async def count_rows(client: Client, campaign_id: str, *, rpc_timeout: timedelta) -> Counter[str]:
    """How many rows are at each stage, have each outcome, or `NO_REPORT`; without zeros."""
    clauses: dict[str, str] = {NO_REPORT: _WITHOUT_REPORT}
    for stage in Stage:
        clauses[stage] = f"ExecutionStatus='Running' AND {MESSAGE_STATUS.name}='{stage}'"
    counter = _Counter(client, campaign_id, rpc_timeout)
    at, outcomes = await asyncio.gather(
        counter.messages(clauses.values()),
        count_outcomes(client, campaign_id, rpc_timeout=rpc_timeout),
    )
    return +(Counter(dict(zip(map(str, clauses), at, strict=True))) + outcomes)


async def count_outcomes(
    client: Client, campaign_id: str, *, rpc_timeout: timedelta
) -> Counter[str]:
    """How many rows have each outcome, without zeros."""
    counter = _Counter(client, campaign_id, rpc_timeout)
    (retries,), late, messages = await asyncio.gather(
        counter.messages([_IS_RETRY]),
        _delivered_late(counter),
        counter.messages(f"{MESSAGE_STATUS.name}='{each}'" for each in Outcome),
    )
    counts = Counter({str(each): n for each, n in zip(Outcome, messages, strict=True)})
    if retries:
        replaced = await counter.messages(f"{PRIOR_OUTCOME.name}='{each}'" for each in ESCALATED)
        counts.subtract({str(each): n for each, n in zip(ESCALATED, replaced, strict=True)})
    counts.update(late)
    return +counts


async def _delivered_late(counter: "_Counter") -> dict[str, int]:
    """How the counts change by messages that were delivered after their dead letter was opened."""
    late = await counter.delivered_late()
    if not late:
        return {}
    before = await asyncio.gather(*map(counter.delivered_late, ESCALATED))
    return {
        str(Outcome.DELIVERED): late,
        **{str(each): -n for each, n in zip(ESCALATED, before, strict=True)},
    }


async def count_ended(
    client: Client, campaign_id: str, *, rpc_timeout: timedelta
) -> tuple[int, int]:
    """How many messages are running, retries too; and how many rows have ended."""
    counter = _Counter(client, campaign_id, rpc_timeout)
    running, ended, retries = await counter.messages(
        ["ExecutionStatus='Running'", "ExecutionStatus!='Running'", _IS_RETRY]
    )
    return running, ended - retries


class _Counter:
    """Counts the workflows of one campaign."""

    def __init__(self, client: Client, campaign_id: str, timeout: timedelta) -> None:
        self._client = client
        self._timeout = timeout
        self._messages = messages_of(campaign_id)
        self._late = (
            f"WorkflowType='{DEAD_LETTER}' AND {CAMPAIGN_ID.name}='{campaign_id}' "
            f"AND {MESSAGE_STATUS.name}='{DeadLetterOutcome.DELIVERED_LATE}'"
        )

    async def messages(self, clauses: Iterable[str]) -> list[int]:
        """How many of its messages match each clause."""
        return await asyncio.gather(
            *(self._count(f"{self._messages} AND {clause}") for clause in clauses)
        )

    async def delivered_late(self, before: Outcome | None = None) -> int:
        """How many dead letters a late delivery has closed, of messages with this outcome."""
        clause = "" if before is None else f" AND {PRIOR_OUTCOME.name}='{before}'"
        return await self._count(f"{self._late}{clause}")

    async def _count(self, query: str) -> int:
        return (await self._client.count_workflows(query, rpc_timeout=self._timeout)).count
