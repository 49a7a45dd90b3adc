"""The command line's own errors, told without repeating what was typed.

Typer quotes the offending word. Here it may be a phone number, or half of a text whose quotes were
forgotten, and standard error ends up in the logs of whatever ran the command.
"""

import json
import re
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from signedfor.cli.output import BadInput, ExitCode, Output

_OPTION = re.compile(r"--?[a-z][a-z-]*")


class SilentGroup(TyperGroup):
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
        sys.exit(code or ExitCode.OK)


def _report(error: typer.TyperException, *, as_json: bool) -> ExitCode:
    out = Output(as_json=as_json)
    # Raised when a group is called without a command, once the help has been printed.
    if type(error).__name__ == "NoArgsIsHelpError":
        return ExitCode.BAD_INPUT
    bad = BadInput([_problem(error)])
    if as_json:
        typer.echo(json.dumps(bad.document(), indent=2))
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "signedfor"
    field, what = bad.problems[0]
    out.note(f"{field}: {what}\nSee `{command} --help`.")
    return bad.exit_code


def _problem(error: typer.TyperException) -> tuple[str, str]:
    """What is wrong and where. Typer exports only some of its error types; names tell the rest."""
    if isinstance(error, typer.BadParameter):
        return _parameter_problem(error)
    if _OPTION.fullmatch(str(getattr(error, "option_name", ""))):
        return _option_problem(error)
    if error.message.startswith("No such command"):
        context: Any = getattr(error, "ctx", None)
        names = ", ".join(context.command.list_commands(context)) if context else ""
        return "command", f"there is no such command; there are {names}"
    if "extra argument" in error.message:
        return "arguments", "too many words; put quotes around a text with spaces"
    return "arguments", "are not right"


def _parameter_problem(error: typer.BadParameter) -> tuple[str, str]:
    parameter: Any = error.param
    field = _name(parameter)
    if type(error).__name__ == "MissingParameter":
        return field, "is missing"
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return field, f"must be one of {', '.join(str(choice.value) for choice in kind)}"
    return field, _EXPECTED.get(kind, "is not right")


def _option_problem(error: Any) -> tuple[str, str]:
    option = str(error.option_name)
    if type(error).__name__ == "NoSuchOption":
        near = ", ".join(sorted(error.possibilities or ()))
        return option, "there is no such option" + (f"; perhaps {near}" if near else "")
    return option, "needs a value" if "requires" in error.message else "takes no value"


_EXPECTED: dict[Any, str] = {
    int: "must be a whole number, within its range",
    float: "must be a number, within its range",
    Path: "must be a file that can be read",
}


def _name(parameter: Any) -> str:
    """The option as it is written, or the argument as the help shows it."""
    if parameter is None:
        return "arguments"
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name).strip("[]").upper()
    return str(max(parameter.opts, key=len))
