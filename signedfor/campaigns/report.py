"""The report of a campaign: the outcome of every row, and the caller's own columns.

A row is followed to its end: from its message to the one that retried it, to the one that retried
that one, and to a delivery that was learned of too late for the message's own report.
"""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from signedfor.campaigns.counts import ESCALATED
from signedfor.campaigns.progress import required_record
from signedfor.contract import (
    DeadLetterOutcome,
    Outcome,
    campaign_message_id,
    dead_letter_workflow_id,
    message_workflow_id,
    next_retry_id,
)
from signedfor.csv_problems import distinct
from signedfor.search_attributes import MESSAGE_STATUS, TWILIO_ERROR_CODE, TWILIO_SID
from signedfor.spreadsheets import masked
from signedfor.store.campaigns import CampaignRecord, CampaignRow, Campaigns
from signedfor.store.message_counts import NO_REPORT
from signedfor.times import iso8601

COLUMNS: Final = (
    "row",
    "to",
    "message_id",
    "status",
    "retries",
    "dead_letter",
    "message_sid",
    "error_code",
    "ended_at",
)
"""Ours; the caller's follow."""
NOT_DISPATCHED: Final = "not_dispatched"
"""The status of a row whose message was not started."""
NOT_FOUND: Final = "not_found"
"""The status of a row whose message was started, or skipped, and is not in Temporal's list."""

_PAGE = 100
_PAGES_AT_ONCE = 4
_RPC_TIMEOUT = timedelta(seconds=10)
_HAS_REPORT = frozenset({WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED})


@dataclass(frozen=True, kw_only=True)
class RowOutcome:
    """How a row stands: by its newest message."""

    message_id: str
    """Of its newest message."""
    status: str
    """Its stage or outcome, `no_report`, `not_dispatched` or `not_found`."""
    retries: int = 0
    """How often a dead letter was retried."""
    dead_letter: str | None = None
    """`open`, or how the dead letter of the newest message was closed."""
    message_sid: str | None = None
    error_code: int | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ReportLine:
    """A row of the campaign, and how it stands."""

    row: CampaignRow
    outcome: RowOutcome

    def cells(self, width: int) -> list[str]:
        """Ours in the order of `COLUMNS`, then the caller's, filled up to `width` of them."""
        row, outcome = self.row, self.outcome
        ended = outcome.ended_at
        ours = [
            str(row.number),
            row.to,
            outcome.message_id,
            outcome.status,
            str(outcome.retries),
            outcome.dead_letter or "",
            outcome.message_sid or "",
            "" if outcome.error_code is None else str(outcome.error_code),
            "" if ended is None else iso8601(ended.replace(microsecond=0)),
        ]
        return [*ours, *row.cells, *[""] * (width - len(row.cells))]


def header(record: CampaignRecord) -> list[str]:
    """The columns of the report: ours, then the caller's in their order.

    One of the caller's that is called like one of ours gets a number: `to_2`.
    """
    names = list(COLUMNS)
    # Also those that stay as they are: `status` must not become the `status_2` of the same file.
    taken = {*COLUMNS, *(name.lower() for name in record.columns)}
    for name in record.columns:
        found = distinct(name, taken) if name.lower() in COLUMNS else name
        taken.add(found.lower())
        names.append(found)
    return names


async def report_csv(
    client: Client, campaigns: Campaigns, campaign_id: str
) -> AsyncIterator[tuple[int, str]]:
    """The report as CSV in pieces, each with its number of rows; a few pages are in memory.

    Raises:
        NotFound: there is no such campaign.
    """
    record = await asyncio.to_thread(required_record, campaigns, campaign_id)
    yield 0, _csv([header(record)])
    pages = report_lines(client, campaigns, record)
    async for page in pages:
        yield len(page), _csv(each.cells(len(record.columns)) for each in page)


