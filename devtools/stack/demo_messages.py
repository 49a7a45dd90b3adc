"""The demo's messages: what each is sent to, what must come of it, and what did."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError

from devtools.sandbox.client import Step
from devtools.sandbox.magic import GOOD_SENDER
from devtools.stack.local import LocalStack
from signedfor.client import BadInput, Client
from signedfor.contract import (
    RESOLVE_UPDATE,
    DeadLetterReport,
    MessageReport,
    Resolution,
    message_workflow_id,
)
from signedfor.store.database import open_engine
from signedfor.store.suppressions import Suppressions

_TIMEOUT_SECONDS = 60
_BUSY: Step = {"respond": "error", "code": 20429, "http_status": 429}
_NO_CALLBACK: Step = {"final": "sent", "callbacks": {"lost": True}}
_LANDLINE: Step = {"final": "undelivered", "error_code": 30006}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """How a message must end, and what Twilio must have received."""

    outcome: str
    error_code: int | None = None
    attempts: int = 1
    accepted: int = 1
    """Creates that the sandbox accepted for this recipient, retries included."""
    dead_letter: str | None = None
    """The outcome of its dead letter."""
    retry: str | None = None
    """The outcome of the retry, if an operator requests one."""
    suppressed: bool = False
    """Whether the recipient is suppressed afterwards."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One message: its recipient, Twilio's answers, and the expected result."""

    name: str
    title: str
    to: str
    text: str
    expected: Expected
    steps: tuple[Step, ...] = ()
    """The sandbox's script for this recipient."""
    stopped: bool = False
    """Whether the recipient has texted STOP before."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Further fields of the message."""


SCENARIOS = (
    Scenario(
        name="delivered",
        title="Delivered",
        to="+15558670101",
        text="Your parcel is at the door.",
        expected=Expected(outcome="delivered"),
    ),
    Scenario(
        name="stopped",
        title="The recipient has texted STOP",
        to="+15558670102",
        text="Our winter offers are here.",
        stopped=True,
        expected=Expected(outcome="suppressed", attempts=0, accepted=0, suppressed=True),
    ),
    Scenario(
        name="invalid",
        title="The number does not exist (Twilio error 21211)",
        to="+15005550001",
        text="Your table is booked for eight.",
        expected=Expected(
            outcome="failed", error_code=21211, accepted=0, dead_letter="recorded", suppressed=True
        ),
    ),
    Scenario(
        name="throttled",
        title="Twilio answers 429 twice",
        to="+15558670104",
        text="Your train leaves from platform nine.",
        steps=(_BUSY, _BUSY),
        expected=Expected(outcome="delivered", attempts=3),
    ),
    Scenario(
        name="landline",
        title="Accepted, but the number is a landline (Twilio error 30006 by callback)",
        to="+15558670105",
        text="Your prescription is ready.",
        steps=(_LANDLINE,),
        expected=Expected(
            outcome="undelivered", error_code=30006, dead_letter="recorded", suppressed=True
        ),
    ),
    Scenario(
        name="silent",
        title="No delivery receipt arrives, and an operator retries the message",
        to="+15558670106",
        text="Your appointment is tomorrow at noon.",
        steps=(_NO_CALLBACK,),
        fields={"receipt_timeout_seconds": 3},
        expected=Expected(
            outcome="unconfirmed", accepted=2, dead_letter="retried", retry="delivered"
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class ScenarioResult:
    """The result of a scenario."""

    scenario: Scenario
    workflow_id: str
    report: MessageReport | None = None
    """None if it has no report."""
    retried_as: str | None = None
    problems: tuple[str, ...]
    """The differences from what was expected."""


async def run_scenarios(stack: LocalStack) -> Sequence[ScenarioResult]:
    """Run all of them side by side."""
    client = Client(await stack.client())
    return await asyncio.gather(
        *(run_scenario(scenario, stack=stack, client=client) for scenario in SCENARIOS)
    )


async def run_scenario(scenario: Scenario, *, stack: LocalStack, client: Client) -> ScenarioResult:
    """Send the scenario's message, wait for its report, and compare it with what is expected."""
    await asyncio.to_thread(_prepare, scenario, stack)
    message_id = f"demo-{scenario.name}"
    workflow_id = message_workflow_id(message_id)
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            message = await client.send(
                {
                    "to": scenario.to,
                    "from": GOOD_SENDER,
                    "body": scenario.text,
                    **scenario.fields,
                },
                message_id=message_id,
            )
            report = await message.report()
            dead_letter, retry = await _finish_dead_letter(scenario, report, stack, client)
    except TimeoutError:
        problem = f"it had not ended after {_TIMEOUT_SECONDS} s"
        return ScenarioResult(scenario=scenario, workflow_id=workflow_id, problems=(problem,))
    except BadInput as error:
        return ScenarioResult(scenario=scenario, workflow_id=workflow_id, problems=(str(error),))
    except (WorkflowFailureError, WorkflowUpdateFailedError) as error:
        problem = f"{error}: {error.cause}"
        return ScenarioResult(scenario=scenario, workflow_id=workflow_id, problems=(problem,))
    actual = Expected(
        outcome=report.outcome.value,
        error_code=report.error_code,
        attempts=report.attempts,
        accepted=len((await asyncio.to_thread(stack.sandbox.ledger, to=scenario.to))["accepted"]),
        dead_letter=dead_letter.outcome.value if dead_letter is not None else None,
        retry=retry.outcome.value if retry is not None else None,
        suppressed=await asyncio.to_thread(_is_suppressed, scenario, stack),
    )
    return ScenarioResult(
        scenario=scenario,
        workflow_id=workflow_id,
        report=report,
        retried_as=dead_letter.retried_as if dead_letter is not None else None,
        problems=_differences(actual, scenario.expected),
    )


def _prepare(scenario: Scenario, stack: LocalStack) -> None:
    if scenario.steps:
        stack.sandbox.script(scenario.to, scenario.steps)
    if scenario.stopped:
        stack.sandbox.inbound(scenario.to, GOOD_SENDER, "STOP")


async def _finish_dead_letter(
    scenario: Scenario, report: MessageReport, stack: LocalStack, client: Client
) -> tuple[DeadLetterReport | None, MessageReport | None]:
    """Wait for the dead letter to close, or retry it as an operator, and wait for the retry."""
    if report.dead_letter_id is None:
        return None, None
    handle = (await stack.client()).get_workflow_handle(
        report.dead_letter_id, result_type=DeadLetterReport
    )
    if scenario.expected.retry is None:
        return await handle.result(), None
    resolution = Resolution(
        action="retry", by="demo", note="No receipt arrived in time.", even_if_taken=True
    )
    closed: DeadLetterReport = await handle.execute_update(
        RESOLVE_UPDATE, resolution, result_type=DeadLetterReport
    )
    return closed, await client.message(closed.retried_as or "").report()


def _is_suppressed(scenario: Scenario, stack: LocalStack) -> bool:
    engine = open_engine(stack.settings["DATABASE_URL"], pool_size=1)
    try:
        found = Suppressions(engine).find(scenario.to, sender=GOOD_SENDER, category=None)
    finally:
        engine.dispose()
    return found is not None


def _differences(actual: Expected, expected: Expected) -> tuple[str, ...]:
    wanted = asdict(expected)
    return tuple(
        f"{name} is {value}, expected {wanted[name]}"
        for name, value in asdict(actual).items()
        if value != wanted[name]
    )
