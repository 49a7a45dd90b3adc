"""The work of an operator without a mouse, on a phone's width: Tab, Enter, Space and typing."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Route
from sqlalchemy import Engine

from ops.access import Role
from signedfor.consent import Reason
from signedfor.store.audit_log import AuditLog
from signedfor.store.inbound import InboundMessages
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions
from tests.ops.browser.conftest import (
    OPTED_OUT,
    PHONE,
    Site,
    fail_on_message,
    focused,
    press,
    tab_to,
)
from tests.workflows.fakes import SENDER


@pytest.fixture
async def page(browser: Browser, site: Site) -> AsyncIterator[Page]:
    """A phone with a keyboard, of somebody who may do everything."""
    context = await browser.new_context(viewport=PHONE)  # type: ignore[arg-type]
    yield await site.sign_in(context, Role.ADMINISTER)
    await context.close()


async def _title(page: Page, title: str) -> None:
    """Wait for the page with this heading; axe finds nothing, and what has the focus is seen."""
    await page.get_by_role("heading", name=title, level=1).wait_for()
    results = await Axe().run(page)
    assert [] == [each["id"] for each in results.response["violations"]]


async def test_a_sender_is_paused_and_resumed(page: Page, sqlite_engine: Engine) -> None:
    """From the first page on."""
    await press(page, "Senders")
    await _title(page, "Senders")
    await tab_to(page, "Reason")
    await page.keyboard.type("filtered since noon")
    await press(page, "Pause")
    await page.get_by_text("Paused: no new POST begins.").wait_for()
    assert RateLimiter(sqlite_engine).is_paused(SENDER)

    await press(page, "Resume")
    await page.get_by_text("Resumed:").wait_for()
    assert not RateLimiter(sqlite_engine).is_paused(SENDER)


async def test_reviews_are_worked_off(page: Page, sqlite_engine: Engine) -> None:
    """One after the other, until none is left."""
    await press(page, "Opt-outs and inbound")
    await _title(page, "Opt-outs")
    await press(page, "Reviews 2")
    await _title(page, "Reviews")
    await press(page, "Read the oldest")
    await _title(page, "Is it an opt-out?")
    await press(page, "It is an opt-out")
    await page.get_by_text("who is this").wait_for()
    await press(page, "It is not")

    await page.get_by_role("heading", name="Reviews", level=1).wait_for()
    assert 0 == InboundMessages(sqlite_engine).pending_reviews().count


async def test_an_opt_out_is_lifted(page: Page, sqlite_engine: Engine) -> None:
    """The reason must be given; one with a number is refused, aloud, and can be corrected."""
    await press(page, "Opt-outs and inbound")
    await _title(page, "Opt-outs")
    await tab_to(page, "A person's number")
    await page.keyboard.type(OPTED_OUT)
    await page.keyboard.press("Enter")
    await _title(page, "Person")
    await press(page, "Lift: blocked by an operator")
    await _title(page, "Lift what stands")
    page.remove_listener("console", fail_on_message)  # the browser reports the status 400
    await tab_to(page, "Reason")
    await page.keyboard.type(f"asked at {OPTED_OUT}")
    await page.keyboard.press("Enter")
    await page.get_by_role("alert").get_by_text("must not contain").wait_for()
    await _title(page, "Lift what stands")

    await tab_to(page, "Reason")
    await page.keyboard.press("Control+A")
    await page.keyboard.type("asked for messages again")
    await press(page, "Lift it: messages may be sent again")
    await page.get_by_text("Lifted: 1.").wait_for()
    manual = Suppressions(sqlite_engine).list_(recipient=OPTED_OUT, reason=Reason.MANUAL)
    assert [] == manual


async def test_many_are_retried_after_a_preview(page: Page, sqlite_engine: Engine) -> None:
    """From the figure on the first page to the job."""
    await press(page, "Dead letters")
    await _title(page, "Dead letters")
    await press(page, "SenderMisconfigured 21408")
    await page.get_by_role("heading", name="Decide about all 1").wait_for()
    await tab_to(page, "Reason")
    await page.keyboard.type("the permission is on now")
    await tab_to(page, "Retry also those that may have arrived")
    await page.keyboard.press("Space")
    await page.keyboard.press("Space")
    await press(page, "Retry all…")
    await _title(page, "Retry 1 of 1 dead letters?")
    await press(page, "Retry 1")
    await _title(page, "Job on dead letters")

    entry = AuditLog(sqlite_engine).entries()[0]
    assert ("dead-letters.retry", "the permission is on now") == (entry.action, entry.why)


async def test_an_error_is_explained_and_leads_back(page: Page, site: Site) -> None:
    """It is announced, and no dead end."""
    page.remove_listener("console", fail_on_message)  # the browser reports the status 400
    await page.goto(f"{site.url}/senders")
    await tab_to(page, "Reason")
    await page.keyboard.type("says +1 (555) 867-5309")
    await press(page, "Pause")
    await page.get_by_role("alert").get_by_text("must not contain a phone number").wait_for()
    await _title(page, "That did not work")

    await press(page, "Back to the page before")
    await _title(page, "Senders")


async def test_the_focus_stays_when_a_page_updates_itself(page: Page, site: Site) -> None:
    """On a link in what was replaced; and what was open stays open."""
    await page.goto(site.url)
    await page.get_by_text("What else was checked").wait_for()
    await press(page, "What else was checked")
    await _updated(page)
    assert await page.locator("#now details").first.get_attribute("open") is not None
    assert "What else was checked" == await focused(page)

    await page.goto(f"{site.url}/messages")
    await tab_to(page, "m1")
    await _updated(page)
    assert "m1" == await focused(page)


async def _updated(page: Page) -> None:
    """Wait until what had the focus was replaced."""
    before = await page.evaluate_handle("document.activeElement")
    await page.wait_for_function("(before) => !before.isConnected", arg=before, timeout=60_000)


async def test_an_update_that_fails_is_said(page: Page, site: Site) -> None:
    """What is shown is older than it looks; that is taken back by the next one that succeeds."""
    page.remove_listener("console", fail_on_message)  # the browser reports the status
    await page.goto(f"{site.url}/messages")
    fails = asyncio.Event()
    fails.set()

    async def answer(route: Route) -> None:
        if fails.is_set():
            await route.fulfill(status=503, body="busy")
        else:
            await route.continue_()

    await page.route("**/messages", answer)
    said = page.get_by_role("status").get_by_text("Not updated since")
    await said.wait_for(timeout=30_000)
    results = await Axe().run(page)
    assert [] == [each["id"] for each in results.response["violations"]]
    fails.clear()
    await said.wait_for(state="detached", timeout=30_000)
