"""`signedfor opt-ins` on a real database, and the history in which they appear."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from signedfor.contract import InboundKind, MessageRequest
from signedfor.inbound import InboundRecord
from signedfor.store.database import open_engine
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.inbound import InboundMessages
from signedfor.store.suppressions import Suppressions
from tests.signedfor.cli.support import CommandLine
from tests.workflows.fakes import RECIPIENT, SENDER

SID = "SM" + "1" * 32
ADD = ("opt-ins", "add", RECIPIENT, "--category", "news", "--source", "web-form")


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """The command line with only a database: no Temporal, no Twilio."""
    url = f"sqlite:///{tmp_path}/data/signedfor.db"
    line = CommandLine(env={"DATABASE_URL": url, "COLUMNS": "200"})
    assert 0 == line("migrate").exit_code
    return line


@pytest.fixture
def engine(cli: CommandLine) -> Iterator[Engine]:
    """The database that the command line works on."""
    engine = open_engine(cli.env["DATABASE_URL"])
    yield engine
    engine.dispose()


def _document(cli: CommandLine, *arguments: str) -> Any:
    result = cli(*arguments, "--json")
    assert 0 == result.exit_code, result.output
    return json.loads(result.stdout)


def test_an_opt_in_is_recorded_listed_and_withdrawn(cli: CommandLine) -> None:
    """Its record stays, with both names."""
    options = ("--evidence", "form 7", "--wording", "v2", "--at", "2026-11-21T20:15:00Z")
    assert [{"new": True}, {"new": False}] == [
        _document(cli, *ADD, *options, "--by", "Ada") for _ in range(2)
    ]
    (listed,) = _document(cli, "opt-ins", "list")["opt_ins"]
    remove = ("opt-ins", "remove", RECIPIENT, "--category", "news", "--note", "by letter")
    assert {"withdrawn": 1} == _document(cli, *remove, "--by", "Grace")

    assert ("news", "web-form", "form 7", "v2", "2026-11-21T20:15:00Z", "Ada") == (
        *(listed[name] for name in ("category", "source", "evidence", "wording")),
        *(listed[name] for name in ("opted_in_at", "recorded_by")),
    )
    assert RECIPIENT not in json.dumps(listed)
    assert [] == _document(cli, "opt-ins", "list")["opt_ins"]
    (kept,) = _document(cli, "opt-ins", "list", "--all", "--reveal")["opt_ins"]
    assert (RECIPIENT, "Grace", "by letter") == (
        kept["recipient"],
        kept["withdrawn_by"],
        kept["withdrawn_because"],
    )


def test_nothing_to_withdraw(cli: CommandLine) -> None:
    """That is said, and exits with 2."""
    result = cli("opt-ins", "remove", RECIPIENT, "--category", "news")

    assert (2, True) == (result.exit_code, "no opt-in" in result.stderr)


def test_an_opt_in_does_not_lift_an_opt_out(cli: CommandLine, engine: Engine) -> None:
    """The command says that it still stops messages."""
    cli("opt-outs", "add", RECIPIENT)

    result = cli(*ADD)

    assert "still stops messages" in result.stderr
    assert Suppressions(engine).find(RECIPIENT, sender=SENDER, category="news") is not None


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("add", "5558675309", *ADD[3:]), "RECIPIENT"),
        ((*ADD[1:], "--category", "no label!"), "--category"),
        ((*ADD[1:], "--source", "no label!"), "--source"),
        ((*ADD[1:], "--evidence", "x" * 501), "--evidence"),
        ((*ADD[1:], "--wording", "no label!"), "--wording"),
        ((*ADD[1:], "--at", "2026-11-21T20:15:00"), "--at"),
        ((*ADD[1:], "--at", "yesterday"), "--at"),
        ((*ADD[1:], "--by", ""), "--by"),
        (("remove", "5558675309", "--category", "news"), "RECIPIENT"),
        (("remove", RECIPIENT, "--category", "news", "--note", "x" * 501), "--note"),
        (("list", "--recipient", "5558675309"), "--recipient"),
    ],
)
def test_bad_input_names_the_option(
    cli: CommandLine, arguments: tuple[str, ...], field: str
) -> None:
    """Not its value; nothing is recorded."""
    result = cli("opt-ins", *arguments)

    assert 2 == result.exit_code
    assert field in result.stderr
    assert "5558675309" not in result.output
    assert [] == _document(cli, "opt-ins", "list", "--all")["opt_ins"]


def test_a_file_is_imported(cli: CommandLine, tmp_path: Path) -> None:
    """Or its problems are listed by line and column."""
    file = tmp_path / "opt-ins.csv"
    header = "recipient,category,source,opted_in_at\n"
    file.write_text(f"{header}{RECIPIENT},news,paper,2026-11-21T20:15:00Z\n")
    assert {"new": 1, "skipped": 0} == _document(cli, "opt-ins", "import", str(file))

    file.write_text(f"{header}{RECIPIENT},news,paper,never\n")
    result = cli("opt-ins", "import", str(file))

    assert (2, True) == (result.exit_code, "line 2: opted_in_at" in result.stderr)


def test_the_history_has_everything_in_sentences(cli: CommandLine, engine: Engine) -> None:
    """What the person said, what was recorded for them, and what was therefore not sent."""
    cli(*ADD, "--wording", "v2", "--at", "2026-11-21T20:15:00Z", "--by", "Ada")
    stop = InboundRecord(message_sid=SID, from_=RECIPIENT, to=SENDER, kind=InboundKind.STOP)
    InboundMessages(engine).receive(stop)
    message = MessageRequest(to=RECIPIENT, sender=SENDER, body="Hello", category="news")
    found = Suppressions(engine).find(RECIPIENT, sender=SENDER, category="news")
    HeldBackMessages(engine).record("spring-7", message, sender=SENDER, because=found)
    cli("opt-ins", "remove", RECIPIENT, "--category", "news", "--by", "Grace")

    answer = _document(cli, "opt-outs", "history", f"whatsapp:{RECIPIENT}")
    shown = cli("opt-outs", "history", RECIPIENT)

    assert [
        (
            "opt_in",
            "Ada",
            "Opted in to news messages: by web-form at 2026-11-21 20:15 UTC, wording v2.",
        ),
        (
            "suppression",
            "inbound message",
            f"Opted out, for all messages: their message {SID} to +1500***0006.",
        ),
        ("held_back", "", f"Message spring-7 was not sent, because they had opted out ({SID})."),
        ("opt_in", "Grace", "The opt-in to news messages was withdrawn, without a note."),
    ] == [(each["kind"], each["changed_by"], each["text"]) for each in answer["history"]]
    assert ["opted_out"] == [each["reason"] for each in answer["stands"]]
    assert "was not sent" in shown.stdout
    assert RECIPIENT not in shown.output + json.dumps(answer)
