"""Campaigns of a benchmark: their rows, and what the books say of their messages."""

import contextlib
import csv
import itertools
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from temporalio.client import WorkflowHandle
from temporalio.common import Priority, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError

from bench.harness.house import House
from messaging.contract import (
    CAMPAIGN,
    CAMPAIGN_ID,
    MESSAGES_QUEUE,
    CampaignMessage,
    CampaignState,
    campaign_workflow_id,
)
from store.campaigns import CampaignRow, Campaigns
from store.database import open_engine, transaction
from store.pacing import Pacing
from store.tables import posts

SENDER = "+15005560009"
SENDER_RATE = 1000.0
"""Segments a second: more than any machine that this runs on can do."""
BODY = "Hi {name}, our shop in {city} opens on Friday."
_NAMES, _CITIES = ("Ann", "Ben", "Zoë", "Chidi", "Maria-José"), ("Leeds", "Ulm", "Łódź", "Porto")
_FIRST_NUMBER = 15_552_000_000


class Desk:
    """Campaigns on a house's database, all from one fast sender."""

    def __init__(self, house: House, engine: Engine) -> None:
        self.house = house
        self.campaigns = Campaigns(engine)
        self.pacing = Pacing(engine)
        self._engine = engine
        self.pacing.set_rate(SENDER, SENDER_RATE)

    def loaded(self, rows: int) -> str:
        """A campaign of so many rows in the database; its id."""
        campaign_id = new_id()
        self.campaigns.begin(campaign_id, CampaignMessage(sender=SENDER, body=BODY))
        self.campaigns.add(
            campaign_id,
            [
                CampaignRow(number=number, to=row["to"], fields=row, segments=1)
                for number, row in enumerate(_rows(rows), 1)
            ],
        )
        self.campaigns.loaded(campaign_id, rows=rows, segments=rows)
        return campaign_id

    async def started(self, campaign_id: str) -> WorkflowHandle[Any, Any]:
        """Its workflow, started as `campaign start` does."""
        attributes = [SearchAttributePair(CAMPAIGN_ID, campaign_id)]
        handle: WorkflowHandle[Any, Any] = await self.house.client.start_workflow(
            CAMPAIGN,
            {},
            id=campaign_workflow_id(campaign_id),
            task_queue=MESSAGES_QUEUE,
            search_attributes=TypedSearchAttributes(attributes),
            priority=Priority(priority_key=1),
        )
        return handle

    async def forget(self, campaign_id: str) -> None:
        """Nothing of it is sent any more, and its workflow ends."""
        self.campaigns.set_state(campaign_id, CampaignState.CANCELED)
        handle = self.house.client.get_workflow_handle(campaign_workflow_id(campaign_id))
        with contextlib.suppress(RPCError):  # it has ended
            await handle.terminate()

    def arrived(self, *, since: float) -> list[float]:
        """When POSTs of campaigns arrived, by the sandbox's books; in epoch seconds."""
        accepted = self.house.stack.sandbox.ledger(since=since)["accepted"]
        return [row["created"] for row in accepted if row["from"] == SENDER]

    def begun(self, campaign_id: str) -> list[float]:
        """When POSTs of this campaign began, by the notes of the last check; in epoch seconds."""
        query = select(posts.c.begun_at).where(posts.c.message_id.startswith(f"{campaign_id}:"))
        with transaction(self._engine, read_only=True) as connection:
            return [begun_at.timestamp() for begun_at in connection.scalars(query)]


@contextlib.contextmanager
def desk_of(house: House) -> Iterator[Desk]:
    """The desk of a house."""
    engine = open_engine(house.stack.settings["DATABASE_URL"])
    try:
        yield Desk(house, engine)
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
        writer.writerows(_rows(count))


def _rows(count: int) -> Iterable[dict[str, str]]:
    names, cities = itertools.cycle(_NAMES), itertools.cycle(_CITIES)
    for number in range(_FIRST_NUMBER, _FIRST_NUMBER + count):
        yield {"to": f"+{number}", "name": next(names), "city": next(cities)}
