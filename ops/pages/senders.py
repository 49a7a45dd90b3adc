"""The senders: their rates and backlogs; setting a rate, pausing and resuming."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from anyio import to_thread
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ops.access import Role
from ops.web import Page, Pages
from signedfor.masks import masked_sender
from signedfor.store.audit_log import PAUSE_SENDER, Action
from signedfor.store.breakers import Breakers, OpenBreaker
from signedfor.store.message_counts import MessageCounts
from signedfor.store.rate_limiter import RateLimiter, SenderState
from signedfor.twilio.rates import Rate

pages = Pages()
PATH = "/senders"
RANGES: Final = {"1 h": timedelta(hours=1), "24 h": timedelta(hours=24)}
"""How far back the rates of delivery and failure look."""
_rate = TypeAdapter(Rate)


def _rate_limiter(page: Page) -> RateLimiter:
    return RateLimiter(
        page.services.engine, rates=page.services.settings.default_segments_per_second
    )


@pages.get(PATH)
async def senders(page: Page) -> Response:
    """Show each sender, and how its messages of the last hour or day ended."""
    chosen = page.text("range") if page.text("range") in RANGES else next(iter(RANGES))
    since = datetime.now(UTC) - RANGES[chosen]
    states = await to_thread.run_sync(_rate_limiter(page).states)
    messages = MessageCounts(page.services.engine)
    outcomes = await to_thread.run_sync(lambda: messages.by_sender(since=since))
    return page.render(
        "senders.html",
        senders=states,
        masked=masked_sender,
        outcomes={each.sender: each for each in outcomes},
        pauses=await to_thread.run_sync(_pauses, page, states),
        breakers=await to_thread.run_sync(_breakers, page),
        ranges=RANGES,
        chosen=chosen,
    )


def _pauses(page: Page, states: Sequence[SenderState]) -> dict[str, Action]:
    """Who has paused each sender that is paused, as far as the audit log knows."""
    return page.services.audit_log.pauses(each.sender for each in states if each.is_paused)


def _breakers(page: Page) -> dict[str, OpenBreaker]:
    """The senders that the breaker has paused."""
    return {each.sender: each for each in Breakers(page.services.engine).open_breakers()}


@pages.post("/senders/pause", role=Role.ACT)
async def pause(page: Page) -> Response:
    """Send nothing more from it."""
    await _change(page, PAUSE_SENDER, _rate_limiter(page).pause)
    return page.redirect(PATH, done="Paused: no new POST begins.")


@pages.post("/senders/resume", role=Role.ACT)
async def resume(page: Page) -> Response:
    """Send from it again."""
    await _change(page, "sender.resume", _rate_limiter(page).resume)
    return page.redirect(PATH, done="Resumed: its messages are sent again, at its rate.")


@pages.post("/senders/rate", role=Role.ADMINISTER)
async def set_rate(page: Page) -> Response:
    """Set how many segments per second it sends; an empty field is the default of its kind."""
    text = page.text("rate")
    try:
        rate = _rate.validate_strings(text) if text else None
    except ValidationError:
        raise HTTPException(400, "The rate must be a number from 0.001 to 1000000.") from None
    limiter = _rate_limiter(page)
    await _change(
        page,
        "sender.rate",
        lambda sender: limiter.set_rate(sender, rate),
        details=f"{rate or 'default'} segments per second",
    )
    return page.redirect(PATH, done="The rate is set, for all workers.")


async def _change(
    page: Page, action: str, change: Callable[[str], None], *, details: str | None = None
) -> None:
    """Change the sender of the form, and record that; one that was never used is refused."""
    sender = page.text("sender")
    if not await to_thread.run_sync(_rate_limiter(page).is_known, sender):
        raise HTTPException(404, "The sender has never been used or configured.")
    await page.record(action, masked_sender(sender), why=page.text("why"), details=details)
    await to_thread.run_sync(change, sender)
