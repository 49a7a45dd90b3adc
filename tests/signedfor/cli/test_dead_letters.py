"""`signedfor dead-letters`: found by query, shown, and resolved one by one or many at once."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from signedfor.cli.dead_letters import resolve
from signedfor.cli.output import BadInput
from signedfor.contract import (
    DEAD_LETTER,
    OPEN,
    RESOLVE_UPDATE,
    DeadLetterReport,
    DeadLetterRequest,
    MessageChanges,
    MessageReport,
    MessageRequest,
    Outcome,
    Resolution,
    dead_letter_workflow_id,
)
from signedfor.payloads import invalid_input
from signedfor.search_attributes import MESSAGE_STATUS, TENANT
from tests.signedfor.cli.support import (
    TEXT,
    CommandLine,
    LiveSystem,
    new_id,
    shows_nothing_private,
    until,
)
from tests.workflows.fakes import RECIPIENT, REQUEST, accept


async def unserved_dead_letter(client: Client, tenant: str, *, queue: str = "no-worker") -> str:
    """An open dead letter on a queue without a worker; its message's id."""
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
    request = DeadLetterRequest(
        message=MessageRequest.model_validate(REQUEST), report=report, advice="None."
    )
    await client.start_workflow(
        DEAD_LETTER,
        request,
        id=dead_letter_workflow_id(message_id),
        task_queue=queue,
        search_attributes=TypedSearchAttributes(
            [SearchAttributePair(MESSAGE_STATUS, OPEN), SearchAttributePair(TENANT, tenant)]
        ),
    )
    return message_id


async def listed(system: LiveSystem, tenant: str, *options: str, count: int) -> Any:
    """The tenant's dead letters, once the search shows that many."""

    async def ask() -> object:
        return await system.cli.document(
            "dead-letters", "list", "--query", f"Tenant = '{tenant}'", *options
        )

    document = await until(ask, lambda it: len(it["dead_letters"]) == count)
    return document["dead_letters"]


async def test_open_dead_letters_are_listed_with_code_and_meaning(system: LiveSystem) -> None:
    """The list shows what Temporal stores unencrypted, which includes no number and no text."""
    tenant = new_id()
    message_id = await system.dead_letter("--tenant", tenant)

    (dead_letter,) = await listed(system, tenant, count=1)
    result = await system.cli.later("dead-letters", "list", "--query", f"Tenant = '{tenant}'")

    assert (message_id, "open", 21408, "+1500***0006", tenant) == (
        dead_letter["message_id"],
        dead_letter["status"],
        dead_letter["error_code"],
        dead_letter["sender"],
        dead_letter["tenant"],
    )
    assert 0 == result.exit_code
    assert "21408" in result.stdout
    assert shows_nothing_private(result)


async def test_closed_dead_letters_are_listed_with_all(system: LiveSystem) -> None:
    """`--all` lists closed dead letters too; without it they are not listed."""
    tenant = new_id()
    message_id = await system.dead_letter("--tenant", tenant)
    await system.cli.document("dead-letters", "discard", message_id)

    await listed(system, tenant, count=0)
    (dead_letter,) = await listed(system, tenant, "--all", count=1)

    assert (message_id, "discarded") == (dead_letter["message_id"], dead_letter["status"])


async def test_a_long_list_says_that_there_is_more(system: LiveSystem) -> None:
    """`--limit` is respected, and the output says that there are more."""
    tenant = new_id()
    for _ in range(2):
        await system.dead_letter("--tenant", tenant)
    await listed(system, tenant, count=2)

    result = await system.cli.later(
        *("dead-letters", "list", "--query", f"Tenant = '{tenant}'", "--limit", "1")
    )

    assert "There are more than 1" in result.stderr


@pytest.mark.parametrize("clause", ["Nonsense = 'x'", "TwilioErrorCode ==", "a) OR (b"])
async def test_a_query_that_temporal_does_not_understand(system: LiveSystem, clause: str) -> None:
    """The error names the option and an example, and does not repeat the clause."""
    result = await system.cli.later("dead-letters", "list", "--query", clause)

    assert 2 == result.exit_code
    assert "--query: Temporal does not understand it" in result.stderr
    assert clause not in result.output


