"""`signedfor campaign`: one text to many recipients, from a file."""

import typer

from signedfor.cli.campaigns import decisions, report, start, status

app = typer.Typer(no_args_is_help=True)
app.command()(start.start)
app.command()(status.status)
app.command()(decisions.pause)
app.command()(decisions.resume)
app.command()(decisions.cancel)
app.command()(report.report)
app.command("list")(status.list_)
