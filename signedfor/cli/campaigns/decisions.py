"""`signedfor campaign pause`, `resume` and `cancel`."""

from collections.abc import Callable, Mapping
from typing import Annotated, Final

import typer
from sqlalchemy import Engine

from signedfor.cli.campaigns.status import (
    CampaignArgument,
    campaign_handle,
    checked_campaign_id,
    required_record,
)
from signedfor.cli.environment import database
from signedfor.cli.options import ByOption, JsonOption, TimeoutOption, checked_model, operator
from signedfor.cli.output import Refused, Unconfirmed, command_output
from signedfor.cli.temporal import connect, run, update
from signedfor.contract import (
    CANCEL_UPDATE,
    PAUSE_UPDATE,
    RESUME_UPDATE,
    CampaignDecision,
    CampaignProgress,
    CampaignState,
)
from signedfor.store.campaigns import Campaigns

HELP: Final[Mapping[str, str]] = {
    PAUSE_UPDATE: """Submit nothing more until it is resumed.

    It takes effect before the command ends. Messages that Twilio already has are delivered.
    """,
    RESUME_UPDATE: "Continue a paused campaign where it was.",
    CANCEL_UPDATE: """Submit nothing more, for good.

    It takes effect before the command ends. Messages that Twilio already has are delivered.
    """,
}
"""The decisions, each with the help of its command."""

_TIMEOUT: Final = 10.0
_OVER = frozenset({CampaignState.CANCELED, CampaignState.FINISHED})
_RESULTS = {
    CampaignState.PAUSED: "is paused: nothing of it is submitted until it is resumed",
    CampaignState.RUNNING: "is running",
    CampaignState.CANCELED: "is canceled: nothing more of it is submitted",
}


def command(decision: str) -> Callable[..., None]:
    """The command that sends this update to a campaign's workflow."""

    def decide(
        campaign_id: CampaignArgument,
        *,
        reason: Annotated[
            str | None,
            typer.Option("--reason", metavar="TEXT", help="Why, recorded with the campaign."),
        ] = None,
        by: ByOption = None,
        timeout: TimeoutOption = _TIMEOUT,
        as_json: JsonOption = False,
    ) -> None:
        with command_output(as_json=as_json) as out:
            bare_id = checked_campaign_id(campaign_id)
            argument = checked_model(CampaignDecision, {"by": operator(by), "reason": reason})
            progress = run(_update(bare_id, decision, argument, within=timeout))
            if progress is not None:
                state, rows, dispatched = progress.state, progress.rows, progress.dispatched
            else:
                with database() as engine:
                    state, rows = _without_workflow(engine, bare_id, decision)
                dispatched = None
            document = {
                "campaign_id": bare_id,
                "state": state.value,
                "rows": rows,
                "dispatched": dispatched,
            }
            count = (
                "" if dispatched is None else f" {dispatched:,} of {rows:,} rows were dispatched."
            )
            out.result(document, f"Campaign {bare_id} {_RESULTS[state]}.{count}")

    return decide


async def _update(
    campaign_id: str, decision: str, argument: CampaignDecision, *, within: float
) -> CampaignProgress | None:
    """The workflow's answer; None when it does not run."""
    handle = campaign_handle(await connect(), campaign_id)
    try:
        return await update(handle, decision, argument, CampaignProgress, within=within)
    except TimeoutError:
        raise Unconfirmed(
            f"It is not known whether the {decision} of campaign {campaign_id} has taken effect: "
            f"no worker answered within {within:g} seconds, or the database did not. It takes "
            f"effect once they do. See `signedfor campaign status {campaign_id}`."
        ) from None


def _without_workflow(engine: Engine, campaign_id: str, decision: str) -> tuple[CampaignState, int]:
    """Decide about a campaign whose workflow does not run: it can only be canceled."""
    campaigns = Campaigns(engine)
    record = required_record(campaigns, campaign_id)
    if decision == CANCEL_UPDATE and record.state is not CampaignState.FINISHED:
        return campaigns.set_state(campaign_id, CampaignState.CANCELED), record.rows
    if record.state in _OVER:
        raise Refused(f"Campaign {campaign_id} is already {record.state}.")
    raise Refused(
        f"Campaign {campaign_id} is not running: see `signedfor campaign status {campaign_id}`. "
        "It can be canceled."
    )
