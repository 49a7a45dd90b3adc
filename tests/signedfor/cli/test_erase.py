"""`signedfor erase`: what it refuses, what it asks, and what it says."""

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from signedfor.consent import Reason, Source, Suppression
from signedfor.store.audit_log import AuditLog
from signedfor.store.database import open_engine
from signedfor.store.people import People
from signedfor.store.suppressions import Suppressions
from tests.activities.fake_twilio import ACCOUNT, TOKEN, FakeTwilio, http, running_fake_twilio
from tests.signedfor.cli.support import SECRETS, CommandLine
from tests.signedfor.cli.test_documents import undocumented
from tests.workflows.fakes import RECIPIENT

_EMPTY = http(200, {"messages": []})


@pytest.fixture
def fake_twilio() -> Iterator[FakeTwilio]:
    """A Twilio that has no messages."""
    with running_fake_twilio() as fake_twilio:
        fake_twilio.responses = [_EMPTY]
        yield fake_twilio


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """A database in which the person has opted out."""
    engine = open_engine(sqlite_url)
    Suppressions(engine).record(
        Suppression(recipient=RECIPIENT, reason=Reason.OPTED_OUT, source=Source.INBOUND),
        by="test",
    )
    yield engine
    engine.dispose()


@pytest.fixture
def line(
    cli_without_worker: CommandLine, sqlite_url: str, engine: Engine, fake_twilio: FakeTwilio
) -> CommandLine:
    """The command line with Temporal, a database and a Twilio."""
    del engine
    return CommandLine(
        env={
            **cli_without_worker.env,
            "DATABASE_URL": sqlite_url,
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_BASE_URL": fake_twilio.url,
            "PUBLIC_BASE_URL": "https://example.com",
        }
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("not-a-number",), "RECIPIENT"),
        ((RECIPIENT, "--note", f"call {RECIPIENT}"), "--note"),
        ((RECIPIENT,), "--yes"),
    ],
)
async def test_bad_input_changes_nothing(
    line: CommandLine, engine: Engine, arguments: tuple[str, ...], named: str
) -> None:
    """It names the option; without a terminal nobody can be asked."""
    result = await line.later("erase", *arguments)

    assert 2 == result.exit_code
    assert named in result.stderr
    assert not [each for each in (*SECRETS, "not-a-number") if each in result.output]
    assert RECIPIENT == Suppressions(engine).list_()[0].recipient
    assert [] == list(AuditLog(engine).entries())


async def test_missing_settings_are_named(cli_without_worker: CommandLine, sqlite_url: str) -> None:
    """It needs Twilio's, unlike most commands."""
    line = CommandLine(env={**cli_without_worker.env, "DATABASE_URL": sqlite_url})
    result = await line.later("erase", RECIPIENT, "--dry-run")

    assert 2 == result.exit_code
    assert "TWILIO_ACCOUNT_SID" in result.stderr


async def test_a_dry_run_counts_and_changes_nothing(line: CommandLine, engine: Engine) -> None:
    """For people and for programs; it is no action for the audit log."""
    result = await line.later("erase", RECIPIENT, "--dry-run")
    document = await line.document("erase", RECIPIENT, "--dry-run")

    assert "Opt-outs (pseudonymised)" in result.stdout
    assert "Nothing was changed." in result.stderr
    assert document["dry_run"]
    assert set() == undocumented("signedfor erase", document)
    assert 1 == document["database"]["suppressions"]
    assert (0, {}) == (document["twilio"], document["temporal"])
    assert RECIPIENT == Suppressions(engine).list_()[0].recipient
    assert [] == list(AuditLog(engine).entries())


async def test_the_number_can_come_from_standard_input(line: CommandLine, engine: Engine) -> None:
    """There it is neither in the shell's history nor in the list of processes."""
    options = ("--yes", "--json", "--note", "t1")
    result = await line.later("erase", "-", *options, stdin=f"{RECIPIENT}\n")

    assert 0 == result.exit_code, result.output
    document = json.loads(result.stdout)
    assert (True, False) == (document["complete"], document["dry_run"])
    assert {"suppressions": 1, "suppression_history": 1} == document["database"]
    assert "Opt-outs still hold" in result.stderr
    assert not [each for each in SECRETS if each in result.output]
    reference = People(engine).reference(RECIPIENT)
    assert reference == Suppressions(engine).list_()[0].recipient
    done, begun = AuditLog(engine).entries()
    assert ("person.erased", "person.erase") == (done.action, begun.action)
    assert ("t1", f"person {reference}") == (begun.why, begun.subject)
    assert "suppressions 1" in (done.details or "")


async def test_what_is_left_is_said(
    line: CommandLine, engine: Engine, fake_twilio: FakeTwilio
) -> None:
    """With exit code 4 and no entry that it is done. The rest is done."""
    fake_twilio.responses = [http(401, {"code": 20003, "message": RECIPIENT, "status": 401})]
    result = await line.later("erase", RECIPIENT, "--yes")

    assert 4 == result.exit_code
    assert "Run it again" in result.stderr
    assert "HTTP 401" in result.stderr
    assert not [each for each in SECRETS if each in result.output]
    assert People(engine).reference(RECIPIENT) == Suppressions(engine).list_()[0].recipient
    assert ["person.erase"] == [each.action for each in AuditLog(engine).entries()]
    fake_twilio.responses = [_EMPTY]
    document = await line.document("erase", RECIPIENT, "--yes")
    assert document["complete"]
    assert set() == undocumented("signedfor erase", document)


async def test_lists_say_that_a_person_was_erased(line: CommandLine, engine: Engine) -> None:
    """And who has the number still finds what is on record."""
    await line.document("erase", RECIPIENT, "--yes")

    listed = await line.later("opt-outs", "list")
    history = await line.later("opt-outs", "history", RECIPIENT)
    exported = await line.later("opt-outs", "export")

    assert "(erased)" in listed.stdout
    assert "Opted out" in history.stdout
    assert People(engine).reference(RECIPIENT) not in exported.stdout
    assert "1 of erased people" in exported.stderr
