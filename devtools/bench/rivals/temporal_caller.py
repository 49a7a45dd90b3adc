"""The caller of the two Temporal contenders: the floor of `devtools.bench.baseline`, and ours."""

import argparse
import asyncio
import json
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from devtools.bench.rivals import caller
from devtools.sandbox.magic import GOOD_SENDER
from signedfor.client import CONFLICT_POLICY, REUSE_POLICY
from signedfor.payloads import data_converter


async def _call(arguments: argparse.Namespace) -> None:
    client = await Client.connect(arguments.temporal, data_converter=data_converter)

    async def send(message: dict[str, Any]) -> str:
        handle = await client.start_workflow(
            arguments.workflow,
            {
                "to": message["to"],
                "from": GOOD_SENDER,
                "body": message["body"],
                **json.loads(arguments.fields),
            },
            id=arguments.prefix + message["id"],
            task_queue=arguments.queue,
            id_conflict_policy=CONFLICT_POLICY,
            id_reuse_policy=REUSE_POLICY,
        )
        try:
            report = await handle.result()
        except WorkflowFailureError:
            return caller.FAILED
        return str(report["outcome"] or caller.UNKNOWN)

    await caller.serve(send)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m devtools.bench.rivals.temporal_caller")
    for name in ("temporal", "workflow", "queue", "prefix"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--fields", default="{}", help="more fields of each message, as JSON")
    asyncio.run(_call(parser.parse_args()))
