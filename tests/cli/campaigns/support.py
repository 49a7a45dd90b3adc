"""What the tests of campaign files share: files, and a message for them."""

from collections.abc import Iterable
from pathlib import Path

from messaging.contract import CampaignMessage
from tests.workflows.courier import SENDER

BODY = "Hi {name}, your code is {code}."


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
