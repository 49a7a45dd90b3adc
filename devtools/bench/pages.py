"""How fast the operations page answers with 100,000 messages of one day, on both databases.

Sending these would take an hour. So a few real messages of a campaign are sent, and their rows are
copied in Temporal's list, as in `growth_list`. So its counts are as slow as any can be.
The indexer reads that list. The dead letters are real.
"""

import asyncio
import itertools
import re
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import httpx
from sqlalchemy import Engine

from devtools.bench.campaign_fixture import (
    SENDER,
    CampaignFixture,
    campaign_fixture,
    recipients,
)
from devtools.bench.environment import (
    PRODUCT,
    SETTINGS,
    UNPACED,
    Environment,
    fresh_stack,
    log_progress,
    set_up,
)
from devtools.bench.figures import Bound, Rounds, Sample
from devtools.bench.growth import new_database
from devtools.bench.growth_list import FILTERED, LANDLINE, fill_list
from devtools.bench.growth_rows import insert_rows
from devtools.bench.processes import run_command
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes
from devtools.stack.local import OPS_USER, LocalStack
from devtools.stack.processes import basic_environment
from ops.web import CSRF_FIELD
from signedfor.contract import SEND_MESSAGE, campaign_message_id, message_id_of
from signedfor.masks import masked_sender
from signedfor.message_indexer import MessageIndexer
from signedfor.store.database import open_engine
from signedfor.store.message_index import MessageIndex
from signedfor.store.people import People

_NO_BREAKER: Final = {"BREAKER_FAILED_PERCENT": "off", "BREAKER_FILTERED_PERCENT": "off"}
"""It would pause the sender of the messages that are to fail."""
_MEDIAN, _MAX = "p50", "max"
_BOUND_MS: Final = 200
_WITHIN: Final = 600.0
_PEOPLE: Final = 1000
_FIRST_FAILING: Final = 15_559_000_000
_COPY: Final = "-copy-"


async def run(sizes: Sizes) -> Report:
    """Measure it."""
    samples: dict[str, Sample] = {}
    for kind in ("SQLite", "PostgreSQL"):
        with new_database(kind) as url:
            for part, sample in (await _measure(url, sizes)).items():
                log_progress(f"{kind}, {part}", sample)
                samples[f"{kind}, {part}"] = sample
    return Report(
        benchmark="pages",
        question="the operations page with all messages of a busy day",
        rounds=Rounds({side: [sample] for side, sample in samples.items()}),
        bounds=[
            Bound(side=side, figure=figure, at_most=_BOUND_MS)
            for side, sample in samples.items()
            for figure in sample
            if side.endswith(_MAX)
        ],
        conditions={
            "messages copied": sizes.indexed_messages,
            "open dead letters": sizes.open_dead_letters,
            "runs of each page": sizes.page_runs,
            **UNPACED,
        },
    )


async def _measure(url: str, sizes: Sizes) -> dict[str, Sample]:
    """The figures of one database: medians of the pages, with those of the index, and maxima."""
    settings = {**SETTINGS, **_NO_BREAKER, "DATABASE_URL": url}
    with fresh_stack(settings=settings, with_ops=True) as (stack, group):
        environment = await set_up(stack, group)
        side = environment.side(PRODUCT)
        with campaign_fixture(environment) as fixture, environment.running(side):
            campaign_id = await _send_campaign(fixture, sizes)
        await asyncio.to_thread(fill_list, stack, sizes.indexed_messages, within=timedelta(days=1))
        with environment.running(side):
            await _send_failing(environment, sizes)
        engine = open_engine(url)
        try:
            await _record_attempts(environment, engine)
            index = await _index_figures(environment, engine)
            with environment.running(side):
                pages = await _page_figures(stack, campaign_id, runs=sizes.page_runs)
        finally:
            engine.dispose()
    return {_MEDIAN: {**index, **pages[_MEDIAN]}, _MAX: pages[_MAX]}


