"""Campaigns of a benchmark: their rows, and what the sandbox's ledger says about their messages."""

import asyncio
import contextlib
import csv
import itertools
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import ActivityEnvironment

from activities.campaigns import CampaignDispatcher
from devtools.bench.environment import Environment
from devtools.sandbox.client import AcceptedRow
from devtools.stack.local import row_message_id
from signedfor.campaign_activities import CampaignKey, messages_of
from signedfor.contract import (
    CampaignMessage,
    CampaignState,
    campaign_message_id,
    campaign_workflow_id,
)
from signedfor.store.campaigns import CampaignRow, Campaigns
from signedfor.store.database import open_engine, transaction
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.tables import send_attempts

SENDER = "+15005560009"
SENDER_RATE = 1000.0
"""Segments a second: more than any machine that this runs on can do."""
BODY = "Hi {name}, our shop in {city} opens on Friday."
_NAMES, _CITIES = ("Ann", "Ben", "Zoë", "Chidi", "Maria-José"), ("Leeds", "Ulm", "Łódź", "Porto")
_FIRST_NUMBER = 15_552_000_000
_POLL_SECONDS = 0.5


class NotMeasured(Exception):
    """What was to be measured did not happen: there is no figure."""


class CampaignFixture:
    """Campaigns on an environment's database, all from one fast sender."""

    def __init__(self, environment: Environment, engine: Engine) -> None:
        self.environment = environment
        self.campaigns = Campaigns(engine)
        self.rate_limiter = RateLimiter(engine)
        self._engine = engine
        self.rate_limiter.set_rate(SENDER, SENDER_RATE)

    def loaded(self, rows: int) -> str:
        """A campaign of so many rows in the database; its id."""
        campaign_id = new_id()
        self.campaigns.create(campaign_id, CampaignMessage(sender=SENDER, body=BODY))
        self.campaigns.add_rows(
            campaign_id,
            [
                CampaignRow(number=number, to=row["to"], fields=row, segments=1)
                for number, row in enumerate(recipients(rows), 1)
            ],
        )
        self.campaigns.finish_loading(campaign_id, rows=rows, segments=rows)
        return campaign_id

    async def dispatch_all(self, campaign_id: str, rows: int) -> float:
        """Dispatch all rows of a campaign as one page; the seconds it took.

        Raises:
            NotMeasured: some were not dispatched.
        """
        dispatcher = CampaignDispatcher(
            self.campaigns, self.rate_limiter, self.environment.client, page=rows
        )
        key = CampaignKey(campaign_id=campaign_id)
        started = time.perf_counter()
        result = await ActivityEnvironment().run(dispatcher.dispatch_rows, key)
        seconds = time.perf_counter() - started
        if result.status.last_row != rows:
            raise NotMeasured(f"Of {rows} rows {result.status.last_row} were dispatched.")
        return seconds

    def workflow(self, campaign_id: str) -> WorkflowHandle[Any, Any]:
        """Its workflow, which `campaign start` has started."""
        return self.environment.client.get_workflow_handle(campaign_workflow_id(campaign_id))

    async def discard(self, campaign_id: str) -> None:
        """Stop its messages and end its workflow."""
        self.campaigns.set_state(campaign_id, CampaignState.CANCELED)
        with contextlib.suppress(RPCError):  # it has ended
            await self.workflow(campaign_id).terminate()

    def accepted(self, campaign_id: str, *, since: float) -> list[AcceptedRow]:
        """Its POSTs that arrived since then (epoch seconds), by the sandbox's ledger."""
        rows = self.environment.stack.sandbox.ledger(since=since)["accepted"]
        return [row for row in rows if (row_message_id(row) or "").startswith(_prefix(campaign_id))]

    async def until_posted(
        self, campaign_id: str, wanted: int, *, since: float, within: float
    ) -> None:
        """Return when so many POSTs of it have arrived.

        Raises:
            NotMeasured: they have not, in time.
        """
        give_up_at = time.monotonic() + within
        while (arrived := len(self.accepted(campaign_id, since=since))) < wanted:
            if time.monotonic() > give_up_at:
                raise NotMeasured(f"Of {wanted} POSTs only {arrived} arrived in {within:.0f} s.")
            await asyncio.sleep(_POLL_SECONDS)

    async def until_ended(self, campaign_id: str, messages: int, *, within: float) -> None:
        """Return when so many of its messages have ended, or the time is up."""
        ended = f"{messages_of(campaign_id)} AND ExecutionStatus != 'Running'"
        give_up_at = time.monotonic() + within
        while time.monotonic() < give_up_at:
            if (await self.environment.client.count_workflows(ended)).count >= messages:
                return
            await asyncio.sleep(_POLL_SECONDS)

    def attempts(self, campaign_id: str) -> list[float]:
        """When POSTs of this campaign started, by its attempt records; in epoch seconds."""
        query = select(send_attempts.c.started_at).where(
            send_attempts.c.message_id.startswith(_prefix(campaign_id))
        )
        with transaction(self._engine, read_only=True) as connection:
            return [started_at.timestamp() for started_at in connection.scalars(query)]


@contextlib.contextmanager
def campaign_fixture(environment: Environment) -> Iterator[CampaignFixture]:
    """Set up the fixture on an environment."""
    engine = open_engine(environment.stack.settings["DATABASE_URL"])
    try:
        yield CampaignFixture(environment, engine)
    finally:
        engine.dispose()


def new_id() -> str:
    """The id of another campaign."""
    return f"bench-{uuid.uuid4().hex[:8]}"


def write_rows(file: Path, count: int) -> None:
    """A file of so many recipients."""
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, ["to", "name", "city"])
        writer.writeheader()
        writer.writerows(recipients(count))


def recipients(count: int) -> Iterable[dict[str, str]]:
    """The rows of such a file."""
    names, cities = itertools.cycle(_NAMES), itertools.cycle(_CITIES)
    for number in range(_FIRST_NUMBER, _FIRST_NUMBER + count):
        yield {"to": f"+{number}", "name": next(names), "city": next(cities)}


def _prefix(campaign_id: str) -> str:
    """How the ids of its messages begin."""
    return campaign_message_id(campaign_id, 0).removesuffix("0")
