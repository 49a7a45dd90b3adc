"""Output shared by `make up` and `make demo`, for a terminal and for a CI log."""

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from devtools.stack.local import OPS_USER, LocalStack
from devtools.stack.ports import HOST

_FILE_WIDTH = 200
"""Without a terminal nothing is wrapped, so that addresses can be copied."""


def console() -> Console:
    """Standard output, with lines that are not wrapped within an address."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_FILE_WIDTH)


def addresses(stack: LocalStack) -> Table:
    """The address and the log of each part of the stack."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("Part", "Address", "Log"):
        table.add_column(heading, no_wrap=True, overflow="ignore")
    log = {process.name: shown_path(process.log) for process in stack.processes}
    table.add_row("Temporal", stack.temporal.address, log[stack.temporal.name])
    if stack.temporal.ui_url is not None:
        table.add_row("Temporal UI", stack.temporal.ui_url, "")
    if stack.postgres is not None:
        table.add_row("PostgreSQL", f"{HOST}:{stack.postgres.port}", log[stack.postgres.name])
    if stack.ops is not None:
        table.add_row("operations page", stack.ops_url, log[stack.ops.name])
    if stack.codec_server is not None:
        table.add_row("codec server", stack.codec_url, log[stack.codec_server.name])
    table.add_row("webhook", stack.webhook_url, log[stack.webhook.name])
    if stack.twilio is not None:
        table.add_row("sandbox", str(stack.sandbox_url), log[stack.twilio.name])
    for worker in stack.workers:
        table.add_row(worker.name, "", log[worker.name])
    return table


def sign_in_hint(stack: LocalStack) -> str:
    """How to sign in to the operations page."""
    file = shown_path(stack.folder / "ops-password")
    return f"Sign in to the operations page as {OPS_USER}; {file} has the password."


def shown_path(path: Path) -> str:
    """`path` relative to the current folder, if it is within it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def workflow_url(stack: LocalStack, workflow_id: str) -> str:
    """The page of a workflow in the Temporal UI."""
    page = workflow_id.replace(":", "%3A")
    return f"{stack.temporal.ui_url}/namespaces/default/workflows/{page}"
