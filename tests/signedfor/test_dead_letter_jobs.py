"""One decision about many dead letters, on the real server: previewed, done once, stopped."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import temporalio.activity
from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from activities import dead_letters as activity
from signedfor import dead_letter_jobs
from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract import (
    MessageChanges,
    Outcome,
    Resolution,
)
from signedfor.contract.failures import FailureClass
from signedfor.dead_letter_activities import (
    Failed,
    JobProgress,
    JobState,
    Skipped,
    Tally,
    job_workflow_id,
)
from signedfor.dead_letter_previews import Preview, preview
from signedfor.dead_letters import (
    DeadLetterFilter,
    InvalidClause,
    NoAnswer,
    decision_of,
    fetch,
    resolve,
)
from signedfor.errors import NotFound
from signedfor.store.suppressions import Suppressions
from tests.dead_letters import (
    new_tenant,
    number,
    open_dead_letters,
    resolving,
    still_open,
    until_open,
)
from tests.workflows.fakes import FakeActivities, accept, failure
from workflows import dead_letter_job
from workflows.dead_letter import DeadLetter

RETRY = Resolution(action="retry", by="ops", note="region enabled")
DISCARD = Resolution(action="discard", by="ops")
LATER = {"expires_at": "2099-01-01T00:00:00Z"}


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Who decides about the dead letters of one tenant."""

    client: Client
    fakes: FakeActivities
    suppressions: Suppressions
    tenant: str

    async def open(self, count: int, **what: Any) -> list[str]:
        """Open dead letters."""
        return await open_dead_letters(self.client, count, tenant=self.tenant, **what)

    async def preview(self, resolution: Resolution = RETRY, **which: Any) -> Preview:
        """Preview it for all that match."""
        chosen = DeadLetterFilter(tenant=self.tenant, **which)
        return await preview(self.client, self.suppressions, chosen, resolution)

    async def start(self, what: Preview) -> str:
        """Start the job; its id."""
        job_id = dead_letter_jobs.new_job_id()
        assert await dead_letter_jobs.start(self.client, what.job, job_id=job_id)
        return job_id

    async def done(self, job_id: str) -> JobProgress:
        """How it ended."""
        handle = self.client.get_workflow_handle(job_workflow_id(job_id), result_type=JobProgress)
        async with asyncio.timeout(120):
            progress: JobProgress = await handle.result()
        return progress

    async def run(self, what: Preview) -> JobProgress:
        """Start it and wait for its end."""
        return await self.done(await self.start(what))

    def opt_out(self, recipient: str) -> None:
        """Record an opt-out."""
        self.suppressions.record(
            Suppression(
                recipient=recipient,
                reason=Reason.OPTED_OUT,
                source=Source.OPERATOR,
                scope=Scope.EVERYTHING,
                scope_value="",
                evidence="test",
            ),
            by="test",
        )

    def posts(self) -> list[str]:
        """The messages that were submitted."""
        return [post.message_id for post in self.fakes.posts]

    async def posted(self, count: int) -> list[str]:
        """The messages that were submitted, once there are so many."""
        async with asyncio.timeout(60):
            while len(self.posts()) < count:  # noqa: ASYNC110 - nothing signals it
                await asyncio.sleep(0.05)
        return self.posts()


@pytest.fixture
async def desk(temporal: Client, sqlite_engine: Engine) -> AsyncIterator[Desk]:
    """An operator's desk, with workers."""
    fakes = FakeActivities(sends=[accept()])
    async with resolving(temporal, fakes, sqlite_engine, page=10):
        yield Desk(
            client=temporal,
            fakes=fakes,
            suppressions=Suppressions(sqlite_engine),
            tenant=new_tenant(),
        )


def retries(message_ids: list[str]) -> list[str]:
    """The messages that retry these."""
    return sorted(f"{each}.retry-1" for each in message_ids)


