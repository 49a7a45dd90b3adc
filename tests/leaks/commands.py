"""Commands as people give them: what they print is searched, and so are their arguments."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devtools.stack.local import ROOT, LocalStack
from devtools.stack.processes import basic_environment
from tests.leaks.places import CAMPAIGN_START, PRINTED, REVEALED, REVIEWED, Piece
from tests.leaks.terminal import Typed, on_terminal

_PLACES = {"campaign start": CAMPAIGN_START, "opt-outs review": REVIEWED}
"""Of commands that show more than others on a terminal."""


@dataclass
class Commands:
    """Runs our command line, and keeps what it printed."""

    stack: LocalStack
    files: Path
    """Where files that people give are."""
    printed: list[Piece] = field(default_factory=list)

    async def run(
        self, *arguments: str, stdin: str = "", code: int = 0, reveals: bool = False
    ) -> bytes:
        """Run a command; it must end with this code. Returns its standard output."""
        exit_code, stdout, stderr = await run_module(
            self.stack, "starter", "--env-file", os.devnull, *arguments, stdin=stdin
        )
        self._keep(arguments, stdout + stderr, place=_piped_place(arguments), reveals=reveals)
        assert code == exit_code, (arguments[:2], exit_code, stderr.decode()[-500:])
        return stdout

    async def at_terminal(
        self, *arguments: str, typed: Typed = (), code: int = 0, reveals: bool = False
    ) -> None:
        """Run a command where a person sits, who types that."""
        exit_code, shown = await asyncio.to_thread(
            on_terminal,
            (sys.executable, "-m", "starter", "--env-file", os.devnull, *arguments),
            environment={**basic_environment(self.stack.folder), **self.stack.settings},
            folder=ROOT,
            typed=typed,
        )
        place = _PLACES.get(" ".join(arguments[:2]), PRINTED)
        self._keep(arguments, shown, place=place, reveals=reveals)
        assert code == exit_code, (arguments[:2], exit_code, shown.decode()[-500:])

    def _keep(
        self, arguments: tuple[str, ...], output: bytes, *, place: str, reveals: bool
    ) -> None:
        name = " ".join(arguments[:2])
        self.printed.append(Piece(REVEALED if reveals else place, name, output))

    def file(self, name: str, *lines: str) -> str:
        """A file of a person's own."""
        path = self.files / name
        path.write_text("\n".join(lines) + "\n")
        return str(path)


def _piped_place(arguments: tuple[str, ...]) -> str:
    return CAMPAIGN_START if arguments[:2] == ("campaign", "start") else PRINTED


async def run_module(
    stack: LocalStack,
    module: str,
    *arguments: str,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> tuple[int, bytes, bytes]:
    """Run `python -m module` until it ends: its exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        env={**basic_environment(stack.folder), **stack.settings, **(environment or {})},
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, stdout, stderr
