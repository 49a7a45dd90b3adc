"""`signedfor campaign`: one text to many recipients, from a file."""

from typing import Final

import typer

from signedfor.cli.lazy import LazyCommand, lazy_group

_HERE: Final = "signedfor.cli.campaigns"

app = typer.Typer(
    cls=lazy_group(
        {
            "start": LazyCommand(
                f"{_HERE}.start:start", "Send one text to all recipients in a file."
            ),
            "status": LazyCommand(f"{_HERE}.status:status", "Show the progress of a campaign."),
            "pause": LazyCommand(
                f"{_HERE}.decisions:pause", "Submit nothing more until it is resumed."
            ),
            "resume": LazyCommand(
                f"{_HERE}.decisions:resume", "Continue a paused campaign where it was."
            ),
            "cancel": LazyCommand(f"{_HERE}.decisions:cancel", "Submit nothing more, for good."),
            "report": LazyCommand(
                f"{_HERE}.report:report", "Show how the messages of a campaign ended."
            ),
            "list": LazyCommand(
                f"{_HERE}.list:list_", "List the campaigns in the database, newest first."
            ),
        }
    ),
    no_args_is_help=True,
    help="Send one text to many recipients, from a CSV file.",
)
