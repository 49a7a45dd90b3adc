"""The page Now."""

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette
from temporalio.client import Client

from ops import checker
from ops.app import create_app
from ops.settings import OpsSettings
from signedfor.checks import Finding, fail, ok
from signedfor.contract import MessageRequest
from signedfor.store.account_hold import AccountHold
from signedfor.store.audit_log import AuditLog
from signedfor.store.message_index import IndexedMessage, MessageIndex
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from tests.ops.conftest import Browser
from tests.signedfor.store.open_breaker import BECAUSE, open_breaker
from tests.workflows.fakes import RECIPIENT, SENDER, FakeActivities, serving

NOW = datetime.now(UTC)


@pytest.fixture
def app(ops_settings: OpsSettings, sqlite_engine: Engine, temporal: Client) -> Starlette:
    """The application with a Temporal server."""
    return create_app(ops_settings, client=temporal, engine=sqlite_engine)


def _ended(number: int, status: str, **ago: float) -> IndexedMessage:
    return _message(number, status, closed_at=NOW - timedelta(**ago), **ago)


def _message(
    number: int, status: str, closed_at: datetime | None = None, **ago: float
) -> IndexedMessage:
    fields: dict[str, Any] = {"sender": "+1500***0006", "run_id": "r", "message_id": f"m{number}"}
    started_at = NOW - timedelta(**ago) - timedelta(seconds=4)
    return IndexedMessage(**fields, status=status, started_at=started_at, closed_at=closed_at)


def _submit(engine: Engine, message_id: str, *, at: datetime) -> None:
    attempts = SendAttempts(engine, RateLimiter(engine), now=lambda: at)
    attempts.claim(message_id, MessageRequest(to=RECIPIENT, body="Hi"), sender=SENDER)


def _words(html: str) -> str:
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", html).split()))


async def test_nothing_yet(looker: Browser) -> None:
    """The page says so."""
    words = _words((await looker.get("/")).text)

    assert "0 messages ended in 24 h" in words
    assert "None in 24 h." in words
    assert "0 open dead letters" in words


async def test_messages_of_the_last_day(looker: Browser, sqlite_engine: Engine) -> None:
    """By outcome and hour, by sender, with how long they took, and those that wait longest."""
    MessageIndex(sqlite_engine).put(
        [
            *(_ended(number, "delivered", hours=2) for number in range(3)),
            _ended(3, "undelivered", hours=3),
            _ended(4, "delivered", days=3),
            _message(5, "retrying", hours=5),
        ]
    )
    _submit(sqlite_engine, "m0", at=NOW - timedelta(hours=2, seconds=3))
    RateLimiter(sqlite_engine).pause("+15005550006")

    html = (await looker.get("/")).text
    words = _words(html)

    assert "4 messages ended in 24 h" in words
    assert "1 retrying" in words
    assert "3 s from submission to delivery (median)" in words
    assert "Messages that ended: delivered 3, undelivered 1" in html
    assert "75.0 %" in words
    assert "Paused: +1500***0006" in words
    assert re.search("Waiting longest.*m5 retrying", words)


async def test_what_keeps_everything_from_being_sent(
    looker: Browser, sqlite_engine: Engine
) -> None:
    """No worker, or an account that Twilio refuses."""
    AccountHold(sqlite_engine).begin(20003)

    words = _words((await looker.get("/")).text)

    assert "No worker asks Temporal for work" in words
    assert re.search("Twilio has refused the account's requests since .* \\(code 20003\\)", words)


async def test_a_worker_that_runs(temporal: Client, looker: Browser) -> None:
    """Is seen at once."""
    async with serving(temporal, FakeActivities()):
        async with asyncio.timeout(30):
            while "No worker asks" in (await looker.get("/")).text:  # noqa: ASYNC110 - in Temporal
                await asyncio.sleep(0.1)


