"""The command line `signedfor`: its commands, its exit codes and its variables."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

import signedfor
from signedfor.cli.env_file import read_env_file
from signedfor.cli.lazy import LazyCommand, lazy_group
from signedfor.cli.streams import write
from signedfor.errors import BadInput
from signedfor.secret_files import BadSecretFiles, read_secret_files

_EPILOG = """\
\b
Exit codes, the same for every command:
  0    done; with send --wait: delivered
  1    Temporal, the database, Twilio or a worker cannot be used
  2    bad usage or bad input, or nothing has that ID; nothing was done
  3    refused, too late, or not delivered
  4    not known: no receipt arrived, or the wait timed out
  130  interrupted
  141  nobody read the output to its end, as with | head

Settings come from the environment and from a file .env in the current folder.
"""

_COMMANDS: Final = {
    "send": LazyCommand("signedfor.cli.send:send", "Send one message."),
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
    "erase": LazyCommand("signedfor.cli.erase:erase", "Erase a person."),
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


app = typer.Typer(
    name="signedfor",
    cls=lazy_group(_COMMANDS),
    help="Send messages through Twilio on Temporal, and manage them.",
    epilog=_EPILOG,
    no_args_is_help=True,
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
    read_env_file(env_file)
    try:
        read_secret_files()
    except BadSecretFiles as error:
        raise BadInput(error.problems) from None


def _print_version() -> None:
    write(f"signedfor {signedfor.__version__}", sys.stdout)
    raise typer.Exit
