"""The command as a process: Ctrl-C, pipes, and standard output that holds the document only."""

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil
import pytest

from signedfor.consent import Reason, Source, Suppression
from signedfor.contract import InboundKind
from signedfor.inbound import InboundRecord
from signedfor.store.database import open_engine
from signedfor.store.inbound import InboundMessages
from signedfor.store.migrate import upgrade
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions
from tests.signedfor.cli.support import TEXT, CommandLine, LiveSystem, new_id, until
from tests.workflows.fakes import RECIPIENT, SENDER

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
MESSAGE = ("send", RECIPIENT, "--from", SENDER, "--body", TEXT)


def arguments(*given: str) -> list[str]:
    """The arguments to run the command in a new process."""
    return [sys.executable, str(ROOT / "starter.py"), *given]


@contextmanager
def process(*given: str, env: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """The running command; it is killed at the end if it still runs."""
    with subprocess.Popen(
        arguments(*given),
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def line_with(words: str, running: "subprocess.Popen[str]") -> str:
    """The next line on standard error that contains these words."""
    assert running.stderr is not None
    for line in running.stderr:
        if words in line:
            return line
    raise AssertionError(f"it ended without saying: {words}")


def await_connection(running: "subprocess.Popen[str]") -> None:
    """Wait until the command is connected to Temporal."""
    inside = psutil.Process(running.pid)
    deadline = time.monotonic() + 60
    while not any(it.status == psutil.CONN_ESTABLISHED for it in inside.net_connections("tcp")):
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.02)


def test_ctrl_c_while_waiting_ends_quietly(cli_without_worker: CommandLine) -> None:
    """The command reports that no worker answers; Ctrl-C ends the wait with exit code 130."""
    env = dict(cli_without_worker.env)
    with process(*MESSAGE, "--wait", "--json", env=env) as running:
        line_with("Waiting for a worker: none answers", running)
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=30)

    assert 130 == running.returncode
    assert "" == stdout
    assert "Traceback" not in stderr


def test_ctrl_c_while_a_worker_is_asked_ends_quietly(cli_without_worker: CommandLine) -> None:
    """Ctrl-C during an update is an interruption, not a timeout."""
    env = dict(cli_without_worker.env)
    message_id = new_id()
    subprocess.run(
        arguments(*MESSAGE, "--id", message_id),
        env={**os.environ, **env},
        check=True,
        capture_output=True,
    )
    with process("cancel", message_id, "--timeout", "100", env=env) as running:
        await_connection(running)
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=30)

    assert 130 == running.returncode
    assert "Traceback" not in stderr


