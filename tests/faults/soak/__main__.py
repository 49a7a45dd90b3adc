"""`python -m tests.faults.soak --messages 300`, the command of `make soak`."""

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError

from devtools.stack.local import LocalStack
from devtools.stack.processes import interrupt_on_signals
from devtools.stack.temporal_cluster import build
from signedfor.contract import dead_letter_workflow_id, message_workflow_id
from signedfor.store.database import open_engine, transaction
from signedfor.store.tables import send_attempts
from tests.faults.soak.run import SETTINGS, SoakOptions, soak


def main() -> int:
    """Run a soak, print and write its report; 1 if an invariant was violated."""
    interrupt_on_signals()
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak",
        description="Send messages while every part fails, then check the invariants.",
    )
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--seconds", type=float, help="of faults (default: by --rate)")
    parser.add_argument("--rate", type=float, default=10, help="messages a second")
    parser.add_argument("--seed", type=int, help="default: a random one")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--late-retries", action="store_true", help="include messages that take over five minutes"
    )
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="on the compose file's Temporal and PostgreSQL",
    )
    parser.add_argument("--report", type=Path, help="write the report here, as JSON")
    parser.add_argument("--folder", type=Path, help="keep logs and databases here")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)  # noqa: T201 - reproduces the soak, even if it is interrupted
    # Temporal is expected to be unavailable at times.
    only_errors = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=only_errors)))
    if arguments.cluster:
        build()
    options = SoakOptions(
        seed=seed,
        messages=arguments.messages,
        fault_seconds=arguments.seconds or max(45.0, arguments.messages / arguments.rate),
        late_retries=arguments.late_retries,
        idle_within=900,
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalStack(
            arguments.folder or Path(folder),
            settings=SETTINGS,
            workers=arguments.workers,
            on_cluster=arguments.cluster,
        ) as stack,
    ):
        report = asyncio.run(soak(stack, options))
        if arguments.folder is not None:
            asyncio.run(_save_histories(stack, {each.message_id for each in report.violations}))
    print(report.text())  # noqa: T201 - the result
    if arguments.report is not None:
        report.write(arguments.report)
    return 0 if report.is_clean else 1


async def _save_histories(stack: LocalStack, message_ids: AbstractSet[str]) -> None:
    """What these messages leave behind may not outlive the stack.

    The histories of all their runs and of their dead letters, and their attempt records.
    """
    client = await stack.client()
    folder = stack.folder / "histories"
    folder.mkdir(exist_ok=True)
    for message_id in message_ids:
        for workflow_id in (message_workflow_id(message_id), dead_letter_workflow_id(message_id)):
            name = workflow_id.replace(":", "-")
            async for run in client.list_workflows(f"WorkflowId = '{workflow_id}'"):
                with suppress(RPCError):  # Temporal has forgotten the run
                    handle = client.get_workflow_handle(workflow_id, run_id=run.run_id)
                    history = await handle.fetch_history()
                    (folder / f"{name}-{run.run_id}.json").write_text(history.to_json())
    engine = open_engine(stack.settings["DATABASE_URL"])
    query = select(send_attempts).where(send_attempts.c.message_id.in_(message_ids))
    with transaction(engine, read_only=True) as connection:
        found = [str(row) for row in connection.execute(query)]
    engine.dispose()
    (folder / "attempts.txt").write_text("\n".join(found))


if __name__ == "__main__":
    sys.exit(main())
