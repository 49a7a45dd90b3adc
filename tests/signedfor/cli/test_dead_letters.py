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

from activities import dead_letters as activity
from signedfor.cli import dead_letter_jobs
from signedfor.contract import (
    DEAD_LETTER,
    OPEN,
    RESOLVE_UPDATE,
    DeadLetterReport,
    DeadLetterRequest,
    MessageReport,
    MessageRequest,
    Outcome,
    Resolution,
    dead_letter_workflow_id,
)
from signedfor.dead_letter_jobs import new_job_id, start
from signedfor.dead_letter_previews import preview
from signedfor.dead_letters import DeadLetterFilter
from signedfor.payloads import invalid_input
from signedfor.search_attributes import MESSAGE_STATUS, TENANT
from signedfor.store.database import open_engine
from signedfor.store.suppressions import Suppressions
from tests.signedfor.cli.support import (
    TEXT,
    CommandLine,
    LiveSystem,
    new_id,
    shows_nothing_private,
    until,
)
from tests.workflows.fakes import RECIPIENT, REQUEST, SENDER, accept


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


@pytest.mark.parametrize("clause", ["Nonsense = 'x'", "TwilioErrorCode =="])
async def test_a_query_that_temporal_does_not_understand(system: LiveSystem, clause: str) -> None:
    """The error names the option and an example, and does not repeat the clause."""
    result = await system.cli.later("dead-letters", "list", "--query", clause)

    assert 2 == result.exit_code
    assert "--query: Temporal does not understand it" in result.stderr
    assert clause not in result.output


async def test_a_query_cannot_reach_beyond_dead_letters(cli: CommandLine) -> None:
    """A clause that would end its parentheses is refused, and not repeated."""
    result = await cli.later("dead-letters", "list", "--query", "Tenant = 'a') OR (Tenant = 'b'")

    assert 2 == result.exit_code
    assert "--query: has a quote or parenthesis without its counterpart" in result.stderr
    assert "Tenant" not in result.output


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
    """What only the dead letter can check is reported as bad input, by its option."""
    message_id = await system.dead_letter()

    result = await system.cli.later(
        "dead-letters", "retry", message_id, "--from", "whatsapp:+15005550006"
    )

    assert 2 == result.exit_code
    assert "  --from: must be on the same channel" in result.stderr
    assert "open" == (await system.cli.document("dead-letters", "show", message_id))["status"]


async def test_a_note_with_the_recipients_number_is_refused(system: LiveSystem) -> None:
    """Also without the country's code: all who see the history could read it."""
    message_id = await system.dead_letter()

    refused = await system.cli.later(
        "dead-letters", "discard", message_id, "--note", f"not {RECIPIENT[-7:]}"
    )

    assert 2 == refused.exit_code
    assert "--note: must not contain the person's number" in refused.stderr
    assert RECIPIENT[-7:] not in refused.output
    assert OPEN == (await system.cli.document("dead-letters", "show", message_id))["status"]


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


async def test_causes_are_counted_with_advice(system: LiveSystem) -> None:
    """How many of each cause, and what to do."""
    tenant = new_id()
    for code in (21408, 21408, 21606):
        await system.dead_letter("--tenant", tenant, code=code)
    await listed(system, tenant, count=3)

    document = await system.cli.document("dead-letters", "causes", "--tenant", tenant)
    result = await system.cli.later("dead-letters", "causes", "--tenant", tenant)

    assert [(21408, 2), (21606, 1)] == [
        (each["error_code"], each["count"]) for each in document["causes"]
    ]
    assert document["causes"][0]["advice"]
    assert "SenderMisconfigured 21408" in result.stdout
    assert shows_nothing_private(result)


async def test_filters_narrow_the_list(system: LiveSystem) -> None:
    """By code, class, sender and tenant, without writing a clause."""
    tenant = new_id()
    await system.dead_letter("--tenant", tenant)
    other = await system.dead_letter("--tenant", tenant, code=21606)
    await listed(system, tenant, count=2)

    document = await system.cli.document(
        *("dead-letters", "list", "--code", "21606", "--class", "SenderMisconfigured"),
        *("--sender", SENDER, "--tenant", tenant),
    )

    assert [other] == [each["message_id"] for each in document["dead_letters"]]


async def test_many_are_retried_by_one_command(system: LiveSystem) -> None:
    """Everything that failed with one code is retried; the others stay open."""
    tenant = new_id()
    chosen = {await system.dead_letter("--tenant", tenant) for _ in range(3)}
    other = await system.dead_letter("--tenant", tenant, code=21606)
    await listed(system, tenant, count=4)
    system.fakes.sends = [accept()]

    document = await system.cli.document(
        *("dead-letters", "retry", "--yes", "--code", "21408"),
        *("--query", f"Tenant = '{tenant}'"),
    )

    job = document["job"]
    assert (3, 3, "finished") == (document["preview"]["to_resolve"], job["done"], job["state"])
    assert (3, {}) == (job["tally"]["resolved"], job["tally"]["failed"])
    for message_id in chosen:
        await system.posted(f"{message_id}.retry-1")
    assert "open" == (await system.cli.document("dead-letters", "show", other))["status"]
    (shown,) = (await system.cli.document("dead-letters", "jobs"))["jobs"]
    assert job == shown == await system.cli.document("dead-letters", "job", job["job_id"])


