"""A checked file is sent: asked for, loaded, and handed to the `Campaign` workflow."""

from dataclasses import dataclass
from typing import Final

from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from signedfor.cli.asking import confirm
from signedfor.cli.campaigns.kept import KeptRows
from signedfor.cli.campaigns.load import begun, load, require_same_rows, same
from signedfor.cli.campaigns.preview import Estimate
from signedfor.cli.campaigns.progress import bar
from signedfor.cli.campaigns.taken import require_free_ids
from signedfor.cli.output import CommandError, Output, Trouble, facts
from signedfor.cli.temporal import RPC_TIMEOUT, connect, run
from signedfor.cli.views import clock
from signedfor.client import CONFLICT_POLICY
from signedfor.contract import (
    CAMPAIGN,
    MESSAGES_QUEUE,
    CampaignMessage,
    CampaignRequest,
    CampaignState,
    campaign_workflow_id,
)
from signedfor.search_attributes import CAMPAIGN_ID
from signedfor.store.campaigns import CampaignRecord, Campaigns

ASKED_ABOVE: Final = 100
"""Recipients; fewer are sent to without a question."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A campaign whose file was checked, and of which nothing is done yet."""

    campaign_id: str
    is_chosen: bool
    """Whether the caller chose the id; else it is made of what is sent to whom."""
    message: CampaignMessage
    kept: KeptRows
    estimate: Estimate


def show(out: Output, plan: Plan, campaigns: Campaigns) -> None:
    """Tell what would be sent, and whether it was started already.

    Raises:
        Refused: there is another campaign by that id.
    """
    record = _earlier(campaigns, plan)
    if record is None:
        _find_alike(out, plan, campaigns)
    state = "new" if record is None else f"{record.state} already"
    document = {
        "dry_run": True,
        "campaign_id": plan.campaign_id,
        "state": None if record is None else record.state.value,
        **plan.estimate.document(),
    }
    out.result(
        document,
        *plan.estimate.messages(),
        plan.estimate.summary(("Campaign", f"{plan.campaign_id}, {state}")),
        "Nothing was done.",
    )


def send(out: Output, plan: Plan, campaigns: Campaigns, *, yes: bool) -> None:
    """Make it a campaign, load its rows and start its workflow, as far as that was not done yet.

    Raises:
        CommandError: there is another campaign by that id, nobody to ask, or no Temporal.
    """
    campaign_id, message, tally = plan.campaign_id, plan.message, plan.estimate.tally
    record = _earlier(campaigns, plan)
    if record is None or record.state is CampaignState.LOADING:
        alike = _find_alike(out, plan, campaigns)
        _ask(out, plan.estimate, yes=yes, again=alike is not None and not plan.is_chosen)
        # Before anything is written: a campaign that cannot begin is not to begin later by itself.
        run(_see_that_it_can_begin(campaign_id, is_new=record is None))
        loading = begun(campaigns, campaign_id, message)
        with bar(out, "loading", total=tally.rows) as on_progress:
            load(campaigns, loading, plan.kept, tally, on_progress=on_progress)
    # Also when it was loaded before: whoever did so may not have come to this.
    standing = campaigns.find(campaign_id) or record
    if standing is not None and standing.state in {CampaignState.RUNNING, CampaignState.PAUSED}:
        _start_loaded(campaign_id, message, rows=tally.rows)
    _answer(out, campaign_id, plan.estimate, earlier=record, standing=standing)


def _earlier(campaigns: Campaigns, plan: Plan) -> CampaignRecord | None:
    """The campaign as it was begun earlier; Refused if it is another one by the same id."""
    record = campaigns.find(plan.campaign_id)
    if record is not None:
        same(record, plan.message)
        require_same_rows(campaigns, record, plan.kept, plan.estimate.tally)
    return record


def _find_alike(out: Output, plan: Plan, campaigns: Campaigns) -> CampaignRecord | None:
    """Another campaign that sends the same, which is told."""
    alike = campaigns.find_identical(plan.message, other_than=plan.campaign_id)
    if alike is not None:
        out.note(
            f"Campaign {alike.campaign_id} ({alike.state}, {alike.rows:,} rows) sends the same "
            "text with the same options: who is in both gets it twice."
        )
    return alike


def _answer(
    out: Output,
    campaign_id: str,
    estimate: Estimate,
    *,
    earlier: CampaignRecord | None,
    standing: CampaignRecord | None,
) -> None:
    state = standing.state if standing is not None else CampaignState.RUNNING
    is_new = earlier is None or earlier.state is CampaignState.LOADING
    document = {
        "campaign_id": campaign_id,
        "accepted": "now" if is_new else "earlier",
        "state": state.value,
        **estimate.document(),
    }
    see = f"See `signedfor campaign status {campaign_id}`."
    if is_new:
        out.note(f"Started as campaign {campaign_id}. {see}")
        out.result(document, campaign_id)
        return
    is_over = state in {CampaignState.CANCELED, CampaignState.FINISHED}
    hint = " Give another --id to send to them once more." if is_over else ""
    out.note(f"This campaign was started earlier; nothing is sent twice. {see}{hint}")
    since = clock(standing.created_at) if standing is not None else None
    out.result(document, facts([("Campaign", campaign_id), ("State", state), ("Created", since)]))


def _ask(out: Output, estimate: Estimate, *, yes: bool, again: bool) -> None:
    # On a terminal only: what runs by itself writes to a log, and a log has no use for texts.
    if out.notes.is_terminal and not (yes or out.as_json):
        for line in estimate.messages():
            out.note(line)
        out.notes.print(estimate.summary())
    rows = estimate.tally.rows
    if (rows > ASKED_ABOVE or again) and not yes:
        what = "send the same once more" if again else f"send to {rows:,}"
        confirm(out, f"This will send to {rows:,} recipients.", what=what)


def _start_loaded(campaign_id: str, message: CampaignMessage, *, rows: int) -> None:
    try:
        run(_start(campaign_id, message, rows=rows))
    except CommandError as error:
        raise Trouble(
            f"The rows are loaded, and nothing is sent yet. {error} "
            "Then run the same command again."
        ) from None


async def _see_that_it_can_begin(campaign_id: str, *, is_new: bool) -> None:
    """Reach Temporal; a campaign that is new to the database must be new to it too."""
    client = await connect()
    if is_new:
        await require_free_ids(client, campaign_id)


async def _start(campaign_id: str, message: CampaignMessage, *, rows: int) -> None:
    client = await connect()
    summary = (message.priority.value, message.category, f"{rows} rows")
    attributes = [SearchAttributePair(CAMPAIGN_ID, campaign_id)]
    try:
        await client.start_workflow(
            CAMPAIGN,
            CampaignRequest(),
            id=campaign_workflow_id(campaign_id),
            task_queue=MESSAGES_QUEUE,
            id_conflict_policy=CONFLICT_POLICY,
            # One that failed or was terminated may go on: its messages have ids of their own.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            search_attributes=TypedSearchAttributes(attributes),
            static_summary=" ".join(filter(None, summary)),
            # Decisions about it must not queue behind its messages.
            priority=Priority(priority_key=1),
            rpc_timeout=RPC_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        return  # and ended