def test_standard_output_has_only_the_document() -> None:
    """With `--json` a failure is one document too; what a person reads is on standard error."""
    result = subprocess.run(
        arguments("show", "an-id", "--json"),
        env={**os.environ, "TEMPORAL_ADDRESS": "127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 1 == result.returncode
    assert "unavailable" == json.loads(result.stdout)["error"]["kind"]
    assert "127.0.0.1:9" in result.stderr


@pytest.mark.parametrize(("no_color", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_is_respected(no_color: dict[str, str], colored: bool) -> None:
    """A terminal gets colors, unless NO_COLOR is set."""
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run(
        arguments("doctor"),
        env={
            **inherited,
            "TERM": "xterm-256color",
            "TEMPORAL_ADDRESS": "127.0.0.1:9",
            "DATABASE_URL": "nonsense",
            **no_color,
        },
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    os.close(theirs)
    shown = bytearray()
    while chunk := _read(ours):
        shown += chunk

    assert b"fail" in shown
    assert colored == (b"\x1b[1;31m" in shown)


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize(
    "command",
    [
        *("--help", "send --help", "dead-letters", "senders list", "temporal-ui"),
        *("opt-outs remove {person} --reason manual", "senders pause +15005550009", "frobnicate"),
    ],
)
def test_no_word_is_broken(command: str, columns: int, sqlite_url: str) -> None:
    """On a terminal of this width: a line is wider only if it is one piece, such as an address."""
    engine = open_engine(sqlite_url)
    RateLimiter(engine).acquire(SENDER, 1)
    RateLimiter(engine).pause(SENDER)
    suppression = Suppression(recipient=RECIPIENT, reason=Reason.MANUAL, source=Source.OPERATOR)
    Suppressions(engine).record(suppression, by="me")
    engine.dispose()

    shown = _shown(
        *command.format(person=RECIPIENT).split(), columns=columns, env={"DATABASE_URL": sqlite_url}
    )

    assert shown
    too_wide = [line for line in shown if len(line) > columns]
    assert all(re.fullmatch(r" *(\S+|`.+`\S*)", line) for line in too_wide), too_wide


def _shown(*given: str, columns: int, env: Mapping[str, str]) -> list[str]:
    """The lines that a command prints on a terminal of so many columns, without its colors."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    running = subprocess.Popen(
        arguments(*given),
        env={**inherited, "TERM": "xterm", "TEMPORAL_ADDRESS": "127.0.0.1:9", **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    with running:
        shown = bytearray()
        while chunk := _read(ours):
            shown += chunk
            if b"[y/N]" in chunk:
                os.write(ours, b"n\n")
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n").splitlines()


class Terminal:
    """The command on a pseudo-terminal."""

    def __init__(self, *given: str, env: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._shown = bytearray()
        self.process = subprocess.Popen(
            arguments(*given),
            env={**os.environ, "TERM": "xterm", **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    async def shows(self, words: str) -> None:
        """Wait until it shows these words."""
        while words.encode() not in self._shown:
            chunk = await asyncio.to_thread(_read, self._ours)
            assert chunk, self._shown.decode()
            self._shown += chunk

    def type(self, text: str) -> None:
        """Type this and press Enter."""
        os.write(self._ours, text.encode() + b"\n")

    async def exit_code(self) -> int:
        """Wait for its end."""
        while await asyncio.to_thread(_read, self._ours):
            pass
        return await asyncio.to_thread(self.process.wait, 30)


REVIEW = ("opt-outs", "review", "--interactive")


@pytest.fixture
def reviewing(tmp_path: Path) -> Mapping[str, str]:
    """The environment of commands with a new database."""
    env = {"DATABASE_URL": f"sqlite:///{tmp_path}/signedfor.db"}
    upgrade(env["DATABASE_URL"])
    return env


@pytest.fixture
def reviews(reviewing: Mapping[str, str]) -> Iterator[InboundMessages]:
    """Three messages that await review."""
    engine = open_engine(reviewing["DATABASE_URL"])
    inbound = InboundMessages(engine)
    for number in range(3):
        inbound.receive(
            InboundRecord(
                message_sid=f"SM{number}",
                from_=f"+1555867530{number}",
                to=SENDER,
                kind=InboundKind.REVIEW,
                body=f"please end this, number {number}",
            )
        )
    yield inbound
    engine.dispose()


def opted_out(env: Mapping[str, str]) -> list[Suppression]:
    """The opt-outs in the commands' database."""
    engine = open_engine(env["DATABASE_URL"])
    try:
        return Suppressions(engine).list_(reason=Reason.OPTED_OUT)
    finally:
        engine.dispose()


class TestTerminal:
    """Behavior on a terminal."""

    @pytest.mark.parametrize(
        ("typed", "exit_code", "status"),
        [("n", 3, "open"), ("", 3, "open"), ("y", 0, "discarded"), (None, 130, "open")],
    )
    async def test_many_are_confirmed(
        self, system: LiveSystem, typed: str | None, exit_code: int, status: str
    ) -> None:
        """The command shows the count and waits for an answer; only yes changes anything."""
        tenant = new_id()
        message_id = await system.dead_letter("--tenant", tenant)
        query = ("--query", f"Tenant = '{tenant}'")
        await until(
            lambda: system.cli.document("dead-letters", "list", *query),
            lambda it: it["dead_letters"],
        )

        with Terminal("dead-letters", "discard", *query, env=system.cli.env) as terminal:
            await terminal.shows("This will discard 1 dead letter. Continue? [y/N]")
            if typed is None:
                terminal.process.send_signal(signal.SIGINT)
            else:
                terminal.type(typed)

            assert exit_code == await terminal.exit_code()
        assert status == (await system.cli.document("dead-letters", "show", message_id))["status"]

    async def test_reviews_are_decided_one_after_the_other(
        self, reviews: InboundMessages, reviewing: Mapping[str, str]
    ) -> None:
        """Each message is shown, and what is typed decides it; a skipped one stays."""
        with Terminal(*REVIEW, env=reviewing) as terminal:
            await terminal.shows("number and text; there are 3. Continue? [y/N]")
            terminal.type("y")
            for number, typed in enumerate(("o", "s", "d")):
                await terminal.shows(f"please end this, number {number}")
                terminal.type(typed)
            await terminal.shows("1 left to review.")

            assert 0 == await terminal.exit_code()
        assert ["SM1"] == [each.message_sid for each in reviews.reviews()]
        assert 1 == len(opted_out(reviewing))

    @pytest.mark.parametrize(("typed", "exit_code"), [("q", 0), ("\x04", 0), (None, 130)])
    async def test_reviewing_can_be_ended(
        self,
        reviews: InboundMessages,
        reviewing: Mapping[str, str],
        typed: str | None,
        exit_code: int,
    ) -> None:
        """With q, Ctrl-D or Ctrl-C; what was decided stays. Anything else asks again."""
        with Terminal(*REVIEW, "--reveal", env=reviewing) as terminal:
            await terminal.shows("number 0")
            terminal.type("d")
            await terminal.shows("number 1")
            terminal.type("x")
            terminal.type("")
            if typed is None:
                terminal.process.send_signal(signal.SIGINT)
            else:
                terminal.type(typed)

            assert exit_code == await terminal.exit_code()
        assert 2 == reviews.pending_reviews().count
        assert [] == opted_out(reviewing)

    async def test_two_operators_review_side_by_side(
        self, reviews: InboundMessages, reviewing: Mapping[str, str]
    ) -> None:
        """The first decision counts; the other operator learns whose it was and goes on."""
        with (
            Terminal(*REVIEW, "--reveal", "--by", "Ada", env=reviewing) as ada,
            Terminal(*REVIEW, "--reveal", "--by", "Ben", env=reviewing) as ben,
        ):
            await ada.shows("number 0")
            await ben.shows("number 0")
            ada.type("o")
            await ada.shows("Opt-out recorded.")
            ben.type("d")
            await ben.shows("Nothing was recorded: Ada has decided it meanwhile.")
            await ben.shows("number 1")
            ben.type("q")
            ada.type("q")

            assert 0 == await ben.exit_code() == await ada.exit_code()
        found = reviews.review("SM0")
        assert found is not None
        assert "Ada" == found.reviewed_by
        assert 1 == len(opted_out(reviewing))

    async def test_progress_is_shown_in_place(self, system: LiveSystem) -> None:
        """While the command waits, the terminal shows what for, until the receipt arrives."""
        message_id = new_id()

        with Terminal(*MESSAGE, "--id", message_id, "--wait", env=system.cli.env) as terminal:
            await terminal.shows("Waiting for a receipt from Twilio")
            await system.receive(message_id, "delivered")
            await terminal.shows("The carrier confirmed delivery.")

            assert 0 == await terminal.exit_code()


def _read(terminal: int) -> bytes:
    ready, _, _ = select.select([terminal], [], [], 60)
    assert ready, "nothing was shown for a minute"
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other end is closed: Linux's way to say end of file
        return b""


@pytest.fixture
def many(reviewing: Mapping[str, str]) -> Mapping[str, str]:
    """The environment of commands with a database whose list fills more than a pipe."""
    engine = open_engine(reviewing["DATABASE_URL"])
    Suppressions(engine).record_all(
        [
            Suppression(
                recipient=f"+1555867{number:04}",
                reason=Reason.MANUAL,
                source=Source.IMPORT,
                evidence="from a list",
            )
            for number in range(1500)
        ],
        by="test",
    )
    engine.dispose()
    return reviewing


LISTS = [
    ("opt-outs", "list", "--limit", "1500"),
    ("opt-outs", "list", "--limit", "1500", "--json"),
    ("opt-outs", "export"),
]


@pytest.mark.parametrize("command", [*LISTS, ("--help",), ("migrate", "--json")], ids=" ".join)
def test_a_closed_pipe_ends_it_quietly(command: tuple[str, ...], many: Mapping[str, str]) -> None:
    """`signedfor ... | true`: the exit code of a program that SIGPIPE ends, and no words."""
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        arguments(*command),
        env={**os.environ, **many},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)

    assert (141, "") == (result.returncode, result.stderr)


@pytest.mark.parametrize("command", LISTS, ids=" ".join)
def test_head_ends_it_quietly(command: tuple[str, ...], many: Mapping[str, str]) -> None:
    """While a table, a document or a CSV is being written."""
    with process(*command, env=many) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        running.stdout.close()
        assert running.stderr is not None
        said = running.stderr.read()
        running.wait(60)

    assert (141, "") == (running.returncode, said)


@pytest.mark.parametrize("command", [*LISTS, ("--help",)], ids=" ".join)
def test_an_output_that_cannot_be_written_gets_a_sentence(
    command: tuple[str, ...], many: Mapping[str, str]
) -> None:
    """On a full disk, or without standard output."""
    with Path("/dev/full").open("w") as full:
        on_full_disk = subprocess.run(
            arguments(*command),
            env={**os.environ, **many},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    closed = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *arguments(*command)],
        env={**os.environ, **many},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    said = "The output cannot be written (No space left on device).\n"
    assert (1, said) == (on_full_disk.returncode, on_full_disk.stderr)
    said = "The output cannot be written (standard output is closed).\n"
    assert (1, said) == (closed.returncode, closed.stderr)


def test_a_pipe_gets_each_row_in_one_line(many: Mapping[str, str]) -> None:
    """However long it is: it is for `grep` and `cut`."""
    result = subprocess.run(
        arguments("opt-outs", "list", "--limit", "3"),
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"} | {**many},
        capture_output=True,
        text=True,
        check=True,
    )

    assert 4 == len(result.stdout.splitlines())
    assert "There are more than 3" in result.stderr


# A module whose import takes long enough to be interrupted, and says when it has begun.
_SLOW_IMPORT = """
import sys, time
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

class Slow(MetaPathFinder, Loader):
    def find_spec(self, name, path, target=None):
        return ModuleSpec(name, self) if name == sys.argv[-1] else None
    def exec_module(self, module):
        print("importing", flush=True)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            raise ImportError("as an extension module does") from None

slow = sys.argv[-1]
sys.meta_path.insert(0, Slow())
from signedfor.cli.__main__ import main
sys.argv = ["signedfor", "opt-outs", "list", slow]
main()
"""


@pytest.mark.parametrize("module", ["typer", "pydantic", "sqlalchemy", "rich"])
def test_ctrl_c_during_an_import_ends_quietly(module: str) -> None:
    """In the first half second the command imports; nothing has been done yet."""
    with subprocess.Popen(
        [sys.executable, "-c", _SLOW_IMPORT, module],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert "importing\n" == running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=30)

    assert (130, "") == (running.returncode, stderr)
