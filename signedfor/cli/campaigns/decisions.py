"""`signedfor campaign pause`, `resume` and `cancel`."""

from typing import Annotated, Final

import typer
from pydantic import ValidationError
from sqlalchemy import Engine
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from signedfor.campaign_steps import CAMPAIGN_OVER
from signedfor.cli.campaigns.standing import (
    CampaignArgument,
    campaign_handle,
    checked_campaign_id,
    known,
)
from signedfor.cli.environment import database, database_trouble
from signedfor.cli.options import ByOption, JsonOption, TimeoutOption, option_problems, who
from signedfor.cli.output import BadInput, Output, Refused, Unconfirmed, answering
from signedfor.cli.standing import bad_input_in
from signedfor.cli.temporal import answer, connect, is_namespace_missing, run
from signedfor.contract import (
    CANCEL_UPDATE,
    PAUSE_UPDATE,
    RESUME_UPDATE,
    CampaignDecision,
    CampaignProgress,
    CampaignState,
)
from signedfor.store.campaigns import Campaigns

_TIMEOUT: Final = 10.0
_OVER = frozenset({CampaignState.CANCELED, CampaignState.FINISHED})
_SAID = {
    CampaignState.PAUSED: "is paused: nothing of it is submitted until it is resumed",
    CampaignState.RUNNING: "is running",
    CampaignState.CANCELED: "is canceled: nothing of it is submitted any more",
}

_ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why, kept with the campaign.")]


def pause(
    campaign_id: CampaignArgument,
    *,
    reason: _ReasonOption = None,
    by: ByOption = None,
    timeout: TimeoutOption = _TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Hold a campaign: nothing of it is submitted until it is resumed.

    What Twilio has already, it delivers. Done when it says so.
    """
    with answering(as_json=as_json) as out:
        _decide(out, campaign_id, PAUSE_UPDATE, reason=reason, by=by, within=timeout)


def resume(
    campaign_id: CampaignArgument,
    *,
    reason: _ReasonOption = None,
    by: ByOption = None,
    timeout: TimeoutOption = _TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Let a paused campaign go on where it was."""
    with answering(as_json=as_json) as out:
        _decide(out, campaign_id, RESUME_UPDATE, reason=reason, by=by, within=timeout)


def cancel(
    campaign_id: CampaignArgument,
    *,
    reason: _ReasonOption = None,
    by: ByOption = None,
    timeout: TimeoutOption = _TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Stop a campaign for good: nothing of it is submitted any more.

    What Twilio has already, it delivers. Done when it says so.
    """
    with answering(as_json=as_json) as out:
        _decide(out, campaign_id, CANCEL_UPDATE, reason=reason, by=by, within=timeout)


def _decide(
    out: Output,
    campaign_id: str,
    update: str,
    *,
    reason: str | None,
    by: str | None,
    within: float,
) -> None:
    bare_id = checked_campaign_id(campaign_id)
    try:
        decision = CampaignDecision(by=who(by), reason=reason)
    except ValidationError as error:
        raise BadInput(option_problems(error, {"by": "--by", "reason": "--reason"})) from None
    progress = run(_ask(bare_id, update, decision, within=within))
    if progress is not None:
        state, rows, dispatched = progress.state, progress.rows, progress.dispatched
    else:
        with database() as engine, database_trouble():
            state, rows = _without_workflow(engine, bare_id, update)
        dispatched = None
    document = {
        "campaign_id": bare_id,
        "state": state.value,
        "rows": rows,
        "dispatched": dispatched,
    }
    far = "" if dispatched is None else f" {dispatched:,} of {rows:,} rows were handed over."
    out.result(document, f"Campaign {bare_id} {_SAID[state]}.{far}")


async def _ask(
    campaign_id: str, update: str, decision: CampaignDecision, *, within: float
) -> CampaignProgress | None:
    """The workflow's answer; None when none runs."""
    client: Client = await connect()
    handle = campaign_handle(client, campaign_id)
    try:
        asked = handle.execute_update(update, decision, result_type=CampaignProgress)
        return await answer(asked, within=within)
    except TimeoutError:
        raise Unconfirmed(
            f"It is not known whether the {update} of campaign {campaign_id} holds: no worker "
            f"answered within {within:g} seconds, or the database did not. It holds once they do. "
            f"See `signedfor campaign status {campaign_id}`."
        ) from None
    except WorkflowUpdateFailedError as error:
        cause = error.cause
        if isinstance(cause, ApplicationError) and cause.type == CAMPAIGN_OVER:
            raise Refused(f"Too late. {cause.message}") from None
        raise bad_input_in(cause) or Refused(
            f"Campaign {campaign_id} did not take it ({type(cause).__name__})."
        ) from None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND or is_namespace_missing(error):
            raise
        return None


def _without_workflow(engine: Engine, campaign_id: str, update: str) -> tuple[CampaignState, int]:
    """Decide about a campaign whose workflow does not run: it can only be canceled."""
    campaigns = Campaigns(engine)
    record = known(campaigns, campaign_id)
    if update == CANCEL_UPDATE and record.state is not CampaignState.FINISHED:
        return campaigns.set_state(campaign_id, CampaignState.CANCELED), record.rows
    if record.state in _OVER:
        raise Refused(f"Too late. The campaign is {record.state}.")
    raise Refused(
        f"Campaign {campaign_id} is not under way: see `signedfor campaign status {campaign_id}`. "
        "It can be canceled."
    )
