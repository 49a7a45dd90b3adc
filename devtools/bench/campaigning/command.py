"""`campaign start` as an operator runs it, on a large file and on a small one."""

import asyncio

from devtools.bench.campaigning.desk import BODY, SENDER, Desk, NotMeasured, new_id, write_rows
from devtools.bench.harness.commands import Ran, run_command
from devtools.bench.harness.figures import Bound, Sample
from devtools.stack.processes import basic_environment

CHECKED, LOADED = "dry run", "start"
CHECKED_FEW, LOADED_FEW = "dry run, few rows", "start, few rows"
_SECONDS = "seconds"
_MEMORY = "most memory (MB)"
_WITHIN_SECONDS = 240


async def check_and_load(desk: Desk, *, rows: int, few: int) -> tuple[dict[str, list[Sample]], str]:
    """Both files, first as a dry run; and the id of the large file's campaign, which is started."""
    samples: dict[str, list[Sample]] = {}
    for count, checked, started in (few, CHECKED_FEW, LOADED_FEW), (rows, CHECKED, LOADED):
        campaign_id = new_id()
        dry = await start_campaign(desk, campaign_id, count, "--dry-run")
        whole = await start_campaign(desk, campaign_id, count)
        samples[checked] = [_figures(dry, count)]
        loading = _seconds_of_loading(desk, campaign_id, count)
        samples[started] = [{**_figures(whole, count), "loading alone (rows/s)": count / loading}]
        if count == few:
            await desk.forget(campaign_id)
    return samples, campaign_id


def bounds() -> list[Bound]:
    """What must hold: that memory does not grow with the file, too."""
    return [
        Bound(side=CHECKED, figure=_SECONDS, at_most=10),
        Bound(side=CHECKED, figure=_MEMORY, at_most=1.5, against=CHECKED_FEW),
        Bound(side=LOADED, figure=_MEMORY, at_most=1.5, against=LOADED_FEW),
    ]


async def start_campaign(desk: Desk, campaign_id: str, rows: int, *options: str) -> Ran:
    """Run the command on a file of so many rows."""
    stack = desk.house.stack
    file = stack.folder / f"{campaign_id}.csv"
    write_rows(file, rows)
    return await asyncio.to_thread(
        run_command,
        *("campaign", "start", str(file), "--from", SENDER, "--body", BODY),
        *("--id", campaign_id, "--yes", *options),
        environment={**basic_environment(stack.folder), **stack.settings},
        log=stack.folder / "logs" / "campaign-start.log",
        within=_WITHIN_SECONDS,
    )


def _figures(ran: Ran, rows: int) -> dict[str, float]:
    return {
        "rows": rows,
        _SECONDS: ran.seconds,
        "CPU seconds": ran.cpu_seconds,
        "rows/s": rows / ran.seconds,
        _MEMORY: ran.most_megabytes,
    }


def _seconds_of_loading(desk: Desk, campaign_id: str, rows: int) -> float:
    loaded = desk.campaigns.find(campaign_id)
    if loaded is None or loaded.rows != rows:
        raise NotMeasured("`campaign start` ended well, and the rows are not in the database.")
    return (loaded.since - loaded.created_at).total_seconds()
