"""`signedfor send`: what is started, what is refused before, and how waiting ends."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest

from signedfor.consent import Reason
from signedfor.contract import message_workflow_id
from signedfor.contract.failures import FailureClass
from signedfor.search_attributes import MESSAGE_SENDER, MESSAGE_STATUS, TENANT
from tests.signedfor.cli.support import (
    TEXT,
    CommandLine,
    LiveSystem,
    new_id,
    shows_nothing_private,
    until,
)
from tests.workflows.fakes import RECIPIENT, SENDER, failure, sid

MESSAGE = ("send", RECIPIENT, "--from", SENDER, "--body", TEXT)


async def test_a_message_is_started_and_its_id_printed(system: LiveSystem) -> None:
    """Without `--id` the message gets a new id; standard output has only that, for `$(...)`."""
    result = await system.cli.later(*MESSAGE)

    message_id = result.stdout.strip()
    await system.receive(message_id, "delivered")
    await system.ended(message_id)

    assert 0 == result.exit_code
    assert shows_nothing_private(result)
    assert [(RECIPIENT, TEXT)] == [
        (post.message.to, post.message.body) for post in system.posts(message_id)
    ]


async def test_every_option_reaches_the_message(system: LiveSystem) -> None:
    """The workers are asked to send what the options specify."""
    message_id = await system.send(
        *("--media", "https://example.com/a.png", "--media", "https://example.com/b.png"),
        *("--priority", "urgent", "--category", "otp", "--tenant", "acme"),
        *("--expires-at", "2099-01-01T00:00:00+01:00", "--receipt-timeout", "77"),
        *("--on-unknown-outcome", "dead_letter", "--tag", "order=17", "--tag", "run=a=b"),
        *("--content-sid", "HX" + "1" * 32, "--content-variables", '{"1": "Ann"}'),
        *("--between", "00:00-24:00", "--days", "sat-mon,wed,thu,fri,tue"),
        *("--time-zone", "Europe/Berlin", "--quiet-hours", "us"),
    )

    message = (await system.posted(message_id)).message.model_dump(mode="json")

    assert {
        "to": RECIPIENT,
        "from": SENDER,
        "body": TEXT,
        "media_urls": ["https://example.com/a.png", "https://example.com/b.png"],
        "content_sid": "HX" + "1" * 32,
        "content_variables": {"1": "Ann"},
        "priority": "urgent",
        "category": "otp",
        "tenant": "acme",
        "send_at": None,
        "expires_at": "2098-12-31T23:00:00Z",
        "send_window": {
            "from": "00:00",
            "until": "24:00",
            "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
            "quiet_hours": ["us"],
            "time_zone": "Europe/Berlin",
        },
        "receipt_timeout_seconds": 77,
        "on_unknown_outcome": "dead_letter",
        "tags": {"order": "17", "run": "a=b"},
        "campaign_id": None,
    } == message


async def test_what_temporal_stores_in_clear_has_no_number(
    system: LiveSystem,
) -> None:
    """From the start, search attributes have stage, masked sender and tenant; no number."""
    message_id = await system.send(
        "--tenant", "acme", "--send-at", "2099-01-01T00:00:00Z", "--category", "otp"
    )

    handle = system.client.get_workflow_handle(message_workflow_id(message_id))
    description = await handle.describe()
    first = await anext(aiter(handle.fetch_history_events(page_size=1)))
    started = first.workflow_execution_started_event_attributes.search_attributes

    assert {MESSAGE_STATUS.name, MESSAGE_SENDER.name, TENANT.name} == set(started.indexed_fields)
    assert "+1500***0006" == description.typed_search_attributes[MESSAGE_SENDER]
    assert "acme" == description.typed_search_attributes[TENANT]
    assert "otp, normal priority, from +1500***0006" == await description.static_summary()


def test_a_tenant_must_not_contain_the_recipients_number(cli: CommandLine) -> None:
    """Tenants are search attributes, which are not encrypted."""
    result = cli("send", RECIPIENT, "--body", TEXT, "--tenant", "t-15558675309")

    assert 2 == result.exit_code
    assert "--tenant: must not contain the recipient's number" in result.stderr


async def test_the_text_can_come_from_standard_input(system: LiveSystem) -> None:
    """`--body -` reads the text, without the line break that `echo` puts at its end."""
    result = await system.cli.later(
        *("send", RECIPIENT, "--from", SENDER, "--body", "-"), stdin="two\nlines\n"
    )
    assert 0 == result.exit_code
    assert "two\nlines" == (await system.posted(result.stdout.strip())).message.body


@pytest.mark.parametrize(
    ("stdin", "problem"),
    [
        (b"\xff\xfe", "--body: standard input is not UTF-8 text"),
        (b"x" * 1601, "--body: is longer than Twilio's 1600 characters"),
        (b"x" * 100_000, "--body: is too long for any message"),
        (b"", "--body: standard input is empty; the text was to come from there"),
    ],
)
def test_a_bad_text_from_standard_input_is_refused(
    cli: CommandLine, stdin: bytes, problem: str
) -> None:
    """Standard input that cannot be a message's text is refused, whatever its length."""
    result = cli("send", RECIPIENT, "--body", "-", stdin=stdin)

    assert 2 == result.exit_code
    assert problem in result.stderr


