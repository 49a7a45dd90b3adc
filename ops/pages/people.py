"""A person: what stands, on what evidence, what was held back, and lifting it."""

from collections.abc import Sequence
from datetime import UTC, datetime

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ops.access import Role
from ops.pages.opt_outs import REASONS, choice, person_of, problems_of
from ops.web import Page, Pages
from signedfor.consent import Reason, Suppression
from signedfor.consent_history import Line
from signedfor.consent_records import TWILIO_KEEPS_ITS_LIST, covers, lift
from signedfor.errors import BadInput
from signedfor.masks import masked_recipient, masked_sender
from signedfor.notes import check_note
from signedfor.person_records import consent_record
from signedfor.store.audit_log import person_subject
from signedfor.store.suppressions import Action, Suppressions

pages = Pages()


@pages.get("/opt-outs/person")
async def person(page: Page) -> Response:
    """Show what is on record; number and texts are shown on request only."""
    return await _shown(page, await person_of(page), reveals=False)


@pages.post("/opt-outs/person/reveal", role=Role.LOOK)
async def reveal(page: Page) -> Response:
    """Show number and texts too."""
    address, why = await person_of(page), page.text("why")
    try:
        check_note(address, why, field="why")
    except BadInput as error:
        raise HTTPException(400, f"{problems_of(error)[0]}.") from None
    await page.record("person.unmask", recipient=address, why=why)
    return await _shown(page, address, reveals=True)


@pages.get("/opt-outs/remove", role=Role.ADMINISTER)
async def remove_form(page: Page) -> Response:
    """Show what would be lifted, and ask why."""
    return await _remove_form(page, await person_of(page), _reason(page))


@pages.post("/opt-outs/remove", role=Role.ADMINISTER)
async def remove(page: Page) -> Response:
    """Lift what was shown and chosen; what was recorded since then stays."""
    address, reason, why = await person_of(page), _reason(page), page.text("why")
    chosen = set(page.form.getlist("id"))
    rows = [row for row in await _standing(page, address, reason) if str(row.id) in chosen]
    try:
        _check_removal(address, rows, why)
    except BadInput as error:
        return await _remove_form(page, address, reason, error)
    await page.record(
        "opt-out.remove",
        recipient=address,
        why=why,
        details=f"{reason} for {', '.join(map(covers, rows))}",
    )
    lifted = await to_thread.run_sync(
        lambda: lift(page.services.engine, rows, evidence=why, by=page.user.name)
    )
    note = f" {TWILIO_KEEPS_ITS_LIST}" if lifted and reason is Reason.OPTED_OUT else ""
    return page.redirect(page.services.person_links.url(address), done=f"Lifted: {lifted}.{note}")


def _check_removal(address: str, rows: Sequence[Suppression], why: str) -> None:
    if not why:
        raise BadInput([("why", "must not be empty: it is kept in the history")])
    if not rows:
        raise BadInput([("Choice", "choose what to lift")])
    check_note(address, why, field="why")


async def _shown(page: Page, address: str, *, reveals: bool) -> Response:
    links, required = page.services.person_links, page.services.settings.require_opt_in
    record, reference = await to_thread.run_sync(
        lambda: (
            consent_record(page.services.engine, address, reveal=reveals),
            links.reference(address),
        )
    )
    now = datetime.now(UTC)
    return page.render(
        "person.html",
        token=links.token(address),
        reference=reference,
        subject=person_subject(address),
        address=address if reveals else masked_recipient(address),
        record=record,
        standing=[row for row in record.suppressions if not _has_ended(row, now)],
        ended=[row for row in record.suppressions if _has_ended(row, now)],
        missing=record.missing_opt_ins(required),
        reveals=reveals,
        reasons=REASONS,
        tone=_tone,
        covers=lambda row: covers(row, reveal=reveals),
        recipient=(lambda text: text) if reveals else masked_recipient,
        sender=(lambda text: text) if reveals else masked_sender,
    )


async def _remove_form(
    page: Page, address: str, reason: Reason, error: BadInput | None = None
) -> Response:
    rows = await _standing(page, address, reason)
    if not rows:
        return page.redirect(
            page.services.person_links.url(address), done="Nothing stands for this reason."
        )
    return page.render(
        "opt_out_remove.html",
        status_code=400 if error else 200,
        rows=rows,
        reason=reason,
        reasons=REASONS,
        recipient=masked_recipient,
        address=masked_recipient(address),
        url=page.services.person_links.url(address),
        token=page.services.person_links.token(address),
        covers=covers,
        twilio_keeps_its_list=TWILIO_KEEPS_ITS_LIST if reason is Reason.OPTED_OUT else None,
        problems=problems_of(error) if error else [],
    )


async def _standing(page: Page, address: str, reason: Reason) -> list[Suppression]:
    rows = await to_thread.run_sync(Suppressions(page.services.engine).of, address)
    return [row for row in rows if row.reason is reason]


def _reason(page: Page) -> Reason:
    reason = choice(page, "reason", Reason)
    if reason is None:
        raise HTTPException(400, "The reason must be named.")
    return reason


def _tone(line: Line) -> str:
    """Whether it lets messages through or stops them."""
    match line.document["kind"], line.document.get("action"):
        case ("opt_in", Action.RECORDED) | ("suppression", Action.LIFTED):
            return "good"
        case ("held_back", _):
            return "none"
        case _:
            return "warning"


def _has_ended(row: Suppression, now: datetime) -> bool:
    return row.expires_at is not None and row.expires_at <= now
