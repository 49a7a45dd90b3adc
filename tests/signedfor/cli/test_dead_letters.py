"""`signedfor dead-letters`: found by query, shown, and resolved one by one or many at once."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from signedfor.cli.letters import resolve
from signedfor.cli.output import BadInput
from signedfor.contract import (
    DEAD_LETTER,
    OPEN,
    DeadLetterRequest,
    MessageChanges,
    MessageReport,
    MessageRequest,
    Outcome,
    Resolution,
    dead_letter_workflow_id,
)
from signedfor.search_attributes import MESSAGE_STATUS, TENANT
from tests.signedfor.cli.support import (
    TEXT,
    CommandLine,
    Desk,
    new_id,
    shows_nothing_private,
    until,
)
from tests.workflows.courier import RECIPIENT, REQUEST, accept


async def unattended_letter(client: Client, tenant: str) -> str:
    """An open letter on a queue that nobody works on; its message's id."""
    message_id = new_id()
    report = MessageReport(
        message_id=message_id,
        outcome=Outcome.FAILED,
        reason="Scripted.",
        attempts=1,
        segments=1,
        finished_at=datetime.now(UTC),
        tags={},
    )
    letter = DeadLetterRequest(
        message=MessageRequest.model_validate(REQUEST), report=report, advice="None."
    )
    await client.start_workflow(
        DEAD_LETTER,
        letter,
        id=dead_letter_workflow_id(message_id),
        task_queue="nobody",
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(MESSAGE_STATUS, OPEN), SearchAttributePair(TENANT, tenant)]
        ),
    )
    return message_id


async def listed(desk: Desk, tenant: str, *options: str, count: int) -> Any:
    """The tenant's letters, once the search shows that many."""

    async def ask() -> object:
        return await desk.cli.document(
            "dead-letters", "list", "--query", f"Tenant = '{tenant}'", *options
        )

    document = await until(ask, lambda it: len(it["dead_letters"]) == count)
    return document["dead_letters"]


async def test_open_letters_are_listed_with_code_and_meaning(desk: Desk) -> None:
    """The list shows what Temporal holds in clear, and so no number and no text."""
    tenant = new_id()
    message_id = await desk.dead_letter("--tenant", tenant)

    (letter,) = await listed(desk, tenant, count=1)
    result = await desk.cli.later("dead-letters", "list", "--query", f"Tenant = '{tenant}'")

    assert (message_id, "open", 21408, "+1500***0006", tenant) == (
        letter["message_id"],
        letter["status"],
        letter["error_code"],
        letter["sender"],
        letter["tenant"],
    )
    assert 0 == result.exit_code
    assert "21408" in result.stdout
    assert shows_nothing_private(result)


async def test_closed_letters_are_listed_when_asked_for(desk: Desk) -> None:
    """`--all` lists letters that were closed; without it they are gone from the list."""
    tenant = new_id()
    message_id = await desk.dead_letter("--tenant", tenant)
    await desk.cli.document("dead-letters", "discard", message_id)

    await listed(desk, tenant, count=0)
    (letter,) = await listed(desk, tenant, "--all", count=1)

    assert (message_id, "discarded") == (letter["message_id"], letter["status"])


async def test_a_long_list_says_that_there_is_more(desk: Desk) -> None:
    """`--limit` is kept, and the person told that something is missing."""
    tenant = new_id()
    for _ in range(2):
        await desk.dead_letter("--tenant", tenant)
    await listed(desk, tenant, count=2)

    result = await desk.cli.later(
        *("dead-letters", "list", "--query", f"Tenant = '{tenant}'", "--limit", "1")
    )

    assert "There are more than 1" in result.stdout


@pytest.mark.parametrize("clause", ["Nonsense = 'x'", "TwilioErrorCode ==", "a) OR (b"])
async def test_a_query_that_temporal_does_not_understand(desk: Desk, clause: str) -> None:
    """The option is named, with an example, and the clause not repeated."""
    result = await desk.cli.later("dead-letters", "list", "--query", clause)

    assert 2 == result.exit_code
    assert "--query: Temporal does not understand it" in result.stderr
    assert clause not in result.output


