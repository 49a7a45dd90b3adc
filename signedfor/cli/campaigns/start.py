"""`signedfor campaign start`: check a file of recipients, show what will be sent, and send it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError
from temporalio import common
from temporalio.exceptions import WorkflowAlreadyStartedError

from signedfor.cli.campaigns.checks import check_file
from signedfor.cli.campaigns.estimate import Estimate
from signedfor.cli.campaigns.recipients import STANDARD_INPUT, opened
from signedfor.cli.campaigns.staging import (
    StagedRows,
    derived_id,
    load,
    require_same_message,
    require_same_rows,
    require_unused_ids,
)
from signedfor.cli.campaigns.status import checked_campaign_id, required_record
from signedfor.cli.environment import campaign_settings, database
from signedfor.cli.options import (
    BetweenOption,
    CategoryOption,
    DaysOption,
    ExpiresAtOption,
    JsonOption,
    MediaOption,
    OnUnknownOutcomeOption,
    Problems,
    QuietHoursOption,
    ReceiptTimeoutOption,
    TagOption,
    TenantOption,
    TimeZoneOption,
    checked_model,
    send_window,
    tags,
    text_or_standard_input,
)
from signedfor.cli.output import (
    BadInput,
    CommandError,
    Output,
    Unavailable,
    clock,
    command_output,
    facts,
)
from signedfor.cli.temporal import RPC_TIMEOUT, connect, run
from signedfor.client import CONFLICT_POLICY
from signedfor.contract import (
    CAMPAIGN,
    MESSAGES_QUEUE,
    CampaignMessage,
    CampaignRequest,
    CampaignState,
    Priority,
    campaign_workflow_id,
)
from signedfor.quiet_hours import with_quiet_hours
from signedfor.search_attributes import CAMPAIGN_ID
from signedfor.settings import CampaignSettings
from signedfor.store.campaigns import CampaignRecord, Campaigns
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions

MAX_UNCONFIRMED: Final = 100
"""Recipients to which a campaign is sent without confirmation."""


def start(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="CSV in UTF-8 with a header line; - reads standard input."
        ),
    ],
    *,
    body: Annotated[
        str,
        typer.Option(
            "--body",
            metavar="TEXT",
            help="The text, with {column} for a row's cell; - reads standard input.",
        ),
    ],
    sender: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SENDER",
            help="Number, Messaging Service or other sender. Default: DEFAULT_SENDER.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and show everything; send nothing.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            "-y",
            help=f"Do not ask for confirmation of more than {MAX_UNCONFIRMED} recipients.",
        ),
    ] = False,
    to_column: Annotated[
        str,
        typer.Option("--to-column", metavar="NAME", help="The column with the recipients."),
    ] = "to",
    campaign_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="CAMPAIGN_ID",
            help="A campaign is sent once for each ID. Default: derived from rows and options.",
        ),
    ] = None,
    media: MediaOption = None,
    priority: Annotated[
        Priority,
        typer.Option(
            "--priority",
            metavar="normal|bulk",
            help="Compared with the sender's other messages.",
        ),
    ] = Priority.BULK,
    category: CategoryOption = None,
    tenant: TenantOption = None,
    expires_at: ExpiresAtOption = None,
    between: BetweenOption = None,
    days: DaysOption = None,
    time_zone: TimeZoneOption = None,
    quiet_hours: QuietHoursOption = None,
    receipt_timeout: ReceiptTimeoutOption = None,
    on_unknown_outcome: OnUnknownOutcomeOption = None,
    tag: TagOption = None,
    price: Annotated[
        str | None,
        typer.Option(
            "--price",
            metavar="NUMBER",
            help="Price per segment, for the estimate. Default: PRICE_PER_SEGMENT.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send one text to all recipients in a file.

    Every row is checked first; if any is wrong, nothing is sent. The same rows with the same
    options are the same campaign: start it twice, and each recipient still gets one message.
    """
    with command_output(as_json=as_json) as out:
        settings = campaign_settings()
        if body == "-" and file == STANDARD_INPUT:
            raise BadInput([("--body", "and FILE cannot both be standard input")])
        problems: Problems = []
        chosen_id = None
        if campaign_id is not None:
            try:
                chosen_id = checked_campaign_id(campaign_id, field="--id")
            except BadInput as error:
                problems += error.problems
        fields = {
            "from": sender if sender is not None else settings.default_sender,
            "body": text_or_standard_input(out, body),
            "media_urls": media,
            "priority": priority,
            "category": category,
            "tenant": tenant,
            "expires_at": expires_at,
            "receipt_timeout_seconds": receipt_timeout,
            "on_unknown_outcome": on_unknown_outcome,
            "send_window": send_window(between, days, time_zone, quiet_hours, problems),
            "tags": tags(tag or (), problems),
        }
        message = _message(fields, problems)
        # What the workers will keep; the campaign itself does not have the setting.
        window = with_quiet_hours(
            message.send_window, settings.quiet_hours.get(message.category or "", ())
        )
        settings, column = _priced(settings, price), to_column.strip().lower()
        with database() as engine, StagedRows() as staged:
            limiter = RateLimiter(engine, rates=settings.default_segments_per_second)
            own = {state.sender for state in limiter.states()} | {settings.default_sender or ""}
            with (
                _file_errors(),
                opened(file) as source,
                out.progress_bar("checking", total=source.size) as on_progress,
            ):
                tally = check_file(
                    source,
                    message.model_copy(update={"send_window": window}),
                    to_column=column,
                    suppressions=Suppressions(engine),
                    staged=staged,
                    own=own,
                    campaign_id=chosen_id,
                    on_progress=on_progress,
                )
            launch = _Launch(
                out=out,
                campaigns=Campaigns(engine),
                campaign_id=chosen_id or derived_id(message, staged.fingerprint),
                is_id_chosen=chosen_id is not None,
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
                ),
            )
            for warning in launch.estimate.warnings(message.expires_at):
                out.note(warning)
            if dry_run:
                launch.show()
            else:
                launch.send(yes=yes)


