"""Links to messages in the Temporal UI, and what the set-up shows in a real browser."""

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page

from devtools.sandbox.client import Step
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
    to, client = new_number(), Client(await stack.client())
    stack.sandbox.script(to, [_NO_PERMISSION])
    message = await client.send({"to": to, "body": TEXT}, message_id="shown-in-a-column")
    await message.report()
    await page.goto(ui.workflows_url)

    async with page.expect_navigation():
        await page.evaluate(ui.setup_script())
    # Visibility lags: the link is opened until it has the message.
    row = page.get_by_role("row").filter(has_text="message:shown-in-a-column")
    while True:
        await page.goto(ui.view_url(_VIEWS["Not delivered"]))
        await page.get_by_text("Workflow ID").first.wait_for()
        await page.get_by_test_id("workflows-summary-configurable-table-row").first.wait_for()
        if await row.count():
            break

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
        async with page.expect_navigation():
            await page.evaluate(ui.setup_script())

    names = await page.evaluate(
        """JSON.parse(localStorage.getItem("saved-workflow-queries")).default
             .map((view) => view.name)"""
    )
    assert ["Mine", *_VIEWS] == names