async def test_a_preview_counts_and_does_nothing(desk: Desk) -> None:
    """How many, by cause and sender; how many may have arrived, have opted out or expired."""
    plain = await desk.open(3)
    await desk.open(
        2,
        first=10,
        failure_class=FailureClass.NO_RECEIPT,
        error_code=None,
        outcome=Outcome.UNCONFIRMED,
    )
    await desk.open(
        1, first=20, failure_class=FailureClass.CONTENT_REJECTED, expires_at="2020-01-01T00:00:00Z"
    )
    desk.opt_out(number(0))

    what = await desk.preview()

    assert (6, 2, 1, 1, 2) == (
        what.selected,
        what.may_have_arrived,
        what.counts.suppressed,
        what.counts.expired,
        what.counts.to_resolve,
    )
    assert {
        Skipped.MAY_HAVE_ARRIVED: 2,
        Skipped.SUPPRESSED: 1,
        Skipped.EXPIRED: 1,
    } == what.counts.skipped
    assert [3, 2, 1] == [part.count for part in what.parts]
    assert (FailureClass.SENDER_MISCONFIGURED, 21408, "+1500***0006") == (
        what.parts[0].cause.failure_class,
        what.parts[0].cause.error_code,
        what.parts[0].sender,
    )
    assert [] == desk.posts()
    assert set(plain) <= await still_open(desk.client, desk.tenant)


async def test_a_preview_applies_the_changes(desk: Desk) -> None:
    """A later expiry makes expired messages sendable, and changes that do not fit are counted."""
    await desk.open(2, expires_at="2020-01-01T00:00:00Z")

    later = RETRY.model_copy(update={"changes": MessageChanges.model_validate(LATER)})
    channel = MessageChanges.model_validate({"from": "whatsapp:+15005550006"})

    assert 0 == (await desk.preview()).counts.to_resolve
    assert 2 == (await desk.preview(later)).counts.to_resolve
    unfit = await desk.preview(RETRY.model_copy(update={"changes": channel}))
    assert (2, 0) == (unfit.counts.invalid, unfit.counts.to_resolve)


async def test_all_that_match_are_retried_once(desk: Desk) -> None:
    """One action retries them all; the same action again, and the same job again, none twice."""
    chosen = await desk.open(25)
    other = await desk.open(1, first=30, failure_class=FailureClass.CONTENT_REJECTED)
    what = await desk.preview(failure_class=FailureClass.SENDER_MISCONFIGURED)

    job_id = await desk.start(what)
    done = await desk.done(job_id)
    again = await desk.run(what)

    assert not await dead_letter_jobs.start(desk.client, what.job, job_id=job_id)
    assert (JobState.FINISHED, 25, {}, {}) == (
        done.state,
        done.tally.resolved,
        done.tally.skipped,
        done.tally.failed,
    )
    assert 0 == again.tally.resolved
    assert retries(chosen) == sorted(await desk.posted(25))
    await until_open(desk.client, desk.tenant, set(other))
    letter = await fetch(desk.client, chosen[0])
    assert letter.result is not None
    assert (job_id, "ops", "region enabled", f"{chosen[0]}.retry-1") == (
        letter.result.job_id,
        letter.result.by,
        letter.result.note,
        letter.result.retried_as,
    )


async def test_what_may_have_arrived_is_left_unless_asked_for(desk: Desk) -> None:
    """Those stay open; with `even_if_taken` they are retried."""
    taken = await desk.open(
        2, failure_class=FailureClass.NO_RECEIPT, error_code=None, outcome=Outcome.UNCONFIRMED
    )

    careful = await desk.run(await desk.preview())
    after_careful = desk.posts()
    bold = await desk.run(await desk.preview(RETRY.model_copy(update={"even_if_taken": True})))

    assert {Skipped.MAY_HAVE_ARRIVED: 2} == careful.tally.skipped
    assert [] == after_careful
    assert 2 == bold.tally.resolved
    assert retries(taken) == sorted(await desk.posted(2))


async def test_consent_and_expiry_are_checked_again_for_each(desk: Desk) -> None:
    """What has changed since the preview counts: an opt-out, and time that passed."""
    soon = datetime.now(UTC) + timedelta(seconds=4)
    plain = await desk.open(2)
    expiring = await desk.open(
        1, first=10, failure_class=FailureClass.CONTENT_REJECTED, expires_at=soon.isoformat()
    )
    what = await desk.preview()
    assert (3, {}) == (what.counts.to_resolve, what.counts.skipped)

    desk.opt_out(number(1))
    await asyncio.sleep(max((soon - datetime.now(UTC)).total_seconds(), 0))
    done = await desk.run(what)

    assert (1, {Skipped.SUPPRESSED: 1, Skipped.EXPIRED: 1}) == (
        done.tally.resolved,
        done.tally.skipped,
    )
    assert retries(plain[:1]) == await desk.posted(1)
    await until_open(desk.client, desk.tenant, {plain[1], *expiring})


