"""`python -m devtools.screenshots`, the command of `make screenshots`: pictures for the docs.

It runs the whole system with the sandbox, makes messages of each kind, and takes pictures of the
Temporal UI and the operations page in Chromium, in light and in dark.
"""

import asyncio
import csv
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from playwright.async_api import Browser, Page, ViewportSize
from temporalio.client import Client as TemporalClient
from temporalio.service import RPCError

from devtools.chromium import NoChromium, running_chromium
from devtools.sandbox.client import Step
from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import OPS_USER, ROOT, LocalStack
from devtools.stack.processes import StackError, interrupt_on_signals
from devtools.stack.temporal_server import NAMESPACE
from signedfor.client import Client
from signedfor.contract import Outcome, Stage, message_workflow_id
from signedfor.search_attributes import MESSAGE_STATUS
from signedfor.temporal_ui import VIEWS, TemporalUI

IMAGES: Final = ROOT / "docs/images"
Scheme = Literal["light", "dark"]
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")

_SIZE: Final[ViewportSize] = {"width": 1200, "height": 900}
_PAUSED_SENDER: Final = "+15558670198"
_SLOW_SENDER: Final = "+15558670199"
_CAMPAIGN: Final = "spring-sale"
_TIMEOUT_SECONDS: Final = 90
_SETTINGS: Final = {
    # Long enough to be seen.
    "UNKNOWN_OUTCOME_WAIT_SECONDS": "3600",
    "DEFAULT_SEGMENTS_PER_SECOND": "long_code=20",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A message of one kind: what is sent, what Twilio answers, and the status it reaches."""

    message_id: str
    status: Stage | Outcome
    steps: Sequence[Step] = ()
    then: Step | None = None
    """What Twilio answers after these steps."""
    fields: dict[str, Any] = field(default_factory=dict)
    to: str | None = None
    has_stopped: bool = False
    """Whether the recipient has texted STOP before."""
    is_canceled: bool = False


def _refusal(code: int, http_status: int = 400) -> Step:
    return {"respond": "error", "code": code, "http_status": http_status}


_NO_CALLBACK: Final[Step] = {"final": "sent", "callbacks": {"lost": True}}


def kinds() -> tuple[Kind, ...]:
    """A message of each kind, of which the clock decides some."""
    now = datetime.now(UTC)
    opens = (now.hour + 3) % 23  # a window does not span midnight
    closed = {"from": f"{opens:02}:00", "until": f"{opens + 1:02}:00", "time_zone": "UTC"}
    return (
        Kind(message_id="order-4711", status=Outcome.DELIVERED),
        Kind(message_id="order-4712", status=Stage.RETRYING, then=_refusal(20429, 429)),
        Kind(
            message_id="order-4713",
            status=Stage.RESOLVING,
            steps=[{"respond": "drop_after_accept", "callbacks": {"lost": True}}],
        ),
        Kind(message_id="order-4714", status=Stage.AWAITING_RECEIPT, steps=[_NO_CALLBACK]),
        Kind(
            message_id="order-4715",
            status=Outcome.UNCONFIRMED,
            steps=[_NO_CALLBACK],
            fields={"receipt_timeout_seconds": 1},
        ),
        Kind(message_id="order-4716", status=Stage.WAITING, fields={"from": _PAUSED_SENDER}),
        Kind(
            message_id="offer-201",
            status=Stage.WAITING,
            fields={"category": "marketing", "send_window": closed},
        ),
        Kind(message_id="offer-202", status=Outcome.SUPPRESSED, has_stopped=True),
        Kind(message_id="order-4717", status=Outcome.FAILED, steps=[_refusal(21408)]),
        Kind(message_id="offer-203", status=Outcome.FAILED, steps=[_refusal(21610)]),
        Kind(message_id="order-4718", status=Outcome.FAILED, to="+15005550001"),
        Kind(
            message_id="offer-204",
            status=Outcome.UNDELIVERED,
            steps=[{"final": "undelivered", "error_code": 30007}],
        ),
        Kind(
            message_id="order-4719",
            status=Stage.DELAYED,
            steps=[{"final": "undelivered", "error_code": 30003}],
        ),
        Kind(
            message_id="reminder-31",
            status=Stage.SCHEDULED,
            fields={"send_at": (now + timedelta(days=1)).isoformat()},
        ),
        Kind(
            message_id="reminder-32",
            status=Outcome.CANCELED,
            fields={"send_at": (now + timedelta(days=1)).isoformat()},
            is_canceled=True,
        ),
        Kind(
            message_id="code-9",
            status=Outcome.EXPIRED,
            fields={"expires_at": (now - timedelta(minutes=1)).isoformat()},
        ),
    )


async def make_messages(stack: LocalStack, made: Sequence[Kind]) -> None:
    """Send a message of each kind and start a campaign; return when all are as they should be."""
    # A sender that was never used or configured cannot be paused.
    await asyncio.to_thread(stack.signedfor, "senders", "rate", _PAUSED_SENDER, "20")
    await asyncio.to_thread(stack.signedfor, "senders", "pause", _PAUSED_SENDER)
    await asyncio.to_thread(stack.signedfor, "senders", "rate", _SLOW_SENDER, "0.05")
    await asyncio.to_thread(_start_campaign, stack)
    temporal = await stack.client()
    client = Client(temporal)
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        for number, kind in enumerate(made):
            await _send(kind, f"+155586703{number:02}", stack, client)
        for kind in made:
            await _reaches(temporal, kind)


async def _send(kind: Kind, free_number: str, stack: LocalStack, client: Client) -> None:
    to = kind.to or free_number
    if kind.steps or kind.then:
        await asyncio.to_thread(stack.sandbox.script, to, kind.steps, then=kind.then)
    if kind.has_stopped:
        await asyncio.to_thread(stack.sandbox.inbound, to, GOOD_SENDER, "STOP")
    message = await client.send(
        {"to": to, "from": GOOD_SENDER, "body": "Your parcel is at the door.", **kind.fields},
        message_id=kind.message_id,
    )
    if kind.is_canceled:
        await message.cancel()


async def _reaches(temporal: TemporalClient, kind: Kind) -> None:
    workflow = temporal.get_workflow_handle(message_workflow_id(kind.message_id))
    while True:
        with suppress(RPCError):
            described = await workflow.describe()
            if described.typed_search_attributes.get(MESSAGE_STATUS) == kind.status:
                return
        await asyncio.sleep(0.2)


def _start_campaign(stack: LocalStack) -> None:
    path = stack.folder / "recipients.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["to", "name"])
        rows.writerows([f"+1555867{number:04}", "Ada"] for number in range(5000, 5200))
    stack.signedfor(
        *("campaign", "start", str(path), "--id", _CAMPAIGN, "--from", _SLOW_SENDER),
        *("--body", "Hello {name}, the spring sale is on.", "--yes"),
    )


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A picture of a page of the UI."""

    name: str
    url: str
    take: Callable[[Page], Awaitable[bytes]]
    """Takes it, once the page is complete."""


async def shots(ui: TemporalUI, temporal: TemporalClient) -> list[Shot]:
    """The pictures of the docs."""
    views = {view.name: view for view in VIEWS}

    async def page_of(message_id: str, tab: str) -> str:
        workflow_id = message_workflow_id(message_id)
        described = await temporal.get_workflow_handle(workflow_id).describe()
        return f"{ui.workflow_url(workflow_id)}/{described.run_id}/{tab}"

    return [
        Shot(name="list", url=ui.workflows_url, take=partial(_take_list, row="order-4718")),
        Shot(
            name="not-delivered",
            url=ui.view_url(views["Not delivered"]),
            take=partial(_take_list, row="offer-204", height=460),
        ),
        Shot(name="timeline", url=await page_of("order-4712", "timeline"), take=_take_timeline),
        *[
            Shot(name=name, url=await page_of(message_id, "user-metadata"), take=_take_details)
            for name, message_id in {
                "retrying": "order-4712",
                "unknown-outcome": "order-4713",
                "failed": "order-4717",
            }.items()
        ],
    ]


async def _take_list(page: Page, row: str, height: int = 720) -> bytes:
    await page.get_by_text(row).first.wait_for()
    return await page.screenshot(
        animations="disabled", clip={"x": 0, "y": 0, "width": _SIZE["width"], "height": height}
    )


async def _take_details(page: Page) -> bytes:
    shown = page.frame_locator("#user-metadata-current-details").get_by_text("What to do")
    await shown.wait_for()
    both = page.get_by_test_id("user-metadata").locator("..")
    return await both.screenshot(animations="disabled")


async def _take_timeline(page: Page) -> bytes:
    await page.get_by_text("after Twilio's 20429").last.wait_for(state="attached")
    heading = page.get_by_role("heading", name="Timeline")
    await heading.evaluate("(heading) => heading.scrollIntoView()")
    box = await heading.bounding_box()
    assert box is not None  # noqa: S101 - it is attached, and scrolled to
    return await page.screenshot(
        animations="disabled",
        clip={"x": 0, "y": box["y"], "width": _SIZE["width"], "height": 380},
    )


async def set_up(page: Page, ui: TemporalUI) -> None:
    """Open the UI and run the set-up there, as a person does in the browser's console."""
    await page.goto(ui.workflows_url)
    await page.get_by_text("Workflow ID").first.wait_for()
    # Not any navigation: the UI changes its address by itself.
    async with page.expect_event("load"):
        await page.evaluate(ui.setup_script())


async def take(browser: Browser, ui: TemporalUI, wanted: Sequence[Shot], scheme: Scheme) -> None:
    """Take these pictures in one color scheme."""
    context = await browser.new_context(
        color_scheme=scheme, viewport=_SIZE, timezone_id="UTC", locale="en-GB"
    )
    page = await context.new_page()
    # More room for the rest.
    await page.add_init_script("localStorage.setItem('navOpen', 'false')")
    await set_up(page, ui)
    for shot in wanted:
        await page.goto(shot.url)
        path = IMAGES / f"temporal-ui-{shot.name}-{scheme}.png"
        path.write_bytes(await shot.take(page))


_OPS_PAGES: Final = {
    "now": ("/", "order-4712"),
    "message": ("/message?id=order-4713", "It is not known whether Twilio"),
    "dead-letters": ("/dead-letters", "CarrierFiltered 30007"),
}
"""The pictures of the operations page: where each is, and what it shows once it is complete."""


async def take_operations_page(browser: Browser, stack: LocalStack, scheme: Scheme) -> None:
    """Take the pictures of the operations page in one color scheme."""
    page = await browser.new_page(color_scheme=scheme, viewport=_SIZE, locale="en-GB")
    await page.goto(f"{stack.ops_url}/sign-in")
    await page.get_by_label("Name").fill(OPS_USER)
    await page.get_by_label("Password").fill(stack.ops_password)
    await page.get_by_role("button", name="Sign in").click()
    await _check_again(page)
    for name, (path, wanted) in _OPS_PAGES.items():
        await page.goto(stack.ops_url + path)
        # The page updates itself.
        await page.get_by_text(wanted).first.wait_for(timeout=1000 * _TIMEOUT_SECONDS)
        picture = await page.screenshot(animations="disabled")
        (IMAGES / f"operations-{name}-{scheme}.png").write_bytes(picture)


async def _check_again(page: Page) -> None:
    """Let it check everything now: before there were messages, it knew no sender, for one."""
    await page.get_by_role("button", name="Check again").click()
    await page.get_by_text("Checking.").wait_for()
    last_look = page.get_by_text("Last look:").filter(has_not_text="(looking)")
    await last_look.wait_for(timeout=1000 * _TIMEOUT_SECONDS)
    if await page.get_by_text("fail", exact=True).count():
        raise StackError("A check of the operations page fails: see its page Now.")


async def encryption_shots(ui: TemporalUI, temporal: TemporalClient) -> dict[bool, Shot]:
    """A message as the UI shows it with the codec server, and without it."""
    workflow_id = message_workflow_id("order-4711")
    described = await temporal.get_workflow_handle(workflow_id).describe()
    url = f"{ui.workflow_url(workflow_id)}/{described.run_id}/timeline"
    clear = partial(_take_payloads, text="parcel", height=300)
    cipher = partial(_take_payloads, text="encryption-key", height=240)
    return {
        True: Shot(name="clear-text", url=url, take=clear),
        False: Shot(name="cipher-text", url=url, take=cipher),
    }


async def _take_payloads(page: Page, text: str, height: int) -> bytes:
    """Input and result."""
    await page.get_by_text(text).first.wait_for()
    heading = page.get_by_text("Input", exact=True).filter(visible=True).first
    await heading.evaluate("(heading) => heading.scrollIntoView()")
    box = await heading.bounding_box()
    assert box is not None  # noqa: S101 - it is attached, and scrolled to
    return await page.screenshot(
        animations="disabled",
        clip={"x": 0, "y": box["y"], "width": _SIZE["width"], "height": height},
    )


async def _take_all(stack: LocalStack) -> None:
    await make_messages(stack, kinds())
    ui = TemporalUI(url=str(stack.temporal.ui_url), namespace=NAMESPACE)
    temporal = await stack.client()
    wanted = await shots(ui, temporal)
    payloads = await encryption_shots(ui, temporal)
    async with running_chromium() as browser:
        for scheme in SCHEMES:
            await take(browser, ui, [*wanted, payloads[True]], scheme)
            await take_operations_page(browser, stack, scheme)
        assert stack.codec_server is not None  # noqa: S101 - it comes with the operations page
        await asyncio.to_thread(stack.codec_server.stop)
        for scheme in SCHEMES:
            await take(browser, ui, [payloads[False]], scheme)


def main() -> int:
    """Take the pictures; 1 if something they need is missing or failed."""
    interrupt_on_signals()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="signedfor-screenshots-") as folder,
            LocalStack(Path(folder), settings=_SETTINGS, with_ops=True) as stack,
        ):
            IMAGES.mkdir(exist_ok=True)
            asyncio.run(_take_all(stack))
    except (StackError, NoChromium) as error:
        sys.stderr.write(f"make screenshots: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