@pytest.mark.parametrize(("length", "total"), [("1 h", 1), ("24 h", 2), ("7 d", 3), ("?", 2)])
async def test_other_ranges(
    length: str, total: int, looker: Browser, sqlite_engine: Engine
) -> None:
    """By minute, hour or day."""
    MessageIndex(sqlite_engine).put(
        [
            _ended(1, "delivered", minutes=5),
            _ended(2, "delivered", hours=5),
            _ended(3, "delivered", days=3),
        ]
    )

    words = _words((await looker.get("/", params={"range": length})).text)

    assert f"{total} messages ended" in words


@contextlib.asynccontextmanager
async def _checking(app: Starlette) -> AsyncIterator[None]:
    """With what the process does in the background."""
    async with app.router.lifespan_context(app):
        yield


async def _words_with(browser: Browser, wanted: str) -> str:
    """The page's words, once they have that."""
    async with asyncio.timeout(30):
        while wanted not in (words := _words((await browser.get("/")).text)):  # noqa: ASYNC110 - in the background
            await asyncio.sleep(0.05)
    return words


async def test_before_the_first_look(looker: Browser) -> None:
    """The page says that nothing was looked at."""
    words = _words((await looker.get("/")).text)

    assert (
        "Last look: Temporal not yet, database not yet, Twilio not yet, webhook not yet." in words
    )
    assert "No problem was found" not in words


async def test_what_doctor_finds_is_shown_worst_first(app: Starlette, actor: Browser) -> None:
    """Each with what to do; what could not be checked is below, with the reason."""
    async with _checking(app):
        words = await _words_with(actor, "fail webhook reached")
        words = await _words_with(actor, "fail Twilio credentials")
        words = await _words_with(actor, "fail workers")

    assert re.search("Problems .* Start the webhook .*python -m webhook", words)
    assert re.search("fail workers .* warn default sender .* What else was checked", words)
    assert re.search("What else .* skipped signed callback Not checked: the webhook cannot", words)
    assert re.search(r"ok Temporal server Version .* at 127\.0\.0\.1", words)
    assert re.search(r"Last look: Temporal \d+ s ago, database \d+ s ago", words)


async def test_the_page_does_not_wait_for_a_check(
    app: Starlette, looker: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs is named, and the others are shown."""
    go_on = threading.Event()

    def hang(_settings: object) -> list[Finding]:
        go_on.wait(60)
        return []

    monkeypatch.setattr(checker, "check_webhook", hang)
    try:
        async with _checking(app):
            words = await _words_with(looker, "ok database")
            assert "webhook not yet (looking)." in words
    finally:
        go_on.set()


async def test_it_is_checked_again_on_request(
    app: Starlette, actor: Browser, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and the audit log says by whom; what is repaired is no problem any more."""
    broken = [fail("public URL", "Broken.", "Repair it.")]
    monkeypatch.setattr(checker, "check_webhook", lambda _settings: list(broken))
    async with _checking(app):
        await _words_with(actor, "fail public URL Broken. Repair it.")
        broken[:] = [ok("public URL", "Repaired.")]

        answer = await actor.post("/checks")
        words = await _words_with(actor, "ok public URL Repaired.")

    assert 303 == answer.status_code
    assert "Broken" not in words
    assert "checks.again" == AuditLog(sqlite_engine).entries()[0].action


async def test_who_may_only_look_has_no_button(looker: Browser) -> None:
    """But sees what was found."""
    assert "Check again" not in (await looker.get("/")).text


async def test_the_hold_is_shown_once(
    app: Starlette, looker: Browser, sqlite_engine: Engine
) -> None:
    """It is known at once, and the check of the database finds it too."""
    AccountHold(sqlite_engine).begin(20003)
    async with _checking(app):
        words = await _words_with(looker, "ok database")

    assert 1 == words.count("Twilio has refused the account's requests")


async def test_a_breaker_is_shown_once(
    app: Starlette, looker: Browser, sqlite_engine: Engine
) -> None:
    """It is known at once, and the check of the database finds it too."""
    open_breaker(sqlite_engine, SENDER)
    assert "+1500***0006 has been paused since" in _words((await looker.get("/")).text)

    async with _checking(app):
        words = await _words_with(looker, "ok database")

    assert 1 == words.count(BECAUSE)
