"""A checked file is sent: asked for, loaded, and handed to the `Campaign` workflow."""

from typing import Final

from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from cli.asking import confirm
from cli.campaigns.check import KeptRows
from cli.campaigns.load import begun, load, require_same_rows, same
from cli.campaigns.preview import Estimate
from cli.campaigns.progress import bar
from cli.output import CommandError, Output, Trouble, facts
from cli.temporal import RPC_TIMEOUT, connect, run
from cli.views import clock
from messaging.contract import (
    CAMPAIGN,
    CAMPAIGN_ID,
    MESSAGES_QUEUE,
    START_CONFLICT_POLICY,
    CampaignMessage,
    CampaignRequest,
    CampaignState,
    campaign_workflow_id,
)
from store.campaigns import CampaignRecord, Campaigns

ASKED_ABOVE: Final = 100
"""Recipients; fewer are sent to without a question."""


def send(
    out: Output,
    campaign_id: str,
    message: CampaignMessage,
    *,
    kept: KeptRows,
    estimate: Estimate,
    campaigns: Campaigns,
    yes: bool,
) -> None:
    """Make it a campaign, load its rows and start its workflow, as far as that was not done yet.

    Raises:
        CommandError: there is another campaign by that id, nobody to ask, or no Temporal.
    """
    tally = estimate.tally
    record = campaigns.find(campaign_id)
    if record is not None:
        require_same_rows(campaigns, same(record, message), kept, tally)
    if record is None or record.state is CampaignState.LOADING:
        _ask(out, estimate, yes=yes)
        # Before anything is written: a campaign that cannot begin is not to begin later by itself.
        run(_reach_temporal())
        loading = begun(campaigns, campaign_id, message)
        with bar(out, "loading", total=tally.rows) as on_progress:
            load(campaigns, loading, kept, tally, on_progress=on_progress)
    # Also when it was loaded before: whoever did so may not have come to this.
    standing = campaigns.find(campaign_id) or record
    if standing is not None and standing.state in {CampaignState.RUNNING, CampaignState.PAUSED}:
        _start_loaded(campaign_id, message, rows=tally.rows)
    _answer(out, campaign_id, estimate, earlier=record, standing=standing)


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


def _ask(out: Output, estimate: Estimate, *, yes: bool) -> None:
    # On a terminal only: what runs by itself writes to a log, and a log has no use for texts.
    if out.notes.is_terminal and not (yes or out.as_json):
        for line in estimate.messages():
            out.note(line)
        out.notes.print(estimate.summary())
    rows = estimate.tally.rows
    if rows > ASKED_ABOVE and not yes:
        confirm(out, f"This will send to {rows:,} recipients.", what=f"send to {rows:,}")


def _start_loaded(campaign_id: str, message: CampaignMessage, *, rows: int) -> None:
    try:
        run(_start(campaign_id, message, rows=rows))
    except CommandError as error:
        raise Trouble(
            f"The rows are loaded, and nothing is sent yet. {error} "
            "Then run the same command again."
        ) from None


async def _reach_temporal() -> None:
    await connect()


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
            id_conflict_policy=START_CONFLICT_POLICY,
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
