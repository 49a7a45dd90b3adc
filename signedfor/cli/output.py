"""What a command prints, its exit code, and what it asks the person at the terminal."""

import json
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

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
    "printable",
]


class Output:
    """Where a command writes: its result to standard output, everything else to standard error.

    With `as_json` the result is one JSON document. Rich decides on colors and widths: no colors
    without a terminal or with `NO_COLOR`.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # Markup, emoji and highlighting would interpret text that other people wrote.
        self._result = Console(markup=False, emoji=False, highlight=False)
        self.notes = Console(stderr=True, markup=False, emoji=False, highlight=False)

    def note(self, text: str) -> None:
        """Print a line for the person at the terminal."""
        self.notes.print(printable(text), soft_wrap=True)

    def result(self, document: Mapping[str, Any], *human: RenderableType | str) -> None:
        """Print the result: `document` for programs, or each of `human` for people."""
        if self.as_json:
            typer.echo(json.dumps(document, indent=2))
            return
        for each in human:
            if isinstance(each, str):
                self._result.print(printable(each), soft_wrap=True)
            else:
                self._result.print(each)

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
    ) -> None:
        """Print the first `limit` entries, each given as a document and as a row of the table.

        `more` says how to see the others if there are more entries, `hint` anything else about
        those that are shown, and `empty` that there are none.
        """
        shown, has_more = entries[:limit], len(entries) > limit
        document = {name: [entry for entry, _ in shown], "more": has_more}
        if not shown:
            self.result(document, empty)
            return
        hints = [hint] if hint is not None else []
        if has_more:
            hints.append(f"There are more than {limit}; {more}.")
        self.result(document, self.table(columns, [row for _, row in shown]), *hints)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
        """A table with a header. It wraps and never truncates, since IDs are there to be copied."""
        cells = [
            [printable("" if cell is None else str(cell)) for cell in row]
            for row in (columns, *rows)
        ]
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        widths = _column_widths(cells, within=self._result.width - 2 * (len(columns) - 1))
        for name, width in zip(columns, widths, strict=True):
            table.add_column(name, overflow="fold", width=width)
        for row in cells[1:]:
            table.add_row(*row)
        return table

    def failure(self, error: CommandError, *, hint: str | None = None) -> None:
        """Print why the command failed; `hint` replaces its text for people."""
        if self.as_json:
            typer.echo(json.dumps(error.document(), indent=2))
        self.note(hint or str(error))

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


@contextmanager
def command_output(*, as_json: bool) -> Iterator[Output]:
    """The output of one command; a `CommandError` becomes its text and its exit code."""
    out = Output(as_json=as_json)
    try:
        yield out
    except CommandError as error:
        out.failure(error)
        raise typer.Exit(error.exit_code) from None


def has_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()  # None: started with `<&-`


def facts(rows: Iterable[tuple[str, object]]) -> Table:
    """A small table of names and values, without the rows whose value is None or empty."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value not in {None, ""}:
            table.add_row(name, printable(str(value)))
    return table


def _column_widths(cells: Sequence[Sequence[Text]], *, within: int) -> Sequence[int | None]:
    """How wide each column is, so that no word is broken; None where that is not possible."""
    columns = list(zip(*cells, strict=True))
    widths = [
        max(len(word) for cell in column for word in (cell.plain.split() or [""]))
        for column in columns
    ]
    spare = within - sum(widths)
    if spare < 0:
        return [None] * len(columns)
    needs = [max(cell.cell_len for cell in column) for column in columns]
    # A column that needs little more to do without line breaks gets it first.
    for index in sorted(range(len(columns)), key=lambda each: needs[each] - widths[each]):
        added = min(max(needs[index] - widths[index], 0), spare)
        widths[index] += added
        spare -= added
    return widths


def printable(text: str) -> Text:
    """`text` with its control characters escaped: a message may contain escape sequences."""
    return Text(
        "".join(
            character
            if character.isprintable() or character == "\n"
            else character.encode("unicode_escape").decode()
            for character in text
        )
    )


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
