"""Resolving many dead letters: found page by page, each resolved once."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.heartbeats import heartbeats
from signedfor.contract import (
    DeadLetterReport,
    DeadLetterRequest,
    Resolution,
    message_id_of,
)
from signedfor.dead_letter_activities import (
    MAX_NAMED,
    Batch,
    DeadLetterActivities,
    Failed,
    Page,
    PageRequest,
    Skipped,
    Tally,
)
from signedfor.dead_letter_previews import Checks, check, read
from signedfor.dead_letters import (
    AlreadyClosed,
    MayHaveArrived,
    NoAnswer,
    decision_of,
    listing,
    report_of,
    resolve,
)
from signedfor.errors import BadInput, NotFound, Refused
from signedfor.payloads import invalid_input
from signedfor.store.suppressions import Suppressions

PAGE: Final = 200
"""Dead letters found at a time."""
MAX_CONCURRENT: Final = 8
"""Dead letters resolved at a time: few, since the workers have messages to send as well."""
ANSWER_SECONDS: Final = 20.0

_Result = DeadLetterReport | Skipped | Failed


class DeadLetterResolver(DeadLetterActivities):
    """Finds dead letters and resolves them, with what the database says of their recipients."""

    def __init__(self, temporal: Client, suppressions: Suppressions, *, page: int = PAGE) -> None:
        self._temporal = temporal
        self._suppressions = suppressions
        self._page = page

    @activity.defn
    async def select_dead_letters(self, request: PageRequest) -> Page:
        """The next dead letters of the selection.

        What is resolved in the meantime does not move the pages: each begins after a time.

        Raises:
            ApplicationError: bad input: Temporal cannot read the selection.
            RPCError: Temporal does not answer.
        """
        pages = listing(
            self._temporal,
            request.selection.query,
            page_size=self._page,
            next_page_token=request.page_token or None,
        )
        try:
            await pages.fetch_next_page()
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            raise invalid_input([("selection", "is no query that Temporal can read")]) from None
        return Page(
            message_ids=tuple(message_id_of(each.id) for each in pages.current_page or ()),
            next_page_token=pages.next_page_token or b"",
        )

    @activity.defn
    async def resolve_dead_letters(self, batch: Batch) -> Tally:
        """Resolve each once, even if this is retried; consent and expiry are checked again.

        Canceled, it returns what it has done so far.

        Raises:
            DatabaseUnavailable: the database cannot be asked who has opted out.
            RPCError: Temporal does not answer.
        """
        results: dict[str, _Result] = {}
        async with heartbeats():
            resolving = asyncio.create_task(self._resolve(batch, results))
            try:
                await asyncio.shield(resolving)
            except asyncio.CancelledError:
                # Each decision that is under way ends by itself: it must be counted.
                await _ended(resolving)
                details = activity.cancellation_details()
                if details is None or not details.cancel_requested:
                    raise
                results |= await self._resolved_earlier(batch, results)
        return _tally(results)

    @activity.defn
    async def count_resolved(self, batch: Batch) -> Tally:
        """How many of them the job has resolved so far; what is under way is waited for.

        Raises:
            RPCError: Temporal does not answer.
        """
        async with heartbeats():
            return _tally(await self._decisions(batch.message_ids, batch.resolution))

    async def _resolved_earlier(
        self, batch: Batch, results: Mapping[str, _Result]
    ) -> dict[str, _Result]:
        """What a lost attempt has resolved of those that this one did not come to."""
        if activity.info().attempt == 1:
            return {}
        left = [each for each in batch.message_ids if each not in results]
        return await self._decisions(left, batch.resolution)

    async def _decisions(
        self, message_ids: Sequence[str], resolution: Resolution
    ) -> dict[str, _Result]:
        """The job's decisions about these, also those that are under way."""
        ended = await asyncio.gather(*(self._decision(each, resolution) for each in message_ids))
        return {
            name: each for name, each in zip(message_ids, ended, strict=True) if each is not None
        }

    async def _decision(self, message_id: str, resolution: Resolution) -> _Result | None:
        """How the job's decision about it ended; None if it got none."""
        if resolution.job_id is None:
            return None
        try:
            return await decision_of(
                self._temporal, message_id, resolution.job_id, within=ANSWER_SECONDS
            )
        except NoAnswer:
            return Failed.NO_ANSWER

    async def _resolve(self, batch: Batch, results: dict[str, _Result]) -> None:
        letters = await read(self._temporal, batch.message_ids)
        checks = Checks()
        if batch.resolution.action == "retry":
            readable = {name: letter for name, letter in letters.items() if letter is not None}
            checks = await asyncio.to_thread(
                check,
                readable,
                batch.resolution.changes,
                self._suppressions,
                now=datetime.now(UTC),
            )
        free = asyncio.Semaphore(MAX_CONCURRENT)

        async def one(message_id: str) -> None:
            async with free:
                if activity.is_cancelled():
                    return
                results[message_id] = await self._resolve_one(
                    message_id, batch.resolution, letters, checks
                )

        ended = await asyncio.gather(*map(one, batch.message_ids), return_exceptions=True)
        for each in ended:
            if isinstance(each, BaseException):
                raise each

    async def _resolve_one(
        self,
        message_id: str,
        resolution: Resolution,
        letters: Mapping[str, DeadLetterRequest | None],
        checks: Checks,
    ) -> _Result:
        result = _obstacle(message_id, resolution, letters, checks)
        if result is not None:
            # An earlier attempt may have retried it before there was an obstacle.
            if (earlier := await self._decision(message_id, resolution)) is not None:
                return earlier
            with contextlib.suppress(NotFound):
                closed = await report_of(self._temporal, message_id)
                return result if closed is None else Skipped.CLOSED
            return Skipped.CLOSED
        try:
            return await resolve(self._temporal, message_id, resolution, within=ANSWER_SECONDS)
        except AlreadyClosed as error:
            return _by_this_job(error.report, resolution)
        except NotFound:
            return Skipped.CLOSED
        except MayHaveArrived:
            return Skipped.MAY_HAVE_ARRIVED
        except BadInput:
            return Failed.INVALID
        except Refused:
            return Failed.REFUSED
        except NoAnswer:
            return Failed.NO_ANSWER


def _obstacle(
    message_id: str,
    resolution: Resolution,
    letters: Mapping[str, DeadLetterRequest | None],
    checks: Checks,
) -> _Result | None:
    """Why it is not resolved, as far as can be said without asking it."""
    if message_id not in letters:
        return Skipped.CLOSED
    if resolution.action == "discard":
        return None
    if letters[message_id] is None:
        return Failed.UNREADABLE
    if message_id in checks.invalid:
        return Failed.INVALID
    if message_id in checks.expired:
        return Skipped.EXPIRED
    return Skipped.SUPPRESSED if message_id in checks.suppressed else None


def _by_this_job(report: DeadLetterReport | None, resolution: Resolution) -> _Result:
    """What a closed one counts as: resolved if an earlier attempt of this job did that."""
    if report is not None and report.job_id == resolution.job_id is not None:
        return report
    return Skipped.CLOSED


def _tally(results: Mapping[str, _Result]) -> Tally:
    failed = {name: each for name, each in results.items() if isinstance(each, Failed)}
    return Tally(
        resolved=sum(isinstance(each, DeadLetterReport) for each in results.values()),
        skipped=Counter(each for each in results.values() if isinstance(each, Skipped)),
        failed=Counter(failed.values()),
        failed_ids=tuple(failed)[:MAX_NAMED],
    )


async def _ended(task: "asyncio.Task[None]") -> None:
    """Wait for its end, whatever cancels us meanwhile."""
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    task.result()
