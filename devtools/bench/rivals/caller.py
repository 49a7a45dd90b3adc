"""The caller of a contender: requests on standard input, outcomes on standard output.

The standard library only: each contender runs it with its own packages. It is the load generator,
and its CPU time counts for nobody.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[str]]
"""Starts a message (`id`, `to`, `body`) and waits; what the caller then knows of its outcome."""

FAILED = "failed"
UNKNOWN = "unknown"


async def serve(send: Send) -> None:
    """Send every message of the input at once; a line of output for each, until the input ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"ready": True}), flush=True)
    running: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        task = asyncio.create_task(_send(send, json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    for task in running:
        task.cancel()


async def _send(send: Send, message: dict[str, Any]) -> None:
    at = time.time()
    outcome = await send(message)
    print(json.dumps({"id": message["id"], "at": at, "outcome": outcome}), flush=True)
