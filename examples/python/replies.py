"""A service that answers what people write, with a workflow of its own.

    python examples/python/replies.py

Worker and webhook of Signedfor need `INBOUND_WORKFLOW=AnswerReply` and
`INBOUND_TASK_QUEUE=replies`. Then each inbound message starts `AnswerReply` once, with the
workflow ID `inbound:<MessageSid>`.
"""

import asyncio
import os
import re

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from signedfor.contract import (
        MESSAGES_QUEUE,
        SEND_MESSAGE,
        InboundKind,
        InboundMessage,
        message_workflow_id,
    )
    from signedfor.encryption import encrypting, load_encryption

TASK_QUEUE = "replies"


@workflow.defn
class AnswerReply:
    """Answers a question about an order."""

    @workflow.run
    async def run(self, reply: InboundMessage) -> str:
        """Return what was done about it."""
        if reply.kind is not InboundKind.OTHER:
            # STOP, START and HELP are dealt with, and a person reads what may be an opt-out.
            return f"nothing to do: {reply.kind}"
        order = order_in(reply.text) or order_in(reply.last_message_id or "")
        if order is None:
            return "left to a person"
        await workflow.start_child_workflow(
            SEND_MESSAGE,
            {"to": reply.from_, "from": reply.to, "body": f"Order {order} is on its way."},
            # From the reply's own ID: if this is run again, nothing is sent again.
            id=message_workflow_id(f"answer-{reply.message_sid}"),
            task_queue=MESSAGES_QUEUE,
            parent_close_policy=ParentClosePolicy.ABANDON,
        )
        return f"answered about order {order}"


def order_in(text: str) -> str | None:
    """The order that a text names, or a message ID such as `order-1041-shipped`."""
    found = re.search(r"\border[ -](\d+)", text, re.IGNORECASE)
    return found[1] if found else None


async def main() -> None:
    """Serve until Ctrl-C."""
    client = await Client.connect(
        os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"),
        # With the keys of PAYLOAD_KEYS or PAYLOAD_KEYS_FILE, which Signedfor has too.
        data_converter=encrypting(load_encryption(), "default"),
    )
    async with Worker(client, task_queue=TASK_QUEUE, workflows=[AnswerReply]):
        print(f"answering replies on task queue {TASK_QUEUE}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("stopped")
