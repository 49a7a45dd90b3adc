"""`signedfor messages list`, with a real Temporal and a real database."""

from datetime import UTC, datetime
from typing import Any

import pytest

from signedfor.cli import message_list
from signedfor.contract.failures import FailureClass
from signedfor.store.database import open_engine
from signedfor.store.message_index import MessageIndex
from tests.signedfor.cli.support import (
    CommandLine,
    LiveSystem,
    new_id,
    shows_nothing_private,
    until,
)
from tests.signedfor.store.indexed_messages import running
from tests.workflows.fakes import RECIPIENT, SENDER, failure


@pytest.fixture
def database(sqlite_url: str) -> dict[str, str]:
    """The variable of a migrated database."""
    return {"DATABASE_URL": sqlite_url}


async def _listed(
    system: LiveSystem, database: dict[str, str], count: int, *options: str
) -> list[dict[str, Any]]:
    """The list, once Temporal shows so many messages."""
    cli = CommandLine(env={**system.cli.env, **database})

    async def ask() -> Any:
        return (await cli.document("messages", "list", *options))["messages"]

    found: list[dict[str, Any]] = await until(ask, lambda it: len(it) == count)
    return found


async def test_messages_are_found_by_what_is_known_of_them(
    system: LiveSystem, database: dict[str, str]
) -> None:
    """By recipient in any form of the address, outcome, sender, code and age."""
    system.fakes.sends = [failure(FailureClass.SENDER_MISCONFIGURED, code=21408)]
    failed = await system.send("--tenant", "shop")
    await system.ended(failed)
    waiting = await system.send("--send-at", "2099-01-01T00:00:00Z")

    for options, ids in (
        ((), [waiting, failed]),
        (("--to", RECIPIENT), [waiting, failed]),
        (("--to", f"whatsapp:{RECIPIENT}"), [waiting, failed]),
        (("--outcome", "failed"), [failed]),
        (("--stage", "scheduled", "--outcome", "failed"), [waiting, failed]),
        (("--sender", SENDER, "--code", "21408"), [failed]),
        (("--tenant", "shop", "--since", "1h"), [failed]),
        (("--since", "2026-01-01T00:00:00Z"), [waiting, failed]),
        (("--until", "1d"), []),
        (("--until", datetime.now(UTC).isoformat()), [waiting, failed]),
        (("--limit", "1"), [waiting]),
    ):
        found = await _listed(system, database, len(ids), *options)
        assert ids == [each["message_id"] for each in found], options
    assert [] == await _listed(system, database, 0, "--to", "+15558675300")


async def test_the_list_shows_nothing_private(system: LiveSystem, database: dict[str, str]) -> None:
    """Neither the number that was searched for nor a text."""
    await system.send("--send-at", "2099-01-01T00:00:00Z")
    await _listed(system, database, 1)

    result = await CommandLine(env={**system.cli.env, **database}).later(
        "messages", "list", "--to", RECIPIENT
    )

    assert 0 == result.exit_code
    assert "+1500***0006" in result.stdout
    assert shows_nothing_private(result)


async def test_the_index_can_be_made_again(system: LiveSystem, database: dict[str, str]) -> None:
    """It says how many messages there are."""
    await system.send("--send-at", "2099-01-01T00:00:00Z")
    await _listed(system, database, 1)

    document = await CommandLine(env={**system.cli.env, **database}).document("messages", "reindex")

    assert {"messages": 1} == document


@pytest.mark.parametrize(
    ("is_filled", "note"),
    [
        (False, "The index is still being filled: it has 0 of about 1 messages"),
        (True, "could not be read within 0 seconds: the list may be behind"),
    ],
)
async def test_what_could_not_be_read_in_time_is_said(
    system: LiveSystem,
    database: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_filled: bool,
    note: str,
) -> None:
    """The list is incomplete or behind; Temporal does answer."""
    if is_filled:
        await _listed(system, database, 0)
    await system.send("--send-at", "2099-01-01T00:00:00Z")
    await until(
        lambda: system.client.count_workflows("WorkflowType = 'SendMessage'"),
        lambda found: found.count == 1,
    )
    monkeypatch.setattr(message_list, "_UPDATE_SECONDS", 0.0)
    cli = CommandLine(env={**system.cli.env, **database})

    result = await cli.later("messages", "list")
    assert 0 == result.exit_code
    assert note in " ".join(result.stderr.split())
    assert {"messages": [], "more": False, "complete": False} == await cli.document(
        "messages", "list"
    )


async def test_unknown_recipients_are_said(system: LiveSystem, database: dict[str, str]) -> None:
    """A search by number may miss a message whose recipient is not known yet."""
    await _listed(system, database, 0)
    cli = CommandLine(env={**system.cli.env, **database})
    assert (await cli.document("messages", "list", "--to", RECIPIENT))["complete"]
    engine = open_engine(database["DATABASE_URL"])
    MessageIndex(engine).put([running(1)])
    engine.dispose()
    env = {**database, "TEMPORAL_ADDRESS": "127.0.0.1:9"}

    result = await CommandLine(env=env).later("messages", "list", "--to", RECIPIENT)

    assert "Not all recipients are known yet" in result.stderr


def test_without_temporal_the_list_is_as_old_as_the_index(
    cli: CommandLine, database: dict[str, str]
) -> None:
    """It is shown all the same."""
    result = cli("messages", "list", **database)

    assert 0 == result.exit_code
    assert "as old as the index" in result.stderr
    assert "No such messages." in result.stdout


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--stage", "gone"), "--stage: must be one of"),
        (("--to", "nobody"), "--to: "),
        (("--sender", "?"), "--sender: "),
        (("--since", "long"), "--since: must be a length"),
        (("--until", "2999-01-01T00:00:00Z"), "--until: must be a length"),
        (("--until", "999999d"), "--until: must be a length"),
    ],
)
def test_bad_options_are_named(
    cli: CommandLine, database: dict[str, str], options: tuple[str, ...], problem: str
) -> None:
    """Without the value."""
    result = cli("messages", "list", *options, **database)

    assert 2 == result.exit_code
    assert problem in result.stderr
    assert "nobody" not in result.stderr


async def test_a_message_is_shown_by_its_sid(system: LiveSystem) -> None:
    """Twilio's console names no other."""
    message_id = new_id()
    await system.send(message_id=message_id)
    await system.receive(message_id, "delivered")
    await system.ended(message_id)
    message_sid = (await system.cli.document("show", message_id))["report"]["message_sid"]

    async def ask() -> Any:
        result = await system.cli.later("show", message_sid)
        return result.stdout

    assert message_id in await until(ask, lambda text: "delivered" in text)


async def test_an_unknown_sid_is_not_found(system: LiveSystem) -> None:
    """As an unknown id."""
    result = await system.cli.later("show", "SM" + "0" * 32)

    assert 2 == result.exit_code
    assert "There is no message" in result.stderr