async def test_a_query_cannot_reach_beyond_dead_letters(desk: Desk) -> None:
    """A clause that matches everything else too still finds dead letters only."""
    tenant = new_id()
    message_id = await desk.dead_letter("--tenant", tenant)
    await listed(desk, tenant, count=1)

    document = await desk.cli.document(
        *("dead-letters", "list", "--limit", "1000"),
        *("--query", f"Tenant = '{tenant}') OR (Tenant = '{tenant}'"),
    )

    assert {message_id} == {letter["message_id"] for letter in document["dead_letters"]}


async def test_a_letter_shows_what_happened_and_what_to_do(desk: Desk) -> None:
    """Outcome, code, meaning, action and how long it is held; private things when asked for."""
    message_id = await desk.dead_letter()

    result = await desk.cli.later("dead-letters", "show", message_id)
    revealed = await desk.cli.later("dead-letters", "show", message_id, "--reveal")
    document = await desk.cli.document("dead-letters", "show", message_id)

    assert 0 == result.exit_code
    for words in ("open", "SenderMisconfigured 21408", "What to do", "Held until"):
        assert words in result.stdout
    assert shows_nothing_private(result)
    assert RECIPIENT in revealed.stdout
    assert TEXT in revealed.stdout
    assert "message" not in document["request"]
    assert RECIPIENT not in json.dumps(document)


async def test_a_retry_is_a_new_message_with_the_changes(desk: Desk) -> None:
    """The new message has an id derived from the old one; what was not changed stays."""
    message_id = await desk.dead_letter()
    desk.courier.sends = [accept()]

    document = await desk.cli.document(
        *("dead-letters", "retry", message_id, "--from", "+15005550009"),
        *("--note", "permission granted", "--by", "Ada"),
    )

    post = await desk.posted(f"{message_id}.retry-1")
    assert ("retried", f"{message_id}.retry-1", "Ada", "permission granted") == (
        document["outcome"],
        document["retried_as"],
        document["by"],
        document["note"],
    )
    assert ("+15005550009", RECIPIENT, TEXT) == (post.sender, post.message.to, post.message.body)


async def test_recipient_and_text_can_be_changed(desk: Desk) -> None:
    """A corrected number and a corrected text reach the new message."""
    message_id = await desk.dead_letter()
    desk.courier.sends = [accept()]

    result = await desk.cli.later(
        *("dead-letters", "retry", message_id, "--to", "+15558675310", "--body", "-"),
        *("--expires-at", "2099-01-01T00:00:00Z"),
        stdin="Corrected.\n",
    )

    post = await desk.posted(f"{message_id}.retry-1")
    assert 0 == result.exit_code
    assert f"signedfor show {message_id}.retry-1" in result.stdout
    assert ("+15558675310", "Corrected.") == (post.message.to, post.message.body)


async def test_changes_that_do_not_fit_leave_the_letter_open(desk: Desk) -> None:
    """What only the letter can see is wrong comes back as bad input, field by field."""
    message_id = await desk.dead_letter()
    blank = Resolution(action="retry", changes=MessageChanges(body="  "))

    with pytest.raises(BadInput) as refused:
        await resolve(desk.client, message_id, blank, within=30)

    assert ["body"] == [field for field, _ in refused.value.problems]
    assert "open" == (await desk.cli.document("dead-letters", "show", message_id))["status"]


async def test_a_closed_letter_is_not_resolved_again(desk: Desk) -> None:
    """The second decision is refused: 3."""
    message_id = await desk.dead_letter()
    await desk.cli.document("dead-letters", "discard", message_id, "--note", "known")

    document = await desk.cli.document("dead-letters", "retry", message_id, exit_code=3)

    assert "closed already" in document["error"]["message"]


@pytest.mark.parametrize("command", [("show",), ("retry",), ("discard",)])
async def test_there_is_no_such_letter(desk: Desk, command: tuple[str, ...]) -> None:
    """An id without a dead letter is bad input."""
    document = await desk.cli.document("dead-letters", *command, new_id(), exit_code=2)

    assert "not_found" == document["error"]["kind"]