def test_every_bad_option_is_named_at_once_and_no_value_repeated(cli: CommandLine) -> None:
    """All can be fixed at once: each bad option and its problem, before Temporal is asked."""
    result = cli(
        *("send", "5558675309", "--from", "secretly no sender", "--body", "x" * 1601),
        *("--media", "https://example.com/a.png", "--media", "ftp://secret"),
        *("--content-variables", "{secret", "--tag", "secret", "--send-at", "tomorrow secret"),
        *("--receipt-timeout", "0", "--category", "no spaces secret", "--id", "an id secret"),
    )

    named = [line.split(":")[0].strip() for line in result.stderr.splitlines()[1:]]
    assert 2 == result.exit_code
    assert {
        "TO",
        "--from",
        "--body",
        "--media (2)",
        "--category",
        "--send-at",
        "--receipt-timeout",
        "--content-variables",
        "--tag",
        "--id",
    } == set(named)
    for value in ("5558675309", "xxx", "secret"):
        assert value not in result.output


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        (("--between", "09:00"), ["--between: must be two local times, such as 09:00-20:00"]),
        (
            ("--between", "9-20"),
            ["--between (from): must be HH:MM", "--between (until): must be HH:MM"],
        ),
        (("--between", "20:00-09:00"), ["--between: from must be earlier than until"]),
        (("--between", "09:00-20:00"), ["--between: does not open, or not all year round"]),
        (
            ("--between", "secret", "--days", "mon-secret"),
            ["--between: must be two", "--days: must be days such as mon-fri or sat,sun"],
        ),
        (
            ("--between", "09:00-20:00", "--days", ""),
            ["--days: must be days", "--between: does not open"],
        ),
        (
            ("--days", "mon", "--time-zone", "Europe/Berlin"),
            ["--days: needs --between", "--time-zone: needs --between"],
        ),
        (("--quiet-hours", "us"), ["--quiet-hours: does not open, or not all year round"]),
        (("--quiet-hours", "us, secret"), ["--quiet-hours: has a name that is not known"]),
        (("--quiet-hours", ""), ["--quiet-hours: has a name that is not known"]),
        (
            ("--quiet-hours", "us", "--between", "9", "--days", "secret"),
            [
                "--between: must be two",
                "--days: must be days",
                "--quiet-hours: does not open",
            ],
        ),
        (
            ("--between", "09:00-20:00", "--time-zone", "Europe/Secret"),
            ["--time-zone: is not an IANA time zone"],
        ),
        (
            ("--between", "20:00-09:00", "--time-zone", "Europe/Secret"),
            ["--between: from must be earlier", "--time-zone: is not an IANA time zone"],
        ),
    ],
)
def test_a_bad_window(cli: CommandLine, options: tuple[str, ...], problems: list[str]) -> None:
    """Each problem of a send window is reported under the option that causes it."""
    result = cli(*MESSAGE, *options, "--json")

    found = json.loads(result.stdout)["error"]["fields"]
    lines = [f"{each['field']}: {each['problem']}" for each in found]
    assert 2 == result.exit_code
    assert [True] * len(problems) == [
        line.startswith(problem) for line, problem in zip(lines, problems, strict=True)
    ]
    assert "secret" not in result.output.lower()


