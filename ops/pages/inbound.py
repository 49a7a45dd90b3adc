"""Inbound messages: the list, and the queue of those that may be opt-outs."""

from typing import Final
from urllib.parse import urlencode

from anyio import to_thread
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ops.access import Role
from ops.pages.opt_outs import choice
from ops.web import Page, Pages
from signedfor.contract import InboundKind
from signedfor.masks import masked_recipient, masked_sender
from signedfor.person_records import DECISIONS, decide
from signedfor.store.inbound import Decision, InboundMessages, PendingReviews, Received, Review

pages = Pages()
REVIEWS: Final = "/opt-outs/reviews"
INBOUND: Final = "/opt-outs/inbound"
_ROWS: Final = 50


@pages.get(REVIEWS)
async def reviews(page: Page) -> Response:
    """List the messages that may be opt-outs, oldest first; numbers and texts are not shown."""
    includes_read = page.text("all") == "yes"
    inbound, after = _inbound(page), page.text("after")

    def fetch() -> tuple[list[Review], list[str], PendingReviews]:
        found = inbound.reviews(
            pending_only=not includes_read,
            after=inbound.review(after) if after else None,
            limit=_ROWS + 1,
        )
        urls = [page.services.person_links.url(each.from_) for each in found]
        return found, urls, inbound.pending_reviews()

    found, urls, pending = await to_thread.run_sync(fetch)
    return page.render(
        "reviews.html",
        reviews=list(zip(found, urls, strict=True))[:_ROWS],
        last=found[_ROWS - 1].message_sid if len(found) > _ROWS else None,
        includes_read=includes_read,
        pending=pending.count,
        oldest=pending.oldest,
        masked=masked_recipient,
        masked_sender=masked_sender,
    )


@pages.post("/opt-outs/reviews/read", role=Role.LOOK)
async def read(page: Page) -> Response:
    """Show a message's text: the named one's, or to `skip` it that of the next; else the first."""
    message_sid = page.text("message_sid")
    if not message_sid or page.text("skip"):
        return await _next(page, message_sid)
    review = await _review(page, message_sid)
    return await _text_of(page, review)


@pages.post("/opt-outs/reviews/decide", role=Role.ACT)
async def decide_review(page: Page) -> Response:
    """Record whether a message is an opt-out, and show the next one."""
    answer = page.text("is_opt_out")
    if answer not in {"yes", "no"}:
        raise HTTPException(400, "Say whether it is an opt-out.")
    review = await _review(page, page.text("message_sid"))
    decision: Decision | None = None
    if review.reviewed_at is None:
        await page.record(
            "review.opt-out" if answer == "yes" else "review.done",
            recipient=review.from_,
            details=review.message_sid,
        )
        decision = await to_thread.run_sync(
            lambda: decide(
                _inbound(page),
                review.message_sid,
                is_opt_out=answer == "yes",
                by=page.user.name,
            )
        )
    if decision is not None:
        return await _next(page, review.message_sid, done=DECISIONS[decision])
    decided = await _review(page, review.message_sid)
    who = decided.reviewed_by or "someone else"
    return await _next(
        page, review.message_sid, done=f"Nothing was recorded: {who} has decided it meanwhile."
    )


@pages.get(INBOUND)
async def inbound_messages(page: Page) -> Response:
    """List the newest inbound messages; numbers are masked, and texts not shown."""
    return await _messages(page, reveals=False)


@pages.post("/opt-outs/inbound/texts", role=Role.LOOK)
async def show_texts(page: Page) -> Response:
    """Show the texts of the same messages too."""
    return await _messages(page, reveals=True)


async def _messages(page: Page, *, reveals: bool) -> Response:
    kind, since = choice(page, "kind", InboundKind), page.moment("since")
    is_pending, after = page.text("pending") == "yes", page.text("after")
    inbound = _inbound(page)

    def fetch() -> tuple[list[Received], list[str], int]:
        found = inbound.list_(
            kind=kind,
            since=since,
            undispatched_only=is_pending,
            after=after or None,
            limit=_ROWS + 1,
        )
        urls = [page.services.person_links.url(each.from_) for each in found]
        return found, urls, inbound.pending_reviews().count

    found, urls, pending = await to_thread.run_sync(fetch)
    shown = found[:_ROWS]
    if reveals and shown:
        await page.record(
            "inbound.read",
            f"{len(shown)} inbound messages",
            details=f"from {shown[0].message_sid} back to {shown[-1].message_sid}",
        )
    filters = {name: text for name in ("kind", "since", "pending") if (text := page.text(name))}
    last = shown[-1].message_sid if len(found) > _ROWS else None
    return page.render(
        "inbound.html",
        messages=list(zip(found, urls, strict=True))[:_ROWS],
        older=f"{INBOUND}?{urlencode({**filters, 'after': last})}" if last else None,
        here={**filters, **({"after": after} if after else {})},
        is_filtered=bool(filters),
        reveals=reveals,
        kinds=InboundKind,
        pending=pending,
        masked=masked_recipient,
        masked_sender=masked_sender,
    )


async def _next(page: Page, after: str, *, done: str | None = None) -> Response:
    """Show the next pending message, or the list if there is none."""
    inbound = _inbound(page)

    def find() -> Review | None:
        last = inbound.review(after) if after else None
        return next(iter(inbound.reviews(after=last, limit=1)), None)

    review = await to_thread.run_sync(find)
    if review is None:
        end = "That was the last one." if after else "Nothing to review."
        return page.redirect(REVIEWS, done=f"{done} {end}" if done else end)
    return await _text_of(page, review, done=done)


async def _text_of(page: Page, review: Review, *, done: str | None = None) -> Response:
    await page.record("review.read", recipient=review.from_, details=review.message_sid)
    pending = await to_thread.run_sync(_inbound(page).pending_reviews)
    return page.render(
        "review.html",
        review=review,
        done=done,
        pending=pending.count,
        url=await to_thread.run_sync(page.services.person_links.url, review.from_),
        masked=masked_recipient,
        masked_sender=masked_sender,
    )


async def _review(page: Page, message_sid: str) -> Review:
    found = await to_thread.run_sync(_inbound(page).review, message_sid)
    if found is None:
        raise HTTPException(404, "There is no such message to review.")
    return found


def _inbound(page: Page) -> InboundMessages:
    engine: Engine = page.services.engine
    return InboundMessages(engine, scope=page.services.settings.opt_out_scope)
