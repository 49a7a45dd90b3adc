"""`signedfor campaign start`: check a file of recipients, show what will be sent, and send it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from signedfor.campaigns.progress import checked_campaign_id, required_record
from signedfor.campaigns.recipients import STANDARD_INPUT, opened
from signedfor.campaigns.start import (
    MAX_UNCONFIRMED,
    CheckedCampaign,
    checked_campaign,
    is_loaded,
    with_price,
)
from signedfor.cli.csv_options import (
    AllProblemsOption,
    SkipBadOption,
    csv_problems,
    note_skipped,
    skipped_rows,
)
from signedfor.cli.environment import campaign_settings, database
from signedfor.cli.options import (
    CategoryOption,
    ExpiresAtOption,
    JsonOption,
    MediaOption,
    OnUnknownOutcomeOption,
    Problems,
    ReceiptTimeoutOption,
    TagOption,
    TenantOption,
    checked_model,
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
from signedfor.cli.temporal import connect, run
from signedfor.cli.window_options import (
    BetweenOption,
    DaysOption,
    QuietHoursOption,
    TimeZoneOption,
    send_window,
)
from signedfor.contract import CampaignMessage, CampaignState, Priority
from signedfor.store.campaigns import CampaignRecord


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
    skip_bad: SkipBadOption = None,
    all_problems: AllProblemsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send one text to all recipients in a file.

    Every row is checked first; if any is wrong, nothing is sent, unless --skip-bad leaves it out.
    The same rows with the same
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
        with ExitStack() as stack:
            engine = stack.enter_context(database())
            # Before anything is started, the skipped rows are in their file.
            with (
                _file_errors(),
                opened(file) as source,
                skipped_rows(skip_bad) as skipped,
                out.progress_bar("checking", total=source.size) as on_progress,
            ):
                campaign = stack.enter_context(
                    checked_campaign(
                        source,
                        message,
                        engine=engine,
                        settings=settings if price is None else with_price(settings, price),
                        to_column=to_column,
                        campaign_id=chosen_id,
                        problems=csv_problems(all_problems=all_problems, as_json=as_json),
                        skipped=skipped,
                        on_progress=on_progress,
                    )
                )
            for warning in campaign.warnings:
                out.note(warning)
            note_skipped(out, skipped, skip_bad)
            launch = _Launch(out=out, campaign=campaign)
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
    return checked_model(CampaignMessage, fields, problems)


@contextmanager
def _file_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            "The file cannot be read to its end, or be copied to the folder for temporary files, "
            f"which TMPDIR names ({error.strerror})."
        ) from None


class _Launch:
    """Shows, confirms and starts a checked campaign."""

    def __init__(self, *, out: Output, campaign: CheckedCampaign) -> None:
        self._out = out
        self._campaign = campaign

    def show(self) -> None:
        """Show what would be sent, and whether it was started before.

        Raises:
            Refused: another campaign has this id.
        """
        campaign = self._campaign
        record = campaign.earlier()
        if record is None:
            self._warn_of_similar()
        state = "new" if record is None else f"already {record.state}"
        document = {
            "dry_run": True,
            "state": None if record is None else record.state.value,
            **campaign.document(),
        }
        self._out.result(
            document,
            *campaign.estimate.messages(),
            facts([("Campaign", f"{campaign.campaign_id}, {state}"), *campaign.estimate.facts()]),
            "Nothing was done.",
        )

    def send(self, *, yes: bool) -> None:
        """Confirm, load the rows and start the workflow, unless that was done before.

        Raises:
            CommandError: another campaign has this id, it was not confirmed, or Temporal cannot be
                reached.
        """
        campaign = self._campaign
        earlier = campaign.earlier()
        if not is_loaded(earlier):
            self._confirm(similar=self._warn_of_similar(), yes=yes)
            # Before anything is written: if it cannot start now, it must not start later.
            run(self._require_temporal(is_new=earlier is None))
            with self._out.progress_bar("loading", total=campaign.staged.count) as on_progress:
                campaign.load(on_progress)
        record = required_record(campaign.campaigns, campaign.campaign_id)
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

    def _warn_of_similar(self) -> CampaignRecord | None:
        """Another campaign that sends the same text."""
        similar = self._campaign.similar()
        if similar is not None:
            self._out.note(
                f"Campaign {similar.campaign_id} ({similar.state}, {similar.rows:,} rows) sends "
                "the same text with the same options: recipients in both get it twice."
            )
        return similar

    def _confirm(self, *, similar: CampaignRecord | None, yes: bool) -> None:
        out, campaign = self._out, self._campaign
        # At a terminal only: an unattended run writes to a log, which must not hold texts.
        if out.notes.is_terminal and not (yes or out.as_json):
            for line in campaign.estimate.messages():
                out.note(line)
            out.note(facts(campaign.estimate.facts()))
        rows = campaign.estimate.tally.rows
        if campaign.needs_confirmation(similar=similar) and not yes:
            is_again = similar is not None and not campaign.is_id_chosen
            what = "send the same again" if is_again else f"send to {rows:,}"
            out.confirm(f"This will send to {rows:,} recipients.", what=what)

    async def _require_temporal(self, *, is_new: bool) -> None:
        client = await connect()
        if is_new:
            await self._campaign.require_startable(client)

    async def _start_workflow(self) -> None:
        await self._campaign.launch(await connect())

    def _report(self, *, earlier: CampaignRecord | None, record: CampaignRecord) -> None:
        out, campaign = self._out, self._campaign
        is_new = not is_loaded(earlier)
        document = {
            "accepted": "now" if is_new else "earlier",
            "state": record.state.value,
            **campaign.document(),
        }
        see = f"See `signedfor campaign status {campaign.campaign_id}`."
        if is_new:
            out.note(f"Started as campaign {campaign.campaign_id}. {see}")
            out.result(document, campaign.campaign_id)
            return
        is_over = record.state in {CampaignState.CANCELED, CampaignState.FINISHED}
        hint = " Give another --id to send it again." if is_over else ""
        out.note(f"This campaign was started earlier; nothing is sent twice. {see}{hint}")
        rows = [("Campaign", campaign.campaign_id), ("State", record.state)]
        out.result(document, facts([*rows, ("Created", clock(record.created_at))]))
