"""Commands as people give them: what they print is searched, and so are their arguments."""

import asyncio
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from devtools.stack.local import ROOT, LocalStack
from devtools.stack.processes import basic_environment
from tests.leaks.places import CAMPAIGN_START, PRINTED, REVEALED, Piece


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
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "starter", "--env-file", os.devnull, *arguments),
            env={**basic_environment(self.stack.folder), **self.stack.settings},
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdout, stderr = await process.communicate(stdin.encode())
        name = " ".join(arguments[:2])
        place = CAMPAIGN_START if name == "campaign start" else PRINTED
        self.printed.append(Piece(REVEALED if reveals else place, name, stdout + stderr))
        assert code == process.returncode, (
            arguments[:2],
            process.returncode,
            stderr.decode()[-500:],
        )
        return stdout

    def file(self, name: str, *lines: str) -> str:
        """A file of a person's own."""
        path = self.files / name
        path.write_text("\n".join(lines) + "\n")
        return str(path)
