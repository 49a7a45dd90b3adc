"""What a check of `signedfor doctor` found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, and will surprise somebody."""
    FAIL = "fail"
    """Messages will not be sent, or their receipts not come."""
    SKIPPED = "skipped"
    """Not looked at, because something it needs failed before."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check: what was looked at, what was found, and what to do about it."""

    name: str
    level: Level
    what: str
    remedy: str | None = None


def ok(name: str, what: str) -> Finding:
    """All is well."""
    return Finding(name=name, level=Level.OK, what=what)


def warn(name: str, what: str, remedy: str) -> Finding:
    """It works, but."""
    return Finding(name=name, level=Level.WARN, what=what, remedy=remedy)


def fail(name: str, what: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(name=name, level=Level.FAIL, what=what, remedy=remedy)


def skipped(name: str, because: str) -> Finding:
    """It could not be looked at."""
    return Finding(name=name, level=Level.SKIPPED, what=f"Not checked: {because}.")
