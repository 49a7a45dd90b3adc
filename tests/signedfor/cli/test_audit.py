"""What the command line does is in the audit log too."""

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from signedfor.cli import audit
from signedfor.contract import InboundKind
from signedfor.inbound import InboundRecord
from signedfor.store.audit_log import Action, AuditLog
from signedfor.store.database import open_engine
from signedfor.store.inbound import InboundMessages
from signedfor.store.people import People
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions
from tests.signedfor.cli.support import CommandLine
from tests.workflows.fakes import RECIPIENT, SENDER

MASKED = "+*******5309"


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """The database, with a sender and a message that awaits review."""
    engine = open_engine(sqlite_url)
    RateLimiter(engine).reserve(SENDER, 1, is_urgent=False)
    InboundMessages(engine).receive(
        InboundRecord(
            message_sid="SM1", from_=RECIPIENT, to=SENDER, kind=InboundKind.REVIEW, body="no more"
        )
    )
    yield engine
    engine.dispose()


@pytest.fixture
def cli(engine: Engine, cli: CommandLine, sqlite_url: str) -> CommandLine:
    """The command line with this database."""
    assert engine
    return CommandLine(env={**cli.env, "DATABASE_URL": sqlite_url})


def _actions(engine: Engine) -> list[Action]:
    return list(reversed(AuditLog(engine).entries()))


@pytest.mark.parametrize(
    ("command", "action", "subject", "why", "details"),
    [
        ("senders pause {sender}", "sender.pause", "+1500***0006", None, None),
        (
            *("senders pause {sender} --reason filtered", "sender.pause", "+1500***0006"),
            *("filtered", None),
        ),
        ("senders resume {sender}", "sender.resume", "+1500***0006", None, None),
        (
            *("senders resume {sender} --reason fixed", "sender.resume", "+1500***0006"),
            *("fixed", None),
        ),
        (
            *("senders rate {sender} 3 --reason granted", "sender.rate", "+1500***0006"),
            *("granted", "3.0 segments per second"),
        ),
        (
            *("senders rate {sender} 2.5", "sender.rate", "+1500***0006", None),
            "2.5 segments per second",
        ),
        (
            *("senders rate {sender} default", "sender.rate", "+1500***0006", None),
            "default segments per second",
        ),
        (
            *("opt-outs add whatsapp:{person} --note ticket-7", "opt-out.add", MASKED, "ticket-7"),
            "{reference}; opted_out for everything",
        ),
        (
            *("opt-outs add {person} --sender {sender} --by lee", "opt-out.add", MASKED, None),
            "{reference}; opted_out for sender +1500***0006; --by lee",
        ),
        (
            "opt-outs remove {person} --reason review --note read --yes",
            *("opt-out.remove", MASKED, "read"),
            "{reference}; review for category marketing",
        ),
        ("opt-outs review SM1 --opt-out", "review.opt-out", MASKED, None, "{reference}; SM1"),
        (
            *("opt-outs review SM1 --done --by lee", "review.done", MASKED, None),
            "{reference}; SM1; --by lee",
        ),
        (
            "opt-ins add {person} --category news --source paper --evidence form-9",
            *("opt-in.add", MASKED, "form-9"),
            "{reference}; news by paper",
        ),
    ],
)
def test_an_action_is_recorded(
    *,
    command: str,
    action: str,
    subject: str,
    why: str | None,
    details: str | None,
    cli: CommandLine,
    engine: Engine,
) -> None:
    """With the operating system's user, and without any number."""
    result = cli(*command.format(sender=SENDER, person=RECIPIENT).split())
    assert 0 == result.exit_code, result.output

    (entry,) = _actions(engine)

    assert audit.os_user() == entry.who
    assert "command line" == entry.role
    assert (action, subject, why) == (entry.action, entry.subject, entry.why)
    reference = f"person {People(engine).reference(RECIPIENT)}"
    assert (details and details.format(reference=reference)) == entry.details


@pytest.mark.parametrize(
    "command",
    [
        "senders pause +15005550009",
        "senders rate {sender} fast",
        "senders pause {sender} --reason {person}",
        "senders resume {sender} --reason 1-555-867-5309",
        "senders rate {sender} 3 --reason 1-555-867-5309",
        "senders pause {sender} --reason a\nb",
        pytest.param("senders pause {sender} --reason " + "x" * 501, id="a long reason"),
        "opt-outs add 123",
        "opt-outs add {person} --reason review",
        "opt-outs add {person} --note 1-555-867-5309",
        "opt-outs remove {person} --reason review --note 1-555-867-5309 --yes",
        "opt-outs remove {person} --reason manual --yes",
        "opt-outs remove {person} --reason review",
        "opt-outs review SM1 --done --by  ",
        "opt-outs review SM9 --done",
        "opt-ins add {person} --category news --source paper --evidence 1-555-867-5309",
        "opt-ins remove {person} --category news",
        "opt-outs list",
        "senders list",
    ],
)
def test_what_is_refused_or_only_read_is_no_action(
    command: str, cli: CommandLine, engine: Engine
) -> None:
    """The log has only what was done."""
    result = cli(*command.format(sender=SENDER, person=RECIPIENT).split(" "))

    assert [] == _actions(engine)
    assert RECIPIENT[1:] not in result.output
    assert 1 == InboundMessages(engine).pending_reviews().count


def test_a_second_decision_is_none(cli: CommandLine, engine: Engine) -> None:
    """The first one counts, and only that is recorded."""
    cli("opt-outs", "review", "SM1", "--done")

    result = cli("opt-outs", "review", "SM1", "--opt-out")

    assert 2 == result.exit_code
    assert ["review.done"] == [each.action for each in _actions(engine)]


@pytest.mark.parametrize("is_good", [True, False])
def test_an_import_is_recorded_with_its_rows(
    is_good: bool, cli: CommandLine, engine: Engine, tmp_path: Path
) -> None:
    """Both, or neither if a row is wrong."""
    file = tmp_path / "opt-outs.csv"
    file.write_text(
        "recipient,scope,scope_value,reason,source,evidence,created_at\n"
        f"{RECIPIENT},,,manual,,old system,\n" + ("" if is_good else "nobody,,,manual,,,\n")
    )

    result = cli("opt-outs", "import", str(file))

    assert (0 == result.exit_code) == is_good
    assert (["opt-out.import"] if is_good else []) == [each.action for each in _actions(engine)]
    assert is_good == any(row.evidence == "old system" for row in Suppressions(engine).list_())


def test_the_user_cannot_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a variable, which decides what the history says by default, nor by its length."""
    before = audit.os_user()
    monkeypatch.setenv("LOGNAME", "somebody-else")

    assert "somebody-else" == getpass.getuser()
    assert before == audit.os_user()


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user need not have one."""
    monkeypatch.setattr("os.getuid", lambda: 54_321)

    assert "user 54321" == audit.os_user()
