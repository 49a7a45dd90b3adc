"""What goes wrong for the person who runs a command or uses the operations page, in a sentence."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """How a command ended; the same everywhere, documented in `signedfor --help`."""

    OK = 0
    UNAVAILABLE = 1
    """Temporal, the database, Twilio or a worker could not be used."""
    BAD_INPUT = 2
    """The command or its input is wrong; nothing was done."""
    REFUSED = 3
    """Understood, but not possible: not delivered, too late to cancel, already closed."""
    UNCONFIRMED = 4
    """The result is not known: no receipt arrived, or the wait timed out."""


class CommandError(Exception):
    """A command or an action failed; the text says why, for the person who asked for it."""

    exit_code = ExitCode.UNAVAILABLE
    kind = "unavailable"

    def document(self) -> dict[str, Any]:
        """The error as `--json` prints it."""
        return {"error": {"kind": self.kind, "message": str(self)}}


class Unavailable(CommandError):
    """Something that it needs cannot be reached or used."""


class BadInput(CommandError):
    """Bad input: `problems` are pairs of a field and what is wrong with it, without its value."""

    exit_code = ExitCode.BAD_INPUT
    kind = "bad_input"

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        lines = "\n".join(f"  {field}: {what}" for field, what in problems)
        super().__init__(f"Nothing was done. Correct this and try again:\n{lines}")
        self.problems = tuple(problems)

    def document(self) -> dict[str, Any]:
        """See base class."""
        document = super().document()
        document["error"]["fields"] = [
            {"field": field, "problem": what} for field, what in self.problems
        ]
        return document


class NotFound(CommandError):
    """Nothing has that ID."""

    exit_code = ExitCode.BAD_INPUT
    kind = "not_found"


class Refused(CommandError):
    """The request was understood, but is not possible, or no longer."""

    exit_code = ExitCode.REFUSED
    kind = "refused"


class Unconfirmed(CommandError):
    """No answer arrived in time, so the result is not known."""

    exit_code = ExitCode.UNCONFIRMED
    kind = "unconfirmed"


class InvalidSettings(Exception):
    """The environment is incomplete or wrong; the text names each bad variable, never its value."""
