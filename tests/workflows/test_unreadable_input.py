"""Input that cannot be read, of the workflows that only our own processes start."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from signedfor.contract import DEAD_LETTER, InboundKind
from signedfor.dead_letter_activities import DEAD_LETTER_JOB, STOP_SIGNAL, JobState, JobStop
from signedfor.encryption import Encryption, EncryptionCodec, encrypting
from signedfor.inbound import CATCH_UP_WORKFLOW, RECORD_INBOUND_WORKFLOW, InboundRecord
from signedfor.interceptors import OneArgument
from signedfor.payloads import INVALID_INPUT
from tests.hostile_payloads import plain
from tests.integration.support import events_of_type, until
from tests.workflows.dead_letter_jobs import MAX_BATCH, FakeLetters, serving_job, start_job
from tests.workflows.fakes import RECIPIENT, SENDER, sid
from workflows.dead_letter import DeadLetter
from workflows.dead_letter_job import DeadLetterJob
from workflows.inbound import CatchUpInbound, RecordInbound

pytestmark = pytest.mark.integration

_KEYS = Encryption.parse("test=" + "A" * 43 + "=")
_OTHER_KEY = Encryption.parse("test=" + "B" * 43 + "=")
_UNKNOWN_KEY = Encryption.parse("other=" + "B" * 43 + "=")
_CANARY = "5558675309"
_RECORD = InboundRecord(
    message_sid=sid(), from_=RECIPIENT, to=SENDER, kind=InboundKind.STOP, body="STOP"
)


def _encrypted(keys: Encryption, namespace: str) -> Payload:
    return EncryptionCodec(keys, namespace).encrypt(plain({"body": _CANARY}))


_TYPES = (RECORD_INBOUND_WORKFLOW, CATCH_UP_WORKFLOW, DEAD_LETTER_JOB, DEAD_LETTER)
_UNREADABLE = {
    "an unknown encoding": plain({"body": _CANARY}, encoding=b"value-" + _CANARY.encode()),
    "an encoding that is not UTF-8": plain({}, encoding=b"json/plain\xff"),
    "a protobuf": Payload(
        metadata={"encoding": b"json/protobuf", "messageType": b"\xff"}, data=b"{}"
    ),
    "neither data nor encoding": Payload(),
    "null": Payload(metadata={"encoding": b"binary/null"}),
    "bytes": plain(_CANARY.encode(), encoding=b"binary/plain"),
    "what is not JSON": plain(b'{"body": ' + _CANARY.encode()),
    "deep arrays": plain(b"[" * 100_000),
    "a megabyte": plain({"body": _CANARY * 100_000}),
    "an array": plain([_CANARY]),
    "bad fields": plain(
        {
            "since": _CANARY,
            "received_at": "2026-11-21T20:00:00",
            "kind": _CANARY,
            "selected": "x",
            "hold_days": _CANARY,
        }
    ),
    "changed cipher text": _encrypted(_OTHER_KEY, "default"),
    "the encryption of others": Payload(
        metadata={"encoding": b"binary/encrypted"}, data=_CANARY.encode()
    ),
}


@contextlib.asynccontextmanager
async def _serving(client: Client, *, recorded: list[InboundRecord]) -> AsyncIterator[str]:
    @activity.defn(name="record_inbound")
    async def record_inbound(record: InboundRecord) -> bool:
        recorded.append(record)
        return True

    queue = f"unreadable-{uuid.uuid4().hex}"
    async with Worker(
        client,
        task_queue=queue,
        workflows=[RecordInbound, CatchUpInbound, DeadLetterJob, DeadLetter],
        activities=[record_inbound],
        interceptors=[OneArgument()],
    ):
        yield queue


def _with_keys(client: Client, keys: Encryption) -> Client:
    config = client.config()
    config["data_converter"] = encrypting(keys, client.namespace)
    return Client(**config)


async def _start(
    client: Client, queue: str, workflow: str, arguments: Sequence[Any]
) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        workflow, args=list(arguments), id=f"t-{uuid.uuid4()}", task_queue=queue
    )


@pytest.mark.parametrize("workflow", _TYPES)
async def test_input_that_cannot_be_read_fails_its_workflow_once(
    temporal: Client, workflow: str
) -> None:
    """With a sentence, whatever it is: not a workflow task that fails over and over."""
    recorded: list[InboundRecord] = []
    reader = _with_keys(temporal, _KEYS)
    async with _serving(reader, recorded=recorded) as queue:
        # Without a codec: what is given is stored as it is.
        started = {
            name: reader.get_workflow_handle(
                (await _start(temporal, queue, workflow, [RawValue(payload)])).id
            )
            for name, payload in _UNREADABLE.items()
        }
        failures = {name: await _failure(handle) for name, handle in started.items()}
        tasks_failed = [
            event
            for handle in started.values()
            for event in events_of_type(
                list((await handle.fetch_history()).events),
                EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
            )
        ]

    assert dict.fromkeys(_UNREADABLE, INVALID_INPUT) == {
        name: each.type for name, each in failures.items()
    }
    assert [] == tasks_failed
    assert [] == [each for each in failures.values() if _CANARY in f"{each}{each.details}"]
    assert [] == recorded


@pytest.mark.parametrize("workflow", [CATCH_UP_WORKFLOW, DEAD_LETTER_JOB])
async def test_what_can_be_started_again_does_not_wait_for_a_key(
    temporal: Client, workflow: str
) -> None:
    """The failure names the key that is missing."""
    reader = _with_keys(temporal, _KEYS)
    async with _serving(reader, recorded=[]) as queue:
        payload = _encrypted(_UNKNOWN_KEY, temporal.namespace)
        handle = await _start(temporal, queue, workflow, [RawValue(payload)])
        failure = await _failure(reader.get_workflow_handle(handle.id))

    assert INVALID_INPUT == failure.type
    assert "is encrypted with the key other, which is not among the PAYLOAD_KEYS" in str(failure)


async def test_an_inbound_message_waits_for_its_key(temporal: Client) -> None:
    """Nothing else has it: a STOP that failed for a key that comes later would be lost."""
    writer = _with_keys(temporal, _UNKNOWN_KEY)
    async with _serving(_with_keys(temporal, _KEYS), recorded=[]) as queue:
        handle = await _start(writer, queue, RECORD_INBOUND_WORKFLOW, [_RECORD])

        async def has_failed_task() -> bool:
            events = list((await handle.fetch_history()).events)
            return bool(events_of_type(events, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED))

        await until(has_failed_task, "a workflow task that says which key is missing")
        description = await handle.describe()

    assert description.status is not None
    assert "RUNNING" == description.status.name


async def test_a_dead_letter_of_a_later_version_waits_for_a_worker_of_it(temporal: Client) -> None:
    """While workers are replaced, an older one may get it: for that it must not fail."""
    report = {
        "message_id": "m",
        "outcome": "failed",
        "failure_class": "OfALaterVersion",
        "reason": "It was refused.",
        "attempts": 1,
        "segments": 1,
        "finished_at": "2027-01-01T00:00:00Z",
        "tags": {},
    }
    message = {"to": RECIPIENT, "from": SENDER, "body": "x"}
    letter = {"message": message, "report": report, "advice": "Wait."}
    async with _serving(temporal, recorded=[]) as queue:
        handle = await _start(temporal, queue, DEAD_LETTER, [letter])

        async def has_failed_task() -> bool:
            events = list((await handle.fetch_history()).events)
            return bool(events_of_type(events, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED))

        await until(has_failed_task, "a workflow task that says that a later version knows it")
        description = await handle.describe()

    assert description.status is not None
    assert "RUNNING" == description.status.name


async def test_a_stop_that_cannot_be_read_is_dropped(temporal: Client) -> None:
    """The job goes on, and a good one still stops it."""
    fake = FakeLetters(pages=[MAX_BATCH, 5], fails=True)
    reader = _with_keys(temporal, _KEYS)
    async with serving_job(reader, fake) as queue:
        job = await start_job(reader, queue, selected=30)
        await fake.until_failures(1)
        stranger = temporal.get_workflow_handle(job.id)
        for payload in _UNREADABLE.values():
            await stranger.signal(STOP_SIGNAL, RawValue(payload))
        await job.signal(STOP_SIGNAL, args=[JobStop(by="one"), JobStop(by="two")])
        await job.signal(STOP_SIGNAL, JobStop(by="Ada"))
        done = await job.result()
        events = list((await job.fetch_history()).events)

    assert (JobState.STOPPED, "Ada") == (done.state, done.stopped_by)
    assert [] == events_of_type(events, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)


async def _failure(handle: WorkflowHandle[Any, Any]) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause
