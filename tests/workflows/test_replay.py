"""The current workflow code replays every recorded history."""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from devtools.stack.temporal_server import TemporalServer
from devtools.workflow_sandbox import sandboxed_runner
from signedfor.contract import DeadLetterOutcome, Outcome, Stage
from signedfor.contract.failures import FailureClass
from signedfor.encryption import Encryption, EncryptionCodec, encrypting
from signedfor.interceptors import OneArgument
from signedfor.message_activities import ActivityModel, LimitReached, WindowClosed
from signedfor.payloads import data_converter
from signedfor.twilio import codes
from tests.encryption import KEYS, encrypt
from tests.histories import nondeterministic
from tests.histories.recording import FOLDER, history_files, read, record, write
from tests.histories.scenarios import scenarios
from worker import UpgradingDeadLetter
from workflows import waits
from workflows.campaign import Campaign
from workflows.dead_letter import DeadLetter
from workflows.dead_letter_job import DeadLetterJob
from workflows.inbound import CatchUpInbound, RecordInbound
from workflows.message_state import MessageState
from workflows.send_message import SendMessage

WORKFLOWS = (SendMessage, DeadLetter, RecordInbound, CatchUpInbound, Campaign, DeadLetterJob)
HISTORIES = sorted(FOLDER.rglob("*.json"))
"""Including those in subfolders, such as a release's."""


class _OlderWindowClosed(ActivityModel):
    """The decision as a version before limits knows it."""

    kind: Literal["window_closed"]
    opens_at: datetime


async def _replay(
    history: WorkflowHistory, *workflows: type, converter: DataConverter = data_converter
) -> None:
    """Raise if the workflow code does not match the history."""
    replayer = Replayer(
        workflows=workflows or WORKFLOWS,
        data_converter=converter,
        interceptors=[OneArgument()],
        workflow_runner=sandboxed_runner(),
    )
    await replayer.replay_workflow(history)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: str(path.relative_to(FOLDER)))
async def test_a_recorded_history_is_replayed(path: Path) -> None:
    """A current worker can continue a workflow that an earlier worker started."""
    await _replay(read(path))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: str(path.relative_to(FOLDER)))
async def test_an_encrypted_history_is_replayed(path: Path) -> None:
    """Encryption changes no command: with the key, the same history replays."""
    history = read(path)
    events = encrypt(history.events, EncryptionCodec(Encryption.parse(KEYS), "ReplayNamespace"))

    await _replay(
        WorkflowHistory(history.workflow_id, events),
        converter=encrypting(Encryption.parse(KEYS), "ReplayNamespace"),
    )


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: str(path.relative_to(FOLDER)))
async def test_a_history_from_before_encryption_is_replayed(path: Path) -> None:
    """Encryption can be turned on while messages are under way."""
    await _replay(read(path), converter=encrypting(Encryption.parse(KEYS), "ReplayNamespace"))


async def test_a_history_without_its_key_fails_the_task_only() -> None:
    """The message is still there when the key comes back: its workflow does not fail."""
    history = read(history_files()["delivered"])
    codec = EncryptionCodec(Encryption.parse(KEYS), "ReplayNamespace")
    other = Encryption.parse(KEYS.replace("test", "other"))

    with pytest.raises(NondeterminismError):
        await _replay(
            WorkflowHistory(history.workflow_id, encrypt(history.events, codec)),
            converter=encrypting(other, "ReplayNamespace"),
        )


@pytest.mark.parametrize(
    "name",
    [name for name in history_files() if name.startswith("dead_letter_") and "_job_" not in name],
)
async def test_dead_letters_replay_on_versioned_workers_too(name: str) -> None:
    """Turning Worker Versioning on or off breaks no open dead letter."""
    await _replay(read(history_files()[name]), UpgradingDeadLetter)


