"""The operations page in a real browser: for the eye, the keyboard, a phone and a screen reader."""

import asyncio
import re
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Route
from sqlalchemy import Engine

from ops.access import Role
from ops.pages import dead_letters
from ops.settings import OpsSettings
from signedfor.store.campaigns import Campaigns
from signedfor.store.people import People
from signedfor.store.rate_limiter import RateLimiter
from tests.ops.browser.conftest import DESKTOP, PHONE, Site, fail_on_message, focused, tab_to
from tests.ops.pages.campaign_support import BODY, FILE
from tests.workflows.fakes import RECIPIENT, SENDER


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_has_a_serious_problem_of_accessibility(
    browser: Browser, site: Site, scheme: str
) -> None:
    """Names of fields, contrast, order of headings, landmarks: what axe finds."""
    context = await browser.new_context(color_scheme=scheme, viewport=DESKTOP)  # type: ignore[arg-type]
    page = await site.sign_in(context)
    found: dict[str, list[str]] = {}
    for path in site.paths:
        await page.goto(site.url + path)
        results = await Axe().run(page)
        found[path] = [
            f"{each['id']}: {each['nodes'][0]['html']}"
            for each in results.response["violations"]
            if each["impact"] in {"serious", "critical"}
        ]
    await page.get_by_role("button", name="Sign out").click()
    results = await Axe().run(page)
    found["/sign-in"] = [each["id"] for each in results.response["violations"]]

    assert {} == {path: problems for path, problems in found.items() if problems}


async def test_nothing_is_wider_than_a_phone(browser: Browser, site: Site) -> None:
    """No page has to be moved sideways."""
    page = await site.sign_in(await browser.new_context(viewport=PHONE))  # type: ignore[arg-type]
    too_wide = []
    for path in site.paths:
        await page.goto(site.url + path)
        if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            too_wide.append(path)

    assert [] == too_wide


async def test_light_and_dark(browser: Browser, site: Site) -> None:
    """As the browser prefers."""
    grounds = {}
    for scheme in ("light", "dark"):
        context = await browser.new_context(color_scheme=scheme)
        page = await site.sign_in(context)
        color = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds[scheme] = sum(int(each) for each in re.findall(r"\d+", color)[:3])

    assert grounds["dark"] < 150
    assert grounds["light"] > 700


async def test_without_javascript_everything_can_be_read_and_done(
    browser: Browser, site: Site
) -> None:
    """Pages are whole, and a form does what its button says."""
    page = await site.sign_in(await browser.new_context(java_script_enabled=False))
    for path in site.paths:
        answer = await page.goto(site.url + path)
        assert answer is not None
        assert 200 == answer.status
        assert await page.locator("h1").inner_text()

    await page.goto(f"{site.url}/message?id=m2")
    await page.get_by_role("button", name="Cancel the message").click()
    assert "Canceled: it will not be sent." in await page.locator("main").inner_text()


async def test_by_keyboard_only(browser: Browser, site: Site, sqlite_engine: Engine) -> None:
    """From the skip link to a sender's pause; what has the focus can be seen."""
    page = await site.sign_in(await browser.new_context())
    await page.goto(f"{site.url}/senders")
    await page.keyboard.press("Tab")
    assert "Skip to the content" == await focused(page)
    await page.keyboard.press("Enter")
    await tab_to(page, "Reason")
    assert "none" != await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    await page.keyboard.type("filtered since noon")
    await tab_to(page, "Pause")
    await page.keyboard.press("Enter")

    await page.get_by_text("Paused: no new POST begins.").wait_for()
    assert RateLimiter(sqlite_engine).is_paused(SENDER)


async def test_a_page_updates_itself_until_that_is_paused(
    browser: Browser, site: Site, sqlite_engine: Engine
) -> None:
    """Without a reload; what is typed in a form stays."""
    page = await site.sign_in(await browser.new_context())
    await page.goto(f"{site.url}/senders")
    await page.get_by_label("Reason").fill("half a sentence")
    RateLimiter(sqlite_engine).pause(SENDER)
    await page.get_by_role("cell", name="paused").wait_for(timeout=30_000)
    assert "half a sentence" == await page.get_by_label("Reason").input_value()

    await page.get_by_role("link", name="Pause updates").click()
    await page.get_by_role("link", name="Resume updates").wait_for()
    assert 0 == await page.locator("[hx-get]").count()


async def test_a_number_is_searched_for_without_a_trace(
    browser: Browser, site: Site, sqlite_engine: Engine
) -> None:
    """The address has a reference, and neither it nor the page has the number."""
    page = await site.sign_in(await browser.new_context())
    await page.goto(f"{site.url}/messages")
    await page.get_by_label("To the number").fill(RECIPIENT)
    await page.get_by_role("button", name="Find").click()
    await page.get_by_role("link", name="m1").wait_for()

    assert People(sqlite_engine).reference(RECIPIENT) in page.url
    assert RECIPIENT[1:] not in page.url + await page.content()


async def test_dead_letters_are_retried_by_one_action(browser: Browser, site: Site) -> None:
    """From the cause to the preview to the job."""
    page = await site.sign_in(await browser.new_context(viewport=PHONE))  # type: ignore[arg-type]
    await page.goto(f"{site.url}/dead-letters")
    await page.get_by_role("link", name="SenderMisconfigured 21408").click()
    await page.get_by_label("Reason").fill("the permission is on now")
    await page.get_by_role("button", name="Retry all…").click()
    await page.get_by_role("heading", name="Retry 1 of 1 dead letters?").wait_for()
    await page.get_by_role("button", name="Retry 1").click()

    await page.get_by_role("heading", name="Job on dead letters").wait_for()
    results = await Axe().run(page)
    assert [] == [each["id"] for each in results.response["violations"]]


