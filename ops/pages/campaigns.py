"""The campaigns: how far they are, what can be decided about them, and their reports."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final
from urllib.parse import quote, urlencode

from anyio import to_thread
from pydantic import ValidationError
from starlette.responses import Response, StreamingResponse
from temporalio.client import Client
from temporalio.service import RPCError

from ops.access import Role
from ops.index_state import index_state
from ops.web import Page, Pages
from signedfor.campaigns.decisions import decide, decide_without_workflow
from signedfor.campaigns.progress import (
    CampaignStatus,
    WorkflowState,
    checked_campaign_id,
    fetch_workflow_state,
    indexed_campaigns,
    required_record,
)
from signedfor.campaigns.report import report_csv
from signedfor.contract import (
    CANCEL_UPDATE,
    PAUSE_UPDATE,
    RESUME_UPDATE,
    CampaignDecision,
    CampaignState,
)
from signedfor.contract.fields import problems_in
from signedfor.errors import BadInput
from signedfor.notes import check_note_on
from signedfor.store.campaigns import CampaignRecord, Campaigns
from signedfor.store.rate_limiter import RateLimiter
from signedfor.temporal import is_never_connected

pages = Pages()
PATH: Final = "/campaigns"
_ROWS: Final = 50
_ANSWER_SECONDS: Final = 10.0
_STATE_SECONDS: Final = 2.0
"""How long the page of a campaign waits for Temporal: the rest of it is needed without."""


@pages.get(PATH)
async def campaigns(page: Page) -> Response:
    """List them, newest first. Their rows are counted in the message index."""
    listed = await to_thread.run_sync(_listed, page)
    index = await to_thread.run_sync(index_state, page.services.engine)
    return page.render("campaigns.html", campaigns=listed, limit=_ROWS, index=index)


@pages.get("/campaign")
async def campaign(page: Page) -> Response:
    """Show one; its text is shown on request only."""
    return await _shown(page, reveals=False)


@pages.post("/campaigns/reveal", role=Role.LOOK)
async def reveal(page: Page) -> Response:
    """Show its text too."""
    record = await _record(page)
    await page.record("campaign.reveal", record.campaign_id, why=await _why(page, record))
    return await _shown(page, reveals=True)


@pages.post("/campaigns/pause", role=Role.ACT)
async def pause(page: Page) -> Response:
    """Submit nothing more until it is resumed."""
    return await _decide(page, PAUSE_UPDATE)


@pages.post("/campaigns/resume", role=Role.ACT)
async def resume(page: Page) -> Response:
    """Continue where it was."""
    return await _decide(page, RESUME_UPDATE)


@pages.get("/campaigns/cancel", role=Role.ACT)
async def ask_to_cancel(page: Page) -> Response:
    """Ask before it is canceled, which cannot be undone."""
    record = await _record(page)
    return page.render("campaign_cancel.html", record=record, is_over=_is_over(record))


@pages.post("/campaigns/cancel", role=Role.ACT)
async def cancel(page: Page) -> Response:
    """Submit nothing more, for good."""
    return await _decide(page, CANCEL_UPDATE)


@pages.post("/campaigns/report", role=Role.ACT)
async def report(page: Page) -> Response:
    """Download the outcome of every row, with the numbers and the caller's own columns."""
    record = await _record(page)
    await page.record("campaign.report", record.campaign_id, why=await _why(page, record))
    name = quote(f"campaign-{record.campaign_id}.csv")
    return StreamingResponse(
        _report(page, record.campaign_id),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )


async def _report(page: Page, campaign_id: str) -> AsyncIterator[str]:
    services = page.services
    async for _, text in report_csv(services.client, Campaigns(services.engine), campaign_id):
        yield text


def _rate_limiter(page: Page) -> RateLimiter:
    return RateLimiter(
        page.services.engine, rates=page.services.settings.default_segments_per_second
    )


def _listed(page: Page) -> Sequence[CampaignStatus]:
    engine = page.services.engine
    records = Campaigns(engine).newest(limit=_ROWS)
    return indexed_campaigns(engine, _rate_limiter(page), records)


async def _record(page: Page) -> CampaignRecord:
    campaign_id = checked_campaign_id(page.text("id"), field="Campaign")
    return await to_thread.run_sync(required_record, Campaigns(page.services.engine), campaign_id)


async def _why(page: Page, record: CampaignRecord) -> str:
    """The reason of the form.

    Raises:
        BadInput: it has a recipient's number, which all who read the audit log would see.
    """
    why, rows = page.text("why"), Campaigns(page.services.engine)
    await to_thread.run_sync(lambda: check_reason(rows.recipients(record.campaign_id), why))
    return why


def check_reason(recipients: Iterable[str], why: str) -> None:
    """Refuse a reason that has a recipient's number.

    Raises:
        BadInput: names the field.
    """
    check_note_on(recipients, why, field="Reason", whose="a recipient's")


async def _shown(page: Page, *, reveals: bool) -> Response:
    engine, record = page.services.engine, await _record(page)
    workflow = await _workflow_state(page.services.client, record.campaign_id)
    [status] = await to_thread.run_sync(
        lambda: indexed_campaigns(engine, _rate_limiter(page), [record], workflow=workflow)
    )
    return page.render(
        "campaign.html",
        campaign=status,
        record=record,
        message=record.message,
        reveals=reveals,
        is_over=_is_over(record),
        query=urlencode({"id": record.campaign_id}),
        index=await to_thread.run_sync(index_state, engine),
    )


async def _workflow_state(client: Client, campaign_id: str) -> WorkflowState:
    try:
        async with asyncio.timeout(_STATE_SECONDS):
            return await fetch_workflow_state(client, campaign_id)
    except (RPCError, TimeoutError):
        return WorkflowState.UNKNOWN
    except RuntimeError as error:
        if not is_never_connected(error):
            raise
        return WorkflowState.UNKNOWN


def _is_over(record: CampaignRecord) -> bool:
    return record.state in {CampaignState.CANCELED, CampaignState.FINISHED}


async def _decide(page: Page, decision: str) -> Response:
    record = await _record(page)
    why = await _why(page, record) or None
    campaign_id, services = record.campaign_id, page.services
    try:
        argument = CampaignDecision(by=page.user.name, reason=why)
    except ValidationError as error:
        raise BadInput(problems_in(error)) from None
    await page.record(f"campaign.{decision}", campaign_id, why=why)
    decided = await decide(services.client, campaign_id, decision, argument, within=_ANSWER_SECONDS)
    if decided is None:
        decided = await to_thread.run_sync(
            decide_without_workflow, Campaigns(services.engine), campaign_id, decision
        )
    return page.redirect(f"/campaign?{urlencode({'id': campaign_id})}", done=decided.sentence)
