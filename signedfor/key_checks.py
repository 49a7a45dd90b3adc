"""Whether a worker's keys fit those of the other workers, and what is open in Temporal.

A worker with a wrong key would refuse new messages, and fail the workflow tasks of the others.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from signedfor.contract import CAMPAIGN, DEAD_LETTER, SEND_MESSAGE
from signedfor.encryption import EncryptionCodec
from signedfor.errors import InvalidSettings
from signedfor.payloads import ENCODING_FIELD, ENCRYPTED, unreadable_problem
from signedfor.temporal import key_labels
from signedfor.worker_checks import CHECK_INTERVAL
from signedfor.workers import keys_of_workers

_logger = logging.getLogger("signedfor.worker")

_TIMEOUT: Final = timedelta(seconds=10)
_AGES: Final = (timedelta(0), timedelta(days=1), timedelta(days=7))
"""Of the workflows that are looked at: those that only a retired key can read are old."""
_SAMPLE: Final = 5
"""How many workflows of each age are looked at."""
_MAX_EVENTS: Final = 50
_BY_WORKERS: Final = frozenset(
    {
        EventType.EVENT_TYPE_MARKER_RECORDED,
        EventType.EVENT_TYPE_TIMER_STARTED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED,
    }
)
"""Events whose payloads a worker wrote. Anybody may start or signal a workflow with a wrong key."""
_OURS: Final = ", ".join(f"'{name}'" for name in (SEND_MESSAGE, DEAD_LETTER, CAMPAIGN))


async def require_readable_workflows(client: Client) -> None:
    """Return if this worker can continue what is open in Temporal, or Temporal does not say.

    Raises:
        InvalidSettings: it cannot; the text names the key.
    """
    try:
        problem = await unreadable_workflows(client)
    except RPCError as error:
        _logger.warning("Whether open workflows can be read is not known (%s)", error.status.name)
        return
    if problem is not None:
        raise InvalidSettings(
            f"{problem}. Add the missing key to PAYLOAD_KEYS. If it is lost, terminate the "
            "workflows that need it: docs/how-to/encryption-keys.md."
        )


async def until_keys_fit(client: Client, *, interval: timedelta = CHECK_INTERVAL) -> None:
    """Return at once if all workers that run can read what this one writes; else wait until then.

    If Temporal does not say, return: the messages of today must be sent.
    """
    while True:
        try:
            problem = await missing_elsewhere(client)
        except RPCError as error:
            _logger.warning("The keys of other workers are not known (%s)", error.status.name)
            return
        if problem is None:
            return
        _logger.error(
            "%s: this worker takes no messages until that has changed. Give every worker the new "
            "key first, then make it the current one.",
            problem,
        )
        await asyncio.sleep(interval.total_seconds())


async def missing_elsewhere(client: Client) -> str | None:
    """Why this worker must not write yet: a worker that runs could not read it. None: it may.

    Raises:
        RPCError: Temporal does not answer.
    """
    ours = key_labels(client)
    for worker, theirs in (await keys_of_workers(client)).items():
        problem = differs(ours, theirs)
        if worker != client.identity and problem is not None:
            return f"The worker {worker} {problem}"
    return None


def differs(ours: Sequence[str], theirs: Sequence[str]) -> str | None:
    """What follows the name of a worker that cannot read what we write; None if it can.

    Both are labels of keys, the one that encrypts first; none without encryption.
    """
    if not ours:
        return "encrypts payloads, and PAYLOAD_ENCRYPTION is off here" if theirs else None
    if not theirs:
        return "does not encrypt payloads, and PAYLOAD_KEYS are set here"
    current = ours[0].partition(":")[0]
    if ours[0] in theirs:
        return None
    if current in {label.partition(":")[0] for label in theirs}:
        return f"has another key of the id {current}, with which payloads are encrypted here"
    return f"lacks the key {current}, with which payloads are encrypted here"


async def unreadable_workflows(client: Client) -> str | None:
    """Why this worker cannot continue what is open in Temporal, by a sample; None if it can.

    Raises:
        RPCError: Temporal does not answer.
    """
    codec = client.data_converter.payload_codec
    async for workflow_id, payload in _written_by_workers(client):
        clear = codec.decrypt(payload) if isinstance(codec, EncryptionCodec) else payload
        if (problem := unreadable_problem(clear)) is not None:
            return f"{workflow_id} is open, and what a worker has written of it {problem}"
    return None


async def _written_by_workers(client: Client) -> AsyncIterator[tuple[str, Payload]]:
    """An encrypted payload of each of some open workflows, with the workflow's id."""
    now = datetime.now(UTC)
    for age in _AGES:
        before = (now - age).isoformat(timespec="seconds").replace("+00:00", "Z")
        query = f"ExecutionStatus = 'Running' AND WorkflowType IN ({_OURS})"
        if age:
            query += f" AND StartTime < '{before}'"
        async for found in client.list_workflows(query, limit=_SAMPLE, rpc_timeout=_TIMEOUT):
            handle = client.get_workflow_handle(found.id, run_id=found.run_id)
            payload = await _first_by_a_worker(handle)
            if payload is not None:
                yield found.id, payload


async def _first_by_a_worker(handle: WorkflowHandle[Any, Any]) -> Payload | None:
    seen = 0
    async for event in handle.fetch_history_events(page_size=_MAX_EVENTS, rpc_timeout=_TIMEOUT):
        if event.event_type in _BY_WORKERS:
            for payload in payloads_in(event):
                if payload.metadata.get(ENCODING_FIELD) == ENCRYPTED:
                    return payload
        seen += 1
        if seen == _MAX_EVENTS:
            break
    return None


def payloads_in(message: Message) -> Iterator[Payload]:
    """Every payload within a message of Temporal's API, search attributes included."""
    if isinstance(message, Payload):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            has_messages = field.message_type.fields_by_name["value"].message_type is not None
            parts = value.values() if has_messages else ()
        else:
            parts = value if field.is_repeated else (value,)
        for part in parts:
            yield from payloads_in(part)
