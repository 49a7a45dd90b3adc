"""Pause, resume and cancel a campaign."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from temporalio.client import Client

from signedfor.campaigns.progress import campaign_handle, required_record
from signedfor.contract import (
    CANCEL_UPDATE,
    CampaignDecision,
    CampaignProgress,
    CampaignState,
)
from signedfor.errors import Refused, Unconfirmed
from signedfor.store.campaigns import Campaigns
from signedfor.workflow_calls import update

_OVER = frozenset({CampaignState.CANCELED, CampaignState.FINISHED})
_RESULTS: Final[Mapping[CampaignState, str]] = {
    CampaignState.PAUSED: "is paused: nothing of it is submitted until it is resumed",
    CampaignState.RUNNING: "is running",
    CampaignState.CANCELED: "is canceled: nothing more of it is submitted",
}


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A decision that is in force."""

    campaign_id: str
    state: CampaignState
    rows: int
    dispatched: int | None
    """Rows whose message was started; None if the campaign's workflow does not run."""

    @property
    def sentence(self) -> str:
        """The result for people."""
        count = ""
        if self.dispatched is not None:
            count = f" {self.dispatched:,} of {self.rows:,} rows were dispatched."
        return f"Campaign {self.campaign_id} {_RESULTS[self.state]}.{count}"

    def document(self) -> dict[str, Any]:
        """The result for programs."""
        return {
            "campaign_id": self.campaign_id,
            "state": self.state.value,
            "rows": self.rows,
            "dispatched": self.dispatched,
        }


async def decide(
    client: Client, campaign_id: str, decision: str, argument: CampaignDecision, *, within: float
) -> Decided | None:
    """Send the update `pause`, `resume` or `cancel`; return when it is in force.

    The caller needs no database. None: its workflow does not run; `decide_without_workflow`.

    Raises:
        Refused: it is over.
        Unconfirmed: no worker answered within that many seconds.
    """
    handle = campaign_handle(client, campaign_id)
    try:
        progress = await update(handle, decision, argument, CampaignProgress, within=within)
    except TimeoutError:
        raise Unconfirmed(
            f"It is not known whether the {decision} of campaign {campaign_id} has taken effect: "
            f"no worker answered within {within:g} seconds, or the database did not. It takes "
            f"effect once they do. See `signedfor campaign status {campaign_id}`."
        ) from None
    if progress is None:
        return None
    return Decided(
        campaign_id=campaign_id,
        state=progress.state,
        rows=progress.rows,
        dispatched=progress.dispatched,
    )


def decide_without_workflow(campaigns: Campaigns, campaign_id: str, decision: str) -> Decided:
    """Decide about a campaign whose workflow does not run: it can only be canceled.

    Raises:
        NotFound: there is no such campaign.
        Refused: it is over, or the decision is another one.
    """
    record = required_record(campaigns, campaign_id)
    if decision == CANCEL_UPDATE and record.state is not CampaignState.FINISHED:
        state = campaigns.set_state(campaign_id, CampaignState.CANCELED)
        return Decided(campaign_id=campaign_id, state=state, rows=record.rows, dispatched=None)
    if record.state in _OVER:
        raise Refused(f"Campaign {campaign_id} is already {record.state}.")
    raise Refused(
        f"Campaign {campaign_id} is not running: see `signedfor campaign status {campaign_id}`. "
        "It can be canceled."
    )
