"""The command line `signedfor`: its commands, its exit codes and its variables."""

import os
import pkgutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from dotenv import dotenv_values
from typer.core import TyperCommand
from typer.main import get_group

from signedfor.cli.output import BadInput, command_output
from signedfor.cli.usage import RedactingGroup

_EPILOG = """\
\b
Exit codes, the same for every command:
  0    done; with send --wait: delivered
  1    Temporal, the database, Twilio or a worker cannot be used
  2    bad usage or bad input, or nothing has that ID; nothing was done
  3    refused, too late, or not delivered
  4    not known: no receipt arrived, or the wait timed out
  130  interrupted

Settings come from the environment and from a file .env in the current folder.
"""

_ENV_FILE = Path(".env")


@dataclass(frozen=True)
class LazyCommand:
    """A command or group of commands that is imported when it is called."""

    target: str
    """Where it is: `module:function`, or `module:app` for a group."""
    help: str
    """Its first sentence, for the list of commands."""


COMMANDS: Final = {
    "send": LazyCommand("signedfor.cli.messages:send", "Send one message."),
    "show": LazyCommand(
        "signedfor.cli.messages:show", "Show a message's status or, when it has ended, its report."
    ),
    "cancel": LazyCommand(
        "signedfor.cli.messages:cancel", "Cancel a message that Twilio does not have yet."
    ),
    "messages": LazyCommand(
        "signedfor.cli.message_list:app",
        "Find messages.",
    ),
    "campaign": LazyCommand(
        "signedfor.cli.campaigns:app", "Send one text to many recipients, from a CSV file."
    ),
    "dead-letters": LazyCommand(
        "signedfor.cli.dead_letters:app",
        "Messages that need a decision: list, show, retry or discard.",
    ),
    "opt-outs": LazyCommand(
        "signedfor.cli.opt_outs:app",
        "Recipients that must not be sent to.",
    ),
    "opt-ins": LazyCommand("signedfor.cli.opt_ins:app", "Who has agreed to which messages."),
    "inbound": LazyCommand(
        "signedfor.cli.inbound_messages:app",
        "Messages that people sent.",
    ),
    "senders": LazyCommand(
        "signedfor.cli.senders:app",
        "Rate, backlog and pause of each sender.",
    ),
    "temporal-ui": LazyCommand(
        "signedfor.cli.temporal_ui:temporal_ui",
        "Print links to lists of messages in the Temporal UI.",
    ),
    "doctor": LazyCommand(
        "signedfor.cli.doctor:doctor", "Find common problems and say how to fix them."
    ),
    "migrate": LazyCommand(
        "signedfor.cli.migrate:migrate", "Create or update the tables of the database."
    ),
}


class LazyGroup(RedactingGroup):
    """The commands of `COMMANDS`; `--help` and `--version` import none of them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """See base class."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What the list of commands needs."""
        del ctx
        if (lazy := COMMANDS.get(cmd_name)) is None:
            return None
        return TyperCommand(cmd_name, help=lazy.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Import the command that is called."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and imported(str(name)), rest


def imported(name: str) -> Any:
    """The command of this name, ready to run."""
    lazy, parent = COMMANDS[name], typer.Typer(rich_markup_mode=None)
    target = pkgutil.resolve_name(lazy.target)
    if isinstance(target, typer.Typer):
        parent.add_typer(target, name=name)
    else:
        parent.command(name)(target)
    return get_group(parent).commands[name]


app = typer.Typer(
    name="signedfor",
    cls=LazyGroup,
    help="Send messages through Twilio on Temporal, and manage them.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    # A traceback with local variables would show numbers and texts.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help fits into 80 columns
)


@app.callback()
def _before_any_command(
    *,
    env_file: Annotated[
        Path | None,
        typer.Option(
            "--env-file", metavar="FILE", help="Read settings from this file instead of .env."
        ),
    ] = None,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda wanted: _print_version() if wanted else None,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    del show_version  # its callback has printed it
    with command_output(as_json=False):
        _read_env_file(env_file)


def _print_version() -> None:
    try:
        typer.echo(f"signedfor {version('signedfor')}")
    except PackageNotFoundError:
        typer.echo("signedfor, not installed as a package")
    raise typer.Exit


def _read_env_file(path: Path | None) -> None:
    """Add the variables of `path`, or of `.env` if there is one; variables already set win.

    They go into the process's environment because Temporal's own reader looks there.

    Raises:
        BadInput: the file was named and cannot be read.
    """
    chosen = path or _ENV_FILE
    if path is None and not chosen.is_file():
        return
    try:
        with chosen.open(encoding="utf-8") as file:
            values = dotenv_values(stream=file)
    except OSError as error:
        raise BadInput([("--env-file", f"cannot be read ({error.strerror})")]) from None
    except UnicodeDecodeError:
        raise BadInput([("--env-file", "is not UTF-8 text")]) from None
    for name, value in values.items():
        if value is not None:
            os.environ.setdefault(name, value)
