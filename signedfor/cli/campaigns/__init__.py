"""`signedfor campaign`: one text to many recipients, from a file."""

import typer

from signedfor.cli.campaigns import decisions, report, start, status

app = typer.Typer(no_args_is_help=True, help="Send one text to many recipients, from a CSV file.")
app.command()(start.start)
app.command()(status.status)
for update, help_ in decisions.HELP.items():
    app.command(update, help=help_)(decisions.command(update))
app.command()(report.report)
app.command("list")(status.list_)
