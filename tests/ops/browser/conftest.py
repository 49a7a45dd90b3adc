"""The operations page in a real browser, with some of everything."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import uvicorn
from playwright.async_api import BrowserContext, ConsoleMessage, Error, Page
from sqlalchemy import Engine
from temporalio.client import Client

from devtools.stack.ports import HOST, free_ports
from ops.access import Role
from ops.app import create_app
from ops.pages import PAGES
from ops.person_links import PersonLinks
from ops.settings import OpsSettings
from signedfor import client as signedfor_client
from signedfor.consent import Reason, Source, Suppression
from signedfor.contract import InboundKind, MessageRequest
from signedfor.contract.failures import FailureClass
from signedfor.dead_letter_indexer import DeadLetterIndexer
from signedfor.inbound import InboundRecord
from signedfor.message_indexer import MessageIndexer
from signedfor.store.dead_letter_index import DeadLetterIndex
from signedfor.store.inbound import InboundMessages
from signedfor.store.message_index import MessageFilter, MessageIndex
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions
from tests.ops.conftest import PASSWORD
from tests.ops.pages.campaign_support import load_campaign
from tests.workflows.fakes import RECIPIENT, SENDER, FakeActivities, failure, serving

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 800}
OPTED_OUT = "+15558675310"
_QUERIES = {
    "/message": "?id=m1",
    "/dead-letter": "?id=m1",
    "/campaign": "?id=spring",
    "/campaigns/cancel": "?id=spring",
}
"""What pages of one thing need in their address."""


@dataclass
class Site:
    """The page, with some messages."""

    url: str
    roles: Mapping[str, Role]
    """The path of every page that can be looked at, and the role that it needs."""

    @property
    def paths(self) -> list[str]:
        """Of every page."""
        return list(self.roles)

    async def sign_in(self, context: BrowserContext, role: Role = Role.ADMINISTER) -> Page:
        """A page of somebody with this role; the test fails if one of its scripts does."""
        page = await context.new_page()
        page.on("pageerror", _fail_on_error)
        page.on("console", fail_on_message)
        await page.goto(f"{self.url}/sign-in")
        await page.get_by_label("Name").fill(role)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(f"{self.url}/")
        return page


def _fail_on_error(error: Error) -> None:
    pytest.fail(str(error))


def fail_on_message(message: ConsoleMessage) -> None:
    """Fail the test: a script, or the browser, reports an error."""
    if message.type == "error":
        pytest.fail(f"Console: {message.text}")


@pytest.fixture
async def site(
    ops_settings: OpsSettings, temporal: Client, sqlite_engine: Engine
) -> AsyncIterator[Site]:
    """The page on a free port, and workers; a message has failed, another waits for its time."""
    app = create_app(ops_settings, client=temporal, engine=sqlite_engine)
    (port,) = free_ports(1)
    config = uvicorn.Config(app, host=HOST, port=port, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    fakes = FakeActivities()
    async with serving(temporal, fakes):
        fakes.sends = [failure(FailureClass.SENDER_MISCONFIGURED, code=21408)]
        client = signedfor_client.Client(temporal)
        request = {"to": RECIPIENT, "from": SENDER, "body": "Your parcel is at the door."}
        failed = await client.send(request, message_id="m1")
        await failed.report()
        later = MessageRequest.model_validate(request | {"send_at": "2099-01-01T00:00:00Z"})
        await client.send(later, message_id="m2")
        load_campaign(sqlite_engine)
        Suppressions(sqlite_engine).record(
            Suppression(
                recipient=OPTED_OUT, reason=Reason.MANUAL, source=Source.OPERATOR, evidence="-"
            ),
            by="ann",
        )
        RateLimiter(sqlite_engine).reserve(SENDER, 90, is_urgent=False)
        for number, text in enumerate(("Leave me alone", "who is this")):
            InboundMessages(sqlite_engine).receive(
                InboundRecord(
                    message_sid=f"SM{number:032}",
                    from_=f"+1555867532{number}",
                    to=SENDER,
                    kind=InboundKind.REVIEW,
                    body=text,
                    received_at=datetime.now(UTC),
                )
            )
        indexer, index = MessageIndexer(temporal, sqlite_engine), MessageIndex(sqlite_engine)
        letters = DeadLetterIndexer(temporal, sqlite_engine)
        while not (
            len(index.find(MessageFilter(statuses=("failed", "scheduled")))) == 2
            and DeadLetterIndex(sqlite_engine).open_ids()
        ):
            await indexer.bring_up_to_date()
            await letters.bring_up_to_date()
        running = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.02)
        person = f"?person={PersonLinks(sqlite_engine).token(OPTED_OUT)}&reason=manual"
        queries = _QUERIES | {"/opt-outs/person": person, "/opt-outs/remove": person}
        roles = {
            path + queries.get(path, ""): role
            for pages in PAGES
            for method, path, role, _ in pages.registered
            if method == "GET" and path not in _NOT_PAGES
        }
        yield Site(f"http://{HOST}:{port}", roles)
        server.should_exit = True
        await running


_NOT_PAGES = {"/dead-letters/job", "/campaign", "/campaigns/cancel"}
"""Shown for a job or campaign that exists; the tests of these look at them."""


async def focused(page: Page) -> str:
    """What has the focus: its text, or its label's."""
    text: str = await page.evaluate(
        "(document.activeElement.labels?.[0] ?? document.activeElement).innerText.trim()"
    )
    return text


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until that has the focus."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await focused(page) == name:
            return
    pytest.fail(f"{name} cannot be reached with Tab")


async def press(page: Page, name: str) -> None:
    """Go to that with Tab, see that its focus can be seen, and press Enter."""
    await tab_to(page, name)
    assert "none" != await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    await page.keyboard.press("Enter")
