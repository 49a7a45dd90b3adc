"""What a decision about many dead letters would do, counted before anything is done."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from pydantic import ValidationError
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from signedfor.contract import (
    DeadLetterRequest,
    MessageChanges,
    MessageRequest,
    Resolution,
)
from signedfor.dead_letter_activities import JobRequest, Selection, Skipped
from signedfor.dead_letters import (
    Cause,
    DeadLetterFilter,
    DeadLetterSummary,
    find,
    handle_of,
    listing,
)
from signedfor.message_activities import ActivityModel
from signedfor.store.suppressions import Suppressions
from signedfor.workflow_calls import RPC_TIMEOUT, is_workflow_missing

MAX_SELECTED: Final = 10_000
"""The most dead letters of one job: the newest that match."""
MAX_READS: Final = 16
"""Dead letters read at a time."""
_SUPPRESSED_AT_ONCE: Final = 500
_INSTANT: Final = timedelta(microseconds=1)
"""Temporal's times are more precise than ours."""
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Checks:
    """The messages that could not be sent again as they are."""

    expired: frozenset[str] = frozenset()
    suppressed: frozenset[str] = frozenset()
    """The recipient has opted out since, for instance."""
    invalid: frozenset[str] = frozenset()
    """The changes do not fit them."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Those with one cause and sender."""

    cause: Cause
    sender: str | None
    """A phone number is masked."""
    count: int


