"""The dead letters: by cause, one by one, and many at once by a job."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from anyio import to_thread
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from temporalio.service import RPCError

from ops.access import Role
from ops.index_state import index_state
from ops.web import Page, Pages
from signedfor import dead_letter_jobs, dead_letter_previews, dead_letters
from signedfor.contract import MessageChanges, Resolution
from signedfor.contract.fields import problems_in
from signedfor.dead_letter_activities import JobRequest
from signedfor.dead_letter_previews import MAX_SELECTED, Counts
from signedfor.dead_letters import DeadLetterFilter
from signedfor.errors import BadInput, NotFound
from signedfor.masks import check_no_number, masked_recipient
from signedfor.open_dead_letters import OpenDeadLetters
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.suppressions import Suppressions

pages = Pages()
PATH: Final = "/dead-letters"
_ROWS: Final = 100
_JOBS: Final = 20
_FILTER_FIELDS: Final = ("failure_class", "error_code", "sender", "tenant", "campaign_id")
_ACTIONS: Final = {"retry": "dead-letters.retry", "discard": "dead-letters.discard"}
"""What the audit log calls a decision."""


_ASKED: Final = (*_FILTER_FIELDS, "no_code", "action", "why", "even_if_taken")
"""The fields of the form that asks for a preview."""
MAX_READ_AT_ONCE: Final = 100
"""A preview of more dead letters is shown before they are counted."""
READ_AT_A_TIME: Final = 250


@dataclass(frozen=True)
class _Counting:
    """How far the count of a preview is."""

    job: JobRequest
    counts: Counts
    is_over: bool
    page_token: bytes = b""

    @property
    def fields(self) -> Mapping[str, str]:
        """The state in the form that goes on with it, so that any process can."""
        return {
            "job": self.job.model_dump_json(),
            "counts": self.counts.model_dump_json(),
            "page_token": b64encode(self.page_token).decode(),
        }


@pages.get(PATH)
async def groups(page: Page) -> Response:
    """Show the open dead letters by cause; with a filter, each of them."""
    which, engine = _filter(page), page.services.engine
    letters = OpenDeadLetters(engine)
    grouped = await to_thread.run_sync(letters.group, which)
    listed = (
        await to_thread.run_sync(lambda: letters.find(which, limit=_ROWS))
        if which != dead_letters.ALL
        else []
    )
    return page.render(
        "dead_letters.html",
        grouped=grouped,
        letters=listed,
        index=await to_thread.run_sync(index_state, engine),
        query=_query(which),
        fields={name: page.text(name) for name in _FILTER_FIELDS},
        is_filtered=which != dead_letters.ALL,
        cause_query=lambda cause: urlencode(
            {
                "failure_class": cause.failure_class or "",
                **({"error_code": cause.error_code} if cause.error_code else {"no_code": "1"}),
            }
        ),
    )


@pages.get("/dead-letter")
async def letter(page: Page) -> Response:
    """Show one dead letter."""
    details = await dead_letters.fetch(page.services.client, page.text("id"))
    report = details.request.report
    return page.render(
        "dead_letter.html",
        letter=details,
        report=report,
        cause=dead_letters.Cause(failure_class=report.failure_class, error_code=report.error_code),
        recipient=masked_recipient(details.request.message.to),
    )


@pages.post("/dead-letter/resolve", role=Role.ACT)
async def resolve(page: Page) -> Response:
    """Retry or discard one."""
    message_id = page.text("id")
    resolution = _resolution(page, changes=_changes(page))
    await dead_letters.require(page.services.client, message_id)
    await dead_letters.check_note(page.services.client, message_id, resolution, field="Reason")
    await page.record(_ACTIONS[resolution.action], message_id, why=resolution.note)
    client, letters = page.services.client, OpenDeadLetters(page.services.engine)
    try:
        report = await dead_letters.resolve(client, message_id, resolution)
    finally:  # somebody else may have closed it
        with suppress(RPCError, DatabaseUnavailable):
            await letters.look_again(client, message_id)
    done = f"Retried as {report.retried_as}." if report.retried_as else "Discarded."
    return page.redirect(f"/dead-letter?{urlencode({'id': message_id})}", done=done)


@pages.post("/dead-letters/preview", role=Role.ACT)
async def preview(page: Page) -> Response:
    """Show what a decision about many would do, and ask."""
    which = _filter(page)
    check_no_number(page.text("why"), field="Reason")
    previewed = await dead_letter_previews.preview(
        page.services.client,
        Suppressions(page.services.engine),
        which,
        _resolution(page),
        max_read=MAX_SELECTED if page.text("counts_all") else MAX_READ_AT_ONCE,
    )
    return page.render(
        "dead_letters_preview.html",
        preview=previewed,
        job=previewed.job.model_dump_json(),
        job_id=dead_letter_jobs.new_job_id(),
        back=f"{PATH}?{_query(which)}",
        asked=_asked(page),
        counting=_Counting(previewed.job, previewed.counts, is_over=previewed.is_counted),
    )


@pages.post("/dead-letters/count", role=Role.ACT)
async def count(page: Page) -> Response:
    """Count the next ones of a preview of many: a part of its page, which goes on by itself."""
    try:
        job = JobRequest.model_validate_json(page.text("job"))
        counts = Counts.model_validate_json(page.text("counts"))
        token = b64decode(page.text("page_token"), validate=True)
    except ValueError:
        raise HTTPException(400, "The form is not complete. Begin with the preview.") from None
    more, token = await dead_letter_previews.count_page(
        page.services.client,
        Suppressions(page.services.engine),
        job,
        page_token=token,
        size=READ_AT_A_TIME,
    )
    return page.render(
        "dead_letters_counts.html",
        asked=_asked(page),
        counting=_Counting(job, counts.plus(more), is_over=not token, page_token=token),
    )


def _asked(page: Page) -> Mapping[str, str]:
    """What the preview was asked for."""
    return {name: text for name in _ASKED if (text := page.text(name))}


@pages.post("/dead-letters/start", role=Role.ACT)
async def start(page: Page) -> Response:
    """Start the job that was previewed; sending the form twice starts it once."""
    try:
        job = JobRequest.model_validate_json(page.text("job"))
    except ValidationError:
        raise HTTPException(400, "The form is not complete. Begin with the preview.") from None
    job_id = page.text("job_id")
    await page.record(
        _ACTIONS[job.resolution.action],
        job_id,
        why=job.resolution.note,
        details=f"a job on {job.selected} dead letters",
    )
    await dead_letter_jobs.start(page.services.client, job, job_id=job_id)
    return page.redirect(f"/dead-letters/job?{urlencode({'id': job_id})}")


@pages.get("/dead-letters/jobs")
async def jobs(page: Page) -> Response:
    """List the jobs, newest first."""
    found = [each async for each in dead_letter_jobs.jobs(page.services.client, limit=_JOBS)]
    return page.render("dead_letter_jobs.html", jobs=found)


@pages.get("/dead-letters/job")
async def job(page: Page) -> Response:
    """Show how far a job is."""
    try:
        progress = await dead_letter_jobs.progress(page.services.client, page.text("id"))
    except NotFound as error:
        raise HTTPException(404, str(error)) from None
    return page.render("dead_letter_job.html", job=progress)


@pages.post("/dead-letters/stop", role=Role.ACT)
async def stop(page: Page) -> Response:
    """Stop a job; the dead letters that it has not come to stay open."""
    job_id = page.text("id")
    await dead_letter_jobs.require(page.services.client, job_id)
    await page.record("dead-letters.stop", job_id)
    await dead_letter_jobs.stop(page.services.client, job_id, by=page.user.name)
    return page.redirect(f"/dead-letters/job?{urlencode({'id': job_id})}", done="It is stopping.")


def _filter(page: Page) -> DeadLetterFilter:
    fields: dict[str, Any] = {name: text for name in _FILTER_FIELDS if (text := page.text(name))}
    if page.text("no_code"):
        fields["has_no_code"] = True
    try:
        return DeadLetterFilter.model_validate_strings(fields)
    except ValidationError as error:
        raise BadInput(problems_in(error)) from None


def _query(which: DeadLetterFilter) -> str:
    fields = which.model_dump(mode="json", exclude_defaults=True)
    has_no_code = fields.pop("has_no_code", False)
    return urlencode(fields | ({"no_code": "1"} if has_no_code else {}))


def _resolution(page: Page, *, changes: MessageChanges | None = None) -> Resolution:
    action = page.text("action")
    try:
        return Resolution.model_validate(
            {
                "action": action,
                "by": page.user.name,
                "note": page.text("why") or None,
                "changes": changes if action == "retry" else None,
                "even_if_taken": bool(page.text("even_if_taken")),
            }
        )
    except ValidationError as error:
        raise BadInput(problems_in(error)) from None


def _changes(page: Page) -> MessageChanges | None:
    fields = {name: text for name in ("to", "from", "body") if (text := page.text(name))}
    try:
        return MessageChanges.model_validate(fields) if fields else None
    except ValidationError as error:
        raise BadInput(problems_in(error)) from None
