"""The page of the senders."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from signedfor.store.audit_log import AuditLog
from signedfor.store.message_index import IndexedMessage, MessageIndex
from signedfor.store.rate_limiter import RateLimiter, SenderState
from tests.ops.conftest import Browser
from tests.ops.pages.campaign_support import words
from tests.workflows.fakes import SENDER


@pytest.fixture
def limiter(sqlite_engine: Engine) -> RateLimiter:
    """The rate limiter, with one sender that has a backlog."""
    limiter = RateLimiter(sqlite_engine)
    limiter.reserve(SENDER, 600, is_urgent=False)
    return limiter


def _state(limiter: RateLimiter) -> SenderState:
    (state,) = limiter.states()
    return state


async def test_nothing_yet(looker: Browser) -> None:
    """Before any message was sent, the page says so."""
    assert "No sender has been used" in (await looker.get("/senders")).text


@pytest.mark.usefixtures("limiter")
async def test_backlog_and_rate_are_shown(looker: Browser) -> None:
    """In segments and time, and the number is masked; who may only look has no buttons."""
    text = (await looker.get("/senders")).text

    assert "+1500***0006" in text
    assert SENDER not in text
    assert "600 segments" in text or "599 segments" in text
    assert "9 min" in text or "10 min" in text
    assert "Pause" not in text.replace("Pause updates", "")


@pytest.mark.usefixtures("limiter")
async def test_rates_of_delivery_and_failure(looker: Browser, sqlite_engine: Engine) -> None:
    """Of the last hour, or of the last day."""
    now = datetime.now(UTC)
    ended = [*["delivered"] * 6, "undelivered", "failed"]
    MessageIndex(sqlite_engine).put(
        [
            IndexedMessage(
                message_id=f"m{number}-{hours}",
                run_id="r",
                started_at=now - timedelta(hours=hours),
                closed_at=now - timedelta(hours=hours),
                status=status,
                sender="+1500***0006",
            )
            for hours, statuses in ((0.5, ["delivered"]), (5, ended))
            for number, status in enumerate(statuses)
        ]
    )

    hour = words(await looker.get("/senders"))
    day = words(await looker.get("/senders?range=24+h"))

    assert "1 100.0 % 0.0 %" in hour
    assert "8 87.5 % 22.2 %" in day


async def test_borrowed_segments(limiter: RateLimiter, looker: Browser) -> None:
    """What urgent messages have reserved before the others."""
    limiter.reserve(SENDER, 50, is_urgent=True)

    read = words(await looker.get("/senders"))

    assert "50 segments" in read or "49 segments" in read


async def test_pause_and_resume(
    limiter: RateLimiter, actor: Browser, sqlite_engine: Engine
) -> None:
    """Both take effect at once, and the audit log says who did it and why."""
    answer = await actor.post("/senders/pause", {"sender": SENDER, "why": "filtered since noon"})
    assert 303 == answer.status_code
    assert _state(limiter).is_paused
    shown = words(await actor.get("/senders"))
    assert re.search(r"paused by act, 20[0-9: -]+ UTC ?: filtered since noon", shown)

    await actor.post("/senders/resume", {"sender": SENDER})
    assert not _state(limiter).is_paused

    resumed, paused, _ = AuditLog(sqlite_engine).entries()
    assert ("act", "sender.pause", "+1500***0006", "filtered since noon") == (
        paused.who,
        paused.action,
        paused.subject,
        paused.why,
    )
    assert ("sender.resume", None) == (resumed.action, resumed.why)


async def test_a_reason_with_a_number_is_refused(
    limiter: RateLimiter, actor: Browser, sqlite_engine: Engine
) -> None:
    """Everybody can read the audit log; nothing is done."""
    fields = {"sender": SENDER, "why": "says +1 (555) 867-5309"}

    answer = await actor.post("/senders/pause", fields)

    assert 400 == answer.status_code
    assert "Reason: must not contain a phone number" in answer.text
    assert not _state(limiter).is_paused
    assert ["sign-in"] == [each.action for each in AuditLog(sqlite_engine).entries()]


async def test_an_unknown_sender_is_refused(
    limiter: RateLimiter, actor: Browser, sqlite_engine: Engine
) -> None:
    """A slip must not look like a pause, and is no action."""
    answer = await actor.post("/senders/pause", {"sender": "+15005550007"})

    assert 404 == answer.status_code
    assert not _state(limiter).is_paused
    assert ["sign-in"] == [each.action for each in AuditLog(sqlite_engine).entries()]


@pytest.mark.parametrize(("text", "rate", "configured"), [("2.5", 2.5, True), ("", 1, False)])
async def test_the_rate_is_set(
    text: str, rate: float, configured: bool, limiter: RateLimiter, administrator: Browser
) -> None:
    """An empty field is the default of its kind."""
    limiter.set_rate(SENDER, 7)

    await administrator.post("/senders/rate", {"sender": SENDER, "rate": text})

    assert (rate, configured) == (_state(limiter).rate, _state(limiter).is_configured)


@pytest.mark.parametrize("text", ["0", "-1", "fast", "nan", "1e9"])
async def test_a_rate_that_is_none(text: str, limiter: RateLimiter, administrator: Browser) -> None:
    """The answer says what a rate is."""
    answer = await administrator.post("/senders/rate", {"sender": SENDER, "rate": text})

    assert (400, True) == (answer.status_code, "number from 0.001" in answer.text)
    assert 1 == _state(limiter).rate
