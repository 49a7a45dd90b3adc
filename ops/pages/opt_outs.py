"""Opt-outs: the list, the search for a person, and recording one."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeVar

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ops.access import Role
from ops.web import Page, Pages
from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.consent_records import SET_BY_HAND, Target, address_of, covers, opt_out
from signedfor.errors import BadInput
from signedfor.masks import masked_recipient, masked_sender
from signedfor.store.inbound import InboundMessages
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions

pages = Pages()
PATH: Final = "/opt-outs"
_ROWS: Final = 50
LABELS: Final = {
    "recipient": "Phone number",
    "sender": "Only from",
    "category": "Only of the category",
    "reason": "What it is",
    "evidence": "Evidence",
    "why": "Reason",
}
"""The label of each field of the forms."""
REASONS: Final = {
    Reason.OPTED_OUT: "opted out",
    Reason.UNDELIVERABLE: "unreachable",
    Reason.MANUAL: "blocked by an operator",
    Reason.REVIEW: "awaits review",
}
_Choice = TypeVar("_Choice", bound=StrEnum)


@pages.get(PATH)
async def opt_outs(page: Page) -> Response:
    """List what stands, newest first; numbers are masked."""
    return await _list(page)


@pages.post("/opt-outs/search", role=Role.LOOK)
async def search(page: Page) -> Response:
    """Lead to the page of a person; the number goes into no address, log or database."""
    try:
        recipient = address_of(page.text("recipient"))
    except BadInput as error:
        return await _list(page, problems=problems_of(error), status_code=400)
    return page.redirect(await to_thread.run_sync(page.services.person_links.url, recipient))


@pages.get("/opt-outs/add", role=Role.ACT)
async def add_form(page: Page) -> Response:
    """Ask what to record, of the person in the link if there is one."""
    return await _add_form(page)


@pages.post("/opt-outs/add", role=Role.ACT)
async def add(page: Page) -> Response:
    """Record that somebody must not be sent to."""
    linked = await person_of(page) if page.text("person") else None
    try:
        target = Target.of(
            linked or page.text("recipient"),
            sender=page.text("sender") or None,
            category=page.text("category") or None,
        )
        wanted = opt_out(
            target,
            reason=choice(page, "reason", Reason) or Reason.OPTED_OUT,
            evidence=page.text("evidence"),
        )
    except BadInput as error:
        return await _add_form(page, problems=problems_of(error), status_code=400)
    await page.record(
        "opt-out.add",
        recipient=wanted.recipient,
        why=wanted.evidence,
        details=f"{wanted.reason} for {target.covers}",
    )
    new = await to_thread.run_sync(
        lambda: Suppressions(page.services.engine).record(wanted, by=page.user.name)
    )
    return page.redirect(
        await to_thread.run_sync(page.services.person_links.url, wanted.recipient),
        done="Recorded." if new else "Already recorded; nothing changed.",
    )


async def _list(page: Page, *, problems: Sequence[str] = (), status_code: int = 200) -> Response:
    before = page.number("before")
    reason, source = choice(page, "reason", Reason), choice(page, "source", Source)
    scope, since = choice(page, "scope", Scope), page.moment("since")
    sender = page.text("sender")

    def fetch() -> tuple[list[Suppression], list[str], list[str], int]:
        engine = page.services.engine
        senders = _senders(page)
        rows = Suppressions(engine).list_(
            reason=reason,
            scope=scope,
            source=source,
            senders=[each for each in senders if masked_sender(each) == sender] if sender else None,
            since=since,
            before_id=before,
            is_newest_first=True,
            limit=_ROWS + 1,
        )
        urls = [page.services.person_links.url(row.recipient) for row in rows]
        return rows, urls, senders, InboundMessages(engine).pending_reviews().count

    rows, urls, senders, pending = await to_thread.run_sync(fetch)
    return page.render(
        "opt_outs.html",
        status_code=status_code,
        rows=list(zip(rows, urls, strict=True))[:_ROWS],
        last=rows[_ROWS - 1].id if len(rows) > _ROWS else None,
        senders=list(dict.fromkeys(map(masked_sender, senders))),
        is_filtered=any((reason, source, scope, sender, since)),
        pending=pending,
        problems=problems,
        reasons=REASONS,
        sources=Source,
        scopes=Scope,
        covers=covers,
        masked=masked_recipient,
    )


async def _add_form(
    page: Page, *, problems: Sequence[str] = (), status_code: int = 200
) -> Response:
    linked = await person_of(page) if page.text("person") else None
    return page.render(
        "opt_out_add.html",
        status_code=status_code,
        recipient=masked_recipient(linked) if linked else None,
        reasons={each: REASONS[each] for each in SET_BY_HAND},
        senders={each: masked_sender(each) for each in await to_thread.run_sync(_senders, page)},
        problems=problems,
    )


async def person_of(page: Page) -> str:
    """The address of the person in the link.

    Raises:
        HTTPException: 404 if it is no such link.
    """
    found = await to_thread.run_sync(page.services.person_links.person, page.text("person"))
    if found is None:
        raise HTTPException(404, "There is no such person. Search by the number.")
    return found


def choice(page: Page, name: str, kind: type[_Choice]) -> _Choice | None:
    """The chosen one of `kind`; None if the field is empty.

    Raises:
        HTTPException: 400 if it is another.
    """
    text = page.text(name)
    if not text:
        return None
    if text not in set(kind):
        raise HTTPException(400, f"The {name} must be one of {', '.join(kind)}.")
    return kind(text)


def problems_of(error: BadInput, labels: Mapping[str, str] = LABELS) -> list[str]:
    """What is wrong with each field of a form, in words."""
    return [f"{labels.get(field, field)}: {what}" for field, what in error.problems]


def _senders(page: Page) -> list[str]:
    """The senders that were used or configured."""
    return [each.sender for each in RateLimiter(page.services.engine).states()]