async def test_many_are_retried_by_one_command(desk: Desk) -> None:
    """Everything that failed with one code is retried; the others are left alone."""
    tenant = new_id()
    chosen = {await desk.dead_letter("--tenant", tenant) for _ in range(3)}
    other = await desk.dead_letter("--tenant", tenant, code=21606)
    await listed(desk, tenant, count=4)
    desk.courier.sends = [accept()]

    document = await desk.cli.document(
        *("dead-letters", "retry", "--yes"),
        *("--query", f"TwilioErrorCode = 21408 AND Tenant = '{tenant}'"),
    )

    assert (3, []) == (document["selected"], document["failed"])
    assert chosen == {report["message_id"] for report in document["resolved"]}
    for message_id in chosen:
        await desk.posted(f"{message_id}.retry-1")
    assert "open" == (await desk.cli.document("dead-letters", "show", other))["status"]


async def test_partial_failures_are_listed(desk: Desk) -> None:
    """A letter that could not be resolved is named, the others are resolved: 1."""
    tenant = new_id()
    well = await desk.dead_letter("--tenant", tenant)
    stuck = await unattended_letter(desk.client, tenant)
    await listed(desk, tenant, count=2)

    document = await desk.cli.document(
        *("dead-letters", "discard", "--yes", "--timeout", "2"),
        *("--query", f"Tenant = '{tenant}'"),
        exit_code=1,
    )

    assert 2 == document["selected"]
    assert [well] == [report["message_id"] for report in document["resolved"]]
    assert [stuck] == [each["message_id"] for each in document["failed"]]
    assert "no worker answered" in document["failed"][0]["problem"]


async def test_many_are_not_touched_without_a_word(desk: Desk) -> None:
    """Without a terminal to ask at, `--yes` is needed: 2, and nothing is done."""
    tenant = new_id()
    message_id = await desk.dead_letter("--tenant", tenant)
    await listed(desk, tenant, count=1)

    result = await desk.cli.later(
        "dead-letters", "discard", "--query", f"Tenant = '{tenant}'", stdin="y\n"
    )

    assert 2 == result.exit_code
    assert "--yes: is needed to discard 1 letters" in result.stderr
    assert "open" == (await desk.cli.document("dead-letters", "show", message_id))["status"]


async def test_nothing_that_matches_is_no_failure(desk: Desk) -> None:
    """A query without matches does nothing and says so."""
    document = await desk.cli.document(
        "dead-letters", "retry", "--query", f"Tenant = '{new_id()}'", "--yes"
    )

    assert {"selected": 0, "resolved": [], "failed": []} == document


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ((), "MESSAGE_ID"),
        (("an-id", "--query", "TwilioErrorCode = 1"), "MESSAGE_ID"),
        (("--query", "TwilioErrorCode = 1", "--to", RECIPIENT), "--to"),
        (("an-id", "--to", "5558675309"), "--to"),
        (("an-id", "--body", "   "), "--body"),
        (("an-id", "--from", "not a sender at all"), "--from"),
        (("an-id", "--expires-at", "soon"), "--expires-at"),
        (("an-id", "--note", "x" * 1001), "--note"),
    ],
)
def test_bad_input_for_a_retry(cli: CommandLine, options: tuple[str, ...], field: str) -> None:
    """The option is named, nothing is asked of Temporal, no value is repeated."""
    result = cli("dead-letters", "retry", *options)

    assert 2 == result.exit_code
    assert f"  {field}: " in result.stderr
    assert RECIPIENT not in result.output
    assert "5558675309" not in result.output


@pytest.mark.parametrize(("command", "exit_code"), [("show", 1), ("discard", 4), ("retry", 4)])
async def test_without_workers(
    temporal: Client, cli_without_worker: CommandLine, command: str, exit_code: int
) -> None:
    """A letter cannot be read (1), and whether a decision was taken is not known (4)."""
    message_id = await unattended_letter(temporal, new_id())

    document = await cli_without_worker.document(
        "dead-letters", command, message_id, "--timeout", "1", exit_code=exit_code
    )

    assert "no worker answer" in document["error"]["message"].lower()
