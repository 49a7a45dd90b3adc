"""The commands and programs in the documentation are run, or at least parsed."""

import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from twilio.rest import Client

from devtools.reference_pages import COMMAND_TREE
from devtools.stack.local import LocalStack
from devtools.stack.up import write_environment
from tests.docs.pages import PAGES, ROOT, Block, blocks, name, session
from tests.fixtures.temporal import binary
from webhook.events import EventType

_SESSIONS = [page for page in PAGES if blocks(page, "console")]
_WITH_COMMANDS = [page for page in PAGES if blocks(page, "sh")]

_VARYING = [
    (re.compile(r"\bSM[0-9a-f]{32}\b"), "SID"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d( UTC|Z)?"), "TIME"),
    (re.compile(r"\s+"), " "),
]
"""Text that differs from run to run, and the space between columns."""
_PROGRESS = re.compile(r"Waiting for ")
"""Lines that a waiting command prints: how many depends on how fast the machine is."""

_CRASH = re.compile(
    r"Fatal Python error: PyGILState_Release:|^.*: line \d+: +\d+ Segmentation fault ",
    re.MULTILINE,
)
"""How Python or the shell reports that Python crashed."""


@pytest.fixture(scope="module")
def documented_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The stack that `make up` starts, with its default settings."""
    with LocalStack(tmp_path_factory.mktemp("docs"), with_ops=True) as running:
        yield running


@pytest.mark.integration
@pytest.mark.parametrize("page", _SESSIONS, ids=name)
def test_sessions_print_what_the_page_shows(
    page: Path, documented_stack: LocalStack, tmp_path: Path
) -> None:
    """Each command of a page succeeds, or fails as shown, with the output that the page shows."""
    # Like a checkout in which `make up` is running: a virtual environment and the written file.
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / ".data/up").mkdir(parents=True)
    write_environment(tmp_path / ".data/up/up.env", documented_stack.shell_settings)
    shell = _Shell(tmp_path)
    for block in blocks(page, "console", "python"):
        if block.language == "python":
            _save(block, tmp_path, documented_stack)
            continue
        for command in session(block.text):
            code, output = shell.run(command.line)
            assert _matches(command.output, output.splitlines()), (
                f"{name(page)}: $ {command.line}\nprinted:\n{output}\ninstead of:\n"
                + "\n".join(command.output)
            )
            # If a command is meant to fail, the page shows what it prints.
            assert code == 0 or any(line != "…" for line in command.output), command.line


class _Shell:
    """Runs commands in a folder; environment variables are kept from one command to the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = folder / "environment"
        self._environment.write_text("")

    def run(self, command: str) -> tuple[int, str]:
        """Run a command; return its exit code and both output streams, merged as on a terminal."""
        saved = self._environment
        done = subprocess.run(
            [
                "/bin/bash",
                "-c",
                f". {saved}\n{command}\ncode=$?\nexport -p > {saved}\nexit $code",
            ],
            cwd=self._folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        # Happens with Python 3.11 at exit, after all work; docs/how-to/python-client.md says so.
        output, *crash = _CRASH.split(done.stdout, maxsplit=1)
        return (0 if crash else done.returncode), output


def _save(block: Block, folder: Path, stack: LocalStack) -> None:
    """Save a Python sample under the name on the page, with the address of this stack."""
    assert block.file is not None
    assert "localhost:7233" in block.text
    program = block.text.replace("localhost:7233", stack.temporal.address)
    (folder / block.file).write_text(program)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_samples_are_run(page: Path) -> None:
    """Each Python sample is a program that a session on the same page runs."""
    sessions = "".join(block.text for block in blocks(page, "console"))
    for block in blocks(page, "python"):
        assert f"$ python {block.file}\n" in sessions


def _matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether the output matches the page; `…` stands for any text, or alone for any lines."""
    pattern = "".join(
        "(?:.*\n)*"
        if line == "…"
        else ".*".join(map(re.escape, _normalized(line).split("…"))) + "\n"
        for line in _without_progress(shown)
    )
    text = "".join(_normalized(line) + "\n" for line in _without_progress(printed))
    return re.fullmatch(pattern, text) is not None


def _without_progress(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if not _PROGRESS.match(line)]


def _normalized(line: str) -> str:
    for varying, placeholder in _VARYING:
        line = varying.sub(placeholder, line)
    return line.strip()


@pytest.mark.integration
@pytest.mark.parametrize("page", _WITH_COMMANDS, ids=name)
def test_commands_exist(page: Path) -> None:
    """Commands that a test cannot run name existing commands, options, targets and files."""
    for block in blocks(page, "sh"):
        for words in _commands(block.text):
            problem = _CHECKS.get(Path(words[0]).name, _unknown)(words[1:])
            assert problem is None, f"{name(page)}: {shlex.join(words)}: {problem}"


def _commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a script, each as a list of words."""
    script = re.sub(r"\\\n\s*", " ", text)
    script = re.sub(r"^\s*#.*$|\s+#\s.*$", "", script, flags=re.MULTILINE)
    for line in script.splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
        words.whitespace_split = True
        words.commenters = ""
        command: list[str] = []
        for word in words:
            if set(word) <= set("|;&"):
                yield command
                command = []
            elif set(word) <= set("<>"):
                next(words, None)  # the file of a redirection
            else:
                command.append(word)
        if command:
            yield command


def _signedfor(words: list[str]) -> str | None:
    """What is wrong with a `signedfor` command."""
    path = "signedfor"
    while True:
        command = COMMAND_TREE[path]
        try:
            given, rest, _ = command.make_parser(command.context_class(command)).parse_args(words)
        except typer.TyperException as error:
            return str(error.message)
        for parameter in command.params:
            value = given.get(parameter.name)
            kind = parameter.type_descriptor.annotation
            is_choice = isinstance(kind, type) and issubclass(kind, Enum)
            if is_choice and isinstance(value, str) and value not in [each.value for each in kind]:
                return f"{parameter.opts[0]} is not one of its choices"
            if parameter.required and value is None:
                return f"{parameter.name} is missing"
        if not any(each.startswith(f"{path} ") for each in COMMAND_TREE):
            return f"{rest[0]} is an extra argument" if rest else None
        path = " ".join([path, *rest[:1]])
        if not rest or path not in COMMAND_TREE:
            return f"there is no command {path}"
        words = rest[1:]


def _temporal(words: list[str]) -> str | None:
    """What is wrong with a `temporal` command."""
    path = words[: _first_option(words)]
    done = subprocess.run(
        [str(binary("temporal")), *path, "--help"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return done.stderr
    known = set(re.findall(r"--[a-z][a-z-]+", done.stdout)) | {"--address", "--namespace"}
    unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - known
    return f"there is no {sorted(unknown)}" if unknown else None


def _first_option(words: list[str]) -> int:
    return next((at for at, word in enumerate(words) if word.startswith("-")), len(words))


def _twilio(words: list[str]) -> str | None:
    """What is wrong with a command of Twilio's CLI, which is made from its SDK's files."""
    resource, _, method = words[0].removeprefix("api:").rpartition(":")
    sdk: Any = Client("AC" + "0" * 32, "no token")  # type: ignore[no-untyped-call] # the SDK's own
    try:
        call = getattr(attrgetter(resource.replace(":", "."))(sdk), method)
    except AttributeError:
        return f"there is no {words[0]}"
    known = {f"--{each.replace('_', '-')}" for each in inspect.signature(call).parameters}
    options = dict.fromkeys(words[1::2])
    unknown = set(options) - known
    types = [json.loads(value) for name, value in pairwise(words) if name == "--types"]
    ignored = [each["type"] for each in types if EventType.of(each["type"]) is EventType.OTHER]
    return f"there is no {sorted(unknown)} {ignored}" if unknown or ignored else None


def _docker(words: list[str]) -> str | None:
    """What is wrong with a `docker compose` command, according to our Compose file."""
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    profiles = {each for service in services.values() for each in service.get("profiles", [])}
    rest = iter(words)
    if next(rest) != "compose":
        return "this test only knows docker compose"
    for word in rest:
        if word == "--env-file" and not (ROOT / next(rest)).exists():
            return "there is no such file"
        if word == "--profile" and next(rest) not in profiles:
            return "there is no such profile"
        if word in {"run", "exec"}:
            service = next(each for each in rest if not each.startswith("-"))
            command = list(rest)
            if service not in services:
                return f"there is no service {service}"
            return _CHECKS.get(command[0], _unknown)(command[1:])
        if word in {"up", "logs", "stop", "restart", "pull", "build", "down", "ps"}:
            unknown = {each for each in rest if not each.startswith("-")} - set(services)
            return f"there is no service {unknown}" if unknown else None
    return "there is no command"


def _make(words: list[str]) -> str | None:
    targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    unknown = {word for word in words if "=" not in word} - set(targets)
    return f"there is no target {unknown}" if unknown else None


def _export(words: list[str]) -> str | None:
    known = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    unknown = {word.partition("=")[0] for word in words} - set(known)
    return f"{unknown} is not in .env.example" if unknown else None


def _python(words: list[str]) -> str | None:
    if words[0].endswith(".py"):
        return _copy(words)
    if words[:1] != ["-m"] or words[1] in {"pip", "pytest", "venv"}:
        return None
    return None if importlib.util.find_spec(words[1]) else "there is no such module"


def _copy(words: list[str]) -> str | None:
    return None if (ROOT / words[0]).exists() else "there is no such file"


def _pip(words: list[str]) -> str | None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get(
        "optional-dependencies", {}
    )
    named = {
        extra
        for word in words
        for each in re.findall(r"\[(.*?)\]", word)
        for extra in each.split(",")
    }
    return f"there is no extra {named - set(extras)}" if named - set(extras) else None


def _unknown(_: list[str]) -> str | None:
    return "this test does not know the command"


def _anything(_: list[str]) -> str | None:
    return None


_CHECKS: dict[str, Callable[[list[str]], str | None]] = {
    "signedfor": _signedfor,
    "temporal": _temporal,
    "twilio": _twilio,
    "docker": _docker,
    "make": _make,
    "export": _export,
    "python": _python,
    "pip": _pip,
    "cp": _copy,
    "sh": _copy,
    # Programs of others, which we do not check.
    **dict.fromkeys(
        ("ngrok", "cloudflared", "uv", "npm", "npx", "node", "curl", "grep", "openssl", "pg_dump"),
        _anything,
    ),
}


@pytest.mark.integration
def test_a_wrong_command_is_detected() -> None:
    """The checks above detect a wrong option, command, service, target, variable and choice."""
    wrong = [
        "signedfor sent +15558675309",
        "signedfor send +15558675309 --text Hello",
        "signedfor send +15558675309 --priority high",
        "signedfor show",
        "signedfor show order-17 order-18",
        "temporal workflow start --kind SendMessage",
        "twilio api:events:v1:sink:create --description x",
        "twilio api:events:v1:sinks:create --name x",
        """twilio api:events:v1:subscriptions:create --types '{"type": "x"}'""",
        "docker compose exec workers signedfor doctor",
        "docker compose --profile sand up",
        "docker compose run --rm worker signedfor doctors",
        "make upp",
        "export TWILIO_TOKEN=x",
        "python -m workers",
        "python examples/python/order.py",
        "rm -rf /",
    ]

    detected = [
        line
        for line in wrong
        for words in _commands(line)
        if _CHECKS.get(Path(words[0]).name, _unknown)(words[1:]) is not None
    ]

    assert wrong == detected


def test_different_output_is_detected() -> None:
    """Only text that varies, and what a page omits with `…`, may differ."""
    assert _matches(["a  b", "…", "c…e"], ["a b", "x", "y", "c d e"])
    assert not _matches(["a", "b"], ["a", "Not Waiting for a receipt", "b"])
    assert not _matches(["a", "…"], ["b", "a"])
    assert not _matches(["a"], ["a", "b"])
    assert not _matches(["Attempts 1"], ["Attempts 2"])
