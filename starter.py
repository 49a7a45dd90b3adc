"""The command line `signedfor`: puts the commands together, and nothing else."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from signedfor.cli import (
    campaigns,
    catch_up,
    dead_letters,
    doctor,
    messages,
    migrate,
    opt_outs,
    reviews,
    send,
    senders,
)
from signedfor.cli.environment import read_env_file
from signedfor.cli.options import MESSAGES_PANEL, OPERATIONS_PANEL
from signedfor.cli.output import answering
from signedfor.cli.usage import SilentGroup
from signedfor.temporal import end_process

_EPILOG = """\
Exit codes, the same for every command:

0  done; with send --wait: delivered

1  trouble on the way: Temporal, the database, Twilio or a worker cannot be used

2  bad usage or bad input, or nothing by that id; nothing was done

3  understood, but not so: not delivered, too late, refused

4  not known: no receipt came, or the wait was over

130  interrupted

Settings come from the environment and from a file .env in the current folder.
"""

app = typer.Typer(
    name="signedfor",
    cls=SilentGroup,
    help="Send messages through Twilio on Temporal, and look after them.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    # A traceback with local variables would show numbers and texts.
    pretty_exceptions_enable=False,
)
app.command(rich_help_panel=MESSAGES_PANEL)(send.send)
app.command(rich_help_panel=MESSAGES_PANEL)(messages.show)
app.command(rich_help_panel=MESSAGES_PANEL)(messages.cancel)
app.add_typer(campaigns.app, name="campaign", rich_help_panel=MESSAGES_PANEL)
app.add_typer(dead_letters.app, name="dead-letters", rich_help_panel=MESSAGES_PANEL)
app.add_typer(opt_outs.app, name="opt-outs", rich_help_panel=MESSAGES_PANEL)
opt_outs.app.command()(reviews.review)
opt_outs.app.command("catch-up")(catch_up.catch_up)
app.add_typer(senders.app, name="senders", rich_help_panel=MESSAGES_PANEL)
app.command(rich_help_panel=OPERATIONS_PANEL)(doctor.doctor)
app.command(rich_help_panel=OPERATIONS_PANEL)(migrate.migrate)


@app.callback()
def _before_any_command(
    *,
    env_file: Annotated[
        Path | None,
        typer.Option("--env-file", help="File of variables to read instead of .env."),
    ] = None,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=lambda asked: _version(asked=asked),
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    del show_version  # its callback has done it
    with answering(as_json=False):
        read_env_file(env_file)


def _version(*, asked: bool) -> None:
    if not asked:
        return
    try:
        typer.echo(f"signedfor {version('signedfor')}")
    except PackageNotFoundError:
        typer.echo("signedfor, not installed as a package")
    raise typer.Exit


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        app()
    except SystemExit as end:
        end_process(end.code if isinstance(end.code, int) else int(end.code is not None))


if __name__ == "__main__":
    main()
