"""`signedfor dead-letters`: one decision about many, with a preview, and the job that does it."""

import asyncio
from typing import Annotated, Any, Final

import typer
from rich.console import RenderableType
from temporalio.client import Client
from temporalio.service import RPCError

from signedfor import dead_letter_jobs
from signedfor.cli.environment import database
from signedfor.cli.options import (
    TIMEOUT,
    ByOption,
    JsonOption,
    LimitOption,
    TimeoutOption,
    operator,
)
from signedfor.cli.output import (
    ExitCode,
    Output,
    Unavailable,
    Unconfirmed,
    clock,
    command_output,
    facts,
    listing,
)
from signedfor.cli.temporal import connect, run
from signedfor.contract import Resolution
from signedfor.dead_letter_activities import JobProgress, JobState, Skipped
from signedfor.dead_letter_previews import Preview, preview
from signedfor.dead_letters import DeadLetterFilter
from signedfor.store.suppressions import Suppressions

_POLL_SECONDS: Final = 0.5
_INTERRUPTED: Final = 130
"""The exit code of a command that Ctrl-C ended, by convention."""
_MAX_PARTS: Final = 20
_PREFIX: Final = "dead-letter-job:"

_WHY: Final = {
    Skipped.MAY_HAVE_ARRIVED: "may have arrived",
    Skipped.SUPPRESSED: "opted out, or suppressed otherwise",
    Skipped.EXPIRED: "expired",
    Skipped.CLOSED: "closed in the meantime",
}
_JobArgument = Annotated[str, typer.Argument(metavar="JOB_ID", show_default=False)]


def add_commands(app: typer.Typer) -> None:
    """Add the commands about jobs."""
    app.command()(jobs)
    app.command()(job)
    app.command()(stop)


def jobs(*, limit: LimitOption = 20, as_json: JsonOption = False) -> None:
    """List the jobs on many dead letters, newest first."""
    with command_output(as_json=as_json) as out:
        run(_jobs(out, limit=limit))


async def _jobs(out: Output, *, limit: int) -> None:
    client = await connect()
    found = [each async for each in dead_letter_jobs.jobs(client, limit=limit + 1)]
    out.listed(
        "jobs",
        ("Job", "Action", "By", "State", "Started", "Done", "Resolved", "Left", "Failed"),
        [(_document(each), _row(each)) for each in found],
        limit=limit,
        empty="No jobs.",
    )


def _row(progress: JobProgress) -> tuple[object, ...]:
    tally = progress.tally
    return (
        *(progress.job_id, progress.action, progress.by, progress.state),
        *(clock(progress.started_at), f"{tally.done} of {progress.selected}", tally.resolved),
        *(sum(tally.skipped.values()), sum(tally.failed.values())),
    )


def job(
    job_id: _JobArgument,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show its progress until it has ended.")
    ] = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Show how far a job is, or how it ended."""
    with command_output(as_json=as_json) as out:
        name = job_id.removeprefix(_PREFIX)
        if follow:
            progress = _follow(out, name, within=timeout)
        else:
            progress = run(_progress(name, within=timeout))
        out.result(_document(progress), facts(_facts(progress)))


async def _progress(job_id: str, *, within: float) -> JobProgress:
    return await dead_letter_jobs.progress(await connect(), job_id, within=within)


def stop(job_id: _JobArgument, *, by: ByOption = None, as_json: JsonOption = False) -> None:
    """Stop a job. The dead letters that it has not come to stay as they are."""
    with command_output(as_json=as_json) as out:
        name = job_id.removeprefix(_PREFIX)
        run(_stop(name, by=operator(by)))
        out.result(
            {"job_id": name, "stopping": True},
            f"Job {name} ends in a moment; see `signedfor dead-letters job {name}`.",
        )


async def _stop(job_id: str, *, by: str) -> None:
    await dead_letter_jobs.stop(await connect(), job_id, by=by)


def resolve_many(
    out: Output,
    which: DeadLetterFilter,
    resolution: Resolution,
    *,
    is_preview: bool,
    yes: bool,
    within: float,
) -> ExitCode:
    """Show what would be done, ask, start the job and follow it."""
    with database() as engine:
        what = run(_preview(which, resolution, Suppressions(engine)))
    document = {"preview": _preview_document(what), "job": None}
    if not what.selected:
        out.result(document, "No open dead letters match.")
        return ExitCode.OK
    if is_preview or not what.counts.to_resolve:
        out.result(document, *_preview_for_people(what))
        return ExitCode.OK
    if not (out.as_json and yes):
        out.note(*_preview_for_people(what))
    if not yes:
        action = f"{resolution.action} {_dead_letters(what.counts.to_resolve)}"
        out.confirm(f"This will {action}.", what=action)
    job_id = dead_letter_jobs.new_job_id()
    run(_start(what, job_id))
    out.note(f"Started job {job_id}.")
    progress = _follow(out, job_id, within=within)
    out.result(document | {"job": _document(progress)}, facts(_facts(progress)))
    if progress.state is JobState.STOPPED:
        return ExitCode.REFUSED
    return ExitCode.UNAVAILABLE if progress.tally.failed else ExitCode.OK


async def _preview(
    which: DeadLetterFilter, resolution: Resolution, suppressions: Suppressions
) -> Preview:
    return await preview(await connect(), suppressions, which, resolution)


async def _start(what: Preview, job_id: str) -> None:
    await dead_letter_jobs.start(await connect(), what.job, job_id=job_id)


def _follow(out: Output, job_id: str, *, within: float) -> JobProgress:
    """Show the job's progress until it has ended; Ctrl-C ends only that."""
    try:
        return run(_until_over(out, job_id, within=within))
    except KeyboardInterrupt:
        out.note(
            f"Job {job_id} goes on. See it with `signedfor dead-letters job {job_id}`, stop it "
            f"with `signedfor dead-letters stop {job_id}`."
        )
        raise typer.Exit(_INTERRUPTED) from None


