"""Starting a campaign: its file is uploaded and checked, then what was checked is started."""

import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Final, NoReturn
from urllib.parse import urlencode

from anyio import to_thread
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ops.access import Role
from ops.pages.campaign_form import (
    TO_COLUMN,
    Problems,
    chosen_id,
    in_words,
    label,
    labelled,
    message_of,
)
from ops.pages.campaigns import check_reason
from ops.web import Page, Pages
from signedfor.campaigns.estimate import Estimate
from signedfor.campaigns.progress import checked_campaign_id
from signedfor.campaigns.recipients import RecipientsFile
from signedfor.campaigns.start import CheckedCampaign, checked_campaign, is_loaded, with_price
from signedfor.contract import CampaignMessage, Day, OnUnknownOutcome, Priority
from signedfor.csv_problems import BadRows, CsvProblem, CsvProblems, SkippedRows
from signedfor.errors import BadInput, Refused
from signedfor.quiet_hours import QUIET_HOURS
from signedfor.store.campaign_uploads import CampaignUploads, Upload
from signedfor.store.campaigns import CampaignRecord, Campaigns

pages = Pages()
MAX_PROBLEMS: Final = 1000
"""How many problems of a file are listed; the number of all of them is shown."""


_UNKNOWN_OUTCOME: Final = {
    "": "as its priority says",
    OnUnknownOutcome.RESEND: "send it again, perhaps twice",
    OnUnknownOutcome.DEAD_LETTER: "open a dead letter",
}


@dataclass(frozen=True)
class _Preview:
    """What a checked file would do, and where it is kept."""

    campaign_id: str
    upload_id: str
    estimate: Estimate
    warnings: Sequence[str]
    earlier: CampaignRecord | None
    similar: CampaignRecord | None
    needs_consent: bool
    """Whether it is the same text as an earlier campaign's, under a derived id."""
    left_out: Sequence[CsvProblem]
    """The problems of the rows that are left out, the first of them."""
    problems: int

    @property
    def is_started(self) -> bool:
        """Whether it was started before."""
        return is_loaded(self.earlier)


@pages.get("/campaigns/new", role=Role.ACT)
async def new(page: Page) -> Response:
    """Show the form for a file and its message."""
    return _form(page)


@pages.post("/campaigns/preview", role=Role.ACT, takes_file=True)
async def preview(page: Page) -> Response:
    """Check the file like `signedfor campaign start --dry-run`, and ask; nothing is started."""
    try:
        previewed = await to_thread.run_sync(_previewed, page)
    except BadRows as error:
        return _form(page, rows=error.listed, count=error.total)
    except BadInput as error:
        return _form(page, problems=labelled(error.problems))
    except Refused as error:
        return _form(page, refusal=in_words(str(error)))
    return page.render(
        "campaign_preview.html",
        preview=previewed,
        left_out=_shown(previewed.left_out),
        facts=_facts(previewed.estimate),
        warnings=[in_words(each) for each in previewed.warnings],
    )


@pages.post("/campaigns/start", role=Role.ACT)
async def start(page: Page) -> Response:
    """Start what was checked, exactly once, however often the form is sent."""
    campaign_id = checked_campaign_id(page.text("id"), field="Campaign ID")
    services = page.services
    shown = f"/campaign?{urlencode({'id': campaign_id})}"
    earlier = await to_thread.run_sync(Campaigns(services.engine).find, campaign_id)
    uploads = CampaignUploads(services.engine)
    upload = await to_thread.run_sync(lambda: uploads.find(page.text("upload"), by=page.user.name))
    if upload is None:
        if is_loaded(earlier):
            return page.redirect(shown, done="It was started earlier; nothing is sent twice.")
        _refuse_old_file()
    try:
        async with _checked_again(page, upload) as campaign:
            if campaign.campaign_id != campaign_id:
                _refuse_old_file()
            await _require_consent(page, campaign, earlier)
            await to_thread.run_sync(_check_reason, page, campaign)
            if not is_loaded(earlier):
                why, rows = page.text("why"), _rows(campaign)
                await page.record("campaign.start", campaign_id, why=why, details=rows)
            await campaign.start(services.client)
    except BadRows as error:
        raise BadInput([(f"line {each.line}", each.sentence) for each in error.listed]) from None
    except BadInput as error:
        raise BadInput(labelled(error.problems)) from None
    await to_thread.run_sync(uploads.delete, upload.upload_id)
    done = "It was started earlier; nothing is sent twice." if is_loaded(earlier) else "Started."
    return page.redirect(shown, done=done)


@pages.post("/campaigns/discard", role=Role.ACT)
async def discard(page: Page) -> Response:
    """Forget a checked file that is not to be started."""
    uploads = CampaignUploads(page.services.engine)
    upload = await to_thread.run_sync(lambda: uploads.find(page.text("upload"), by=page.user.name))
    if upload is None:
        _refuse_old_file()
    await to_thread.run_sync(uploads.delete, upload.upload_id)
    return page.redirect("/campaigns", done="The file is deleted; nothing was started.")


def _refuse_old_file() -> NoReturn:
    raise HTTPException(
        409, "The checked file is not kept any more, and nothing was started. Check it again."
    )


