"""`signedfor opt-outs` on a real database: recorded, lifted, listed, and their history."""

import json
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from signedfor.contract import InboundKind
from signedfor.inbound import InboundRecord
from signedfor.store.database import open_engine
from signedfor.store.inbound import InboundMessages
from signedfor.store.suppressions import Suppressions
from tests.signedfor.cli.support import CommandLine
from tests.workflows.fakes import RECIPIENT, SENDER

MASKED = "+*******5309"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The DATABASE_URL of a SQLite file in a folder that does not exist yet."""
    return f"sqlite:///{tmp_path}/data/signedfor.db"


@pytest.fixture
def cli(url: str) -> CommandLine:
    """The command line with only a database: no Temporal, no Twilio."""
    line = CommandLine(env={"DATABASE_URL": url, "COLUMNS": "200"})
    assert 0 == line("migrate").exit_code
    return line


@pytest.fixture
def engine(cli: CommandLine) -> Iterator[Engine]:
    """The database that the command line works on."""
    engine = open_engine(cli.env["DATABASE_URL"])
    yield engine
    engine.dispose()


def document(cli: CommandLine, *arguments: str) -> Any:
    """What the command prints with `--json`."""
    result = cli(*arguments, "--json")
    assert 0 == result.exit_code, result.output
    return json.loads(result.stdout)


def test_an_opt_out_is_recorded_once(cli: CommandLine, engine: Engine) -> None:
    """It holds on every channel of the person, and recording it again changes nothing."""
    first = document(cli, "opt-outs", "add", f"whatsapp:{RECIPIENT}", "--note", "by telephone")
    second = document(cli, "opt-outs", "add", RECIPIENT)

    found = Suppressions(engine).find(RECIPIENT, sender=SENDER, category=None)
    assert ({"new": True}, {"new": False}) == (first, second)
    assert found is not None
    assert ("opted_out", "everything", "by telephone") == (
        found.reason,
        found.scope,
        found.evidence,
    )


@pytest.mark.parametrize(
    ("option", "value", "scope"),
    [("--sender", SENDER, "sender"), ("--category", "marketing", "category")],
)
def test_an_opt_out_from_one_sender_or_category(
    cli: CommandLine, engine: Engine, option: str, value: str, scope: str
) -> None:
    """Other senders and categories are unaffected."""
    document(cli, "opt-outs", "add", RECIPIENT, option, value, "--reason", "manual")

    (found,) = Suppressions(engine).list_()
    assert (scope, value, "manual") == (found.scope, found.scope_value, found.reason)


def test_lifting_says_how_many_and_that_twilio_has_its_own(cli: CommandLine) -> None:
    """The first removal lifts what was recorded; the second has nothing to lift."""
    cli("opt-outs", "add", RECIPIENT)
    cli("opt-outs", "add", RECIPIENT, "--category", "marketing")

    remove = ("opt-outs", "remove", RECIPIENT, "--reason", "opted_out", "--yes")
    only_one = document(cli, *remove, "--category", "marketing")
    rest = cli(*remove)
    none = document(cli, *remove)

    assert ({"lifted": 1}, {"lifted": 0}) == (only_one, none)
    assert "Lifted: 1." in rest.stdout
    assert "Twilio's own list" in rest.stderr


def test_lifting_names_the_reason_shows_what_stands_and_asks(cli: CommandLine) -> None:
    """Without a terminal to ask at, it needs --yes; other reasons stay."""
    cli("opt-outs", "add", RECIPIENT, "--note", "by telephone")
    cli("opt-outs", "add", RECIPIENT, "--reason", "manual")

    unnamed = cli("opt-outs", "remove", RECIPIENT)
    asked = cli("opt-outs", "remove", RECIPIENT, "--reason", "opted_out")
    done = document(cli, "opt-outs", "remove", RECIPIENT, "--reason", "opted_out", "--yes")

    assert "--reason" in unnamed.stderr
    assert "telephone" in asked.stderr
    assert "--yes" in asked.stderr
    assert {"lifted": 1} == done
    assert ["manual"] == [
        row["reason"] for row in document(cli, "opt-outs", "list")["suppressions"]
    ]


def test_the_list_masks_numbers_without_reveal(cli: CommandLine) -> None:
    """The recipients can be recognized only by a person who knows the number."""
    cli("opt-outs", "add", RECIPIENT, "--sender", SENDER)

    masked = cli("opt-outs", "list")
    revealed = cli("opt-outs", "list", "--reveal")
    (row,) = document(cli, "opt-outs", "list")["suppressions"]

    assert MASKED in masked.stdout
    assert RECIPIENT not in masked.output
    assert SENDER not in masked.output
    assert RECIPIENT in revealed.stdout
    assert (MASKED, "sender", "+1500***0006") == (
        row["recipient"],
        row["scope"],
        row["scope_value"],
    )


def test_no_word_of_the_list_is_broken_at_80_columns(cli: CommandLine) -> None:
    """Where the columns do not fit, they wrap between words."""
    cli("opt-outs", "add", RECIPIENT, "--reason", "undeliverable", "--note", "code 21211")

    words = cli("opt-outs", "list", COLUMNS="80").stdout.split()

    assert {MASKED, "everything", "undeliverable", "operator", "21211"} <= set(words)


def test_the_list_is_paged_and_filtered(cli: CommandLine) -> None:
    """A page ends with the number to continue after; filters are respected."""
    for last in range(3):
        cli("opt-outs", "add", f"+1555867530{last}", "--reason", "undeliverable")
    cli("opt-outs", "add", RECIPIENT)

    page = document(cli, "opt-outs", "list", "--limit", "3")
    last_id = page["suppressions"][-1]["id"]
    rest = document(cli, "opt-outs", "list", "--after", str(last_id))
    hint = cli("opt-outs", "list", "--limit", "3")
    chosen = document(cli, "opt-outs", "list", "--reason", "undeliverable")
    person = document(cli, "opt-outs", "list", "--recipient", RECIPIENT)

    assert (3, True) == (len(page["suppressions"]), page["more"])
    assert (1, False) == (len(rest["suppressions"]), rest["more"])
    assert f"--after {last_id}" in hint.stderr
    assert 3 == len(chosen["suppressions"])
    assert [MASKED] == [row["recipient"] for row in person["suppressions"]]


def test_the_history_says_who_and_why(cli: CommandLine) -> None:
    """Each change has a time, a name and evidence, and stays after the opt-out was lifted."""
    cli("opt-outs", "add", RECIPIENT, "--by", "Ada", "--note", "by telephone")
    remove = ("opt-outs", "remove", RECIPIENT, "--reason", "opted_out", "--yes")
    cli(*remove, "--by", "Grace", "--note", "signed form 12")

    entries = document(cli, "opt-outs", "history", RECIPIENT)["history"]
    shown = cli("opt-outs", "history", RECIPIENT)

    assert [
        ("recorded", "Ada", "by telephone"),
        ("lifted", "Grace", "signed form 12"),
    ] == [(each["action"], each["changed_by"], each["evidence"]) for each in entries]
    assert "Grace" in shown.stdout
    assert RECIPIENT not in shown.output


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (("add", "5558675309"), {"RECIPIENT"}),
        (("add", "5558675309", "--sender", "no sender at all!"), {"RECIPIENT", "--sender"}),
        (("add", RECIPIENT, "--category", "no label!"), {"--category"}),
        (("add", RECIPIENT, "--category", "a", "--sender", SENDER), {"--category"}),
        (("add", RECIPIENT, "--note", "x" * 501), {"--note"}),
        (("add", RECIPIENT, "--by", ""), {"--by"}),
        (("remove", RECIPIENT, "--reason", "manual", "--note", "two\nlines"), {"--note"}),
        (("remove", "5558675309", "--reason", "manual"), {"RECIPIENT"}),
        (("list", "--recipient", "5558675309"), {"--recipient"}),
        (("history", "5558675309"), {"RECIPIENT"}),
    ],
)
def test_bad_input(cli: CommandLine, arguments: tuple[str, ...], fields: set[str]) -> None:
    """Each bad option is named, no value is repeated, and nothing is recorded."""
    result = cli("opt-outs", *arguments)

    named = {line.split(":")[0].strip() for line in result.stderr.splitlines()[1:]}
    assert 2 == result.exit_code
    assert fields == named
    assert "867" not in result.output
    assert [] == document(cli, "opt-outs", "list")["suppressions"]


def test_what_is_exported_can_be_imported(cli: CommandLine, tmp_path: Path) -> None:
    """The file has numbers in full, is readable by its owner only, and restores the same list."""
    cli("opt-outs", "add", RECIPIENT, "--note", "by telephone")
    cli("opt-outs", "add", "whatsapp:+15558675310", "--reason", "undeliverable")
    file = tmp_path / "list.csv"
    exported = document(cli, "opt-outs", "export", str(file))
    piped = cli("opt-outs", "export")

    elsewhere = CommandLine(env={"DATABASE_URL": f"sqlite:///{tmp_path}/other.db"})
    elsewhere("migrate")
    imported = document(elsewhere, "opt-outs", "import", str(file))
    again = document(elsewhere, "opt-outs", "import", str(file))

    assert {"exported": 2, "erased": 0} == exported
    assert (2, 0) == (imported["new"], again["new"])
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert RECIPIENT in file.read_text()
    assert file.read_bytes() == piped.stdout_bytes
    assert elsewhere("opt-outs", "export").stdout_bytes == piped.stdout_bytes


def test_a_bad_row_imports_nothing(cli: CommandLine, tmp_path: Path) -> None:
    """The error names lines and fields, never their contents."""
    file = tmp_path / "bad.csv"
    file.write_text(
        "recipient,scope,scope_value,reason,source,evidence,created_at\n"
        f"{RECIPIENT},,,opted_out,,,\n"
        "5558675310,,,whatever,,,\n"
    )

    result = cli("opt-outs", "import", str(file), "--json")

    fields = json.loads(result.stdout)["error"]["fields"]
    assert 2 == result.exit_code
    assert ["line 3", "line 3"] == [each["field"] for each in fields]
    assert "5558675310" not in result.output
    assert [] == document(cli, "opt-outs", "list")["suppressions"]


def test_bad_rows_of_an_import_are_skipped_and_none_is_lost(
    cli: CommandLine, tmp_path: Path
) -> None:
    """The right ones are recorded; the others are in a file, which can be imported corrected."""
    file, skipped = tmp_path / "list.csv", tmp_path / "skipped.csv"
    file.write_text(
        "recipient,scope,scope_value,reason,source,evidence,created_at\n"
        f"{RECIPIENT},,,opted_out,,,\n"
        "5558675310,,,whatever,,by phone,\n"
        "+15558675311,,,opted_out,,,\n"
    )

    result = cli("opt-outs", "import", str(file), "--skip-bad", str(skipped), "--json")
    written = skipped.read_text()
    skipped.write_text(written.replace("5558675310,,,whatever", "+15558675310,,,opted_out"))
    again = document(cli, "opt-outs", "import", str(skipped))

    assert {"new": 2, "skipped": 1} == json.loads(result.stdout)
    assert "Skipped: 1 bad rows" in result.stderr
    assert "5558675310" not in result.output
    assert 0o600 == stat.S_IMODE(skipped.stat().st_mode)
    assert written.startswith("line,problems,recipient,scope,")
    assert "by phone" in written
    assert {"new": 1, "skipped": 0} == again
    assert 3 == len(document(cli, "opt-outs", "list")["suppressions"])


def test_files_that_cannot_be_used(cli: CommandLine, tmp_path: Path) -> None:
    """The error for a missing file or folder is one sentence."""
    unread = cli("opt-outs", "import", str(tmp_path / "none.csv"))
    unwritten = cli("opt-outs", "export", str(tmp_path / "none" / "list.csv"))
    no_file = cli("opt-outs", "export", "--json")

    assert (2, 1, 2) == (unread.exit_code, unwritten.exit_code, no_file.exit_code)
    assert "FILE: there is no such file" in unread.stderr
    assert "The file cannot be written" in unwritten.stderr
    assert "FILE: is needed with --json" in no_file.stderr


def test_a_database_without_tables(url: str) -> None:
    """The error names the command to run, and no database file is created."""
    result = CommandLine(env={"DATABASE_URL": url})("opt-outs", "list")

    assert 1 == result.exit_code
    assert "signedfor migrate" in result.stderr
    assert not Path(url.removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize(
    "bad", ["mysql://user:secret@host/db", "postgresql://user:secret@:port:/x", "nonsense"]
)
def test_an_invalid_database_url(bad: str) -> None:
    """The error names the variable and does not repeat the password in it."""
    result = CommandLine(env={"DATABASE_URL": bad})("opt-outs", "list")

    assert 2 == result.exit_code
    assert "DATABASE_URL: " in result.stderr
    assert "secret" not in result.output


def test_a_database_that_does_not_answer() -> None:
    """An unreachable server: exit code 1, one sentence, no password."""
    url = "postgresql://user:secret@127.0.0.1:9/db"
    result = CommandLine(env={"DATABASE_URL": url})("opt-outs", "list")

    assert 1 == result.exit_code
    assert "The database could not be used" in result.stderr
    assert "secret" not in result.output
    assert "Traceback" not in result.output


class TestReview:
    """`signedfor opt-outs review`: a person decides what an inbound message meant."""

    TEXT = "could you stop this \x1b[31mnow"

    @pytest.fixture(autouse=True)
    def _inbound(self, engine: Engine) -> None:
        InboundMessages(engine).receive(
            InboundRecord(
                message_sid="SM1",
                from_=RECIPIENT,
                to=SENDER,
                kind=InboundKind.REVIEW,
                body=self.TEXT,
                received_at=datetime.now(UTC),
            )
        )

    def test_reveal_shows_the_text(self, cli: CommandLine) -> None:
        """Sender and text are hidden by default, and escaped when shown."""
        hidden = cli("opt-outs", "review")
        shown = cli("opt-outs", "review", "--reveal")
        (row,) = document(cli, "opt-outs", "review")["reviews"]

        assert MASKED in hidden.stdout
        assert "could you" not in hidden.output
        assert r"could you stop this \x1b[31mnow" in shown.stdout
        assert ("SM1", MASKED) == (row["message_sid"], row["from"])
        assert "body" not in row

    def test_an_opt_out_is_recorded_with_the_decision(
        self, cli: CommandLine, engine: Engine
    ) -> None:
        """The message leaves the list, and its sender is suppressed."""
        document(cli, "opt-outs", "review", "SM1", "--opt-out", "--by", "Ada")

        found = Suppressions(engine).find(RECIPIENT, sender=SENDER, category=None)
        (read,) = document(cli, "opt-outs", "review", "--all")["reviews"]
        assert found is not None
        assert ("opted_out", "SM1") == (found.reason, found.evidence)
        assert ["opted_out"] == [row.reason for row in Suppressions(engine).list_()]
        assert [] == document(cli, "opt-outs", "review")["reviews"]
        assert "Ada" == read["reviewed_by"]

    def test_a_message_that_is_no_opt_out_is_only_recorded_as_read(
        self, cli: CommandLine, engine: Engine
    ) -> None:
        """`--done` removes it from the list, records no opt-out, and works once."""
        document(cli, "opt-outs", "review", "SM1", "--done")
        again = cli("opt-outs", "review", "SM1", "--opt-out")

        assert 2 == again.exit_code
        assert [] == Suppressions(engine).list_()

    def test_a_decision_after_an_opt_in_records_no_opt_out(
        self, cli: CommandLine, engine: Engine
    ) -> None:
        """The person has said something newer."""
        InboundMessages(engine).receive(
            InboundRecord(
                message_sid="SM2",
                from_=RECIPIENT,
                to=SENDER,
                kind=InboundKind.START,
                received_at=datetime.now(UTC) + timedelta(minutes=1),
            )
        )

        decided = document(cli, "opt-outs", "review", "SM1", "--opt-out")

        assert {"message_sid": "SM1", "opt_out": False} == decided
        assert [] == Suppressions(engine).list_()

    def test_what_it_suppresses_is_listed(self, cli: CommandLine) -> None:
        """With its reason and the message's SID."""
        shown = cli("opt-outs", "list", "--reason", "review")

        assert ["category", "marketing", "review", "inbound", "SM1"] == shown.stdout.split()[9:14]

    def test_it_cannot_be_recorded_by_hand(self, cli: CommandLine, engine: Engine) -> None:
        """Only a message that awaits review does that."""
        before = Suppressions(engine).list_()

        result = cli("opt-outs", "add", "+15558675310", "--reason", "review")

        assert 2 == result.exit_code
        assert "--reason" in result.stderr
        assert before == Suppressions(engine).list_()

    def test_deciding_one_after_the_other_needs_a_terminal(
        self, cli: CommandLine, engine: Engine
    ) -> None:
        """Without one nothing is shown, and no input is read as an answer."""
        result = cli("opt-outs", "review", "--interactive", "--reveal", stdin="o\n")

        assert 2 == result.exit_code
        assert "needs a terminal" in result.stderr
        assert "could you" not in result.output
        assert 1 == InboundMessages(engine).pending_reviews().count

    @pytest.mark.parametrize("option", ["--json", "--all", "--done", "--opt-out", "SM1"])
    def test_deciding_one_after_the_other_stands_alone(
        self, cli: CommandLine, engine: Engine, option: str
    ) -> None:
        """What would choose or format something else is bad input."""
        assert 2 == cli("opt-outs", "review", "--interactive", option).exit_code
        assert 1 == InboundMessages(engine).pending_reviews().count

    @pytest.mark.parametrize(
        "arguments", [("SM1",), ("SM1", "--done", "--opt-out"), ("--done",), ("SM2", "--done")]
    )
    def test_a_decision_needs_one_message_and_one_option(
        self, cli: CommandLine, arguments: tuple[str, ...]
    ) -> None:
        """Anything else is bad input."""
        assert 2 == cli("opt-outs", "review", *arguments).exit_code
        assert 1 == len(document(cli, "opt-outs", "review")["reviews"])