async def report_lines(
    client: Client, campaigns: Campaigns, record: CampaignRecord
) -> AsyncIterator[list[ReportLine]]:
    """Every row of the campaign, in order, page by page."""
    after, campaign_id = 0, record.campaign_id
    while True:
        rows = await asyncio.to_thread(
            campaigns.page, campaign_id, after=after, limit=_PAGE * _PAGES_AT_ONCE, with_cells=True
        )
        if not rows:
            return
        pages = [rows[begin : begin + _PAGE] for begin in range(0, len(rows), _PAGE)]
        found = await asyncio.gather(*(_outcomes(client, record, page) for page in pages))
        for page, outcomes in zip(pages, found, strict=True):
            yield [
                ReportLine(row=row, outcome=outcome)
                for row, outcome in zip(page, outcomes, strict=True)
            ]
        after = rows[-1].number


async def _outcomes(
    client: Client, record: CampaignRecord, rows: Sequence[CampaignRow]
) -> list[RowOutcome]:
    """How these rows stand."""
    first = {row.number: campaign_message_id(record.campaign_id, row.number) for row in rows}
    newest, letters = dict(first), dict[str, WorkflowExecution]()
    messages = await _listed(client, map(message_workflow_id, first.values()))
    retries = dict.fromkeys(first, 0)
    following = dict(first)
    while following := {
        number: message_id
        for number, message_id in following.items()
        if _may_have_dead_letter(messages.get(message_workflow_id(message_id)))
    }:
        retry = {number: next_retry_id(each) for number, each in following.items()}
        # Both at once: a list that lags behind may have the retry before it has the decision.
        found = await _listed(
            client,
            [
                *map(dead_letter_workflow_id, following.values()),
                *map(message_workflow_id, retry.values()),
            ],
        )
        messages |= found
        letters |= found
        following = {
            number: each for number, each in retry.items() if message_workflow_id(each) in found
        }
        newest |= following
        for number in following:
            retries[number] += 1
    return [
        _outcome(
            newest[row.number],
            messages.get(message_workflow_id(newest[row.number])),
            letters.get(dead_letter_workflow_id(newest[row.number])),
            retries=retries[row.number],
            is_dispatched=row.number <= record.last_row,
        )
        for row in rows
    ]


def _may_have_dead_letter(message: WorkflowExecution | None) -> bool:
    """Whether it may have been retried, or delivered later than its report says."""
    return message is not None and message.typed_search_attributes.get(MESSAGE_STATUS) in ESCALATED


def _outcome(
    message_id: str,
    message: WorkflowExecution | None,
    dead_letter: WorkflowExecution | None,
    *,
    retries: int,
    is_dispatched: bool,
) -> RowOutcome:
    if message is None:
        status = NOT_FOUND if is_dispatched else NOT_DISPATCHED
        return RowOutcome(message_id=message_id, status=status)
    attributes = message.typed_search_attributes
    status = (attributes.get(MESSAGE_STATUS) or "") if message.status in _HAS_REPORT else NO_REPORT
    code, ended = attributes.get(TWILIO_ERROR_CODE), message.close_time
    letter = None
    if dead_letter is not None:
        letter = dead_letter.typed_search_attributes.get(MESSAGE_STATUS)
        if letter == DeadLetterOutcome.DELIVERED_LATE:
            status, code, ended = Outcome.DELIVERED.value, None, dead_letter.close_time
    return RowOutcome(
        message_id=message_id,
        status=status,
        retries=retries,
        dead_letter=letter,
        message_sid=attributes.get(TWILIO_SID),
        error_code=code,
        ended_at=ended,
    )


async def _listed(client: Client, workflow_ids: Iterable[str]) -> dict[str, WorkflowExecution]:
    """Those of them that Temporal's list has."""
    ids = list(workflow_ids)
    listed = ", ".join(f"'{each}'" for each in ids)
    found = client.list_workflows(
        f"WorkflowId IN ({listed})", page_size=len(ids), rpc_timeout=_RPC_TIMEOUT
    )
    return {each.id: each async for each in found}


def _csv(lines: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([masked(cell) for cell in line] for line in lines)
    return text.getvalue()
