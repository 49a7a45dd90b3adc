"""`signedfor doctor`: each common problem is found, with what to do about it."""

import json
import re
import shlex
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from devtools.stack.local import LocalStack
from signedfor.contract import INBOUND_PATH, InboundKind
from signedfor.inbound import InboundRecord
from signedfor.search_attributes import SEARCH_ATTRIBUTES
from signedfor.store.database import open_engine, transaction
from signedfor.store.inbound import InboundMessages
from signedfor.twilio.overrides import OVERRIDES
from tests.fixtures.temporal import binary
from tests.signedfor.cli.support import CommandLine, LiveSystem, new_id, until
from tests.workflows.fakes import RECIPIENT, SENDER

Findings = dict[str, dict[str, str]]


def findings(cli: CommandLine, *options: str, exit_code: int, **env: str) -> Findings:
    """What the doctor found, by the checks' names."""
    result = cli("doctor", *options, "--json", **env)
    assert exit_code == result.exit_code, result.output
    document = json.loads(result.stdout)
    assert (exit_code == 0) == document["ok"]
    return {each["name"]: each for each in document["checks"]}


def levels(found: Findings) -> dict[str, str]:
    """The level of each finding."""
    return {name: each["level"] for name, each in found.items()}


def test_without_any_dependency_every_check_fails(cli: CommandLine) -> None:
    """Each missing dependency fails with a remedy; checks that depend on it are skipped."""
    found = findings(cli, exit_code=1)

    assert {
        "settings": "fail",
        "Temporal server": "fail",
        "Temporal namespace": "skipped",
        "clock": "skipped",
        "search attributes": "skipped",
        "encryption": "skipped",
        "workers": "skipped",
        "database": "fail",
        "default sender": "skipped",
        "destinations": "skipped",
        "Twilio credentials": "skipped",
        "Twilio account": "skipped",
        "inbound URL": "skipped",
        "webhook rules": "skipped",
        "public URL": "skipped",
        "webhook reached": "skipped",
        "signed callback": "skipped",
        "forged callback": "skipped",
    } == levels(found)
    assert "TWILIO_AUTH_TOKEN" in found["settings"]["what"]
    assert "127.0.0.1:9: Connection refused" in found["Temporal server"]["what"]
    assert "signedfor migrate" in found["database"]["remedy"]


def test_remedies_are_printed_for_people(cli: CommandLine) -> None:
    """Without `--json` each finding is a row, with its remedy below it."""
    result = cli("doctor")

    assert 1 == result.exit_code
    assert "-> Run `signedfor migrate`." in result.stdout


@pytest.mark.parametrize(
    "url", ["mysql://user:secret@host/db", "postgresql://user:secret@127.0.0.1:9/db"]
)
def test_a_database_that_cannot_be_used(cli: CommandLine, url: str) -> None:
    """The finding does not repeat the password."""
    found = findings(cli, exit_code=1, DATABASE_URL=url)

    assert "fail" == found["database"]["level"]
    assert "secret" not in json.dumps(found)


def test_a_database_that_a_newer_version_has_migrated(cli: CommandLine, sqlite_url: str) -> None:
    """It is a warning while it can be used, and a failure when it cannot."""
    engine = open_engine(sqlite_url)

    def execute(statement: str) -> None:
        with transaction(engine) as connection:
            connection.execute(text(statement))

    execute("UPDATE alembic_version SET version_num = '9999'")
    newer = findings(cli, exit_code=1, DATABASE_URL=sqlite_url)
    execute("UPDATE schema_compatibility SET oldest_program = '9999'")
    too_new = findings(cli, exit_code=1, DATABASE_URL=sqlite_url)
    engine.dispose()

    assert ["warn", "fail"] == [found["database"]["level"] for found in (newer, too_new)]
    assert all("migration 9999" in found["database"]["what"] for found in (newer, too_new))
    assert "reviews" in newer


@pytest.mark.parametrize(
    ("hours", "level", "what"),
    [
        (None, "ok", "No message awaits review."),
        (23, "ok", "1 pending, the oldest since "),
        (25, "warn", "1 pending, the oldest since "),
    ],
)
def test_reviews_that_wait_too_long(
    cli: CommandLine, sqlite_url: str, hours: int | None, level: str, what: str
) -> None:
    """After a day it is a warning, which names the command to decide them."""
    engine = open_engine(sqlite_url)
    if hours is not None:
        InboundMessages(engine).receive(
            InboundRecord(
                message_sid="SM1",
                from_=RECIPIENT,
                to=SENDER,
                kind=InboundKind.REVIEW,
                received_at=datetime.now(UTC) - timedelta(hours=hours),
            )
        )
    engine.dispose()

    found = findings(cli, exit_code=1, DATABASE_URL=sqlite_url)

    assert "ok" == found["database"]["level"]
    assert level == found["reviews"]["level"]
    assert what in found["reviews"]["what"]
    assert (level == "warn") == ("--interactive" in (found["reviews"]["remedy"] or ""))