def _message(fields: dict[str, Any], problems: Problems) -> CampaignMessage:
    """The message; BadInput names every bad option, those in `problems` too, never its value."""
    if fields["from"] is None:
        problems.append(("--from", "is needed, since DEFAULT_SENDER is not set"))
        fields["from"] = "none"
    if not fields["body"].strip():
        problems.append(("--body", "is blank"))
    message = checked_model(CampaignMessage, fields, problems)
    if message.expires_at is not None and message.expires_at <= datetime.now(UTC):
        raise BadInput([("--expires-at", "has passed")])
    return message


def _priced(settings: CampaignSettings, price: str | None) -> CampaignSettings:
    if price is None:
        return settings
    try:
        checked = CampaignSettings.model_validate({"price_per_segment": price})
    except ValidationError:
        raise BadInput([("--price", "must be a number from 0 to 1000, such as 0.0079")]) from None
    return settings.model_copy(update={"price_per_segment": checked.price_per_segment})


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            "The file cannot be read to its end, or be copied to the folder for temporary files, "
            f"which TMPDIR names ({error.strerror})."
        ) from None


@dataclass(frozen=True, kw_only=True)
class _Launch:
    """A campaign whose file was checked; nothing else has been done yet."""

    out: Output
    campaigns: Campaigns
    campaign_id: str
    is_id_chosen: bool
    """Whether the caller chose the id; else it is derived."""
    message: CampaignMessage
    staged: StagedRows
    estimate: Estimate

    def show(self) -> None:
        """Show what would be sent, and whether it was started before.

        Raises:
            Refused: another campaign has this id.
        """
        record = self._earlier()
        if record is None:
            self._warn_of_similar()
        state = "new" if record is None else f"already {record.state}"
        document = {
            "dry_run": True,
            "campaign_id": self.campaign_id,
            "state": None if record is None else record.state.value,
            **self.estimate.document(),
        }
        self.out.result(
            document,
            *self.estimate.messages(),
            self.estimate.summary(("Campaign", f"{self.campaign_id}, {state}")),
            "Nothing was done.",
        )

    def send(self, *, yes: bool) -> None:
        """Confirm, load the rows and start the workflow, unless that was done before.

        Raises:
            CommandError: another campaign has this id, it was not confirmed, or Temporal cannot be
                reached.
        """
        earlier = self._earlier()
        if earlier is None or earlier.state is CampaignState.LOADING:
            similar = self._warn_of_similar()
            self._confirm(yes=yes, again=similar is not None and not self.is_id_chosen)
            # Before anything is written: if it cannot start now, it must not start later.
            run(self._require_temporal(is_new=earlier is None))
            with self.out.progress_bar("loading", total=self.staged.count) as on_progress:
                load(
                    self.campaigns,
                    self.campaign_id,
                    self.message,
                    self.staged,
                    on_progress=on_progress,
                )
        record = required_record(self.campaigns, self.campaign_id)
        # Also if it was loaded before: that process may have died before this step.
        if record.state in {CampaignState.RUNNING, CampaignState.PAUSED}:
            try:
                run(self._start_workflow())
            except CommandError as error:
                raise Unavailable(
                    f"The rows are loaded, and nothing is sent yet. {error} "
                    "Then run the same command again."
                ) from None
        self._report(earlier=earlier, record=record)

    def _earlier(self) -> CampaignRecord | None:
        """The campaign if it was started before; Refused if another one has its id."""
        record = self.campaigns.find(self.campaign_id)
        if record is not None:
            require_same_message(record, self.message)
            require_same_rows(self.campaigns, record, self.staged)
        return record

    def _warn_of_similar(self) -> CampaignRecord | None:
        """Another campaign that sends the same text."""
        similar = self.campaigns.find_identical(self.message, other_than=self.campaign_id)
        if similar is not None:
            self.out.note(
                f"Campaign {similar.campaign_id} ({similar.state}, {similar.rows:,} rows) sends "
                "the same text with the same options: recipients in both get it twice."
            )
        return similar

    def _confirm(self, *, yes: bool, again: bool) -> None:
        # At a terminal only: an unattended run writes to a log, which must not hold texts.
        if self.out.notes.is_terminal and not (yes or self.out.as_json):
            for line in self.estimate.messages():
                self.out.note(line)
            self.out.notes.print(self.estimate.summary())
        rows = self.estimate.tally.rows
        if (rows > MAX_UNCONFIRMED or again) and not yes:
            what = "send the same again" if again else f"send to {rows:,}"
            self.out.confirm(f"This will send to {rows:,} recipients.", what=what)

    async def _require_temporal(self, *, is_new: bool) -> None:
        client = await connect()
        if is_new:
            await require_unused_ids(client, self.campaign_id)

    async def _start_workflow(self) -> None:
        client = await connect()
        message = self.message
        what = f"{message.category or 'campaign'}, {message.priority} priority"
        rows = self.estimate.tally.rows
        attributes = [common.SearchAttributePair(CAMPAIGN_ID, self.campaign_id)]
        try:
            await client.start_workflow(
                CAMPAIGN,
                CampaignRequest(),
                id=campaign_workflow_id(self.campaign_id),
                task_queue=MESSAGES_QUEUE,
                id_conflict_policy=CONFLICT_POLICY,
                # One that failed or was terminated may continue: its messages have their own ids.
                id_reuse_policy=common.WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                search_attributes=common.TypedSearchAttributes(attributes),
                static_summary=f"{what}, {rows} rows",
                # Decisions about it must not queue behind its messages.
                priority=common.Priority(priority_key=1),
                rpc_timeout=RPC_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            return  # and it has ended

    def _report(self, *, earlier: CampaignRecord | None, record: CampaignRecord) -> None:
        is_new = earlier is None or earlier.state is CampaignState.LOADING
        document = {
            "campaign_id": self.campaign_id,
            "accepted": "now" if is_new else "earlier",
            "state": record.state.value,
            **self.estimate.document(),
        }
        see = f"See `signedfor campaign status {self.campaign_id}`."
        if is_new:
            self.out.note(f"Started as campaign {self.campaign_id}. {see}")
            self.out.result(document, self.campaign_id)
            return
        is_over = record.state in {CampaignState.CANCELED, CampaignState.FINISHED}
        hint = " Give another --id to send it again." if is_over else ""
        self.out.note(f"This campaign was started earlier; nothing is sent twice. {see}{hint}")
        rows = [("Campaign", self.campaign_id), ("State", record.state)]
        self.out.result(document, facts([*rows, ("Created", clock(record.created_at))]))
