"""Playing scenarios and recording the histories of their workflows."""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from signedfor.contract import PROGRESS_QUERY
from signedfor.payloads import data_converter
from tests.workflows.fakes import (
    Environment,
    FakeActivities,
    TimeSkippingEnvironment,
    serving,
    skipping_time,
)

Handle: TypeAlias = WorkflowHandle[Any, Any]
Play: TypeAlias = Callable[[Any], Awaitable[Handle]]
"""Plays one scenario and returns the workflow to record, which has ended or is about to end.

A scenario that takes a `TimeSkippingEnvironment` runs on the time-skipping test server, the others
on a real server.
"""

FOLDER = Path(__file__).parent
_IDENTITY = "recorder"
"""In place of the process and host that Temporal would write into every event."""
_TIMEOUT_SECONDS = 60


def plays_in(module: ModuleType) -> dict[str, Play]:
    """The scenarios that the module defines, by name."""
    return {
        name: play
        for name, play in vars(module).items()
        if inspect.iscoroutinefunction(play)
        and play.__module__ == module.__name__
        and not name.startswith("_")
    }


async def record(play: Play, *, real_server: str) -> WorkflowHistory:
    """Play a scenario and fetch its history; `real_server` is the real server's address."""
    async with _environment_for(play, real_server) as env:
        handle = await play(env)
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            # Histories of failed workflows are recorded too.
            await asyncio.gather(handle.result(), return_exceptions=True)
        history = await handle.fetch_history()
    return anonymous(history)


async def reaches(handle: Handle, status: str) -> None:
    """Wait until a message has this status."""
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        while (await handle.query(PROGRESS_QUERY))["status"] != status:  # noqa: ASYNC110 - a query
            await asyncio.sleep(0.05)


def anonymous(history: WorkflowHistory) -> WorkflowHistory:
    """The history with its workflow id, and without stack traces, which name local files."""
    events = json.loads(history.to_json())
    started = events["events"][0]["workflowExecutionStartedEventAttributes"]
    started["workflowId"] = history.workflow_id  # the test server leaves it out
    return WorkflowHistory.from_json(history.workflow_id, _without_stack_traces(events))


def write(history: WorkflowHistory, path: Path) -> None:
    """Write a history, indented by one: that keeps files small and diffs readable."""
    path.write_text(json.dumps(json.loads(history.to_json()), indent=1) + "\n")


def read(path: Path) -> WorkflowHistory:
    """Read a recorded history, or one from the Temporal UI or `temporal workflow show`."""
    events = json.loads(path.read_text())
    started = events["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], events)


def history_files(folder: Path = FOLDER) -> Mapping[str, Path]:
    """The recorded histories by scenario."""
    return {path.stem: path for path in sorted(folder.glob("*.json"))}


@asynccontextmanager
async def _environment_for(play: Play, real_server: str) -> AsyncIterator[Environment]:
    fakes = FakeActivities()
    async with AsyncExitStack() as stack:
        if inspect.signature(play).parameters["env"].annotation is TimeSkippingEnvironment:
            server = await stack.enter_async_context(skipping_time(identity=_IDENTITY))
            await stack.enter_async_context(serving(server.client, fakes))
            yield TimeSkippingEnvironment(server.client, fakes, server)
        else:
            client = await Client.connect(
                real_server, data_converter=data_converter, identity=_IDENTITY
            )
            await stack.enter_async_context(serving(client, fakes))
            yield Environment(client, fakes)


def _without_stack_traces(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: _without_stack_traces(value) for key, value in node.items() if key != "stackTrace"
        }
    return [_without_stack_traces(each) for each in node] if isinstance(node, list) else node