@pytest.fixture
async def bare_namespace(temporal: Client) -> str:
    """A namespace as a server makes it: one day of retention, none of our search attributes."""
    name = f"bare-{new_id()}"
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await temporal.workflow_service.register_namespace(request)
    return name


async def namespace_findings(
    cli: CommandLine, namespace: str, *options: str, until_: tuple[str, str] | None = None
) -> Findings:
    """The findings for this namespace; a change to one is known everywhere after some seconds."""

    async def ask() -> Any:
        result = await cli.later("doctor", *options, "--json", TEMPORAL_NAMESPACE=namespace)
        return {each["name"]: each for each in json.loads(result.stdout)["checks"]}

    def settled(found: Findings) -> bool:
        name, level = until_ or ("Temporal namespace", "warn")
        return found[name]["level"] == level

    found: Findings = await until(ask, settled, seconds=90)
    return found


def run_command(remedy: str) -> None:
    """Run the `temporal` command in a remedy, which is in backquotes, as a person would."""
    (command,) = re.findall(r"`(temporal operator [^`]+)`", remedy)
    words = shlex.split(command)
    subprocess.run([binary("temporal"), *words[1:]], check=True, capture_output=True)


async def test_the_commands_for_temporal_are_exact(
    cli_without_worker: CommandLine, bare_namespace: str
) -> None:
    """With a short retention and missing attributes, the printed commands fix both."""
    found = await namespace_findings(cli_without_worker, bare_namespace)
    assert "fail" == found["search attributes"]["level"]
    assert all(key.name in found["search attributes"]["what"] for key in SEARCH_ATTRIBUTES)

    run_command(found["Temporal namespace"]["remedy"])
    run_command(found["search attributes"]["remedy"])

    fixed = await namespace_findings(
        cli_without_worker, bare_namespace, until_=("Temporal namespace", "ok")
    )
    assert "30 days" in fixed["Temporal namespace"]["what"]
    await namespace_findings(cli_without_worker, bare_namespace, until_=("search attributes", "ok"))


async def test_fix_registers_what_is_missing(
    cli_without_worker: CommandLine, bare_namespace: str
) -> None:
    """`--fix` registers the attributes; a later run without it finds them."""
    fixed = await namespace_findings(cli_without_worker, bare_namespace, "--fix")
    after = await namespace_findings(
        cli_without_worker, bare_namespace, until_=("search attributes", "ok")
    )

    assert "Registered now" in fixed["search attributes"]["what"]
    assert "are registered" in after["search attributes"]["what"]


async def test_an_attribute_of_another_type(
    temporal: Client, cli_without_worker: CommandLine, bare_namespace: str
) -> None:
    """An attribute of another type is not overwritten, not even with `--fix`."""
    await namespace_findings(cli_without_worker, bare_namespace)
    await temporal.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=bare_namespace,
            search_attributes={"TwilioErrorCode": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD},
        )
    )

    async def ask() -> Any:
        return await namespace_findings(cli_without_worker, bare_namespace, "--fix")

    found = await until(ask, lambda it: "another type" in it["search attributes"]["what"])

    assert "fail" == found["search attributes"]["level"]
    assert "TwilioErrorCode" in found["search attributes"]["what"]
    assert "search-attribute remove" in found["search attributes"]["remedy"]


def test_a_namespace_that_is_not_there(cli_without_worker: CommandLine) -> None:
    """The remedy is the command that creates it, with the retention it needs."""
    found = findings(cli_without_worker, exit_code=1, TEMPORAL_NAMESPACE="nowhere")

    assert "ok" == found["Temporal server"]["level"]
    assert "fail" == found["Temporal namespace"]["level"]
    assert "namespace create --retention 30d" in found["Temporal namespace"]["remedy"]
    assert "--namespace nowhere" in found["Temporal namespace"]["remedy"]


