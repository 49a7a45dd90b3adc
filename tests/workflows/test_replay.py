"""The workflow code as it is now replays every history that was recorded before."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from devtools.stack.temporal_server import TemporalServer
from devtools.workflow_sandbox import sandboxed_runner
from signedfor.contract import DeadLetterOutcome, Outcome, Stage
from signedfor.contract.failures import FailureClass
from signedfor.interceptors import OneArgument
from signedfor.payloads import data_converter
from tests.histories import broken
from tests.histories.recording import FOLDER, kept, read, record, write
from tests.histories.scenarios import scenarios
from worker import UpgradingDeadLetter
from workflows.campaign import Campaign
from workflows.dead_letter import DeadLetter
from workflows.inbound import CatchUpInbound, RecordInbound
from workflows.send_message import SendMessage

WORKFLOWS = (SendMessage, DeadLetter, RecordInbound, CatchUpInbound, Campaign)
HISTORIES = sorted(FOLDER.rglob("*.json"))
"""Also those that are kept in folders of their own, such as a release's."""


async def _replay(history: WorkflowHistory, *workflows: type) -> None:
    """Raise what the workflow code does otherwise than its history says."""
    replayer = Replayer(
        workflows=workflows or WORKFLOWS,
        data_converter=data_converter,
        interceptors=[OneArgument()],
        workflow_runner=sandboxed_runner(),
    )
    await replayer.replay_workflow(history)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: str(path.relative_to(FOLDER)))
async def test_a_recorded_history_is_replayed(path: Path) -> None:
    """A worker of today goes on with what a worker of then has begun."""
    await _replay(read(path))


@pytest.mark.parametrize("name", [name for name in kept() if name.startswith("dead_letter_")])
async def test_the_dead_letters_of_versioned_workers_replay_too(name: str) -> None:
    """Turning Worker Versioning on or off breaks no letter that is open."""
    await _replay(read(kept()[name]), UpgradingDeadLetter)


def test_every_scenario_is_recorded_and_every_record_has_a_scenario() -> None:
    """`make histories` has been run since a scenario came or went."""
    assert scenarios().keys() == kept().keys()


@pytest.mark.parametrize(
    ("workflow", "name"),
    [
        (broken.SendsFirst, "delivered"),
        (broken.ChecksTwice, "delivered"),
        (broken.WaitsFirst, "delivered"),
        (broken.DoesNotWait, "delivered"),
        (broken.DoesNotWait, "receipt_timeout"),
        (broken.RecordsNothing, "dead_letter_of_an_opt_out"),
    ],
)
async def test_a_break_of_determinism_is_caught(workflow: type, name: str) -> None:
    """Steps added, left out or in another order do not replay."""
    with pytest.raises(NondeterminismError):
        await _replay(read(kept()[name]), workflow)


@pytest.mark.parametrize("name", ["delivered", "receipt_timeout"])
async def test_the_same_without_the_break_replays(name: str) -> None:
    """It is the break that is caught, not the way it is built."""
    await _replay(read(kept()[name]), broken.Unbroken)


def test_every_way_to_end_is_recorded() -> None:
    """All outcomes, failure classes and ends of letters occur in the results."""
    results = [_result(read(path)) for path in kept().values()]

    assert set(Outcome) == {each["outcome"] for each in results if "attempts" in each}
    assert set(FailureClass) == {each.get("failure_class") for each in results} - {None}
    assert set(DeadLetterOutcome) == {each["outcome"] for each in results if "retried_as" in each}


def test_every_stage_is_recorded() -> None:
    """All stages that a message may be seen at occur in the search attributes."""
    seen = {
        json.loads(attributes.indexed_fields["MessageStatus"].data)
        for path in kept().values()
        for event in read(path).events
        if (
            attributes := event.upsert_workflow_search_attributes_event_attributes.search_attributes
        )
        and "MessageStatus" in attributes.indexed_fields
    }

    assert set(Stage) == seen & set(Stage)


def test_histories_hold_fictional_numbers_only() -> None:
    """No real recipient, and nothing of the machine that recorded them, is committed."""
    text = "".join(_payloads(HISTORIES))

    numbers = set(re.findall(r"\+[0-9]{7,}", text))
    assert {"+15558675309", "+15005550006", "+15005550009"} == numbers
    documents = [path.read_text() for path in HISTORIES]
    assert [] == [each for each in documents if "stackTrace" in each or 'File \\"' in each]
    # Temporal's own default is process@host.
    assert [] == [each for each in documents if re.search(r'"identity": "[^"]*@', each)]


@pytest.mark.integration
@pytest.mark.parametrize("name", ["delivered", "cancel_refused"])
async def test_recording_a_scenario_anew_gives_a_history_that_replays(
    temporal_server: TemporalServer, tmp_path: Path, name: str
) -> None:
    """What `python -m tests.histories` writes is what is read, on either server."""
    path = tmp_path / f"{name}.json"
    write(await record(scenarios()[name], real_server=temporal_server.address), path)

    again = read(path)

    await _replay(again)
    assert _ending(read(kept()[name])) == _ending(again)


def _result(history: WorkflowHistory) -> dict[str, Any]:
    """The report that a workflow ended with; empty if it failed or reports something else."""
    payloads = history.events[-1].workflow_execution_completed_event_attributes.result.payloads
    result = json.loads(payloads[0].data) if payloads else {}
    return result if isinstance(result, dict) else {}


def _ending(history: WorkflowHistory) -> tuple[int, str]:
    started = history.events[0].workflow_execution_started_event_attributes
    return history.events[-1].event_type, started.workflow_type.name


def _payloads(paths: list[Path]) -> Iterator[str]:
    """Every payload of the histories in clear, and every name and text as it stands."""
    for path in paths:
        yield from _texts(json.loads(path.read_text()))


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("data"), str) and "metadata" in node:
            yield base64.b64decode(node["data"]).decode()
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for each in node:
            yield from _texts(each)
    elif isinstance(node, str):
        yield f'"{node}"'