async def test_a_query_cannot_reach_beyond_dead_letters(system: LiveSystem) -> None:
    """A clause that matches other workflows too still finds dead letters only."""
    tenant = new_id()
    message_id = await system.dead_letter("--tenant", tenant)
    await listed(system, tenant, count=1)

    document = await system.cli.document(
        *("dead-letters", "list", "--limit", "1000"),
        *("--query", f"Tenant = '{tenant}') OR (Tenant = '{tenant}'"),
    )

    assert {message_id} == {dead_letter["message_id"] for dead_letter in document["dead_letters"]}


async def test_a_dead_letter_shows_what_happened_and_what_to_do(system: LiveSystem) -> None:
    """Outcome, code, meaning, action and expiry; number and text only with `--reveal`."""
    message_id = await system.dead_letter()

    result = await system.cli.later("dead-letters", "show", message_id)
    revealed = await system.cli.later("dead-letters", "show", message_id, "--reveal")
    document = await system.cli.document("dead-letters", "show", message_id)

    assert 0 == result.exit_code
    for words in ("open", "SenderMisconfigured 21408", "What to do", "Held until"):
        assert words in result.stdout
    assert shows_nothing_private(result)
    assert RECIPIENT in revealed.stdout
    assert TEXT in revealed.stdout
    assert "message" not in document["request"]
    assert RECIPIENT not in json.dumps(document)


async def test_a_retry_is_a_new_message_with_the_changes(system: LiveSystem) -> None:
    """The new message has an id derived from the old one; other fields stay the same."""
    message_id = await system.dead_letter()
    system.fakes.sends = [accept()]

    document = await system.cli.document(
        *("dead-letters", "retry", message_id, "--from", "+15005550009"),
        *("--note", "permission granted", "--by", "Ada"),
    )

    post = await system.posted(f"{message_id}.retry-1")
    assert ("retried", f"{message_id}.retry-1", "Ada", "permission granted") == (
        document["outcome"],
        document["retried_as"],
        document["by"],
        document["note"],
    )
    assert ("+15005550009", RECIPIENT, TEXT) == (post.sender, post.message.to, post.message.body)


async def test_recipient_and_text_can_be_changed(system: LiveSystem) -> None:
    """A corrected number and a corrected text reach the new message."""
    message_id = await system.dead_letter()
    system.fakes.sends = [accept()]

    result = await system.cli.later(
        *("dead-letters", "retry", message_id, "--to", "+15558675310", "--body", "-"),
        *("--expires-at", "2099-01-01T00:00:00Z"),
        stdin="Corrected.\n",
    )

    post = await system.posted(f"{message_id}.retry-1")
    assert 0 == result.exit_code
    assert f"signedfor show {message_id}.retry-1" in result.stdout
    assert ("+15558675310", "Corrected.") == (post.message.to, post.message.body)


async def test_changes_that_do_not_fit_leave_the_dead_letter_open(system: LiveSystem) -> None:
    """What only the dead letter can check is reported as bad input, field by field."""
    message_id = await system.dead_letter()
    blank = Resolution(action="retry", changes=MessageChanges(body="  "))

    with pytest.raises(BadInput) as refused:
        await resolve(system.client, message_id, blank, within=30)

    assert ["--body"] == [field for field, _ in refused.value.problems]
    assert "open" == (await system.cli.document("dead-letters", "show", message_id))["status"]


async def test_a_closed_dead_letter_is_not_resolved_again(system: LiveSystem) -> None:
    """The second decision is refused: 3."""
    message_id = await system.dead_letter()
    await system.cli.document("dead-letters", "discard", message_id, "--note", "known")

    document = await system.cli.document("dead-letters", "retry", message_id, exit_code=3)

    assert "already closed" in document["error"]["message"]


@workflow.defn(name=DEAD_LETTER, sandboxed=False)
class StrictDeadLetter:
    """A dead letter that refuses every decision."""

    @workflow.run
    async def run(self, _: DeadLetterRequest) -> None:
        """Wait."""
        await workflow.wait_condition(lambda: False)

    @workflow.update(name=RESOLVE_UPDATE)
    async def resolve(self, resolution: Resolution) -> DeadLetterReport:
        """Never called."""
        raise NotImplementedError

    @resolve.validator
    def _refuse(self, resolution: Resolution) -> None:
        if resolution.action == "discard":
            raise ApplicationError("The id is too long for a retry.", type="Scripted")
        raise invalid_input([("message_id", "is too long for a retry"), ("to", "is wrong")])


