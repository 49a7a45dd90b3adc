"""Searches logs for what they must not contain: phone numbers, message texts and secrets."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus


@dataclass(frozen=True, kw_only=True)
class Scan:
    """How many lines were read, and each finding: its kind, file and line number."""

    lines: int
    found: tuple[str, ...]


def scan_logs(
    logs: Iterable[Path], *, numbers: Iterable[str], texts: Iterable[str], secrets: Iterable[str]
) -> Scan:
    """Search every line of `logs`, for plain values and as URLs and headers encode them.

    A finding is named by kind and place; its value is not repeated.
    """
    kinds = {
        "a phone number": {number.lstrip("+") for number in numbers},
        "a message text": {
            form for text in texts for form in (text, quote(text), quote_plus(text))
        },
        "a secret": {form for secret in secrets for form in (secret, quote_plus(secret))},
    }
    lines = 0
    found: list[str] = []
    for log in logs:
        for number, line in enumerate(log.read_text(errors="replace").splitlines(), start=1):
            lines += 1
            found += [
                f"{kind} in {log.name}, line {number}"
                for kind, values in kinds.items()
                if any(value in line for value in values)
            ]
    return Scan(lines=lines, found=tuple(found))


def basic_auth(username: str, password: str) -> str:
    """The part of an `Authorization` header that contains the password."""
    return b64encode(f"{username}:{password}".encode()).decode()
