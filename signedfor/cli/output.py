"""What a command prints, its exit code, and what it asks the person at the terminal."""

import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from signedfor.cli.layout import Facts, Listing, Sentences
from signedfor.cli.streams import escaped, write_document, write_failure
from signedfor.errors import (
    BadInput,
    CommandError,
    ExitCode,
    NotFound,
    Refused,
    Unavailable,
    Unconfirmed,
)

__all__ = [
    "BadInput",
    "CommandError",
    "ExitCode",
    "NotFound",
    "Output",
    "Refused",
    "Unavailable",
    "Unconfirmed",
    "clock",
    "command_output",
    "facts",
    "has_terminal",
    "listing",
    "printable",
]


_UNLIMITED: Final = 100_000
"""The width for a pipe or a file: each row is one line."""


class _Console(Console):
    """Writes to a terminal or a pipe."""

    def __init__(self, *, stderr: bool = False) -> None:
        # Markup, emoji and highlighting would interpret text that other people wrote.
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)
        if not (self.is_terminal or os.environ.get("COLUMNS")):
            self.width = _UNLIMITED


class Output:
    """Where a command writes: its result to standard output, everything else to standard error.

    With `as_json` the result is one JSON document. Rich decides on colors and widths: no colors
    without a terminal or with `NO_COLOR`.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._result = _Console()
        self.notes = _Console(stderr=True)

    def note(self, *parts: RenderableType | str) -> None:
        """Print lines and tables for the person at the terminal."""
        _print(self.notes, parts)

    def result(self, document: Mapping[str, Any], *human: RenderableType | str) -> None:
        """Print the result: `document` for programs, or each of `human` for people."""
        if self.as_json:
            write_document(document)
            return
        _print(self._result, human)

    def listed(
        self,
        name: str,
        columns: Sequence[str],
        entries: Sequence[tuple[Mapping[str, Any], Sequence[object]]],
        *,
        limit: int,
        empty: str,
        more: str = "see --limit",
        hint: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Print the first `limit` entries, each given as a document and as a row of the table.

        `more` says how to see the others if there are more entries, `hint` anything else about
        those that are shown, and `empty` that there are none. `fields` are more fields of the
        document.
        """
        shown, has_more = entries[:limit], len(entries) > limit
        document = {name: [entry for entry, _ in shown], "more": has_more, **(fields or {})}
        if not shown:
            self.result(document, empty)
            return
        self.result(document, listing(columns, [row for _, row in shown]))
        if self.as_json:
            return
        if hint is not None:
            self.note(hint)
        if has_more:
            self.note(f"There are more than {limit}; {more}.")

    @contextmanager
    def progress_bar(self, what: str, *, total: int) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes how much is done; draws a bar if there is a terminal."""
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        with Progress(
            *columns, console=self.notes, transient=True, disable=not self.notes.is_terminal
        ) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done: progress.update(task, completed=done)

    @contextmanager
    def changing_line(self, first: str) -> Iterator[Callable[[str], None]]:
        """Yield a function that shows a line: in place on a terminal, else each new one once."""
        if self.notes.is_terminal:
            with self.notes.status(first) as status:
                yield lambda line: status.update(printable(line))
            return
        yield self.each_once()

    def each_once(self) -> Callable[[str], None]:
        """Return a function that prints a line unless it was the last one too."""
        last = ""

        def show(line: str) -> None:
            nonlocal last
            if line != last:
                last = line
                self.note(line)

        return show

    def confirm(self, will: str, *, what: str) -> None:
        """Return only if the person agrees; `will` says what is about to happen, `what` is short.

        Raises:
            BadInput: there is no terminal.
            Refused: the answer was no.
        """
        if not has_terminal():
            raise BadInput([("--yes", f"is needed to {what} without a terminal")])
        self.note(f"{will} Continue? [y/N]")
        if _typed_line().strip().lower() not in {"y", "yes"}:
            raise Refused("Nothing was done.")

    def choose(self, question: str, choices: set[str]) -> str | None:
        """Return the typed one of `choices`, each a letter; None at the end of the input.

        Asks again until it is one. The caller makes sure that there is a terminal.
        """
        while True:
            self.note(question)
            line = _typed_line()
            if not line:
                return None
            typed = line.strip().lower()
            if typed in choices:
                return typed


def _print(console: Console, parts: Sequence[RenderableType | str]) -> None:
    """Print each, with a blank line between two tables."""
    after_table = False
    for each in parts:
        is_table = not isinstance(each, str)
        if is_table and after_table:
            console.print()
        after_table = is_table
        shown = Sentences(printable(each)) if isinstance(each, str) else each
        console.print(shown, soft_wrap=True)  # the terminal wraps what must not be broken


@contextmanager
def command_output(*, as_json: bool) -> Iterator[Output]:
    """The output of one command; a `CommandError` becomes its text and its exit code."""
    out = Output(as_json=as_json)
    try:
        yield out
    except CommandError as error:
        write_failure(error, as_json=as_json)
        raise typer.Exit(error.exit_code) from None


def has_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()  # None: started with `<&-`


def listing(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Listing:
    """A table with a header; no cell is truncated, since IDs are there to be copied."""
    return Listing(columns, [[_cell(value) for value in row] for row in rows])


def facts(rows: Iterable[tuple[str, object]]) -> Facts:
    """Names and values, without the rows whose value is None or empty."""
    return Facts([(Text(name, style="bold"), _cell(value)) for name, value in rows])


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    return printable("" if value is None else str(value))


def printable(text: str) -> Text:
    """`text` with its control characters escaped: a message may contain escape sequences."""
    return Text(escaped(text))


def clock(moment: datetime | None) -> str | None:
    """A time that a person can compare with the Temporal UI."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


_POLL_SECONDS: Final = 0.2


def _typed_line() -> str:
    """The typed line. A library's prompt would treat Ctrl-C as an answer.

    Ctrl-C just before a blocking read would take effect only after the Enter key, so the line is
    awaited in short polls.
    """
    while not select.select([sys.stdin], [], [], _POLL_SECONDS)[0]:
        pass
    return sys.stdin.readline()
