"""Both examples do the same, so they are held to the same output and the same outcome."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devtools.stack.local import LocalStack
from signedfor.contract import Outcome, message_workflow_id
from signedfor.search_attributes import MESSAGE_STATUS
from tests.integration.support import new_id, payload_settings

ROOT = Path(__file__).parents[2]

_OUTPUT = [
    "shipped: delivered, attempts: 1",
    "shipped again: accepted earlier",
    "reminder: scheduled",
    "picked up: reminder canceled",
    "reminder: canceled",
    "bad input: to: has a letter; write digits only, without an extension",
]
_OUTPUT_OF_A_SECOND_RUN = [line.replace("scheduled", "canceled") for line in _OUTPUT]


async def check_service(
    stack: LocalStack, phone: str, command: Sequence[str | Path], *, folder: Path
) -> None:
    """Run it twice for an order: it sends, cancels and names bad fields, and then sends nothing."""
    order = new_id()
    arguments = [*map(str, command), order, phone]

    variables = {"TEMPORAL_ADDRESS": stack.temporal.address, **payload_settings(stack)}
    first = run(arguments, folder=folder, **variables)
    second = run(arguments, folder=folder, **variables)

    assert _OUTPUT == first.splitlines()
    assert _OUTPUT_OF_A_SECOND_RUN == second.splitlines()
    ledger = stack.sandbox.ledger(to=phone)
    assert [f"Order {order} is on its way."] == [row["body"] for row in ledger["accepted"]]
    assert [] == ledger["refused"]
    client = await stack.client()
    for kind, outcome in (("shipped", Outcome.DELIVERED), ("reminder", Outcome.CANCELED)):
        message = client.get_workflow_handle(message_workflow_id(f"order-{order}-{kind}"))
        description = await message.describe()
        started = (await message.fetch_history()).events[0]
        attributes = started.workflow_execution_started_event_attributes
        # It was started with them: operators then see its status at every stage.
        assert MESSAGE_STATUS.name in attributes.search_attributes.indexed_fields
        assert outcome == description.typed_search_attributes[MESSAGE_STATUS]
        assert 3 == attributes.priority.priority_key


def run(command: Sequence[str], *, folder: Path, **environment: str) -> str:
    """What a command that succeeds prints."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    # Seen with Python 3.11, after all work is done; docs/how-to/python-client.md says so.
    crashes = {-signal.SIGABRT, -signal.SIGSEGV} if sys.version_info < (3, 12) else set()
    assert done.returncode in {0, *crashes}, done.stdout + done.stderr
    return done.stdout