def test_bad_input_as_json(cli: CommandLine) -> None:
    """Programs get each field and its problem in one document."""
    result = cli("send", RECIPIENT, "--tag", "a=1", "--tag", "a=2", "--json")

    error = json.loads(result.stdout)["error"]
    assert 2 == result.exit_code
    assert "bad_input" == error["kind"]
    assert [
        {"field": "--body", "problem": "one of body, media_urls or content_sid is required"},
        {"field": "--tag", "problem": "has a name twice"},
    ] == error["fields"]


@pytest.mark.parametrize("message_id", [RECIPIENT, "order-15558675309", "1-555-867-5309"])
def test_an_id_must_not_contain_the_recipients_number(cli: CommandLine, message_id: str) -> None:
    """Ids are stored and logged unencrypted, so such an id is refused before it is stored."""
    result = cli("send", RECIPIENT, "--body", TEXT, "--id", message_id)

    assert 2 == result.exit_code
    assert "--id: must not contain the recipient's number" in result.stderr


def test_no_temporal_is_one_sentence(cli: CommandLine) -> None:
    """Without Temporal the error names the address that was tried."""
    result = cli(*MESSAGE)

    assert 1 == result.exit_code
    assert "127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.output
    assert "" == result.stdout


def test_a_namespace_that_is_not_there(cli_without_worker: CommandLine) -> None:
    """The error for a wrong TEMPORAL_NAMESPACE names the variable."""
    result = cli_without_worker(*MESSAGE, TEMPORAL_NAMESPACE="nowhere")

    assert 1 == result.exit_code
    assert "TEMPORAL_NAMESPACE" in result.stderr


async def test_the_same_id_sends_nothing_new_while_it_runs(system: LiveSystem) -> None:
    """A second start with the same id shows the first one's progress and exits with 0."""
    message_id = await system.send()
    await system.posted(message_id)

    async def again() -> Any:
        return await system.cli.document(*MESSAGE, "--id", message_id)

    second = await until(again, lambda it: it["status"] == "awaiting_receipt")

    assert ("earlier", [], message_id) == (
        second["accepted"],
        second["differs_in"],
        second["message_id"],
    )
    assert 1 == len(system.posts(message_id))


async def test_the_same_id_sends_nothing_new_after_its_end(system: LiveSystem) -> None:
    """The id of a closed message is still in use; its report is shown."""
    message_id = await system.send()
    await system.receive(message_id, "delivered")
    await system.ended(message_id)

    result = await system.cli.later(*MESSAGE, "--id", message_id)

    assert 0 == result.exit_code
    assert "accepted earlier" in result.stderr
    assert "delivered" in result.stdout
    assert 1 == len(system.posts(message_id))


async def test_another_message_with_a_used_id_is_refused(system: LiveSystem) -> None:
    """The error names the fields that differ, without their values."""
    message_id = await system.send()

    result = await system.cli.later(
        *("send", RECIPIENT, "--from", SENDER, "--body", "Something else", "--id", message_id)
    )

    assert 3 == result.exit_code
    assert f"Nothing was sent: {message_id} is the ID of an earlier message" in result.stderr
    assert "differs in body" in " ".join(result.stderr.split())
    assert "Something else" not in result.output
    assert shows_nothing_private(result)


