"""Commands that are imported when they are called.

What a command needs takes longer to import than the rest of its run: Temporal's SDK, the database's
library, Pydantic's models. So a group has a table of its commands: where each one is, and the first
sentence of its help. `--help`, `--version` and the completion of names need nothing else.
"""

import gc
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand
from typer.main import get_group

from signedfor.cli.help_layout import keep_short_help_whole, use_narrow_help
from signedfor.cli.usage import RedactingGroup
from signedfor.process import interrupt_as_usual, interruptible

use_narrow_help()


@dataclass(frozen=True)
class LazyCommand:
    """A command or a group of commands that is imported when it is called."""

    target: str
    """Where it is: `module:function`, or `module:app` for a group."""
    help: str
    """Its first sentence, for the list of commands."""


class LazyGroup(RedactingGroup):
    """A group with commands of its own, and those in `lazy`, by name."""

    lazy: ClassVar[Mapping[str, LazyCommand]]

    def list_commands(self, ctx: Any) -> list[str]:
        """See base class."""
        return [*super().list_commands(ctx), *self.lazy]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the list of commands needs."""
        if (command := self.lazy.get(cmd_name)) is None:
            return super().get_command(ctx, cmd_name)
        return TyperCommand(cmd_name, short_help=command.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Import the command that is called."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and self.imported(str(name)), rest

    def imported(self, name: str) -> Any:
        """The command of this name, ready to run."""
        if name not in self.lazy:
            return self.commands[name]
        parent = typer.Typer(rich_markup_mode=None)
        # The collector would look through what was imported again and again: a tenth of the time.
        gc.disable()
        try:
            with interruptible():
                target = pkgutil.resolve_name(self.lazy[name].target)
        finally:
            gc.enable()
        interrupt_as_usual()
        if isinstance(target, typer.Typer):
            parent.add_typer(target, name=name)
        else:
            parent.command(name)(target)
        command = get_group(parent).commands[name]
        for each in getattr(command, "commands", {}).values():
            keep_short_help_whole(each)
        return command


def lazy_group(commands: Mapping[str, LazyCommand]) -> type[LazyGroup]:
    """The class of a `typer.Typer` that has these commands too."""
    return type("LazyGroup", (LazyGroup,), {"lazy": commands})
