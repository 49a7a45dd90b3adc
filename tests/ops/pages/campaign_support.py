"""What the tests of the campaign pages share: an upload, and workers for campaigns."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from html import unescape

import httpx
from sqlalchemy import Engine
from temporalio.client import Client

from activities.campaigns import CampaignDispatcher
from signedfor.store.campaigns import CampaignRow, Campaigns
from signedfor.store.rate_limiter import RateLimiter
from tests.ops.conftest import Browser
from tests.signedfor.campaigns.support import message
from tests.workflows.fakes import SENDER, FakeActivities, serving
from workflows.campaign import Campaign

BODY = "Hi {name}, your code is {code}."
FORM = {"from": SENDER, "body": BODY, "priority": "bulk"}
NUMBERS = ("+15552000000", "+15552000001", "+15552000002")
FILE = "to,name,code\n" + "".join(
    f"{number},Ann {index},C{index}\n" for index, number in enumerate(NUMBERS)
)


def load_campaign(engine: Engine, campaign_id: str = "spring") -> None:
    """A campaign that is in the database only: its workflow does not run."""
    campaigns = Campaigns(engine)
    campaigns.create(campaign_id, message(BODY, category="marketing"), ["to", "name", "code"])
    rows = [
        CampaignRow(number=number, to=to, fields={}, segments=2)
        for number, to in enumerate(NUMBERS, 1)
    ]
    campaigns.add_rows(campaign_id, rows)
    campaigns.finish_loading(campaign_id, rows=3, segments=6)


async def upload(browser: Browser, content: str | bytes = FILE, **fields: object) -> httpx.Response:
    """Send the form with this file."""
    files = {"file": ("recipients.csv", content, "text/csv")}
    return await browser.post("/campaigns/preview", {**FORM, **fields}, files=files)


def hidden(page: httpx.Response) -> dict[str, str]:
    """The hidden fields of the page's last form."""
    form = page.text.rsplit("<form", 1)[1]
    found = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in found if name != "csrf_token"}


def words(page: httpx.Response) -> str:
    """The page as it is read."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


async def shown(browser: Browser, path: str, wanted: str) -> str:
    """The page's words, once it shows that: Temporal lists what has changed after a moment."""
    async with asyncio.timeout(30):
        while wanted not in (read := words(await browser.get(path))):  # noqa: ASYNC110 - in Temporal
            await asyncio.sleep(0.05)
    return read


@contextlib.asynccontextmanager
async def serving_campaigns(
    temporal: Client, engine: Engine, fakes: FakeActivities
) -> AsyncIterator[None]:
    """Workers that dispatch campaigns of this database; what Twilio answers is scripted."""
    dispatcher = CampaignDispatcher(Campaigns(engine), RateLimiter(engine), temporal)
    activities = (
        dispatcher.open_campaign,
        dispatcher.set_campaign_state,
        dispatcher.dispatch_rows,
        dispatcher.count_messages,
        dispatcher.count_outcomes,
    )
    async with serving(temporal, fakes, more_activities=activities, more_workflows=(Campaign,)):
        yield