async def test_a_preview_changes_nothing(system: LiveSystem) -> None:
    """It counts what would be done and what would be left, by cause and sender."""
    tenant = new_id()
    message_id = await system.dead_letter("--tenant", tenant)
    taken = await system.unconfirmed("--tenant", tenant)
    await listed(system, tenant, count=2)

    document = await system.cli.document("dead-letters", "retry", "--preview", "--tenant", tenant)
    result = await system.cli.later("dead-letters", "retry", "--preview", "--tenant", tenant)

    preview = document["preview"]
    assert (2, 1, 1, {"may_have_arrived": 1}) == (
        preview["selected"],
        preview["to_resolve"],
        preview["may_have_arrived"],
        preview["skipped"],
    )
    assert document["job"] is None
    for words in ("NoReceipt", "SenderMisconfigured 21408", "+1500***0006", "--even-if-taken"):
        assert words in result.stdout
    assert shows_nothing_private(result)
    for each in (message_id, taken):
        assert "open" == (await system.cli.document("dead-letters", "show", each))["status"]


async def test_one_that_may_have_arrived_is_retried_only_on_demand(system: LiveSystem) -> None:
    """The refusal names the option: 3."""
    message_id = await system.unconfirmed()

    refused = await system.cli.later("dead-letters", "retry", message_id)
    document = await system.cli.document("dead-letters", "retry", message_id, "--even-if-taken")

    assert 3 == refused.exit_code
    assert "--even-if-taken" in refused.stderr
    assert "retried" == document["outcome"]


async def test_partial_failures_are_listed(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead letter that could not be resolved is named, the others are resolved: 1."""
    monkeypatch.setattr(activity, "ANSWER_SECONDS", 2.0)
    tenant = new_id()
    await system.dead_letter("--tenant", tenant)
    stuck = await unserved_dead_letter(system.client, tenant)
    await listed(system, tenant, count=2)

    result = await system.cli.later("dead-letters", "discard", "--yes", "--tenant", tenant)

    assert 1 == result.exit_code
    assert "Discarded" in result.stdout
    assert "Failed: no_answer" in result.stdout
    assert stuck in result.stdout


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
    assert "SenderMisconfigured 21408" in result.stderr
    assert "open" == (await system.cli.document("dead-letters", "show", message_id))["status"]
    assert [] == (await system.cli.document("dead-letters", "jobs"))["jobs"]


async def test_nothing_that_matches_is_no_failure(system: LiveSystem) -> None:
    """Without a match nothing is done, and that is said."""
    document = await system.cli.document("dead-letters", "retry", "--tenant", new_id(), "--yes")
    result = await system.cli.later("dead-letters", "retry", "--tenant", new_id(), "--yes")

    assert (0, None) == (document["preview"]["selected"], document["job"])
    assert "No open dead letters match.\n" == result.stdout


async def test_a_job_can_be_stopped_and_followed(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stop` ends it and says so; `job --follow` shows its end."""
    monkeypatch.setattr(activity, "ANSWER_SECONDS", 3.0)
    tenant = new_id()
    await unserved_dead_letter(system.client, tenant)
    await listed(system, tenant, count=1)
    engine, job_id = open_engine(system.cli.env["DATABASE_URL"]), new_job_id()
    what = await preview(
        system.client,
        Suppressions(engine),
        DeadLetterFilter(tenant=tenant),
        Resolution(action="discard"),
    )
    engine.dispose()
    await start(system.client, what.job, job_id=job_id)

    stopped = await system.cli.document("dead-letters", "stop", job_id, "--by", "Ada")
    ended = await system.cli.document("dead-letters", "job", job_id, "--follow")

    assert {"job_id": job_id, "stopping": True} == stopped
    assert "Ada" == ended["stopped_by"]
    assert ended["ended_at"] is not None


async def test_ctrl_c_leaves_the_job_running(
    system: LiveSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how to look at it and how to stop it."""
    tenant = new_id()
    await system.dead_letter("--tenant", tenant)
    await listed(system, tenant, count=1)

    async def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dead_letter_jobs, "_until_over", interrupted)
    result = await system.cli.later("dead-letters", "discard", "--yes", "--tenant", tenant)

    assert 130 == result.exit_code
    (job,) = (
        await until(
            lambda: system.cli.document("dead-letters", "jobs"),
            lambda it: [each["state"] for each in it["jobs"]] == ["finished"],
        )
    )["jobs"]
    for command in ("job", "stop"):
        assert f"`signedfor dead-letters {command} {job['job_id']}`" in result.stderr
    assert 1 == job["tally"]["resolved"]


@pytest.mark.parametrize("command", ["job", "stop"])
async def test_there_is_no_such_job(system: LiveSystem, command: str) -> None:
    """An unknown id is bad input."""
    document = await system.cli.document("dead-letters", command, "none", exit_code=2)

    assert "not_found" == document["error"]["kind"]


async def test_a_requested_cancellation_is_shown(system: LiveSystem) -> None:
    """`show` and the workflow agree: it is open, and the request did not close it."""
    message_id = await system.dead_letter()
    await system.client.get_workflow_handle(dead_letter_workflow_id(message_id)).cancel()

    document = await until(
        lambda: system.cli.document("dead-letters", "show", message_id),
        lambda it: it["cancel_requested_at"] is not None,
    )
    result = await system.cli.later("dead-letters", "show", message_id)

    assert "open" == document["status"]
    assert "does not close it; discard it to close it" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ((), "MESSAGE_ID"),
        (("an-id", "--query", "TwilioErrorCode = 1"), "MESSAGE_ID"),
        (("--query", "TwilioErrorCode = 1", "--to", RECIPIENT), "--to"),
        (("an-id", "--code", "21408"), "MESSAGE_ID"),
        (("an-id", "--preview"), "--preview"),
        (("--code", "many"), "--code"),
        (("--class", "Nonsense"), "--class"),
        (("--sender", "not a sender at all"), "--sender"),
        (("--tenant", "no tenant"), "--tenant"),
        (("--campaign", "'"), "--campaign"),
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
