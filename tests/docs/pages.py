"""The pages of the documentation, and what stands in their fenced blocks.

Blocks in `console` are sessions: `$ ` before a command, then its output; they are run. Blocks in `sh`
are commands that a test cannot run, such as those with the real Twilio; they are parsed. Blocks in
`python` are programs, saved under the name that the page gives in backticks before; a session runs
them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _found() -> Iterator[Path]:
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))


PAGES = list(_found())
HISTORY = {path for path in PAGES if path.parent.name == "engineering-log"}
"""What was true once; what it names need not be there any more."""


def name(path: Path) -> str:
    """How tests name a page."""
    return path.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    file: str | None = None
    """The last name of a Python file before it."""


@dataclass(frozen=True)
class Command:
    """A command of a session, and the output that the page shows."""

    line: str
    shown: list[str]


def blocks(path: Path, *languages: str) -> list[Block]:
    """The page's fenced blocks in these languages, in order."""
    page = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(page):
        files = re.findall(r"`(\w+\.py)`", page[: match.start()])
        found.append(Block(match[1], match[2], files[-1] if files else None))
    return [block for block in found if block.language in languages]


def session(text: str) -> list[Command]:
    """The commands of a `console` block; a command goes on after a backslash and in a here-document."""
    commands: list[Command] = []
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            commands[-1].shown.append(line)
            continue
        command = line.removeprefix("$ ")
        while command.endswith("\\"):
            command += "\n" + next(lines)
        if here := re.search(r"<<'(\w+)'$", command):
            while not command.endswith("\n" + here[1]):
                command += "\n" + next(lines)
        commands.append(Command(command, []))
    return commands
