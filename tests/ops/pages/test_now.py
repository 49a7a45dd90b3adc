"""The page Now."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette
from temporalio.client import Client

from ops.app import create_app
from ops.settings import OpsSettings
from signedfor.store.message_index import IndexedMessage, MessageIndex
from signedfor.store.rate_limiter import RateLimiter
from tests.ops.conftest import Browser

NOW = datetime.now(UTC)


@pytest.fixture
def app(ops_settings: OpsSettings, sqlite_engine: Engine, temporal: Client) -> Starlette:
    """The application with a Temporal server."""
    return create_app(ops_settings, client=temporal, engine=sqlite_engine)


def _ended(number: int, status: str, **ago: float) -> IndexedMessage:
    return _message(number, status, closed_at=NOW - timedelta(**ago), **ago)


def _message(
    number: int, status: str, closed_at: datetime | None = None, **ago: float
) -> IndexedMessage:
    fields: dict[str, Any] = {"sender": "+1500***0006", "run_id": "r", "message_id": f"m{number}"}
    started_at = NOW - timedelta(**ago) - timedelta(seconds=4)
    return IndexedMessage(**fields, status=status, started_at=started_at, closed_at=closed_at)


def _words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


async def test_nothing_yet(looker: Browser) -> None:
    """The page says so."""
    words = _words((await looker.get("/")).text)

    assert "0 messages ended in 24 h" in words
    assert "None in 24 h." in words
    assert "0 open dead letters" in words


async def test_messages_of_the_last_day(looker: Browser, sqlite_engine: Engine) -> None:
    """By outcome and hour, by sender, with how long they took, and those that wait longest."""
    MessageIndex(sqlite_engine).put(
        [
            *(_ended(number, "delivered", hours=2) for number in range(3)),
            _ended(3, "undelivered", hours=3),
            _ended(4, "delivered", days=3),
            _message(5, "retrying", hours=5),
        ]
    )
    RateLimiter(sqlite_engine).pause("+15005550006")

    html = (await looker.get("/")).text
    words = _words(html)

    assert "4 messages ended in 24 h" in words
    assert "1 retrying" in words
    assert "4 s from start to delivery (median)" in words
    assert "Messages that ended: delivered 3, undelivered 1" in html
    assert "75.0 %" in words
    assert "Paused: +1500***0006" in words
    assert re.search("Waiting longest.*m5 retrying", words)


@pytest.mark.parametrize(("length", "total"), [("1 h", 1), ("24 h", 2), ("7 d", 3), ("?", 2)])
async def test_other_ranges(
    length: str, total: int, looker: Browser, sqlite_engine: Engine
) -> None:
    """By minute, hour or day."""
    MessageIndex(sqlite_engine).put(
        [
            _ended(1, "delivered", minutes=5),
            _ended(2, "delivered", hours=5),
            _ended(3, "delivered", days=3),
        ]
    )

    words = _words((await looker.get("/", params={"range": length})).text)

    assert f"{total} messages ended" in words
