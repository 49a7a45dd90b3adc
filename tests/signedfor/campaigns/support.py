"""What the tests of campaign files share: files, and a message for them."""

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from temporalio.client import Client
from typer.testing import Result

from signedfor.contract import CampaignMessage, campaign_workflow_id
from signedfor.store.campaigns import CampaignRecord, Campaigns
from tests.signedfor.cli.support import CommandLine
from tests.workflows.fakes import SENDER

BODY = "Hi {name}, your code is {code}."
OPTIONS = ("--body", BODY, "--from", SENDER)


def number(index: int) -> str:
    """A recipient's number, another for each index."""
    return f"+1555{2_000_000 + index}"


def message(body: str = BODY, **fields: object) -> CampaignMessage:
    """A campaign's message."""
    return CampaignMessage.model_validate({"from": SENDER, "body": body, **fields})


def good_rows(count: int) -> Iterable[str]:
    """The lines of a file all of whose rows are right."""
    yield "to,name,code"
    for index in range(count):
        yield f"{number(index)},Ann {index},C{index}"


def written(folder: Path, *lines: str, name: str = "recipients.csv") -> Path:
    """A file of these lines."""
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def new_id() -> str:
    """A campaign's id that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"


def start(cli: CommandLine, path: Path, *options: str, **env: str) -> Result:
    """Start the campaign of this file."""
    return cli("campaign", "start", str(path), *OPTIONS, *options, **env)


def record(engine: Engine, campaign_id: str) -> CampaignRecord:
    """The campaign in the database."""
    found = Campaigns(engine).find(campaign_id)
    assert found is not None
    return found


def no_campaign_exists(engine: Engine) -> bool:
    """Whether there is no campaign in the database."""
    return Campaigns(engine).newest(limit=1) == []


async def runs(temporal: Client, campaign_id: str) -> Any:
    """Temporal's description of the campaign's workflow."""
    return await temporal.get_workflow_handle(campaign_workflow_id(campaign_id)).describe()
