"""How `--help` is laid out: as Typer does it, and without a broken word on a narrow terminal."""

import shutil
from collections.abc import Sequence
from typing import Final

# Typer's own copy of Click.
from typer._click.core import Command, Context
from typer._click.formatting import HelpFormatter

from signedfor.cli.wrapping import wrapped

_MAX_WIDTH: Final = 80
_MIN_WIDTH: Final = 20
_TWO_COLUMNS: Final = 60
"""From this width on an option has its text beside it."""
_TEXT_INDENT: Final = 4


class NarrowHelp(HelpFormatter):
    """Fits any width; Typer's own takes fifty columns even where there are fewer."""

    def __init__(
        self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None
    ) -> None:
        columns = min(shutil.get_terminal_size().columns, max_width or _MAX_WIDTH)
        super().__init__(indent_increment, width or max(columns - 2, _MIN_WIDTH), max_width)

    def write_dl(
        self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write options or commands with their texts, below each other if it is narrow."""
        if self.width >= _TWO_COLUMNS:
            super().write_dl(rows, col_max, col_spacing)
            return
        for name, text in rows:
            self.write(f"{' ' * self.current_indent}{name}\n")
            indent = " " * (self.current_indent + _TEXT_INDENT)
            self.write(wrapped(indent + text, self.width) + "\n")

    def getvalue(self) -> str:
        """See base class; what Typer does not wrap, such as a list in an epilog, is wrapped."""
        return wrapped(super().getvalue(), self.width + 2)


def use_narrow_help() -> None:
    """Lay out the help of every command like this; Typer has no option for it."""
    Context.formatter_class = NarrowHelp


def keep_short_help_whole(command: Command) -> None:
    """In the list of commands, show the first sentence of its help and not the beginning of it."""
    command.short_help = command.get_short_help_str(1_000)
