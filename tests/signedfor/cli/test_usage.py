"""The command line itself: usage errors, help, version, and the file of variables."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.reference_pages import COMMAND_TREE
from signedfor.cli.lazy import LazyGroup
from signedfor.cli.options import text_or_standard_input
from signedfor.cli.output import BadInput, Output
from tests.signedfor.cli.support import CommandLine
from tests.workflows.fakes import RECIPIENT

COMMANDS = [
    ("send",),
    ("show",),
    ("cancel",),
    ("doctor",),
    ("migrate",),
    ("campaign", "start"),
    *((("dead-letters", name)) for name in ("list", "show", "retry", "discard")),
    *(
        ("opt-outs", name)
        for name in ("add", "remove", "list", "import", "export", "history", "review", "catch-up")
    ),
]


GROUPS = ("campaign", "dead-letters", "opt-outs", "senders")


@pytest.mark.parametrize(
    "arguments",
    [
        ("cancel", "m1", "--reason"),
        ("dead-letters", "discard", "m1", "--note"),
        ("dead-letters", "retry", "--code", "30007", "--note"),
        ("campaign", "pause", "spring", "--reason"),
        ("dead-letters", "discard", "m1", "--by"),
        ("campaign", "cancel", "spring", "--by"),
        ("opt-outs", "add", "+15550100199", "--note"),
    ],
)
def test_what_many_can_read_has_no_number(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    """A reason ends in a history or the audit log; nothing is called before it is checked."""
    result = cli(*arguments, f"they called {RECIPIENT}")

    assert 2 == result.exit_code
    assert f"{arguments[-1]}: must not contain" in result.stderr
    assert RECIPIENT[3:] not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("send",), "TO: is missing"),
        (("send", RECIPIENT, "--body", "hello", "private"), "arguments: too many words"),
        (("send", RECIPIENT, "--priority", "private"), "must be one of urgent, normal, bulk"),
        (("send", RECIPIENT, "--receipt-timeout", "private"), "--receipt-timeout: must be a whole"),
        (("send", RECIPIENT, "--wait-timeout", "0"), "--wait-timeout: must be a number"),
        (("send", RECIPIENT, "--body"), "--body: needs a value"),
        (("send", RECIPIENT, "--wait=private"), "--wait: takes no value"),
        (("send", RECIPIENT, "--bod", "private"), "--bod: there is no such option"),
        (("send", f"--{RECIPIENT[1:]}"), "arguments: are not valid"),
        ((RECIPIENT,), "command: there is no such command; there are send, show"),
        (("opt-outs", RECIPIENT), "command: there is no such command"),
        (("opt-outs", "add", RECIPIENT, "--reason", "private"), "must be one of opted_out"),
    ],
)
def test_usage_errors_name_the_option_and_no_value(
    cli: CommandLine, arguments: tuple[str, ...], said: str
) -> None:
    """Exit code 2, what is wrong, where help is; and no number or text from the command line."""
    result = cli(*arguments)

    assert 2 == result.exit_code
    assert said in result.stderr
    assert "--help" in result.stderr
    assert "" == result.stdout
    assert "private" not in result.output
    assert RECIPIENT[1:] not in result.output


def test_a_usage_error_as_json(cli: CommandLine) -> None:
    """With `--json` a usage error is a document, too."""
    result = cli("show", "--json")

    error = json.loads(result.stdout)["error"]
    assert 2 == result.exit_code
    assert [{"field": "MESSAGE_ID", "problem": "is missing"}] == error["fields"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_json(cli: CommandLine, command: tuple[str, ...]) -> None:
    """Each command has a description and `--json`."""
    result = cli(*command, "--help")

    assert 0 == result.exit_code
    assert "--json" in result.stdout


@pytest.mark.parametrize("group", [(), ("dead-letters",), ("opt-outs",)])
def test_a_group_alone_shows_its_help(cli: CommandLine, group: tuple[str, ...]) -> None:
    """Without a command the help is shown, and the exit code says that nothing was done."""
    result = cli(*group)

    assert 2 == result.exit_code
    assert "Usage" in result.output


def test_exit_codes_are_in_the_help(cli: CommandLine) -> None:
    """The author of a script finds the codes in `--help`."""
    result = cli("--help")

    assert [0, 1, 2, 3, 4, 130, 141] == [
        int(code) for code in re.findall(r"^ +(\d+)  ", result.stdout, re.MULTILINE)
    ]


@pytest.mark.parametrize("group", [(), *((name,) for name in GROUPS)])
def test_lists_of_commands_fit_into_80_columns(cli: CommandLine, group: tuple[str, ...]) -> None:
    """Each command has one line, and its description is not truncated."""
    result = cli(*group, "--help", COLUMNS="80")

    assert 0 == result.exit_code
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert "..." not in result.stdout.replace("[ARGS]...", "")


def test_version(cli: CommandLine) -> None:
    """`--version` says what is installed and needs nothing else."""
    result = cli("--version")

    assert 0 == result.exit_code
    assert result.stdout.startswith("signedfor")


@pytest.mark.parametrize(
    "path", [path for path, command in COMMAND_TREE.items() if isinstance(command, LazyGroup)]
)
def test_the_list_of_commands_has_the_first_sentence_of_each(cli: CommandLine, path: str) -> None:
    """`--help` imports no command, so it has their first sentences from a table."""
    group = COMMAND_TREE[path]
    shown = cli(*path.split()[1:], "--help").stdout

    for name, lazy in group.lazy.items():
        assert group.imported(name).help.startswith(lazy.help)
        assert " ".join(lazy.help.split()[:4]) in shown


@pytest.mark.parametrize("package", ["typer", "sqlalchemy"])
def test_without_its_packages_it_says_what_to_install(package: str) -> None:
    """The base install has no command line: one sentence says how to get it."""
    code = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "from signedfor.cli.__main__ import main\n"
        "main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "migrate"], capture_output=True, text=True, check=False
    )

    assert 1 == result.returncode
    assert "pip install 'signedfor[cli]'" in result.stderr
    assert 1 == len(result.stderr.splitlines())


def test_a_narrow_terminal_loses_nothing(cli: CommandLine) -> None:
    """On a narrow terminal tables wrap and truncate nothing."""
    wide = cli("doctor", COLUMNS="200").stdout
    narrow = cli("doctor", COLUMNS="50").stdout

    assert max(len(line) for line in narrow.splitlines()) <= 50
    assert "".join(wide.split()) != ""
    assert "PUBLIC_BASE_URL" in wide
    assert "PUBLIC_BASE_URL" in narrow


def test_an_env_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    """`.env` in the current folder sets what the environment does not."""
    Path(".env").write_text(f"DATABASE_URL=sqlite:///{tmp_path}/file.db\n")
    here = CommandLine()

    assert 0 == here("migrate").exit_code
    assert (tmp_path / "file.db").exists()

    there = CommandLine(env={"DATABASE_URL": f"sqlite:///{tmp_path}/environment.db"})
    assert 0 == there("migrate").exit_code
    assert (tmp_path / "environment.db").exists()


def test_an_env_file_can_be_named(tmp_path: Path) -> None:
    """`--env-file` is read instead of `.env`."""
    Path(".env").write_text(f"DATABASE_URL=sqlite:///{tmp_path}/one.db\n")
    (tmp_path / "other.env").write_text(f"DATABASE_URL=sqlite:///{tmp_path}/two.db\n")

    result = CommandLine()("--env-file", str(tmp_path / "other.env"), "migrate")

    assert 0 == result.exit_code
    assert [False, True] == [(tmp_path / name).exists() for name in ("one.db", "two.db")]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_env_file_that_cannot_be_read(
    cli: CommandLine, tmp_path: Path, content: bytes | None
) -> None:
    """A file given with `--env-file` must exist and be text."""
    file = tmp_path / "named.env"
    if content is not None:
        file.write_bytes(content)

    result = cli("--env-file", str(file), "migrate")

    assert 2 == result.exit_code
    assert "--env-file: " in result.stderr


def test_a_forgotten_env_file_gets_a_sentence(cli: CommandLine) -> None:
    """Without DATABASE_URL or TEMPORAL_ADDRESS the error says so, and how to name a file."""
    database = cli("senders", "list")
    temporal = CommandLine()("show", "order-1001", "--json")

    assert (1, 1) == (database.exit_code, temporal.exit_code)
    assert "DATABASE_URL is not set" in database.stderr
    assert "TEMPORAL_ADDRESS is not set" in temporal.stderr
    for result in (database, temporal):
        assert "--env-file FILE" in result.stderr
    assert "is not set" not in cli("show", "order-1001").stderr


def test_a_missing_database_file_is_named(cli: CommandLine, tmp_path: Path) -> None:
    """It is not created by looking."""
    file = tmp_path / "typo.db"

    result = cli("senders", "list", DATABASE_URL=f"sqlite:///{file}")

    assert 1 == result.exit_code
    assert f"There is no file {file}" in result.stderr
    assert not file.exists()


def test_a_data_directory_that_cannot_be_used_gets_a_sentence(
    cli: CommandLine, tmp_path: Path
) -> None:
    """Its name is too long for the file system; the same happens without permission."""
    url = f"sqlite:///{tmp_path}/{'x' * 300}/signedfor.db"

    for arguments in (("migrate",), ("migrate", "--check"), ("opt-outs", "list"), ("doctor",)):
        result = cli(*arguments, DATABASE_URL=url)
        assert 1 == result.exit_code
        said = " ".join(result.output.split())
        assert re.search(r"cannot be used \(.*\)\. Can this user write to its folder\?", said)


@pytest.mark.parametrize(("name", "said"), [("none.csv", "no such file"), (".", "is a folder")])
def test_a_file_that_is_none_gets_its_reason(cli: CommandLine, name: str, said: str) -> None:
    """The error says what is wrong with it."""
    result = cli("opt-outs", "import", name)

    assert 2 == result.exit_code
    assert f"FILE: {said}" in result.stderr.replace("there is ", "")


def test_an_empty_standard_input_gets_a_sentence(cli: CommandLine) -> None:
    """It is more often a mistake in a pipe than a message without a text."""
    result = cli("send", RECIPIENT, "--from", "+15005550006", "--body", "-", stdin="\n")

    assert 2 == result.exit_code
    assert "--body: standard input is empty" in result.stderr


class TestWithoutStandardInput:
    """A process that was started without standard input (`<&-`)."""

    @pytest.fixture(autouse=True)
    def _without_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", None)

    def test_confirmation_is_impossible(self) -> None:
        """As without a terminal."""
        with pytest.raises(BadInput, match="--yes: is needed to send to 101 without a terminal"):
            Output(as_json=False).confirm("This will send.", what="send to 101")

    def test_a_text_cannot_be_read(self) -> None:
        """The error names the option that needs it."""
        with pytest.raises(BadInput, match="--body: standard input is closed"):
            text_or_standard_input(Output(as_json=False), "-")
