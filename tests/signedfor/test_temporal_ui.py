"""Links to messages in the Temporal UI, and what the set-up shows in a real browser."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page

from devtools.sandbox.client import Step
from devtools.screenshots import set_up
from devtools.stack.local import LocalStack
from devtools.stack.temporal_server import NAMESPACE
from signedfor.client import Client
from signedfor.contract import Outcome, Stage
from signedfor.temporal_ui import COLUMNS, VIEWS, TemporalUI
from tests.fixtures.stack import TEXT, NewNumber

_NO_PERMISSION: Step = {"respond": "error", "code": 21408, "http_status": 400}
_VIEWS = {view.name: view for view in VIEWS}


@pytest.fixture
def ui(stack: LocalStack) -> TemporalUI:
    """The UI of the stack that tests share."""
    return TemporalUI(url=stack.settings["TEMPORAL_UI_URL"], namespace=NAMESPACE)


def test_a_link_quotes_what_is_in_it() -> None:
    """Workflow ids contain colons, queries much else."""
    ui = TemporalUI(url="https://temporal.example/ui", namespace="a b")

    assert "https://temporal.example/ui/namespaces/a%20b/workflows/message%3A1%3A2" == (
        ui.workflow_url("message:1:2")
    )
    for view in VIEWS:
        assert [view.query] == parse_qs(urlsplit(ui.view_url(view)).query)["query"]


def test_every_stage_that_may_last_and_every_outcome_is_in_one_list() -> None:
    """`sending` is a matter of seconds."""
    queries = [view.query for view in VIEWS if "SendMessage" in view.query]

    for status in {*Stage, *Outcome} - {Stage.SENDING}:
        assert 1 == sum(f'="{status}"' in query for query in queries), status


async def test_the_set_up_shows_outcomes_in_columns(
    stack: LocalStack, ui: TemporalUI, page: Page, new_number: NewNumber
) -> None:
    """In the list of what was not delivered, a refused message has its status and its code."""
    to, temporal = new_number(), await stack.client()
    stack.sandbox.script(to, [_NO_PERMISSION])
    message = await Client(temporal).send({"to": to, "body": TEXT}, message_id="refused-by-geo")
    await message.report()
    query = f"{_VIEWS['Not delivered'].query} AND WorkflowId = '{message.handle.id}'"
    async with asyncio.timeout(30):
        while not (await temporal.count_workflows(query)).count:  # noqa: ASYNC110 - visibility lags
            await asyncio.sleep(0.1)

    await set_up(page, ui)
    await page.goto(ui.view_url(_VIEWS["Not delivered"]))

    row = page.get_by_role("row").filter(has_text=message.handle.id)
    await row.wait_for()
    headers = await page.get_by_role("columnheader").all_inner_texts()
    assert list(COLUMNS[:3]) == [each for each in headers if each in COLUMNS][:3]
    cells = [each.strip() for each in await row.get_by_role("cell").all_inner_texts()]
    assert {Outcome.FAILED.value, "21408"} <= set(cells)


async def test_running_the_set_up_again_changes_nothing(ui: TemporalUI, page: Page) -> None:
    """A person's own views stay, and ours are there once."""
    await page.goto(ui.workflows_url)
    await page.evaluate(
        """localStorage.setItem("saved-workflow-queries", JSON.stringify({
             default: [{id: "1", name: "Mine", query: "x", type: "user"}]}))"""
    )

    for _ in range(2):
        await set_up(page, ui)

    names = await page.evaluate(
        """JSON.parse(localStorage.getItem("saved-workflow-queries")).default
             .map((view) => view.name)"""
    )
    assert ["Mine", *_VIEWS] == names