class Counts(ActivityModel):
    """What would become of some dead letters, each of which was read."""

    read: int = 0
    suppressed: int = 0
    expired: int = 0
    invalid: int = 0
    unreadable: int = 0
    skipped: Mapping[Skipped, int] = {}
    """How many a retry would leave as they are, each for the first reason that applies."""
    to_resolve: int = 0
    """How many would be retried or discarded."""

    def plus(self, other: "Counts") -> Self:
        """Both together."""
        names = ("read", "suppressed", "expired", "invalid", "unreadable", "to_resolve")
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        skipped = dict(Counter(self.skipped) + Counter(other.skipped))
        return self.model_copy(update={**sums, "skipped": skipped})


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a decision about many dead letters would do."""

    resolution: Resolution
    selection: Selection
    """Exactly these: what is opened later is not part of the job."""
    selected: int
    is_all: bool
    """Whether no more match than were selected."""
    parts: tuple[Part, ...]
    """Most first."""
    may_have_arrived: int
    counts: Counts
    is_counted: bool
    """Whether each was read and counted; else none was, since there are too many."""

    @property
    def job(self) -> JobRequest:
        """The job that does it."""
        return JobRequest(
            resolution=self.resolution, selection=self.selection, selected=self.selected
        )


async def preview(
    temporal: Client,
    suppressions: Suppressions,
    which: DeadLetterFilter,
    resolution: Resolution,
    *,
    limit: int = MAX_SELECTED,
    max_read: int = MAX_SELECTED,
) -> Preview:
    """What the decision would do with the open dead letters that match.

    Each must be read, in a millisecond or more. If there are more than `max_read`, none is, and
    `count_page` counts them page by page.

    Raises:
        InvalidClause: Temporal does not understand the filter's `query`.
        DatabaseUnavailable: the database cannot be asked who has opted out.
        RPCError: Temporal did not answer.
    """
    found = [each async for each in find(temporal, which, limit=limit + 1)]
    is_all, found = len(found) <= limit, found[:limit]
    is_counted = len(found) <= max_read
    return Preview(
        resolution=resolution,
        selection=Selection(
            clause=which.clause(),
            opened_from=found[-1].opened_at if found else _NEVER,
            opened_until=found[0].opened_at + _INSTANT if found else _NEVER,
        ),
        selected=len(found),
        is_all=is_all,
        parts=_parts(found),
        may_have_arrived=sum(each.may_have_arrived for each in found),
        counts=await _count(temporal, suppressions, found, resolution) if is_counted else Counts(),
        is_counted=is_counted,
    )


async def count_page(
    temporal: Client, suppressions: Suppressions, job: JobRequest, *, page_token: bytes, size: int
) -> tuple[Counts, bytes]:
    """Count the next dead letters of a job that is previewed, and say where the next page begins.

    An empty token is the first page's, and means that there is no next one. Raises as `preview`.
    """
    pages = listing(
        temporal, job.selection.query, page_size=size, next_page_token=page_token or None
    )
    await pages.fetch_next_page()
    found = [DeadLetterSummary.of(each) for each in pages.current_page or ()]
    counts = await _count(temporal, suppressions, found, job.resolution)
    return counts, pages.next_page_token or b""


async def _count(
    temporal: Client,
    suppressions: Suppressions,
    found: Sequence[DeadLetterSummary],
    resolution: Resolution,
) -> Counts:
    letters = await read(temporal, [each.message_id for each in found])
    readable = {name: letter for name, letter in letters.items() if letter is not None}
    checks = await asyncio.to_thread(
        check, readable, resolution.changes, suppressions, now=datetime.now(UTC)
    )
    unreadable = len(letters) - len(readable)
    taken = {each.message_id for each in found if each.may_have_arrived}
    skipped, left = Counter[Skipped](), 0
    if resolution.action == "retry":
        left_out = () if resolution.even_if_taken else taken
        skipped = Counter(_skipped(letters, checks, left_out).values())
        left = len(checks.invalid) + unreadable
    return Counts(
        read=len(found),
        suppressed=len(checks.suppressed),
        expired=len(checks.expired),
        invalid=len(checks.invalid),
        unreadable=unreadable,
        skipped=dict(skipped),
        to_resolve=len(found) - sum(skipped.values()) - left,
    )


def _skipped(
    letters: Collection[str], checks: Checks, taken: Collection[str]
) -> dict[str, Skipped]:
    """Why each is left as it is, in the order in which the job checks."""
    reasons = {}
    for name in letters:
        if name in checks.invalid:
            continue
        if name in checks.expired:
            reasons[name] = Skipped.EXPIRED
        elif name in checks.suppressed:
            reasons[name] = Skipped.SUPPRESSED
        elif name in taken:
            reasons[name] = Skipped.MAY_HAVE_ARRIVED
    return reasons


def _parts(found: Collection[DeadLetterSummary]) -> tuple[Part, ...]:
    counts = Counter((each.cause, each.sender) for each in found)
    return tuple(
        Part(cause=cause, sender=sender, count=count)
        for (cause, sender), count in counts.most_common()
    )


async def read(
    temporal: Client, message_ids: Collection[str]
) -> dict[str, DeadLetterRequest | None]:
    """The dead letters' inputs, without a worker; None for one that cannot be read.

    Those that Temporal has deleted are left out.
    """
    free = asyncio.Semaphore(MAX_READS)

    async def one(message_id: str) -> tuple[str, DeadLetterRequest | None] | None:
        async with free:
            try:
                return message_id, await _input(temporal, message_id)
            except RPCError as error:
                if is_workflow_missing(error):
                    return None
                raise

    return dict(filter(None, await asyncio.gather(*map(one, message_ids))))


async def _input(temporal: Client, message_id: str) -> DeadLetterRequest | None:
    events = handle_of(temporal, message_id).fetch_history_events(
        page_size=1, rpc_timeout=RPC_TIMEOUT
    )
    async for event in events:
        payloads = event.workflow_execution_started_event_attributes.input.payloads
        try:
            (letter,) = await temporal.data_converter.decode(payloads, [DeadLetterRequest])
        except (ApplicationError, RuntimeError, ValueError):
            return None
        return letter if isinstance(letter, DeadLetterRequest) else None
    return None


def check(
    letters: Mapping[str, DeadLetterRequest],
    changes: MessageChanges | None,
    suppressions: Suppressions,
    *,
    now: datetime,
) -> Checks:
    """Which of the messages, with these changes, could not be sent now.

    Raises:
        DatabaseUnavailable: the database cannot be asked who has opted out.
    """
    messages: dict[str, MessageRequest] = {}
    invalid = set()
    for name, letter in letters.items():
        try:
            messages[name] = (changes or MessageChanges()).applied_to(letter.message)
        except ValidationError:
            invalid.add(name)
    return Checks(
        expired=frozenset(
            name
            for name, message in messages.items()
            if message.expires_at is not None and message.expires_at <= now
        ),
        suppressed=_suppressed(letters, messages, suppressions),
        invalid=frozenset(invalid),
    )


def _suppressed(
    letters: Mapping[str, DeadLetterRequest],
    messages: Mapping[str, MessageRequest],
    suppressions: Suppressions,
) -> frozenset[str]:
    alike: dict[tuple[str | None, str | None], list[str]] = {}
    for name, message in messages.items():
        # Without one of its own, it is sent from the workers' default sender, as before.
        sender = message.sender or letters[name].sender
        alike.setdefault((sender, message.category), []).append(name)
    found: set[str] = set()
    for (sender, category), names in alike.items():
        for begin in range(0, len(names), _SUPPRESSED_AT_ONCE):
            some = names[begin : begin + _SUPPRESSED_AT_ONCE]
            recipients = suppressions.find_suppressed(
                {messages[name].to for name in some}, sender=sender, category=category
            )
            found |= {name for name in some if messages[name].to in recipients}
    return frozenset(found)