async def test_workers_are_seen(
    cli_without_worker: CommandLine, bare_namespace: str, system: LiveSystem
) -> None:
    """A namespace without workers fails, naming the queues; one with workers passes."""
    without = await namespace_findings(cli_without_worker, bare_namespace)

    async def ask() -> Any:
        result = await system.cli.later("doctor", "--json")
        return {each["name"]: each for each in json.loads(result.stdout)["checks"]}

    there = await until(ask, lambda it: it["workers"]["level"] == "ok")

    assert "fail" == without["workers"]["level"]
    assert "messages and twilio-sends" in without["workers"]["what"]
    assert "1 on queues messages and twilio-sends." == there["workers"]["what"]


@pytest.mark.integration
class TestWholeSystem:
    """The doctor with everything running: server, worker, webhook, local Twilio."""

    @pytest.fixture
    def cli(self, stack: LocalStack, sqlite_url: str) -> CommandLine:
        """The command line with the settings that worker and webhook have.

        Its database is another one: theirs has the senders of other tests.
        """
        return CommandLine(env={**stack.settings, "DATABASE_URL": sqlite_url, "COLUMNS": "120"})

    def test_nothing_fails(self, cli: CommandLine, stack: LocalStack) -> None:
        """Nothing fails; that Twilio is a sandbox is a warning; no secret is shown."""
        found = findings(cli, exit_code=0)

        assert {"Twilio credentials": "warn"} == {
            name: level for name, level in levels(found).items() if level != "ok"
        }
        assert "TWILIO_API_BASE_URL" in found["Twilio credentials"]["what"]
        assert found["inbound URL"]["what"].startswith("Right for +1500***0006")
        assert stack.settings["TWILIO_AUTH_TOKEN"] not in json.dumps(found)

    def test_a_clock_that_is_an_hour_ahead(
        self, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The finding says how far, in which direction, and what follows."""
        right = findings(cli, exit_code=0)["clock"]
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 3600)

        wrong = findings(cli, exit_code=1)["clock"]

        assert ("ok", "fail") == (right["level"], wrong["level"])
        assert re.match(r"Here (3600|3599)\.\d s ahead of Temporal's, ", wrong["what"])
        assert wrong["what"].endswith("A worker here sends nothing.")

    def test_a_token_that_is_not_the_webhooks(self, cli: CommandLine) -> None:
        """A webhook that would refuse Twilio's callbacks is found before Twilio calls."""
        found = findings(cli, exit_code=1, TWILIO_AUTH_TOKEN="another-token")

        assert ("fail", "ok") == (
            found["signed callback"]["level"],
            found["forged callback"]["level"],
        )
        assert "TWILIO_AUTH_TOKEN" in found["signed callback"]["remedy"]
        assert "fail" == found["Twilio credentials"]["level"]
        assert "HTTP 401, 20003" in found["Twilio credentials"]["what"]
        assert "another-token" not in json.dumps(found)

    def test_senders_that_were_used_are_checked(self, cli: CommandLine, stack: LocalStack) -> None:
        """Those of the database, besides the default sender."""
        cli("senders", "rate", "+15005550321", "5")
        stack.sandbox.settings(inbound_url="https://x.example/in")
        try:
            found = findings(cli, exit_code=0)["inbound URL"]
        finally:
            stack.sandbox.settings(inbound_url=f"{stack.webhook_url}{INBOUND_PATH}#{OVERRIDES}")

        assert "warn" == found["level"]
        assert "+1500***0006" in found["what"]
        assert "+1500***0321" in found["what"]
        assert "leads elsewhere (https://x.example)" in found["what"]

    def test_attempt_records_that_are_deleted_too_early(self, cli: CommandLine) -> None:
        """They must be kept as long as a closed message can be reset; the remedy says how long."""
        found = findings(cli, exit_code=0, ATTEMPT_RECORD_DAYS="7")["Temporal namespace"]

        assert "warn" == found["level"]
        assert "Set ATTEMPT_RECORD_DAYS=30." == found["remedy"]

    def test_a_webhook_that_is_down(self, cli: CommandLine) -> None:
        """The finding names the URL, and the other checks of the webhook are skipped."""
        found = findings(cli, exit_code=1, PUBLIC_BASE_URL="http://127.0.0.1:9")

        assert ("fail", "skipped", "skipped") == (
            found["webhook reached"]["level"],
            found["signed callback"]["level"],
            found["forged callback"]["level"],
        )
        assert "python -m webhook" in found["webhook reached"]["remedy"]

    def test_no_default_sender_is_a_warning(self, cli: CommandLine) -> None:
        """Messages that name a sender are still sent."""
        found = findings(cli, exit_code=0, DEFAULT_SENDER="")

        assert "warn" == found["default sender"]["level"]