async def test_its_own_failed_retries_are_not_part_of_it(desk: Desk) -> None:
    """A retry that fails again opens a new dead letter, which waits for a new decision."""
    chosen = await desk.open(3)
    desk.fakes.sends = [failure(FailureClass.SENDER_MISCONFIGURED, code=21408)]

    what = await desk.preview()
    first = await desk.run(what)
    await until_open(desk.client, desk.tenant, set(retries(chosen)))
    same_again = await desk.run(what)

    assert (3, 0) == (first.tally.resolved, same_again.tally.done)
    assert retries(chosen) == sorted(desk.posts())


async def test_a_late_receipt_is_no_failure(desk: Desk) -> None:
    """What was closed since the preview counts as that."""
    first, second = await desk.open(2)
    what = await desk.preview()
    await resolve(desk.client, first, DISCARD)

    done = await desk.run(what)

    assert 1 == done.tally.resolved
    assert done.tally.skipped.get(Skipped.CLOSED, 0) <= 1  # unless the search knows it by then
    assert retries([second]) == await desk.posted(1)


async def test_many_are_discarded(desk: Desk) -> None:
    """Discarding sends nothing, so it leaves none out."""
    await desk.open(2, expires_at="2020-01-01T00:00:00Z")
    await desk.open(
        1,
        first=10,
        failure_class=FailureClass.NO_RECEIPT,
        error_code=None,
        outcome=Outcome.UNCONFIRMED,
    )
    what = await desk.preview(DISCARD)

    done = await desk.run(what)

    assert (3, 3, {}) == (what.counts.to_resolve, done.tally.resolved, done.tally.skipped)
    assert [] == desk.posts()
    await until_open(desk.client, desk.tenant, set())


async def test_changes_that_do_not_fit_are_named(desk: Desk) -> None:
    """Those messages are counted and named, and their dead letters stay open."""
    chosen = await desk.open(2)
    channel = MessageChanges.model_validate({"from": "whatsapp:+15005550006"})

    done = await desk.run(await desk.preview(RETRY.model_copy(update={"changes": channel})))

    assert ({Failed.INVALID: 2}, set(chosen)) == (done.tally.failed, set(done.tally.failed_ids))
    assert set(chosen) == await still_open(desk.client, desk.tenant)


@pytest.mark.parametrize("by_temporal", [False, True])
async def test_stopped_on_the_way_it_loses_none(desk: Desk, by_temporal: bool) -> None:
    """It ends, the others stay open, and a next job does the rest: none twice."""
    chosen = await desk.open(60)
    what = await desk.preview()
    job_id = await desk.start(what)
    await _until(desk, job_id, lambda progress: progress.tally.done > 0)

    if by_temporal:
        await desk.client.get_workflow_handle(job_workflow_id(job_id)).cancel()
    else:
        await dead_letter_jobs.stop(desk.client, job_id, by="ops")
    stopped = await desk.done(job_id)

    assert stopped == await dead_letter_jobs.progress(desk.client, job_id)
    assert (JobState.STOPPED, None if by_temporal else "ops") == (
        stopped.state,
        stopped.stopped_by,
    )
    assert 0 < stopped.tally.resolved < len(chosen)
    done_so_far = sorted(await desk.posted(stopped.tally.resolved))
    assert stopped.tally.resolved == len(done_so_far)
    with pytest.raises(NotFound):
        await dead_letter_jobs.stop(desk.client, job_id)

    rest = await desk.run(what)

    assert len(chosen) == stopped.tally.resolved + rest.tally.resolved
    assert retries(chosen) == sorted(await desk.posted(len(chosen)))