def _form(
    page: Page,
    *,
    problems: Sequence[tuple[str, str]] = (),
    rows: Sequence[CsvProblem] = (),
    count: int = 0,
    refusal: str | None = None,
) -> Response:
    """The form with what was filled in, and what is wrong with it."""
    return page.render(
        "campaign_new.html",
        status_code=409 if refusal else 400 if problems or count else 200,
        problems=problems,
        rows=_shown(rows),
        count=count,
        refusal=refusal,
        default_sender=page.services.settings.default_sender,
        max_megabytes=page.services.settings.ops_max_upload_mb,
        priorities=(Priority.BULK, Priority.NORMAL),
        days=tuple(Day),
        quiet_hours=sorted(QUIET_HOURS),
        unknown_outcome=_UNKNOWN_OUTCOME,
        chosen={name: page.form.getlist(name) for name in ("days", "quiet_hours")},
    )


def _previewed(page: Page) -> _Preview:
    """Check the file of the form and keep it.

    Raises:
        BadInput: the form or the file is wrong.
        Refused: another campaign has this id.
    """
    problems: Problems = []
    found = CsvProblems(in_text=MAX_PROBLEMS, in_document=MAX_PROBLEMS)
    file = page.form.get("file")
    if not isinstance(file, UploadFile) or not file.size:
        problems.append(("file", "is needed: CSV in UTF-8 with a header line"))
    campaign_id = chosen_id(page, problems)
    message = message_of(page, problems)
    if problems or message is None or not isinstance(file, UploadFile):
        raise BadInput(problems)
    to_column = page.text("to_column") or TO_COLUMN
    # Kept here, because it closes the file when it is collected.
    source = RecipientsFile(file.file, size=file.size or 0)
    with _checked(
        page, source, message, to_column=to_column, campaign_id=campaign_id, found=found
    ) as campaign:
        earlier = campaign.earlier()
        similar = None if is_loaded(earlier) else campaign.similar()
        upload_id = CampaignUploads(page.services.engine).add(
            file.file, message, to_column=to_column, campaign_id=campaign_id, by=page.user.name
        )
        return _Preview(
            campaign_id=campaign.campaign_id,
            upload_id=upload_id,
            estimate=campaign.estimate,
            warnings=campaign.warnings,
            earlier=earlier,
            similar=similar,
            needs_consent=similar is not None and not campaign.is_id_chosen,
            left_out=found.listed,
            problems=found.total,
        )


def _checked(
    page: Page,
    source: RecipientsFile,
    message: CampaignMessage,
    *,
    to_column: str,
    campaign_id: str | None,
    found: CsvProblems,
) -> AbstractContextManager[CheckedCampaign]:
    settings, price = page.services.settings, page.text("price")
    return checked_campaign(
        source,
        message,
        engine=page.services.engine,
        settings=with_price(settings, price) if price else settings,
        to_column=to_column,
        campaign_id=campaign_id,
        problems=found,
        skipped=SkippedRows(None) if page.text("skip_bad") else None,
    )


@asynccontextmanager
async def _checked_again(page: Page, upload: Upload) -> AsyncIterator[CheckedCampaign]:
    """The campaign of a file that was checked before: its rows are staged from there."""
    with ExitStack() as stack:
        yield await to_thread.run_sync(stack.enter_context, _reopened(page, upload))


@contextmanager
def _reopened(page: Page, upload: Upload) -> Iterator[CheckedCampaign]:
    with tempfile.TemporaryFile() as copy:
        if not CampaignUploads(page.services.engine).copy_to(copy, upload):
            _refuse_old_file()
        copy.seek(0)
        source = RecipientsFile(copy, size=upload.size)
        with _checked(
            page,
            source,
            upload.message,
            to_column=upload.to_column,
            campaign_id=upload.campaign_id,
            found=CsvProblems(in_text=MAX_PROBLEMS, in_document=MAX_PROBLEMS),
        ) as campaign:
            yield campaign


def _check_reason(page: Page, campaign: CheckedCampaign) -> None:
    rows = chain.from_iterable(campaign.staged.batches())
    check_reason((each.to for each in rows), page.text("why"))


def _rows(campaign: CheckedCampaign) -> str:
    """For the audit log."""
    tally = campaign.estimate.tally
    left_out = f", {tally.skipped:,} bad ones left out" if tally.skipped else ""
    return f"{tally.rows:,} rows{left_out}"


async def _require_consent(
    page: Page, campaign: CheckedCampaign, earlier: CampaignRecord | None
) -> None:
    if is_loaded(earlier) or campaign.is_id_chosen or page.text("again"):
        return
    similar = await to_thread.run_sync(campaign.similar)
    if similar is not None:
        raise Refused(
            f"Campaign {similar.campaign_id} sends the same text: recipients in both would get it "
            "twice. Nothing was started; go back, and say that you mean it."
        )


def _shown(problems: Sequence[CsvProblem]) -> list[tuple[int, str, str]]:
    """Line, column and what is wrong with it."""
    return [(each.line, _column(each), in_words(each.problem)) for each in problems]


def _column(problem: CsvProblem) -> str:
    """The column of a problem; or the form's label, if the row does not go with the message."""
    column = problem.column or ""
    return label(column) if column.startswith("--") else column


def _facts(estimate: Estimate) -> Mapping[str, str]:
    """The estimate, in the form's words."""
    facts = dict(estimate.facts())
    if estimate.cost is None:
        facts["Cost"] = "not known; give a price, or set PRICE_PER_SEGMENT"
    return facts