async def _send_campaign(fixture: CampaignFixture, sizes: Sizes) -> str:
    """Messages of a campaign, which are copied afterwards; the campaign's id."""
    campaign_id = fixture.loaded(sizes.counted)
    for row in list(recipients(sizes.counted))[:: sizes.counted // 2]:
        fixture.environment.stack.sandbox.script(row["to"], [LANDLINE])
    await fixture.dispatch_all(campaign_id, sizes.counted)
    await fixture.until_ended(campaign_id, sizes.counted, within=_WITHIN)
    return campaign_id


async def _send_failing(environment: Environment, sizes: Sizes) -> None:
    """Messages whose dead letters wait for an operator."""
    failing = []
    for number in range(_FIRST_FAILING, _FIRST_FAILING + sizes.open_dead_letters):
        environment.stack.sandbox.script(f"+{number}", [FILTERED])
        failing.append(await environment.start(environment.side(PRODUCT), to=f"+{number}"))
    await asyncio.gather(*(handle.result() for handle in failing))


async def _record_attempts(environment: Environment, engine: Engine) -> None:
    """Write the attempt records of the copies: every message that was sent has one."""
    people = People(engine)
    references = itertools.cycle([people.reference(_person(n)) for n in range(_PEOPLE)])
    listed = environment.client.list_workflows(f"WorkflowType = '{SEND_MESSAGE}'", page_size=1000)
    copies = [each async for each in listed if _COPY in each.id]
    rows = (
        (message_id_of(each.id), 1, 1, False, "0" * 64, each.start_time, "0" * 64, reference)
        for each, reference in zip(copies, references, strict=False)
    )
    columns = (
        "message_id submission attempt is_refused fingerprint started_at recipient_hash "
        "person_reference"
    )
    await asyncio.to_thread(insert_rows, engine, "send_attempts", columns, rows)


async def _index_figures(environment: Environment, engine: Engine) -> Sample:
    """How long the index takes: filled, in a thorough round in which nothing is new, and again."""
    index, indexer = MessageIndex(engine), MessageIndexer(environment.client, engine)
    figures = {
        "filling the index (s)": await _seconds(indexer.bring_up_to_date),
        "a brief round (s)": await _seconds(indexer.bring_up_to_date),
        "messages in the index": float(index.size()),
    }
    stack = environment.stack
    for name, arguments in {
        "signedfor messages reindex (s)": ("messages", "reindex"),
        "signedfor messages list (s)": ("messages", "list", "--to", _person(0)),
    }.items():
        done = await asyncio.to_thread(
            run_command,
            *arguments,
            environment={**basic_environment(stack.folder), **stack.settings},
            log=stack.folder / "logs" / "command.log",
            within=_WITHIN,
        )
        figures[name] = done.seconds
    return figures


async def _page_figures(
    stack: LocalStack, campaign_id: str, *, runs: int
) -> dict[str, dict[str, float]]:
    """How long each page takes to answer, while its indexer runs."""
    sender = masked_sender(SENDER)
    pages = {
        "Now": "/",
        "Now, an hour": "/?range=1+h",
        "Now, a week": "/?range=7+d",
        "Messages": "/messages",
        "Messages, delivered": "/messages?status=delivered",
        "Messages, by campaign": f"/messages?campaign={campaign_id}",
        "Messages, a filter without matches": f"/messages?campaign={campaign_id}&status=canceled",
        "Messages, another without": f"/messages?sender={sender.replace('+', '%2B')}&tenant=x",
        "a message": f"/message?id={campaign_message_id(campaign_id, 1)}",
        "Campaigns": "/campaigns",
        "a campaign": f"/campaign?id={campaign_id}",
        "Senders": "/senders",
        "Senders, a day": "/senders?range=24+h",
        "Dead letters": "/dead-letters",
        "Dead letters, one cause": "/dead-letters?failure_class=CarrierFiltered&error_code=30007",
    }
    assert stack.ops is not None  # noqa: S101 - for the type
    stack.ops.start()
    async with httpx.AsyncClient(base_url=stack.ops_url, timeout=60) as browser:
        await browser.post("/sign-in", data={"name": OPS_USER, "password": stack.ops_password})
        pages["Messages, to a number"] = await _search(browser)
        times = {
            name: [await _get(browser, path) for _ in range(runs)] for name, path in pages.items()
        }
    stack.ops.stop()
    return {
        _MEDIAN: {f"{name} (ms)": statistics.median(each) for name, each in times.items()},
        _MAX: {f"{name} (ms)": max(each) for name, each in times.items()},
    }


def _person(number: int) -> str:
    return f"+{15_553_000_000 + number}"


async def _seconds(do: Callable[[], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await do()
    return time.perf_counter() - started


async def _search(browser: httpx.AsyncClient) -> str:
    """The address of the list of messages to a number."""
    page = await browser.get("/audit-log")
    [token] = re.findall(rf'name="{CSRF_FIELD}" value="([^"]+)"', page.text)[:1]
    found = await browser.post("/messages/search", data={CSRF_FIELD: token, "to": _person(0)})
    return found.headers["location"]


async def _get(browser: httpx.AsyncClient, path: str) -> float:
    """Milliseconds until the page is there."""
    started = time.perf_counter()
    page = await browser.get(path)
    page.raise_for_status()
    return 1000 * (time.perf_counter() - started)