async def test_the_same_message_with_another_priority_gets_a_warning(system: LiveSystem) -> None:
    """The recipient gets the same, so a repeated command with other options still succeeds."""
    message_id = await system.send()

    result = await system.cli.later(*MESSAGE, "--priority", "urgent", "--id", message_id)

    assert 0 == result.exit_code
    assert "differs from this one in priority" in result.stderr


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "outcome"),
    [
        ("delivered", None, 0, "delivered"),
        ("undelivered", 30006, 3, "undelivered"),
        ("canceled", None, 3, "canceled"),
    ],
)
async def test_waiting_ends_with_the_outcome(
    system: LiveSystem, status: str, code: int | None, exit_code: int, outcome: str
) -> None:
    """`--wait` ends when the receipt arrives, with the report and the outcome's exit code."""
    message_id = new_id()
    waiting = asyncio.create_task(
        system.cli.document(*MESSAGE, "--id", message_id, "--wait", exit_code=exit_code)
    )
    await system.posted(message_id)
    await system.receive(message_id, status, code=code)

    document = await waiting

    assert (outcome, outcome, sid()) == (
        document["status"],
        document["report"]["outcome"],
        document["report"]["message_sid"],
    )


async def test_waiting_for_a_suppressed_message(system: LiveSystem) -> None:
    """Nothing is submitted, the exit code is 3, and the reason is shown."""
    system.fakes.suppressed_by = Reason.OPTED_OUT

    message_id = new_id()
    result = await system.cli.later(*MESSAGE, "--wait", "--id", message_id)

    assert 3 == result.exit_code
    assert "The recipient has opted out." in result.stdout
    assert [] == system.posts(message_id)


async def test_waiting_for_a_refused_message_names_code_meaning_and_action(
    system: LiveSystem,
) -> None:
    """The output has the code, its meaning and action, and the dead letter's command."""
    system.fakes.sends = [failure(FailureClass.SENDER_MISCONFIGURED, code=21408)]

    result = await system.cli.later(*MESSAGE, "--wait")

    assert 3 == result.exit_code
    assert "SenderMisconfigured 21408" in result.stdout
    assert "What to do" in result.stdout
    assert "signedfor dead-letters show" in result.stdout
    assert shows_nothing_private(result)


async def test_no_receipt_is_unconfirmed_and_progress_is_printed_line_by_line(
    system: LiveSystem,
) -> None:
    """Without a terminal each change of progress is one line; no receipt is exit code 4."""
    result = await system.cli.later(*MESSAGE, "--wait", "--receipt-timeout", "3", "--json")

    lines = [line for line in result.stderr.splitlines() if "(awaiting_receipt" in line]
    assert 4 == result.exit_code
    assert "unconfirmed" == json.loads(result.stdout)["report"]["outcome"]
    assert lines[0].startswith("Waiting for a receipt from Twilio, at most until ")
    assert len(set(lines)) == len(lines)


async def test_the_wait_can_time_out_first(system: LiveSystem) -> None:
    """After `--wait-timeout` the exit code is 4 and the message continues."""
    message_id = new_id()

    document = await system.cli.document(
        *MESSAGE, "--id", message_id, "--wait-timeout", "0.5", exit_code=4
    )

    assert "unconfirmed" == document["error"]["kind"]
    assert "It continues" in document["error"]["message"]
    await system.receive(message_id, "delivered")
    await system.ended(message_id)


async def test_bad_input_that_only_the_workers_can_find(system: LiveSystem) -> None:
    """Without a sender the message fails at once as bad input: exit code 2."""
    result = await system.cli.later("send", RECIPIENT, "--body", TEXT, "--wait")

    assert 2 == result.exit_code
    assert "from: is needed" in result.stderr


async def test_a_lost_search_attribute_is_explained(system: LiveSystem) -> None:
    """In a namespace without our search attributes, the error says how to register them."""
    request = RegisterNamespaceRequest(namespace=f"bare-{new_id()}")
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await system.client.workflow_service.register_namespace(request)

    async def send() -> Any:
        return await system.cli.later(*MESSAGE, TEMPORAL_NAMESPACE=request.namespace)

    # A new namespace is known everywhere after some seconds.
    result = await until(send, lambda it: "no such namespace" not in it.stderr, seconds=60)

    assert 1 == result.exit_code
    assert "signedfor doctor --fix" in result.stderr
