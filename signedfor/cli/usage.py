"""Usage errors, reported without repeating what was typed.

Typer quotes the offending word. Here it may be a phone number, or half of a text whose quotes were
forgotten, and standard error ends up in the logs of the program that ran the command.
"""

import re
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import typer

# Typer's own copy of Click; it exports only `BadParameter` of these.
from typer._click.exceptions import (
    BadOptionUsage,
    MissingParameter,
    NoArgsIsHelpError,
    NoSuchOption,
    UsageError,
)
from typer.core import TyperGroup

from signedfor.cli.streams import write_failure
from signedfor.errors import BadInput, CommandError, ExitCode

# Anything else that begins with a hyphen may be a number or a text.
_OPTION = re.compile(r"--?[a-z][a-z-]*")


class RedactingGroup(TyperGroup):
    """A group of commands whose usage errors name the option and never the value."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 - the base class's signature
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; as in the base class, this ends the process."""
        arguments = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(
                arguments, prog_name, complete_var, False, windows_expand_args, **extra
            )
        except typer.TyperException as error:
            code = _report(error, as_json="--json" in arguments)
        except CommandError as error:
            write_failure(error, as_json="--json" in arguments)
            code = error.exit_code
        sys.exit(code or ExitCode.OK)


def _report(error: typer.TyperException, *, as_json: bool) -> ExitCode:
    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return ExitCode.BAD_INPUT
    field, what = _problem(error)
    context = error.ctx if isinstance(error, UsageError) else None
    command = context.command_path if context is not None else "signedfor"
    bad_input = BadInput([(field, what)])
    hint = f"{field}: {what}\nSee `{command} --help`."
    write_failure(bad_input, as_json=as_json, hint=hint)
    return bad_input.exit_code


def _problem(error: typer.TyperException) -> tuple[str, str]:
    """The field and what is wrong with it."""
    match error:
        case MissingParameter():
            return _name(error.param), "is missing"
        case typer.BadParameter():
            return _name(error.param), _expected(error.param, error.message)
        case NoSuchOption(option_name=name) if _OPTION.fullmatch(name):
            near = ", ".join(sorted(error.possibilities or ()))
            hint = f"; did you mean {near}?" if near else ""
            return name, "there is no such option" + hint
        case BadOptionUsage(option_name=name):
            # Only its text distinguishes the two cases.
            needs_value = "requires" in error.message
            return name, "needs a value" if needs_value else "takes no value"
        case NoSuchOption():
            return "arguments", "are not valid"
        case UsageError(ctx=context) if context is not None:
            if isinstance(context.command, TyperGroup):
                names = ", ".join(context.command.list_commands(context))
                return "command", f"there is no such command; there are {names}"
            return "arguments", "too many words; put quotes around a text with spaces"
        case _:
            return "arguments", "are not valid"


_EXPECTED: dict[Any, str] = {
    int: "must be a whole number, within its range",
    float: "must be a number, within its range",
    Path: "must be a file that can be read",
}


# Typer's text repeats the path; only it distinguishes the cases.
_FILE_PROBLEMS = {
    "does not exist.": "there is no such file",
    "is a directory.": "is a folder, not a file",
    "is not readable.": "is a file that this user may not read",
}


def _expected(parameter: Any, message: str) -> str:
    for end, what in _FILE_PROBLEMS.items():
        if message.endswith(end):
            return what
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"must be one of {', '.join(str(choice.value) for choice in kind)}"
    return _EXPECTED.get(kind, "is not valid")


def _name(parameter: Any) -> str:
    """The option as it is written, or the argument as the help shows it."""
    if parameter is None:
        return "arguments"
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name).strip("[]").upper()
    return str(max(parameter.opts, key=len))
