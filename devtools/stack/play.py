"""Plays one scenario against a running stack, as any other service would: JSON, ids and names."""

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from devtools.stack.scenarios import Expected, Scenario
from signedfor.store.database import open_engine
from signedfor.store.suppressions import Suppressions

_PATIENCE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Played:
    """What became of a scenario's message."""

    scenario: Scenario
    workflow_id: str
    report: dict[str, Any] | None = None
    """The message's own report; None if it did not end as a message ends."""
    retried_as: str | None = None
    problems: tuple[str, ...]
    """In which respects it did not come to what was expected."""


@dataclass(frozen=True, kw_only=True)
class _LetterEnd:
    end: str | None = None
    retried_as: str | None = None
    retry_outcome: str | None = None


async def play(scenario: Scenario, *, stack: LocalStack, client: Client) -> Played:
    """Send the scenario's message, wait for its end, and compare that with what is expected."""
    await asyncio.to_thread(_set_the_scene, scenario, stack)
    message = await start(
        client,
        f"demo-{scenario.name}",
        {"to": scenario.to, "from": GOOD_SENDER, "body": scenario.text, **scenario.extra},
    )
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            report = await message.result()
            letter = await _settle_letter(scenario, report, client)
    except TimeoutError:
        problem = f"it was not over after {_PATIENCE_SECONDS} s"
        return Played(scenario=scenario, workflow_id=message.id, problems=(problem,))
    except (WorkflowFailureError, WorkflowUpdateFailedError) as error:
        problem = f"{error}: {error.cause}"
        return Played(scenario=scenario, workflow_id=message.id, problems=(problem,))
    came_to = Expected(
        outcome=report["outcome"],
        error_code=report["error_code"],
        attempts=report["attempts"],
        accepted=await asyncio.to_thread(_accepted, scenario, stack),
        letter=letter.end,
        retried=letter.retry_outcome,
        suppressed=await asyncio.to_thread(_is_suppressed, scenario, stack),
    )
    return Played(
        scenario=scenario,
        workflow_id=message.id,
        report=report,
        retried_as=letter.retried_as,
        problems=_differences(came_to, scenario.expected),
    )


async def start(
    client: Client, message_id: str, message: dict[str, Any]
) -> WorkflowHandle[Any, dict[str, Any]]:
    """Hand a message in, with the two policies that make its id an idempotency key."""
    return await client.start_workflow(
        "SendMessage",
        message,
        id=f"message:{message_id}",
        task_queue="messages",
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        result_type=dict,
    )


def _set_the_scene(scenario: Scenario, stack: LocalStack) -> None:
    if scenario.steps:
        stack.sandbox.script(scenario.to, scenario.steps)
    if scenario.stopped:
        stack.sandbox.inbound(scenario.to, GOOD_SENDER, "STOP")


async def _settle_letter(scenario: Scenario, report: dict[str, Any], client: Client) -> _LetterEnd:
    """Wait for the dead letter to close itself, or decide it where that is an operator's part."""
    if report["dead_letter_id"] is None:
        return _LetterEnd()
    letter = client.get_workflow_handle(report["dead_letter_id"], result_type=dict)
    if scenario.expected.retried is None:
        return _LetterEnd(end=(await letter.result())["outcome"])
    closed: dict[str, Any] = await letter.execute_update(
        "resolve",
        {"action": "retry", "by": "demo", "note": "No receipt came in time."},
        result_type=dict,
    )
    retry = client.get_workflow_handle(f"message:{closed['retried_as']}", result_type=dict)
    return _LetterEnd(
        end=closed["outcome"],
        retried_as=closed["retried_as"],
        retry_outcome=(await retry.result())["outcome"],
    )


def _accepted(scenario: Scenario, stack: LocalStack) -> int:
    return len(stack.sandbox.ledger(to=scenario.to)["accepted"])


def _is_suppressed(scenario: Scenario, stack: LocalStack) -> bool:
    engine = open_engine(stack.settings["DATABASE_URL"], pool_size=1)
    try:
        found = Suppressions(engine).find(scenario.to, sender=GOOD_SENDER, category=None)
    finally:
        engine.dispose()
    return found is not None


def _differences(came_to: Expected, expected: Expected) -> tuple[str, ...]:
    wanted = asdict(expected)
    return tuple(
        f"{name} is {value}, expected {wanted[name]}"
        for name, value in asdict(came_to).items()
        if value != wanted[name]
    )
