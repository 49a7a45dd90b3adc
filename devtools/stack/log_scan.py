"""Searches logs for what they must not contain: phone numbers, message texts and secrets."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devtools.leaks.search import Searcher, Value


@dataclass(frozen=True, kw_only=True)
class Scan:
    """How many lines were read, and each finding: its kind, file and line number."""

    lines: int
    found: tuple[str, ...]


def scan_logs(
    logs: Iterable[Path], *, numbers: Iterable[str], texts: Iterable[str], secrets: Iterable[str]
) -> Scan:
    """Search every line of `logs`, in clear and in the encodings of `devtools.leaks.search`.

    A finding is named by kind and place; its value is not repeated.
    """
    searcher = Searcher(
        [
            *(Value("a phone number", each, is_number=True) for each in numbers),
            *(Value("a message text", each) for each in texts),
            *(Value("a secret", each) for each in secrets),
        ]
    )
    lines = 0
    found: list[str] = []
    for log in logs:
        content = log.read_bytes()
        lines += len(content.splitlines())
        if searcher.kinds_in(content):
            found += _by_line(searcher, log.name, content)
    return Scan(lines=lines, found=tuple(found))


def _by_line(searcher: Searcher, name: str, content: bytes) -> list[str]:
    """The findings with their lines; those of more than one line are in the whole log."""
    found = [
        f"{kind} in {name}, line {number}"
        for number, line in enumerate(content.splitlines(), start=1)
        for kind in sorted(searcher.kinds_in(line))
    ]
    return found or [f"{kind} in {name}" for kind in sorted(searcher.kinds_in(content))]


def basic_auth(username: str, password: str) -> str:
    """The part of an `Authorization` header that contains the password."""
    return b64encode(f"{username}:{password}".encode()).decode()