async def test_what_a_crash_interrupts_is_counted_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is lost in a batch: another does the rest, and all are counted."""
    chosen = await desk.open(8)
    what = await desk.preview()
    resolved, crashes = 0, 0

    async def crash_after_three(*args: Any, **options: Any) -> Any:
        nonlocal resolved, crashes
        if resolved == 3 and not crashes:
            crashes += 1
            raise RPCError("lost", RPCStatusCode.UNAVAILABLE, b"")
        resolved += 1
        return await resolve(*args, **options)

    monkeypatch.setattr(activity, "resolve", crash_after_three)
    done = await desk.run(what)

    assert 1 == crashes
    assert (8, {}, {}) == (done.tally.resolved, done.tally.skipped, done.tally.failed)
    assert retries(chosen) == sorted(await desk.posted(8))


async def test_what_was_retried_before_an_opt_out_counts_as_retried(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is lost in a batch, and everybody opts out before another does the rest."""
    chosen = await desk.open(8)
    what = await desk.preview()
    resolved: list[str] = []

    async def crash_after_three(client: Client, message_id: str, *args: Any, **more: Any) -> Any:
        if len(resolved) == 3:
            for index in range(len(chosen)):
                desk.opt_out(number(index))
            raise RPCError("lost", RPCStatusCode.UNAVAILABLE, b"")
        resolved.append(message_id)
        return await resolve(client, message_id, *args, **more)

    monkeypatch.setattr(activity, "resolve", crash_after_three)
    done = await desk.run(what)

    assert (3, {Skipped.SUPPRESSED: 5}) == (done.tally.resolved, done.tally.skipped)
    await until_open(desk.client, desk.tenant, set(chosen) - set(resolved))


