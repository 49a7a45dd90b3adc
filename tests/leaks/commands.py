"""Commands as people give them: what they print is searched, and so are their arguments."""

import asyncio
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from devtools.stack.local import ROOT, LocalStack
from devtools.stack.processes import basic_environment


@dataclass
class Commands:
    """Runs our command line, and keeps what it printed."""

    stack: LocalStack
    files: Path
    """Where files that people give are."""
    printed: list[bytes] = field(default_factory=list)
    revealed: list[bytes] = field(default_factory=list)
    """What was printed because a command was told to, by `--reveal` or an export."""

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
        (self.revealed if reveals else self.printed).append(stdout + stderr)
        assert code == process.returncode, (arguments[:2], process.returncode, stderr.decode()[-500:])
        return stdout

    def file(self, name: str, *lines: str) -> str:
        """A file of a person's own."""
        path = self.files / name
        path.write_text("\n".join(lines) + "\n")
        return str(path)
