"""What the stack's two commands print, on a terminal and in a CI log alike."""

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from devtools.stack.local import LocalStack

_WIDTH_OF_A_FILE = 200
"""Where there is no terminal, nothing is to be wrapped: addresses are copied from there."""


def console() -> Console:
    """Standard output, whose lines are never wrapped in the middle of an address."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_WIDTH_OF_A_FILE)


def addresses(stack: LocalStack) -> Table:
    """Where each part of the stack is, and its log."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("Part", "Address", "Log"):
        table.add_column(heading, no_wrap=True, overflow="ignore")
    log = {process.name: shown_path(process.log) for process in stack.processes}
    table.add_row("Temporal", stack.temporal.address, log[stack.temporal.name])
    table.add_row("Temporal UI", stack.temporal.ui_url, "")
    table.add_row("webhook", stack.webhook_url, log[stack.webhook.name])
    if stack.twilio is not None:
        table.add_row("sandbox", str(stack.sandbox_url), log[stack.twilio.name])
    for worker in stack.workers:
        table.add_row(worker.name, "", log[worker.name])
    return table


def shown_path(path: Path) -> str:
    """`path` as short as it can be given from the current folder."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def workflow_url(stack: LocalStack, workflow_id: str) -> str:
    """The page of a workflow in the Temporal UI."""
    page = workflow_id.replace(":", "%3A")
    return f"{stack.temporal.ui_url}/namespaces/default/workflows/{page}"
