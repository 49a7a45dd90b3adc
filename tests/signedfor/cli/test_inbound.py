"""`signedfor inbound list`: what people sent."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from signedfor.contract import InboundKind, InboundMedia
from signedfor.inbound import InboundRecord
from signedfor.inbound_texts import TextPolicy
from signedfor.store.database import open_engine
from signedfor.store.inbound import InboundMessages
from signedfor.store.inbound_outbox import InboundOutbox
from tests.signedfor.cli.support import CommandLine
from tests.workflows.fakes import RECIPIENT, SENDER

TEXT = "Where is my parcel?"
URL = "https://api.example/ME1"


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """The database, with a message that is dispatched, a STOP that is not, and an old one."""
    engine = open_engine(sqlite_url)
    dispatching = InboundMessages(engine, texts=TextPolicy(dispatches=True, keeps=True))
    now = datetime.now(UTC)
    for sid, kind, texts, ago in (
        ("SM1", InboundKind.OTHER, InboundMessages(engine), timedelta(days=3)),
        ("SM2", InboundKind.OTHER, dispatching, timedelta(hours=2)),
        ("SM3", InboundKind.STOP, dispatching, timedelta(hours=1)),
    ):
        texts.receive(
            InboundRecord(
                message_sid=sid,
                from_=RECIPIENT,
                to=SENDER,
                kind=kind,
                body=TEXT,
                media=(InboundMedia(url=URL),),
                received_at=now - ago,
            )
        )
    InboundOutbox(engine, keeps_texts=True).settle(started=["SM2"])
    yield engine
    engine.dispose()


def _list(cli: CommandLine, url: str, *options: str) -> list[dict[str, Any]]:
    result = cli("inbound", "list", "--json", *options, DATABASE_URL=url)
    assert 0 == result.exit_code, result.output
    messages: list[dict[str, Any]] = json.loads(result.stdout)["messages"]
    return messages


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["SM3", "SM2", "SM1"]),
        (("--kind", "stop"), ["SM3"]),
        (("--since", "90m"), ["SM3"]),
        (("--since", "2d"), ["SM3", "SM2"]),
        (("--pending",), ["SM3"]),
        (("--limit", "1"), ["SM3"]),
    ],
)
@pytest.mark.usefixtures("engine")
def test_messages_are_listed(
    cli: CommandLine, sqlite_url: str, options: tuple[str, ...], expected: list[str]
) -> None:
    """All, or those of a kind, of a time, or that await their workflow; newest first."""
    assert expected == [each["message_sid"] for each in _list(cli, sqlite_url, *options)]


@pytest.mark.usefixtures("engine")
def test_a_message_is_masked(cli: CommandLine, sqlite_url: str) -> None:
    """No number and no text is shown without `--reveal`."""
    result = cli("inbound", "list", DATABASE_URL=sqlite_url)

    assert 0 == result.exit_code
    assert ["pending", "started"] == [
        word for line in result.stdout.splitlines() for word in line.split() if word in _STATES
    ]
    for shown in (result.output, json.dumps(_list(cli, sqlite_url))):
        assert not any(secret in shown for secret in (RECIPIENT, SENDER, TEXT, URL))


_STATES = {"pending", "started"}


@pytest.mark.usefixtures("engine")
def test_a_message_can_be_revealed(cli: CommandLine, sqlite_url: str) -> None:
    """With its text and media, if they are kept."""
    stop, other, old = _list(cli, sqlite_url, "--reveal")

    assert (RECIPIENT, SENDER, TEXT, [URL]) == tuple(
        other[name] for name in ("from", "to", "text", "media_urls")
    )
    assert (False, True) == (other["pending"], stop["pending"])
    assert other["dispatched_at"] is not None
    assert (None, []) == (old["text"], old["media_urls"])
    shown = cli("inbound", "list", "--reveal", DATABASE_URL=sqlite_url, COLUMNS="200").stdout
    assert TEXT in shown
    assert URL in shown


@pytest.mark.parametrize("length", ["1w", "0h", "-1h", "4000d", "1.5h"])
@pytest.mark.usefixtures("engine")
def test_a_bad_length_is_refused(cli: CommandLine, sqlite_url: str, length: str) -> None:
    """The error says what a length looks like."""
    result = cli("inbound", "list", "--since", length, DATABASE_URL=sqlite_url)

    assert 2 == result.exit_code
    assert "--since: must be a length such as 90m, 24h or 7d, or a time" in result.output


def test_the_doctor_warns_of_messages_that_wait(
    cli: CommandLine, engine: Engine, sqlite_url: str
) -> None:
    """Longer than minutes; the check does not fail. It does not once they are dispatched."""
    levels = []
    for _ in range(2):
        checks = json.loads(cli("doctor", "--json", DATABASE_URL=sqlite_url).stdout)["checks"]
        levels += [each["level"] for each in checks if each["name"] == "inbound messages"]
        InboundOutbox(engine, keeps_texts=True).settle(started=["SM3"])

    assert ["warn"] == levels


def test_the_doctor_says_nothing_of_a_message_that_has_just_come(
    cli: CommandLine, sqlite_url: str
) -> None:
    """It is being dispatched."""
    engine = open_engine(sqlite_url)
    record = InboundRecord(message_sid="SM1", from_=RECIPIENT, to=SENDER, kind=InboundKind.OTHER)
    InboundMessages(engine, texts=TextPolicy(dispatches=True)).receive(record)
    engine.dispose()

    checks = json.loads(cli("doctor", "--json", DATABASE_URL=sqlite_url).stdout)["checks"]
    assert [] == [each for each in checks if each["name"] == "inbound messages"]
