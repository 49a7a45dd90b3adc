"""`signedfor temporal-ui`: where messages are found in Temporal's UI."""

from typing import Annotated

import typer

from signedfor.cli.environment import database_settings
from signedfor.cli.options import JsonOption
from signedfor.cli.output import command_output, facts, printable
from signedfor.cli.temporal import temporal_namespace
from signedfor.temporal_ui import VIEWS, TemporalUI


def temporal_ui(
    *,
    setup: Annotated[
        bool,
        typer.Option(
            "--setup",
            help="Print JavaScript that sets up the UI's columns and saved views in a browser.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print links to lists of messages in the Temporal UI.

    With --setup: paste what it prints into the browser's console, on a page of the UI. The list of
    workflows then has columns for a message's status, sender, campaign and Twilio error code.
    """
    with command_output(as_json=as_json) as out:
        ui = TemporalUI(url=database_settings().temporal_ui_url, namespace=temporal_namespace())
        if setup:
            # Not as a sentence, which would be wrapped.
            out.result({"script": ui.setup_script()}, printable(ui.setup_script()))
            return
        links = {view.name: ui.view_url(view) for view in VIEWS}
        document = [{"name": name, "url": url} for name, url in links.items()]
        out.result({"views": document}, facts(links.items()))
