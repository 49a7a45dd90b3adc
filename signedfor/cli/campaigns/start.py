"""`signedfor campaign start`: check a file of recipients, show what will be sent, and send it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from signedfor.cli.campaigns.check import check_file
from signedfor.cli.campaigns.expiry import warn_of_expiry
from signedfor.cli.campaigns.kept import KeptRows
from signedfor.cli.campaigns.launch import ASKED_ABOVE, Plan, send, show
from signedfor.cli.campaigns.load import derived_id
from signedfor.cli.campaigns.preview import Estimate
from signedfor.cli.campaigns.progress import bar
from signedfor.cli.campaigns.recipients import STANDARD_INPUT, opened
from signedfor.cli.campaigns.standing import checked_campaign_id
from signedfor.cli.environment import campaign_settings, database, database_trouble
from signedfor.cli.options import (
    BetweenOption,
    DaysOption,
    JsonOption,
    ReceiptTimeoutOption,
    TagOption,
    TimeZoneOption,
    given,
    option_problems,
    text_or_standard_input,
)
from signedfor.cli.output import BadInput, Trouble, answering
from signedfor.cli.request import OPTIONS, pairs
from signedfor.cli.window import send_window
from signedfor.contract import CampaignMessage, OnUnknownOutcome, Priority
from signedfor.settings import CampaignSettings
from signedfor.store.campaigns import Campaigns
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions


def start(
    file: Annotated[
        Path,
        typer.Argument(help="CSV, UTF-8, with a header; - reads standard input."),
    ],
    *,
    body: Annotated[
        str,
        typer.Option(
            "--body", help="The text, with {column} for a row's own cell; - reads standard input."
        ),
    ],
    sender: Annotated[
        str | None, typer.Option("--from", help="Sender. Default: DEFAULT_SENDER.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and show everything, and do nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help=f"Do not ask before more than {ASKED_ABOVE}.")
    ] = False,
    to_column: Annotated[
        str, typer.Option("--to-column", help="The column with the recipients.")
    ] = "to",
    campaign_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="Its id, by which it is sent once. Default: one made of the rows and the options.",
        ),
    ] = None,
    media: Annotated[
        list[str] | None, typer.Option("--media", help="URL of a picture or file; repeatable.")
    ] = None,
    priority: Annotated[
        Priority,
        typer.Option("--priority", help="normal or bulk, among other messages of the sender."),
    ] = Priority.BULK,
    category: Annotated[
        str | None, typer.Option("--category", help="Consent scope, such as marketing.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Whom it is sent for.")] = None,
    expires_at: Annotated[
        str | None,
        typer.Option("--expires-at", help="RFC 3339 time after which nothing is submitted."),
    ] = None,
    between: BetweenOption = None,
    days: DaysOption = None,
    time_zone: TimeZoneOption = None,
    receipt_timeout: ReceiptTimeoutOption = None,
    on_unknown_outcome: Annotated[
        OnUnknownOutcome | None,
        typer.Option(
            "--on-unknown-outcome",
            help="What to do if it cannot be found out whether Twilio took a message. "
            "Default: resend; dead_letter for bulk.",
        ),
    ] = None,
    tag: TagOption = None,
    price: Annotated[
        str | None,
        typer.Option("--price", help="Of a segment, for the estimate. Default: PRICE_PER_SEGMENT."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send one text to everybody in a file.

    Every row is checked first; if any is wrong, nothing is sent. The same rows with the same
    options are the same campaign, however often you start it: nobody gets it twice.
    """
    with answering(as_json=as_json) as out:
        settings = campaign_settings()
        if body == "-" and file == STANDARD_INPUT:
            raise BadInput([("--body", "and FILE cannot both be standard input")])
        window, problems = send_window(between, days, time_zone)
        chosen_id = None
        if campaign_id is not None:
            try:
                chosen_id = checked_campaign_id(campaign_id, field="--id")
            except BadInput as error:
                problems += error.problems
        message = _message(
            {
                "from": sender if sender is not None else settings.default_sender,
                "body": text_or_standard_input(out, body),
                "media_urls": media,
                "priority": priority,
                "category": category,
                "tenant": tenant,
                "expires_at": expires_at,
                "receipt_timeout_seconds": receipt_timeout,
                "on_unknown_outcome": on_unknown_outcome,
                "send_window": window,
            },
            tags=tag or (),
            problems=problems,
        )
        settings, column = _priced(settings, price), to_column.strip().lower()
        with database() as engine, database_trouble(), KeptRows() as kept:
            pacing = RateLimiter(engine, rates=settings.default_rates)
            own = {state.sender for state in pacing.states()} | {settings.default_sender or ""}
            with (
                _file_trouble(),
                opened(file) as source,
                bar(out, "checking", total=source.size) as on_progress,
            ):
                tally = check_file(
                    source,
                    message,
                    to_column=column,
                    suppressed=Suppressions(engine),
                    kept=kept,
                    own=own,
                    campaign_id=chosen_id,
                    on_progress=on_progress,
                )
            estimate = Estimate(
                tally=tally,
                rate=pacing.rate(message.sender),
                ahead=pacing.backlog(message.sender),
                price=settings.price_per_segment,
                currency=settings.price_currency,
                has_window=message.send_window is not None,
                is_paused=pacing.is_paused(message.sender),
            )
            plan = Plan(
                campaign_id=chosen_id or derived_id(message, kept.fingerprint),
                is_chosen=chosen_id is not None,
                message=message,
                kept=kept,
                estimate=estimate,
            )
            warn_of_expiry(out, estimate, message)
            if dry_run:
                show(out, plan, Campaigns(engine))
            else:
                send(out, plan, Campaigns(engine), yes=yes)


def _message(
    fields: dict[str, Any],
    *,
    tags: Sequence[str],
    problems: list[tuple[str, str]],
) -> CampaignMessage:
    wanted = given(fields)
    if "from" not in wanted:
        problems.append(("--from", "is needed, since DEFAULT_SENDER is not set"))
        wanted["from"] = "none"
    if not fields["body"].strip():
        problems.append(("--body", "is blank"))
    if tags:
        try:
            wanted["tags"] = pairs(tags)
        except ValueError as error:
            problems.append((OPTIONS["tags"], str(error)))
    try:
        message = CampaignMessage.model_validate(wanted)
    except ValidationError as error:
        raise BadInput(option_problems(error, OPTIONS) + problems) from None
    if message.expires_at is not None and message.expires_at <= datetime.now(UTC):
        problems.append(("--expires-at", "has passed"))
    if problems:
        raise BadInput(problems)
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
def _file_trouble() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Trouble(
            "The file cannot be read on, or be kept in the folder for temporary files, which "
            f"TMPDIR names ({error.strerror})."
        ) from None