async def test_a_refusal_of_the_workflow_is_shown(
    temporal: Client, cli_without_worker: CommandLine
) -> None:
    """Its sentence is shown unchanged: 3; bad fields are named by argument and option: 2."""
    queue = new_id()
    message_id = await unserved_dead_letter(temporal, new_id(), queue=queue)
    async with Worker(temporal, task_queue=queue, workflows=[StrictDeadLetter]):
        refused = await cli_without_worker.later("dead-letters", "discard", message_id)
        invalid = await cli_without_worker.later("dead-letters", "retry", message_id)
        await temporal.get_workflow_handle(dead_letter_workflow_id(message_id)).terminate()

    assert (3, 2) == (refused.exit_code, invalid.exit_code)
    assert "The id is too long for a retry.\n" == refused.stderr
    assert "  MESSAGE_ID: is too long for a retry\n  --to: is wrong\n" in invalid.stderr


@pytest.mark.parametrize("command", [("show",), ("retry",), ("discard",)])
async def test_there_is_no_such_dead_letter(system: LiveSystem, command: tuple[str, ...]) -> None:
    """An id without a dead letter is bad input."""
    document = await system.cli.document("dead-letters", *command, new_id(), exit_code=2)

    assert "not_found" == document["error"]["kind"]


async def test_many_are_retried_by_one_command(system: LiveSystem) -> None:
    """Everything that failed with one code is retried; the others stay open."""
    tenant = new_id()
    chosen = {await system.dead_letter("--tenant", tenant) for _ in range(3)}
    other = await system.dead_letter("--tenant", tenant, code=21606)
    await listed(system, tenant, count=4)
    system.fakes.sends = [accept()]

    document = await system.cli.document(
        *("dead-letters", "retry", "--yes"),
        *("--query", f"TwilioErrorCode = 21408 AND Tenant = '{tenant}'"),
    )

    assert (3, []) == (document["selected"], document["failed"])
    assert chosen == {report["message_id"] for report in document["resolved"]}
    for message_id in chosen:
        await system.posted(f"{message_id}.retry-1")
    assert "open" == (await system.cli.document("dead-letters", "show", other))["status"]


async def test_partial_failures_are_listed(system: LiveSystem) -> None:
    """A dead letter that could not be resolved is named, the others are resolved: 1."""
    tenant = new_id()
    well = await system.dead_letter("--tenant", tenant)
    stuck = await unserved_dead_letter(system.client, tenant)
    await listed(system, tenant, count=2)

    document = await system.cli.document(
        *("dead-letters", "discard", "--yes", "--timeout", "2"),
        *("--query", f"Tenant = '{tenant}'"),
        exit_code=1,
    )

    assert 2 == document["selected"]
    assert [well] == [report["message_id"] for report in document["resolved"]]
    assert [stuck] == [each["message_id"] for each in document["failed"]]
    assert "no worker answered" in document["failed"][0]["problem"]


async def test_many_are_not_changed_without_confirmation(system: LiveSystem) -> None:
    """Without a terminal, `--yes` is needed: exit code 2, and nothing is done."""
    tenant = new_id()
    message_id = await system.dead_letter("--tenant", tenant)
    await listed(system, tenant, count=1)

    result = await system.cli.later(
        "dead-letters", "discard", "--query", f"Tenant = '{tenant}'", stdin="y\n"
    )

    assert 2 == result.exit_code
    assert "--yes: is needed to discard 1 dead letter" in result.stderr
    assert "open" == (await system.cli.document("dead-letters", "show", message_id))["status"]


async def test_nothing_that_matches_is_no_failure(system: LiveSystem) -> None:
    """A query without matches does nothing and says so."""
    document = await system.cli.document(
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
    """The error names the option and repeats no value, and Temporal is not called."""
    result = cli("dead-letters", "retry", *options)

    assert 2 == result.exit_code
    assert f"  {field}: " in result.stderr
    assert RECIPIENT not in result.output
    assert "5558675309" not in result.output


@pytest.mark.parametrize(("command", "exit_code"), [("show", 1), ("discard", 4), ("retry", 4)])
async def test_without_workers(
    temporal: Client, cli_without_worker: CommandLine, command: str, exit_code: int
) -> None:
    """A dead letter cannot be read (1), and the result of a decision is not known (4)."""
    message_id = await unserved_dead_letter(temporal, new_id())

    document = await cli_without_worker.document(
        "dead-letters", command, message_id, "--timeout", "1", exit_code=exit_code
    )

    assert "no worker answer" in document["error"]["message"].lower()