@pytest.mark.parametrize("name", ["limited_and_sent", "canceled_while_limited"])
async def test_a_worker_that_knows_no_limits_replays_a_wait_for_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes it for a closed window, and waits as long: a release can be taken back."""
    limit = LimitReached(rule="person=5/24h", max_wait=timedelta(hours=26))
    decision = WindowClosed(opens_at=datetime.now(UTC), limit=limit)
    assert decision.opens_at == _OlderWindowClosed.model_validate(decision.model_dump()).opens_at

    async def wait(state: MessageState, _limit: LimitReached, *, until: datetime) -> object:
        return await waits._wait_for_window(state, WindowClosed(opens_at=until))

    monkeypatch.setattr(waits, "_wait_for_place", wait)
    await _replay(read(history_files()[name]))


def test_scenarios_and_recorded_histories_match() -> None:
    """`make histories` was run after a scenario was added or removed."""
    assert scenarios().keys() == history_files().keys()


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: str(path.relative_to(FOLDER)))
@pytest.mark.parametrize(
    "failure_class", [FailureClass.DELIVERY_DELAYED, FailureClass.RECIPIENT_OPTED_OUT]
)
async def test_a_changed_table_of_codes_disturbs_no_message(
    path: Path, failure_class: FailureClass, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that gives every code another class, delay and text replays what is under way."""
    changed = {
        code: replace(
            row,
            failure_class=failure_class,
            meaning="Changed.",
            advice="Changed.",
            resubmissions=2 - row.resubmissions,
            delay_seconds=row.delay_seconds + 3600,
        )
        for code, row in codes._TABLE.items()
    }
    monkeypatch.setattr(codes, "_TABLE", changed)

    await _replay(read(path))


@pytest.mark.parametrize(
    ("workflow", "name"),
    [
        (nondeterministic.SendsOnTheQueue, "delivered"),
        (nondeterministic.SendsTwice, "delivered"),
        (nondeterministic.WaitsFirst, "delivered"),
        (nondeterministic.DoesNotWait, "delivered"),
        (nondeterministic.DoesNotWait, "receipt_timeout"),
        (nondeterministic.RecordsNothing, "dead_letter_of_an_opt_out"),
    ],
)
async def test_nondeterministic_changes_are_caught(workflow: type, name: str) -> None:
    """Commands that are added, removed or reordered do not replay."""
    with pytest.raises(NondeterminismError):
        await _replay(read(history_files()[name]), workflow)


@pytest.mark.parametrize("name", ["delivered", "receipt_timeout"])
async def test_a_subclass_without_changes_replays(name: str) -> None:
    """So the test above detects the change, and not that the workflow is a subclass."""
    await _replay(read(history_files()[name]), nondeterministic.Unchanged)


def test_every_outcome_is_recorded() -> None:
    """All message outcomes, failure classes and dead-letter outcomes occur in the results."""
    results = [_result(read(path)) for path in history_files().values()]

    assert set(Outcome) == {each["outcome"] for each in results if "attempts" in each}
    assert set(FailureClass) == {each.get("failure_class") for each in results} - {None}
    assert set(DeadLetterOutcome) == {each["outcome"] for each in results if "retried_as" in each}


def test_every_stage_is_recorded() -> None:
    """All stages of a message occur in the search attributes."""
    seen = {
        json.loads(attributes.indexed_fields["MessageStatus"].data)
        for path in history_files().values()
        for event in read(path).events
        if (
            attributes := event.upsert_workflow_search_attributes_event_attributes.search_attributes
        )
        and "MessageStatus" in attributes.indexed_fields
    }

    assert set(Stage) == seen & set(Stage)


def test_histories_contain_fictional_numbers_only() -> None:
    """They contain no real recipient and no data of the machine that recorded them."""
    text = "".join(_payloads(HISTORIES))

    numbers = set(re.findall(r"\+[0-9]{7,}", text))
    assert {"+15558675309", "+15005550006", "+15005550009"} == numbers
    documents = [path.read_text() for path in HISTORIES]
    assert [] == [each for each in documents if "stackTrace" in each or 'File \\"' in each]
    # Temporal's default identity is process@host.
    assert [] == [each for each in documents if re.search(r'"identity": "[^"]*@', each)]


@pytest.mark.integration
@pytest.mark.parametrize("name", ["delivered", "cancel_refused"])
async def test_a_newly_recorded_history_replays(
    temporal_server: TemporalServer, tmp_path: Path, name: str
) -> None:
    """What `python -m tests.histories` writes can be read back, from either server."""
    path = tmp_path / f"{name}.json"
    write(await record(scenarios()[name], real_server=temporal_server.address), path)

    history = read(path)

    await _replay(history)
    assert _type_and_end(read(history_files()[name])) == _type_and_end(history)


def _result(history: WorkflowHistory) -> dict[str, Any]:
    """The report of a completed workflow; empty if it failed or returned no object."""
    payloads = history.events[-1].workflow_execution_completed_event_attributes.result.payloads
    result = json.loads(payloads[0].data) if payloads else {}
    return result if isinstance(result, dict) else {}


def _type_and_end(history: WorkflowHistory) -> tuple[str, int]:
    started = history.events[0].workflow_execution_started_event_attributes
    return started.workflow_type.name, history.events[-1].event_type


def _payloads(paths: list[Path]) -> Iterator[str]:
    """Every payload of the histories, decoded, and every other string as it is."""
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
