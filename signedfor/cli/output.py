"""What a command says: one JSON document or text for a person, and an exit code either way."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text


class ExitCode(IntEnum):
    """How a command ended; the same everywhere, documented in `signedfor --help`."""

    OK = 0
    TROUBLE = 1
    """Something on the way could not be used: Temporal, the database, Twilio, a worker."""
    BAD_INPUT = 2
    """The command or its input is not right; nothing was done."""
    REFUSED = 3
    """Understood and not so: not delivered, too late to cancel, closed already."""
    UNCONFIRMED = 4
    """It is not known yet, or not at all: no receipt, or the wait was over."""


class CommandError(Exception):
    """Why a command could not do what it was asked; its text is for the person who asked."""

    exit_code = ExitCode.TROUBLE
    kind = "trouble"

    def document(self) -> dict[str, Any]:
        """What `--json` says of it."""
        return {"error": {"kind": self.kind, "message": str(self)}}


class Trouble(CommandError):
    """Something that the command needs cannot be reached or used."""


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
    """There is nothing by that id."""

    exit_code = ExitCode.BAD_INPUT
    kind = "not_found"


class Refused(CommandError):
    """It was understood, and it is not so or not possible any more."""

    exit_code = ExitCode.REFUSED
    kind = "refused"


class Unconfirmed(CommandError):
    """The answer did not come in time, so it is not known what became of it."""

    exit_code = ExitCode.UNCONFIRMED
    kind = "unconfirmed"


class Output:
    """Where a command writes: its result on standard output, everything else on standard error.

    With `as_json` the result is one JSON document. Colours and widths are Rich's affair: none
    where there is no terminal or `NO_COLOR` is set.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # Markup, emoji and highlighting would read meaning into what others have written.
        self._result = Console(markup=False, emoji=False, highlight=False)
        self.notes = Console(stderr=True, markup=False, emoji=False, highlight=False)

    def note(self, text: str) -> None:
        """Say something to the person at the terminal."""
        self.notes.print(printable(text), soft_wrap=True)

    def result(self, document: Mapping[str, Any], *human: RenderableType | str) -> None:
        """Say what came of it: `document` for programs, or `human`, one after the other."""
        if self.as_json:
            typer.echo(json.dumps(document, indent=2))
            return
        for each in human:
            if isinstance(each, str):
                self._result.print(printable(each), soft_wrap=True)
            else:
                self._result.print(each)

    def failure(self, error: CommandError) -> None:
        """Say why it could not be done."""
        if self.as_json:
            typer.echo(json.dumps(error.document(), indent=2))
        self.note(str(error))


@contextmanager
def answering(*, as_json: bool) -> Iterator[Output]:
    """The output of one command; a `CommandError` becomes its text and its exit code."""
    out = Output(as_json=as_json)
    try:
        yield out
    except CommandError as error:
        out.failure(error)
        raise typer.Exit(error.exit_code) from None


def facts(rows: Iterable[tuple[str, object]]) -> Table:
    """A small table of names and values; rows whose value is None or empty are left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value not in {None, ""}:
            table.add_row(name, printable(str(value)))
    return table


def listing(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table with a head; it folds rather than cuts, since ids are there to be copied."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else printable(str(cell)) for cell in row))
    return table


def printable(text: str) -> Text:
    """`text` with its control characters spelled out: a message may hold escape sequences."""
    return Text(
        "".join(
            character
            if character.isprintable() or character == "\n"
            else character.encode("unicode_escape").decode()
            for character in text
        )
    )