async def _until_over(out: Output, job_id: str, *, within: float) -> JobProgress:
    client = await connect()
    progress = await _first(client, job_id, within=within)
    with out.progress_bar(progress.action, total=max(progress.selected, 1)) as on_progress:
        while not progress.is_over:
            on_progress(progress.tally.done)
            await asyncio.sleep(_POLL_SECONDS)
            try:
                progress = await dead_letter_jobs.progress(client, job_id, within=within)
            except (RPCError, Unavailable):
                out.note("Waiting for Temporal and a worker, which do not answer")
    return progress


async def _first(client: Client, job_id: str, *, within: float) -> JobProgress:
    try:
        return await dead_letter_jobs.progress(client, job_id, within=within)
    except Unavailable as error:
        raise Unconfirmed(
            f"{error}\nJob {job_id} goes on as soon as there is one; see "
            f"`signedfor dead-letters job {job_id}`."
        ) from None


def _preview_for_people(what: Preview) -> list[RenderableType]:
    parts = [(each.count, each.cause, each.sender) for each in what.parts]
    shown: list[RenderableType] = [listing(("Count", "Cause", "Sender"), parts[:_MAX_PARTS])]
    if len(parts) > _MAX_PARTS:
        shown.append(f"and {len(parts) - _MAX_PARTS} more causes and senders")
    is_retry = what.resolution.action == "retry"
    rows: list[tuple[str, object]] = [
        ("Match", _dead_letters(what.selected)),
        ("May have arrived", what.may_have_arrived),
        ("Opted out since", what.counts.suppressed),
        ("Expired since", what.counts.expired),
        ("Changes do not fit", what.counts.invalid or None),
        ("Unreadable", what.counts.unreadable or None),
    ]
    if is_retry:
        rows += [(f"Left as is: {_WHY[why]}", count) for why, count in what.counts.skipped.items()]
    rows.append((f"To {what.resolution.action}", what.counts.to_resolve))
    shown.append(facts(rows))
    if Skipped.MAY_HAVE_ARRIVED in what.counts.skipped:
        shown.append("Those that may have arrived are retried only with --even-if-taken.")
    if not what.is_all:
        shown.append(f"More match: these are the newest {what.selected}.")
    return shown


def _preview_document(what: Preview) -> dict[str, Any]:
    return {
        "action": what.resolution.action,
        "selected": what.selected,
        "more": not what.is_all,
        "to_resolve": what.counts.to_resolve,
        "may_have_arrived": what.may_have_arrived,
        "suppressed": what.counts.suppressed,
        "expired": what.counts.expired,
        "invalid": what.counts.invalid,
        "unreadable": what.counts.unreadable,
        "skipped": dict(what.counts.skipped),
        "causes": [
            {
                "failure_class": each.cause.failure_class,
                "error_code": each.cause.error_code,
                "sender": each.sender,
                "count": each.count,
            }
            for each in what.parts
        ],
    }


def _document(progress: JobProgress) -> dict[str, Any]:
    return progress.model_dump(mode="json") | {"done": progress.tally.done}


def _facts(progress: JobProgress) -> list[tuple[str, object]]:
    tally, by = progress.tally, progress.stopped_by
    return [
        ("Job", progress.job_id),
        ("State", progress.state if by is None else f"{progress.state}, by {by}"),
        ("Action", f"{progress.action}, by {progress.by}" if progress.by else progress.action),
        ("Started", clock(progress.started_at)),
        ("Ended", clock(progress.ended_at)),
        ("Done", f"{tally.done} of {progress.selected}"),
        ("Retried" if progress.action == "retry" else "Discarded", tally.resolved),
        *((f"Left as is: {_WHY[why]}", count) for why, count in tally.skipped.items()),
        *((f"Failed: {why}", count) for why, count in tally.failed.items()),
        ("Failed messages", ", ".join(tally.failed_ids)),
    ]


def _dead_letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"
