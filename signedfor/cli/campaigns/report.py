"""`signedfor campaign report`: the outcome of every row."""

import asyncio
import csv
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Final, TextIO

import typer
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from signedfor.cli.campaigns.status import (
    NO_REPORT,
    CampaignArgument,
    checked_campaign_id,
    fetch_campaign,
    required_record,
)
from signedfor.cli.environment import database
from signedfor.cli.options import JsonOption
from signedfor.cli.output import BadInput, Output, command_output, facts
from signedfor.cli.temporal import RPC_TIMEOUT, connect, run
from signedfor.contract import campaign_message_id, message_workflow_id
from signedfor.files import atomic_write
from signedfor.search_attributes import MESSAGE_STATUS, TWILIO_ERROR_CODE, TWILIO_SID
from signedfor.spreadsheets import masked
from signedfor.store.campaigns import CampaignRow, Campaigns

COLUMNS: Final = (
    "row",
    "to",
    "message_id",
    "status",
    "message_sid",
    "error_code",
    "ended_at",
)
NOT_DISPATCHED: Final = "not_dispatched"

_PAGE = 100
_PAGES_AT_ONCE = 4
_STANDARD_OUTPUT = Path("-")


def report(
    campaign_id: CampaignArgument,
    *,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Write one line per row, with numbers in full; - is standard output.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the messages of a campaign ended.

    Shows their number by outcome, or writes each row with --csv.
    """
    with command_output(as_json=as_json) as out:
        bare_id = checked_campaign_id(campaign_id)
        if csv_file == _STANDARD_OUTPUT and as_json:
            raise BadInput([("--csv", "needs a file with --json, which uses standard output")])
        with database() as engine:
            campaigns = Campaigns(engine)
            if csv_file is None:
                run(_summary(out, campaigns, bare_id))
                return
            required_record(campaigns, bare_id)
            if csv_file == _STANDARD_OUTPUT:
                run(_write(campaigns, bare_id, sys.stdout))
                return
            with atomic_write(csv_file) as temporary:
                count = run(_write(campaigns, bare_id, temporary))
        out.result({"campaign_id": bare_id, "written": count}, f"Written: {count:,} rows.")


async def _summary(out: Output, campaigns: Campaigns, campaign_id: str) -> None:
    status = await fetch_campaign(await connect(), campaigns, campaign_id)
    record = status.record
    waiting = max(record.rows - status.dispatched, 0)
    rows: list[tuple[str, object]] = [
        ("Campaign", campaign_id),
        ("State", record.state),
        ("Rows", f"{record.rows:,}"),
        *((name.replace("_", " "), f"{n:,}") for name, n in status.counts.items()),
        ("not dispatched", f"{waiting:,}" if waiting else None),
    ]
    document = status.document(rate=None, left=None)
    out.result({**document, NOT_DISPATCHED: waiting}, facts(rows))


async def _write(campaigns: Campaigns, campaign_id: str, file: TextIO) -> int:
    """Write it row by row, a few pages in memory at a time; return how many rows."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    count = 0
    async for line in _lines(await connect(), campaigns, campaign_id):
        writer.writerow([masked(cell) for cell in line])
        count += 1
    file.flush()
    return count


async def _lines(
    client: Client, campaigns: Campaigns, campaign_id: str
) -> AsyncIterator[Sequence[str]]:
    after = 0
    while True:
        rows = await asyncio.to_thread(
            campaigns.page, campaign_id, after=after, limit=_PAGE * _PAGES_AT_ONCE
        )
        if not rows:
            return
        pages = [rows[begin : begin + _PAGE] for begin in range(0, len(rows), _PAGE)]
        found = await asyncio.gather(*(_messages(client, campaign_id, page) for page in pages))
        for page, messages in zip(pages, found, strict=True):
            for row in page:
                message_id = campaign_message_id(campaign_id, row.number)
                yield _line(row, message_id, messages.get(message_workflow_id(message_id)))
        after = rows[-1].number


async def _messages(
    client: Client, campaign_id: str, rows: Sequence[CampaignRow]
) -> dict[str, WorkflowExecution]:
    """The rows' messages by workflow id, those that Temporal's list has."""
    ids = (message_workflow_id(campaign_message_id(campaign_id, row.number)) for row in rows)
    listed = ", ".join(f"'{each}'" for each in ids)
    found = client.list_workflows(
        f"WorkflowId IN ({listed})", page_size=len(rows), rpc_timeout=RPC_TIMEOUT
    )
    return {each.id: each async for each in found}


def _line(row: CampaignRow, message_id: str, message: WorkflowExecution | None) -> Sequence[str]:
    if message is None:
        return (str(row.number), row.to, message_id, NOT_DISPATCHED, "", "", "")
    attributes = message.typed_search_attributes
    has_report = message.status in {
        WorkflowExecutionStatus.RUNNING,
        WorkflowExecutionStatus.COMPLETED,
    }
    code, ended = attributes.get(TWILIO_ERROR_CODE), message.close_time
    return (
        str(row.number),
        row.to,
        message_id,
        (attributes.get(MESSAGE_STATUS) or "") if has_report else NO_REPORT,
        attributes.get(TWILIO_SID) or "",
        "" if code is None else str(code),
        "" if ended is None else ended.isoformat(timespec="seconds"),
    )
