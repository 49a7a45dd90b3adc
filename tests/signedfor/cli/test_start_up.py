"""What a command imports before it does anything: counted, since times depend on the machine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

# It ends as the command does: during Python's finalization the Temporal SDK's threads can abort.
_CODE = """
import sys
from signedfor.cli.app import app
from signedfor.process import end_process
try: app()
except SystemExit: pass
print(*sys.modules, file=sys.stderr)
end_process(0)
"""
_SLOW = {
    *("alembic", "asyncio", "fastapi", "google", "holidays", "phonenumbers", "psycopg", "pydantic"),
    *("pydantic_settings", "regex", "requests", "rich", "sqlalchemy", "temporalio", "twilio"),
}
_SHARED = {"asyncio", "pydantic", "rich"}
_DATABASE = _SHARED | {"phonenumbers", "pydantic_settings", "sqlalchemy"}
_TEMPORAL = _SHARED | {"google", "temporalio"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a migrated database."""
    url = f"sqlite:///{tmp_path_factory.mktemp('data')}/signedfor.db"
    subprocess.run(
        [sys.executable, "-m", "signedfor.cli", "migrate"],
        env={"DATABASE_URL": url},
        check=True,
        capture_output=True,
    )
    return url


@pytest.mark.integration
@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("--version", set()),
        ("--help", set()),
        # Typer's own, for the value of an option.
        ("campaign --help", {"pydantic"}),
        ("no-such-command", {"pydantic"}),
        ("migrate --check", _DATABASE),
        ("senders list", _DATABASE),
        ("opt-outs list", _DATABASE),
        ("opt-outs history +15558675309", _DATABASE),
        ("opt-ins list", _DATABASE),
        ("campaign list", _DATABASE),
        ("show order-1001", _TEMPORAL),
        ("cancel order-1001", _TEMPORAL),
        # Retrying many of them looks up opt-outs in the database.
        ("dead-letters list", _TEMPORAL | _DATABASE),
    ],
)
def test_a_command_imports_only_what_it_needs(
    command: str, allowed: set[str], database: str, tmp_path: Path
) -> None:
    """The database's library, Temporal's SDK and Alembic each take longer than the command."""
    result = subprocess.run(
        [sys.executable, "-c", _CODE, *command.split()],
        env={"DATABASE_URL": database, "TEMPORAL_ADDRESS": "127.0.0.1:9"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = set(result.stderr.splitlines()[-1].split())
    assert "typer" in loaded
    assert set() == (loaded & _SLOW) - allowed
    if not allowed:
        assert len(loaded) < 220


@pytest.mark.integration
def test_nothing_slow_is_imported_before_ctrl_c_is_handled() -> None:
    """Until the entry point runs, Ctrl-C prints a traceback of the interpreter's."""
    result = subprocess.run(
        [sys.executable, "-c", "import sys, signedfor.cli.__main__; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    bare = subprocess.run(
        [sys.executable, "-c", "import sys, signal; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )

    added = set(result.stdout.split()) - set(bare.stdout.split())
    assert {"signedfor", "signedfor.cli", "signedfor.cli.__main__"} == added


@pytest.mark.integration
@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("signedfor d", {"dead-letters", "doctor"}),
        ("signedfor campaign re", {"resume", "report"}),
        ("signedfor send --pri", {"--priority"}),
        ("signedfor send --priority u", {"urgent"}),
        ("signedfor opt-outs add --reason opt", {"opted_out"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_completions(shell: str, typed: str, found: set[str]) -> None:
    """By the variables with which each shell's script asks."""
    environment = {
        "_SIGNEDFOR_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
        "_TYPER_COMPLETE_ARGS": typed,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }

    result = subprocess.run(
        [Path(sys.executable).with_name("signedfor")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    # A word, and in Zsh and Fish its help after it; Zsh has quotes around each.
    words = re.findall(r'^(?:_arguments .*\(\()?"?([\w-]+)', result.stdout, re.MULTILINE)
    assert found == set(words)


@pytest.mark.integration
def test_bash_completes_with_the_script_that_is_shown() -> None:
    """The script defines a function that Bash calls; no other shell need be installed."""
    bin_folder = Path(sys.executable).parent
    script = """
eval "$(signedfor --show-completion bash)"
COMP_WORDS=(signedfor dead-letters s) COMP_CWORD=2
_signedfor_completion signedfor
echo "${COMPREPLY[@]}"
"""

    result = subprocess.run(
        ["bash", "-c", script],  # noqa: S607 - whichever Bash
        env={"PATH": f"{bin_folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "stop show\n" == result.stdout
