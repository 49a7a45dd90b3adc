"""`python -m devtools.stack.cluster`, the command of `make cluster`.

The whole system in the foreground, like `make up` with the sandbox, on the compose file's Temporal
server and PostgreSQL. With `--check` it sends messages, runs the compose file's scripts again, and
ends. The first time it compiles the server, which takes some minutes.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from devtools.stack.console import console
from devtools.stack.demo_messages import run_scenarios
from devtools.stack.local import LocalStack
from devtools.stack.processes import StackError, interrupt_on_signals
from devtools.stack.temporal_cluster import ClusterServer, build
from devtools.stack.up import announce

_CHECK_SECONDS = 0.5


def main() -> int:
    """Run until Ctrl-C or SIGTERM; 0 after a clean end, 1 if a part or the check failed."""
    interrupt_on_signals()
    parser = argparse.ArgumentParser(prog="make cluster", description="The system on a cluster.")
    parser.add_argument("--check", action="store_true", help="send messages, and end")
    parser.add_argument("--build", action="store_true", help="only compile the server")
    arguments = parser.parse_args()
    out = console()
    try:
        build()
        if arguments.build:
            return 0
        with (
            tempfile.TemporaryDirectory(prefix="signedfor-cluster-") as folder,
            LocalStack(Path(folder), on_cluster=True) as stack,
        ):
            if arguments.check:
                check(stack)
                out.print("The cluster works.")
                return 0
            announce(stack, out)
            while True:
                stack.check()
                time.sleep(_CHECK_SECONDS)
    except KeyboardInterrupt:
        out.print("Stopped.")
    except StackError as error:
        sys.stderr.write(f"make cluster: {error}\n")
        return 1
    return 0


def check(stack: LocalStack) -> None:
    """Return if messages end as they must and the compose file's scripts can run again.

    Raises:
        StackError: what went wrong.
    """
    problems = [
        f"{result.scenario.name}: {problem}"
        for result in asyncio.run(run_scenarios(stack))
        for problem in result.problems
    ]
    if problems:
        raise StackError("Some messages did not end as they must: " + "; ".join(problems))
    stack.signedfor("doctor")
    temporal = stack.temporal
    if not isinstance(temporal, ClusterServer):
        raise StackError("This stack is not on a cluster.")
    # As after the next `docker compose up`.
    temporal.stop()
    temporal.create_tables()
    temporal.start()
    temporal.configure_namespace()
    stack.signedfor("doctor")


if __name__ == "__main__":
    sys.exit(main())
