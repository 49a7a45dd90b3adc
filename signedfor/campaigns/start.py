"""Start a campaign: check its file, preview what will be sent, load the rows, and go."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from signedfor.campaigns.checks import check_file
from signedfor.campaigns.estimate import Estimate
from signedfor.campaigns.progress import required_record
from signedfor.campaigns.recipients import RecipientsFile
from signedfor.campaigns.staging import (
    StagedRows,
    derived_id,
    load,
    require_same_message,
    require_same_rows,
    require_unused_ids,
)
from signedfor.client import CONFLICT_POLICY
from signedfor.contract import (
    CAMPAIGN,
    MESSAGES_QUEUE,
    CampaignMessage,
    CampaignRequest,
    CampaignState,
    campaign_workflow_id,
)
from signedfor.csv_problems import CsvProblems, SkippedRows
from signedfor.destinations import Destinations
from signedfor.errors import BadInput
from signedfor.message_limits import shared_rules
from signedfor.quiet_hours import with_quiet_hours
from signedfor.search_attributes import CAMPAIGN_ID
from signedfor.settings import CampaignSettings
from signedfor.store.campaigns import CampaignRecord, Campaigns
from signedfor.store.own_senders import OwnSenders
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions
from signedfor.workflow_calls import RPC_TIMEOUT

MAX_UNCONFIRMED: Final = 100
"""Recipients to which a campaign is sent without confirmation."""


@dataclass(frozen=True, kw_only=True)
class CheckedCampaign:
    """A campaign whose file was checked; nothing else has been done yet.

    To start it: `start`; or `require_startable`, `load` and `launch`, in this order. Each may be
    repeated, and so may all of them: nothing is sent twice.
    """

    campaigns: Campaigns
    campaign_id: str
    is_id_chosen: bool
    """Whether the caller chose the id; else it is derived."""
    message: CampaignMessage
    staged: StagedRows
    estimate: Estimate

    @property
    def warnings(self) -> list[str]:
        """What will not be sent, in sentences."""
        return self.estimate.warnings(self.message.expires_at)

    def earlier(self) -> CampaignRecord | None:
        """The campaign if it was started before.

        Raises:
            Refused: another campaign has its id.
        """
        record = self.campaigns.find(self.campaign_id)
        if record is not None:
            require_same_message(record, self.message)
            require_same_rows(self.campaigns, record, self.staged)
        return record

    def similar(self) -> CampaignRecord | None:
        """Another campaign that sends the same text: recipients in both would get it twice."""
        return self.campaigns.find_identical(self.message, other_than=self.campaign_id)

    def needs_confirmation(self, *, similar: CampaignRecord | None) -> bool:
        """Whether a person must agree: to so many recipients, or to the same text again."""
        is_again = similar is not None and not self.is_id_chosen
        return is_again or self.estimate.tally.rows > MAX_UNCONFIRMED

    async def start(self, client: Client) -> CampaignRecord:
        """Do all of it; if it was started earlier, nothing is sent twice.

        Raises:
            Refused: another campaign has its id, or Temporal already knows its ids.
        """
        earlier = await asyncio.to_thread(self.earlier)
        if not is_loaded(earlier):
            if earlier is None:
                await self.require_startable(client)
            await asyncio.to_thread(self.load)
        record = await asyncio.to_thread(required_record, self.campaigns, self.campaign_id)
        # Also if it was loaded before: that process may have died before this step.
        if record.state in {CampaignState.RUNNING, CampaignState.PAUSED}:
            await self.launch(client)
        return record

    async def require_startable(self, client: Client) -> None:
        """Return if it can start; to be called before anything is written.

        Raises:
            Refused: Temporal already knows its ids, and this database does not.
        """
        await require_unused_ids(client, self.campaign_id)

    def load(self, on_progress: Callable[[int], None] = lambda _: None) -> None:
        """Write its rows and set it running; `on_progress` gets how many rows are written.

        Raises:
            Refused: another campaign has this id.
        """
        load(
            self.campaigns,
            self.campaign_id,
            self.message,
            self.staged,
            on_progress=on_progress,
        )

    async def launch(self, client: Client) -> None:
        """Start its workflow, unless it runs or has ended."""
        message = self.message
        what = f"{message.category or 'campaign'}, {message.priority} priority"
        attributes = [SearchAttributePair(CAMPAIGN_ID, self.campaign_id)]
        try:
            await client.start_workflow(
                CAMPAIGN,
                CampaignRequest(),
                id=campaign_workflow_id(self.campaign_id),
                task_queue=MESSAGES_QUEUE,
                id_conflict_policy=CONFLICT_POLICY,
                # One that failed or was terminated may continue: its messages have their own ids.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                search_attributes=TypedSearchAttributes(attributes),
                static_summary=f"{what}, {self.estimate.tally.rows} rows",
                # Decisions about it must not queue behind its messages.
                priority=Priority(priority_key=1),
                rpc_timeout=RPC_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            return  # and it has ended

    def document(self) -> dict[str, Any]:
        """What is known of it before it starts, for programs; without numbers and texts."""
        return {"campaign_id": self.campaign_id, **self.estimate.document()}


def with_price(settings: CampaignSettings, price: str) -> CampaignSettings:
    """The settings with this price per segment, for the estimate.

    Raises:
        BadInput: it is no price.
    """
    try:
        checked = CampaignSettings.model_validate({"price_per_segment": price})
    except ValidationError:
        raise BadInput([("--price", "must be a number from 0 to 1000, such as 0.0079")]) from None
    return settings.model_copy(update={"price_per_segment": checked.price_per_segment})


@contextmanager
def checked_campaign(
    source: RecipientsFile,
    message: CampaignMessage,
    *,
    engine: Engine,
    settings: CampaignSettings,
    to_column: str = "to",
    campaign_id: str | None = None,
    problems: CsvProblems | None = None,
    skipped: SkippedRows | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Iterator[CheckedCampaign]:
    """Check every row of the file; yield the campaign, whose rows are staged until the block ends.

    `campaign_id` is the id that the caller chose. With `skipped`, bad rows are written there and
    left out. `on_progress` gets how many bytes have been read.

    Raises:
        BadRows: a row or the file is wrong; names lines and columns, never their contents.
        BadInput: the text does not match the file, or the message has expired.
        OSError: the file cannot be read to its end.
    """
    if message.expires_at is not None and message.expires_at <= datetime.now(UTC):
        raise BadInput([("--expires-at", "has passed")])
    # What the workers will keep; the campaign itself does not have the setting.
    window = with_quiet_hours(
        message.send_window, settings.quiet_hours.get(message.category or "", ())
    )
    limiter = RateLimiter(engine, rates=settings.default_segments_per_second)
    own = OwnSenders(engine, default_sender=settings.default_sender)
    with StagedRows() as staged:
        tally = check_file(
            source,
            message.model_copy(update={"send_window": window}),
            to_column=to_column.strip().lower(),
            suppressions=Suppressions(engine),
            staged=staged,
            own=own,
            destinations=Destinations(
                settings.allowed_countries, senders=own, default_sender=settings.default_sender
            ),
            campaign_id=campaign_id,
            problems=problems,
            skipped=skipped,
            on_progress=on_progress,
        )
        yield CheckedCampaign(
            campaigns=Campaigns(engine),
            campaign_id=campaign_id or derived_id(message, staged.fingerprint),
            is_id_chosen=campaign_id is not None,
            message=message,
            staged=staged,
            estimate=Estimate(
                tally=tally,
                rate=limiter.rate(message.sender),
                backlog=limiter.backlog(message.sender),
                price=settings.price_per_segment,
                currency=settings.price_currency,
                has_window=window is not None,
                is_sender_paused=limiter.is_paused(message.sender),
                limits=shared_rules(
                    settings.message_limits, tenant=message.tenant, category=message.category
                ),
            ),
        )


def is_loaded(earlier: CampaignRecord | None) -> bool:
    """Whether the rows of this campaign are in the database already."""
    return earlier is not None and earlier.state is not CampaignState.LOADING
