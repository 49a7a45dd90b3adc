"""The pages of the documentation and their fenced blocks.

`console` blocks are sessions, which are run: commands after `$ `, each followed by its output. `sh`
blocks are commands that a test cannot run, such as those for the real Twilio; they are parsed.
`python` blocks are programs: each is saved under the last file name in backticks before it and run
by a session.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _pages() -> Iterator[Path]:
    yield ROOT / "README.md"
    yield from sorted((ROOT / "docs").rglob("*.md"))
    yield from (ROOT / "examples/README.md", *sorted(ROOT.glob("examples/*/README.md")))


PAGES = list(_pages())
HISTORY = {path for path in PAGES if path.parent.name == "engineering-log"}
"""Pages about the past; they may name things that do not exist any more."""


def name(path: Path) -> str:
    """A page's path in the repository."""
    return path.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    file: str | None = None
    """The last name of a Python file before the block."""


@dataclass(frozen=True)
class Command:
    """A command of a session and the output that the page shows."""

    line: str
    output: list[str]


def blocks(path: Path, *languages: str) -> list[Block]:
    """The page's fenced blocks in these languages, in order."""
    page = path.read_text(encoding="utf-8")
    all_blocks = []
    for match in _FENCE.finditer(page):
        files = re.findall(r"`(\w+\.py)`", page[: match.start()])
        all_blocks.append(Block(match[1], match[2], files[-1] if files else None))
    return [block for block in all_blocks if block.language in languages]


def session(text: str) -> list[Command]:
    """The commands of a `console` block, which a backslash or a here-document may continue."""
    commands: list[Command] = []
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            commands[-1].output.append(line)
            continue
        command = line.removeprefix("$ ")
        while command.endswith("\\"):
            command += "\n" + next(lines)
        if here := re.search(r"<<'(\w+)'$", command):
            while not command.endswith("\n" + here[1]):
                command += "\n" + next(lines)
        commands.append(Command(command, []))
    return commands