async def test_a_preview_of_many_counts_by_itself(
    browser: Browser, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is shown before; what has the focus keeps it."""
    monkeypatch.setattr(dead_letters, "MAX_READ_AT_ONCE", 0)
    page = await site.sign_in(await browser.new_context(viewport=PHONE))  # type: ignore[arg-type]
    await page.goto(f"{site.url}/dead-letters?failure_class=SenderMisconfigured")
    may_go_on = asyncio.Event()

    async def wait(route: Route) -> None:
        await may_go_on.wait()
        await route.continue_()

    await page.route("**/dead-letters/count", wait)
    await page.get_by_role("button", name="Retry all…").click()
    await page.get_by_text("Counted so far: 0 of 1").wait_for()
    results = await Axe().run(page)
    assert [] == [each["id"] for each in results.response["violations"]]
    await page.get_by_role("button", name="Retry them").focus()
    may_go_on.set()
    await page.get_by_text("Counted so far").wait_for(state="detached")
    assert "Retry them" == await focused(page)
    await page.get_by_text("1 would be sent again").wait_for()


async def test_checks_are_made_again_from_the_page(browser: Browser, site: Site) -> None:
    """What was found is shown without a reload; it is accessible, also on a phone."""
    page = await site.sign_in(await browser.new_context(viewport=PHONE))  # type: ignore[arg-type]
    await page.get_by_role("rowheader", name="fail webhook reached").wait_for()
    results = await Axe().run(page)
    assert [] == [each["id"] for each in results.response["violations"]]
    assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth")
    await page.get_by_role("button", name="Check again").click()

    await page.get_by_text("Checking.").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_campaign_is_started_from_a_phone(
    browser: Browser, site: Site, sqlite_engine: Engine, scheme: str
) -> None:
    """Without JavaScript: a bad file and its problems, then a good one, its preview, the start."""
    context = await browser.new_context(
        viewport=PHONE,  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
        java_script_enabled=False,
    )
    page = await site.sign_in(context)
    page.remove_listener("console", fail_on_message)  # the browser reports the status 400
    await page.goto(f"{site.url}/campaigns")
    await page.get_by_role("link", name="Start a campaign").click()
    await page.get_by_label("Sender").fill(SENDER)
    await page.get_by_label("Text").fill(BODY)
    for content, heading in ((FILE + "5558675344,Eve,C\n", "Start"), (FILE, "Send to 3")):
        file = {"name": "a.csv", "mimeType": "text/csv", "buffer": content.encode()}
        await page.get_by_label("File").set_input_files(file)  # type: ignore[arg-type]
        await page.get_by_role("button", name="Check it").click()
        await page.get_by_role("heading", name=heading).wait_for()
        await _is_accessible_and_narrow(page, scheme)
        if content != FILE:
            assert "the file has 1 problem" in await page.locator("main").inner_text()
            assert BODY == await page.get_by_label("Text").input_value()
    await page.get_by_role("button", name="Send to 3 recipients").click()

    await page.get_by_text("Started.").wait_for()
    assert 2 == len(Campaigns(sqlite_engine).newest(limit=5))


async def _is_accessible_and_narrow(page: Page, scheme: str) -> None:
    """What axe says of the page; it runs in another one, since this one has no JavaScript."""
    browser = page.context.browser
    assert browser is not None
    other = await browser.new_page(viewport=PHONE, color_scheme=scheme)  # type: ignore[arg-type]
    await other.route("**/copy", lambda route: _copy_of(route, page))
    await other.goto(page.url.partition("/campaigns")[0] + "/copy")
    results = await Axe().run(other)
    assert [] == [each["id"] for each in results.response["violations"]]
    assert not await other.evaluate("document.documentElement.scrollWidth > innerWidth")
    await other.close()


async def _copy_of(route: Route, page: Page) -> None:
    await route.fulfill(body=await page.content(), content_type="text/html")


async def test_a_file_that_is_too_large_is_explained(
    browser: Browser, site: Site, ops_settings: OpsSettings, tmp_path: Path
) -> None:
    """The browser shows the sentence, not that the connection was reset."""
    path = tmp_path / "large.csv"
    path.write_bytes(b"to\n" + b"x" * (ops_settings.ops_max_upload_mb * 2_000_000))
    page = await site.sign_in(await browser.new_context())
    await page.goto(f"{site.url}/campaigns/new")
    await page.get_by_label("Sender").fill(SENDER)
    await page.get_by_label("Text").fill("Hi")
    await page.get_by_label("File").set_input_files(path)
    page.remove_listener("console", fail_on_message)  # the browser reports the status
    await page.get_by_role("button", name="Check it").click()

    await page.get_by_text("the limit that OPS_MAX_UPLOAD_MB sets").wait_for()


@pytest.mark.parametrize("role", [Role.LOOK])
async def test_who_may_only_look_sees_no_buttons(browser: Browser, site: Site, role: Role) -> None:
    """But the one that signs out, those that search, and the one that shows a number."""
    page = await site.sign_in(await browser.new_context(), role)
    names: set[str] = set()
    for path in (path for path, needed in site.roles.items() if role.includes(needed)):
        await page.goto(site.url + path)
        names |= {(await each.inner_text()) for each in await page.get_by_role("button").all()}

    assert names <= {
        *("Sign out", "Find", "Filter", "Open"),
        *("Show the number and the text", "Show the number", "Show the text", "Show the texts"),
        *("Read", "Read the oldest"),
    }