async def test_what_a_lost_attempt_had_sent_is_counted_when_the_job_is_stopped(
    desk: Desk, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its decisions are carried out after it is gone; the count waits for them."""
    monkeypatch.setattr(dead_letter_job, "_HEARTBEAT_TIMEOUT", timedelta(seconds=2))
    monkeypatch.setattr(activity, "heartbeats", contextlib.nullcontext)
    queue = f"later-{desk.tenant}"  # nobody answers for these dead letters yet
    chosen = await desk.open(3, queue=queue)
    deciding: list[asyncio.Task[Any]] = []
    is_over = asyncio.Event()

    async def send_and_be_lost(*args: Any, **options: Any) -> Any:
        deciding.append(asyncio.create_task(resolve(*args, **options)))
        await is_over.wait()
        return Failed.NO_ANSWER

    monkeypatch.setattr(activity, "resolve", send_and_be_lost)
    job_id = await desk.start(await desk.preview(DISCARD))
    for each in chosen:
        await _decision_is_under_way(temporal, each, job_id)
    await dead_letter_jobs.stop(temporal, job_id)
    await _activity_is_scheduled(temporal, job_id, "count_resolved")
    async with Worker(temporal, task_queue=queue, workflows=[DeadLetter]):
        done = await desk.done(job_id)
        is_over.set()
        await asyncio.gather(*deciding)
        shown = [(await fetch(temporal, each)).status for each in chosen]

    assert (3, {}, {}) == (done.tally.resolved, done.tally.skipped, done.tally.failed)
    assert ["discarded"] * 3 == shown


async def test_what_a_lost_attempt_has_resolved_is_counted_by_one_that_is_stopped(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though that one does not come to them."""
    monkeypatch.setattr(activity, "MAX_CONCURRENT", 1)
    chosen = await desk.open(8)
    what = await desk.preview()
    resolved: list[str] = []
    job_id = dead_letter_jobs.new_job_id()

    async def resolve_three(client: Client, message_id: str, *args: Any, **more: Any) -> Any:
        if temporalio.activity.info().attempt == 1:
            if len(resolved) == 3:
                raise RPCError("lost", RPCStatusCode.UNAVAILABLE, b"")
            resolved.append(message_id)
        else:
            await dead_letter_jobs.stop(client, job_id)
            await temporalio.activity.wait_for_cancelled()
        return await resolve(client, message_id, *args, **more)

    monkeypatch.setattr(activity, "resolve", resolve_three)
    assert await dead_letter_jobs.start(desk.client, what.job, job_id=job_id)
    done = await desk.done(job_id)

    assert (JobState.STOPPED, 3, {}) == (done.state, done.tally.resolved, done.tally.skipped)
    assert retries(resolved) == sorted(await desk.posted(3))
    await until_open(desk.client, desk.tenant, set(chosen) - set(resolved))


async def _decision_is_under_way(client: Client, message_id: str, job_id: str) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(NoAnswer):
                assert await decision_of(client, message_id, job_id, within=0.2) is None
                continue
            return


async def _activity_is_scheduled(client: Client, job_id: str, name: str) -> None:
    handle = client.get_workflow_handle(job_workflow_id(job_id))
    async with asyncio.timeout(60):
        async for event in handle.fetch_history_events(wait_new_event=True):
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name == name:
                return


async def test_a_long_job_continues_as_new(temporal: Client, sqlite_engine: Engine) -> None:
    """Its history stays short, and its counts go on."""
    fakes = FakeActivities(sends=[accept()])
    async with resolving(temporal, fakes, sqlite_engine, page=1):
        tenant = new_tenant()
        desk = Desk(
            client=temporal, fakes=fakes, suppressions=Suppressions(sqlite_engine), tenant=tenant
        )
        chosen = await desk.open(23)
        job_id = await desk.start(await desk.preview())
        first_run = (await temporal.get_workflow_handle(job_workflow_id(job_id)).describe()).run_id
        done = await desk.done(job_id)

        last_run = (await temporal.get_workflow_handle(job_workflow_id(job_id)).describe()).run_id
        assert first_run != last_run
        assert (23, JobState.FINISHED) == (done.tally.resolved, done.state)
        assert retries(chosen) == sorted(await desk.posted(23))
        listed = [each async for each in dead_letter_jobs.jobs(temporal)]
        assert [done] == listed


async def test_a_terminated_job_counts_as_stopped(desk: Desk) -> None:
    """Temporal knows that it has ended; the workflow's own answer would be that it runs."""
    await desk.open(1, queue="no-worker")
    job_id = await desk.start(await desk.preview(DISCARD))
    running = await _until(desk, job_id, lambda _: True)

    await desk.client.get_workflow_handle(job_workflow_id(job_id)).terminate()
    ended = await dead_letter_jobs.progress(desk.client, job_id)

    assert (JobState.RUNNING, JobState.STOPPED) == (running.state, ended.state)
    assert ended.is_over


async def test_a_dead_letter_that_does_not_answer_is_named(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds up none of the others."""
    monkeypatch.setattr(activity, "ANSWER_SECONDS", 1.0)
    (stuck,) = await desk.open(1, queue="no-worker")
    await desk.open(2, first=10, failure_class=FailureClass.CONTENT_REJECTED)

    done = await desk.run(await desk.preview(DISCARD))

    assert (2, {Failed.NO_ANSWER: 1}, (stuck,)) == (
        done.tally.resolved,
        done.tally.failed,
        done.tally.failed_ids,
    )


async def test_a_clause_that_temporal_does_not_understand(desk: Desk) -> None:
    """The filter's field is named, and the clause not repeated."""
    with pytest.raises(InvalidClause, match="query: Temporal does not understand") as raised:
        await desk.preview(query="Nonsense = 'x'")

    assert "Nonsense" not in str(raised.value)


def test_tallies_add_up() -> None:
    """Counts are added, and at most twenty messages are named."""
    one = Tally(resolved=1, skipped={Skipped.EXPIRED: 1}, failed={Failed.INVALID: 15})
    one = one.model_copy(update={"failed_ids": tuple(f"a{n}" for n in range(15))})
    both = one.plus(one)

    assert (2, {Skipped.EXPIRED: 2}, {Failed.INVALID: 30}, 20, 34) == (
        both.resolved,
        both.skipped,
        both.failed,
        len(both.failed_ids),
        both.done,
    )


async def _until(desk: Desk, job_id: str, holds: Callable[[JobProgress], bool]) -> JobProgress:
    async with asyncio.timeout(60):
        while not holds(progress := await dead_letter_jobs.progress(desk.client, job_id)):  # noqa: ASYNC110 - a query
            await asyncio.sleep(0.02)
    return progress
