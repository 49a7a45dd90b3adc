"""`signedfor campaign report`: the outcome of every row."""

import sys
from pathlib import Path
from typing import Annotated, TextIO

import typer
from sqlalchemy import Engine

from signedfor.campaigns.progress import checked_campaign_id, required_record
from signedfor.campaigns.report import report_csv
from signedfor.cli.campaigns.status import CampaignArgument, fetch
from signedfor.cli.environment import database
from signedfor.cli.options import JsonOption
from signedfor.cli.output import BadInput, Output, command_output, facts
from signedfor.cli.temporal import connect, run
from signedfor.files import atomic_write
from signedfor.store.campaigns import Campaigns

_STANDARD_OUTPUT = Path("-")


def report(
    campaign_id: CampaignArgument,
    *,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Write one line per row, with numbers in full and your own columns; - is "
            "standard output.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the messages of a campaign ended.

    Shows the number of rows by outcome, or writes each row with --csv. A message that was retried
    counts by its retry.
    """
    with command_output(as_json=as_json) as out:
        bare_id = checked_campaign_id(campaign_id)
        if csv_file == _STANDARD_OUTPUT and as_json:
            raise BadInput([("--csv", "needs a file with --json, which uses standard output")])
        with database() as engine:
            if csv_file is None:
                run(_summary(out, engine, bare_id))
                return
            campaigns = Campaigns(engine)
            record = required_record(campaigns, bare_id)
            if csv_file == _STANDARD_OUTPUT:
                count = run(_write(campaigns, bare_id, sys.stdout))
            else:
                with atomic_write(csv_file) as temporary:
                    count = run(_write(campaigns, bare_id, temporary))
        if csv_file != _STANDARD_OUTPUT:
            out.result({"campaign_id": bare_id, "written": count}, f"Written: {count:,} rows.")
        if count < record.rows:
            out.note(
                f"{record.rows - count:,} rows are not in the database any more: older than "
                "CAMPAIGN_ROW_DAYS, or of people who were erased."
            )


async def _summary(out: Output, engine: Engine, campaign_id: str) -> None:
    status = await fetch(await connect(), engine, campaign_id)
    waiting = status.not_dispatched
    rows: list[tuple[str, object]] = [
        ("Campaign", campaign_id),
        ("State", status.record.state),
        ("Rows", f"{status.record.rows:,}"),
        *((name.replace("_", " "), f"{n:,}") for name, n in status.counts.items()),
        ("not dispatched", f"{waiting:,}" if waiting else None),
    ]
    out.result(status.document(), facts(rows))


async def _write(campaigns: Campaigns, campaign_id: str, file: TextIO) -> int:
    """Write it piece by piece; return how many rows."""
    count = 0
    async for rows, text in report_csv(await connect(), campaigns, campaign_id):
        file.write(text)
        count += rows
    file.flush()
    return count
