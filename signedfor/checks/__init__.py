"""What `signedfor doctor` and the operations page check, one module for each dependency.

Nothing is sent and, unless it is asked for, nothing is changed.
"""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARN = "warn"
    """It works, but perhaps not as expected."""
    FAIL = "fail"
    """Messages are not sent, or their receipts do not arrive."""
    SKIPPED = "skipped"
    """Not checked, because something it needs failed."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check: what was found, and what to do about it."""

    name: str
    level: Level
    what: str
    remedy: str | None = None


def ok(name: str, what: str) -> Finding:
    """Nothing is wrong."""
    return Finding(name=name, level=Level.OK, what=what)


def warn(name: str, what: str, remedy: str) -> Finding:
    """It works, but perhaps not as expected."""
    return Finding(name=name, level=Level.WARN, what=what, remedy=remedy)


def fail(name: str, what: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(name=name, level=Level.FAIL, what=what, remedy=remedy)


def skipped(name: str, because: str) -> Finding:
    """It could not be checked."""
    return Finding(name=name, level=Level.SKIPPED, what=f"Not checked: {because}.")
