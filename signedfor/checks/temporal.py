"""Temporal: server, namespace and retention, search attributes, workers on both queues."""

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    GetSystemInfoRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from signedfor.checks import Finding, fail, ok, skipped, warn
from signedfor.contract import MESSAGES_QUEUE, TWILIO_SENDS_QUEUE
from signedfor.key_checks import differs
from signedfor.search_attributes import SEARCH_ATTRIBUTES
from signedfor.temporal import (
    NamespaceNotFound,
    TemporalUnavailable,
    clock_offset,
    describe_namespace,
    key_labels,
)
from signedfor.workers import Condition, WorkerState, keys_of_workers, list_workers
from signedfor.workflow_calls import RPC_TIMEOUT, rpc_error

MIN_RETENTION: Final = timedelta(days=30)
"""How long a message id prevents sending twice, and a closed message can be shown."""
_MAX_POLL_AGE = timedelta(minutes=2)
"""A worker polls about once a minute; one that has not polled for longer is gone."""

_SERVER, _NAMESPACE = "Temporal server", "Temporal namespace"
_CLOCK = "clock"
_ATTRIBUTES, _WORKERS, _STUCK = "search attributes", "workers", "stuck workers"
_ENCRYPTION = "encryption"

_TYPE_NAMES = {
    IndexedValueType.INDEXED_VALUE_TYPE_TEXT: "Text",
    IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD: "Keyword",
    IndexedValueType.INDEXED_VALUE_TYPE_INT: "Int",
    IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE: "Double",
    IndexedValueType.INDEXED_VALUE_TYPE_BOOL: "Bool",
    IndexedValueType.INDEXED_VALUE_TYPE_DATETIME: "Datetime",
    IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST: "KeywordList",
}

_POLLED = (
    (MESSAGES_QUEUE, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW),
    (MESSAGES_QUEUE, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
    (TWILIO_SENDS_QUEUE, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY),
)


async def check_temporal(
    client: Client, *, fix: bool, attempt_record_days: int | None
) -> list[Finding]:
    """Check Temporal; with `fix`, register the search attributes that are missing.

    `client` may be lazy. `attempt_record_days` is the setting of that name, if the settings are
    complete.
    """
    address = client.service_client.config.target_host
    try:
        # The RPC's own timeout does not cover the first connection of a lazy client.
        async with asyncio.timeout(RPC_TIMEOUT.total_seconds()):
            info = await client.workflow_service.get_system_info(
                GetSystemInfoRequest(), timeout=RPC_TIMEOUT
            )
    except RPCError as error:
        return no_temporal(str(rpc_error(error)))
    except (RuntimeError, TimeoutError):
        return no_temporal(f"Temporal does not answer at {address}.")
    server = ok(_SERVER, f"Version {info.server_version} at {address}.")
    namespace = await _namespace(client, attempt_record_days)
    if namespace.level == "fail":
        unchecked = [skipped(name, "there is no namespace") for name in _AFTER_SERVER[1:]]
        return [server, namespace, *unchecked]
    return [
        server,
        namespace,
        await _clock(client),
        await _search_attributes(client, fix=fix),
        await _encryption(client),
        *await _workers(client),
    ]


def no_temporal(what: str) -> list[Finding]:
    """The findings when Temporal cannot be reached; `what` says why."""
    unchecked = [skipped(name, "Temporal cannot be reached") for name in _AFTER_SERVER]
    return [fail(_SERVER, what, "Start it, or set TEMPORAL_ADDRESS."), *unchecked]


def no_key(what: str) -> list[Finding]:
    """The findings without a key for the payloads; `what` says what to set."""
    unchecked = [skipped(name, "there is no key") for name in _ALL if name != _ENCRYPTION]
    return [fail(_ENCRYPTION, what, "Set them as for the worker."), *unchecked]


_AFTER_SERVER = (_NAMESPACE, _CLOCK, _ATTRIBUTES, _ENCRYPTION, _WORKERS)
_ALL = (_SERVER, *_AFTER_SERVER)


async def _namespace(client: Client, attempt_record_days: int | None) -> Finding:
    name = client.namespace
    days = MIN_RETENTION.days
    try:
        described = await describe_namespace(client, timeout=RPC_TIMEOUT)
    except NamespaceNotFound:
        create = _operator(client, f"namespace create --retention {days}d")
        return fail(_NAMESPACE, f"There is no namespace {name}.", f"Create it: {create}")
    except TemporalUnavailable as error:
        return fail(_NAMESPACE, str(error), "See TEMPORAL_NAMESPACE and permissions.")
    retention = described.config.workflow_execution_retention_ttl.ToTimedelta()
    kept = f"{name}, keeps closed messages for {retention / timedelta(days=1):g} days"
    if attempt_record_days is not None and timedelta(days=attempt_record_days) < retention:
        return warn(
            _NAMESPACE,
            f"{kept}, and the worker keeps attempt records for {attempt_record_days}. A message "
            "that is reset in Temporal after that could be sent again.",
            f"Set ATTEMPT_RECORD_DAYS={math.ceil(retention / timedelta(days=1))}.",
        )
    if retention >= MIN_RETENTION:
        return ok(_NAMESPACE, f"{kept}.")
    update = _operator(client, f"namespace update --retention {days}d")
    return warn(
        _NAMESPACE,
        f"{kept}; after that the same message id would be sent again.",
        f"Keep them longer: {update}",
    )


async def _clock(client: Client) -> Finding:
    """Compare the clock of the machine that this runs on, which may be a worker's."""
    try:
        offset = await clock_offset(client)
    except TemporalUnavailable as error:
        return warn(_CLOCK, f"Not compared: {error}", "Try again when Temporal answers.")
    found = f"Here {offset}, ± {offset.uncertainty:.1f} s"
    if offset.is_tolerable:
        return ok(_CLOCK, f"{found}.")
    return fail(
        _CLOCK,
        f"{found}. A worker here sends nothing.",
        "Synchronize the clock (NTP), here or where Temporal runs.",
    )


async def _search_attributes(client: Client, *, fix: bool) -> Finding:
    wanted = {
        key.name: IndexedValueType.ValueType(key.indexed_value_type) for key in SEARCH_ATTRIBUTES
    }
    try:
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace), timeout=RPC_TIMEOUT
        )
        present = {**listed.system_attributes, **listed.custom_attributes}
        missing = {name: kind for name, kind in wanted.items() if name not in present}
        wrong = [name for name, kind in wanted.items() if present.get(name, kind) != kind]
        if missing and fix:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing),
                timeout=RPC_TIMEOUT,
            )
    except RPCError as error:
        if error.status in {RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED}:
            names = ", ".join(f"{name} ({_TYPE_NAMES[kind]})" for name, kind in wanted.items())
            return warn(
                _ATTRIBUTES,
                "Temporal does not list them here; Temporal Cloud does not either.",
                f"Check in its console that the namespace has {names}.",
            )
        return fail(_ATTRIBUTES, str(rpc_error(error)), "Try again when Temporal answers.")
    if wrong:
        remove = _operator(client, f"search-attribute remove {_names(wrong)}")
        return fail(
            _ATTRIBUTES,
            f"Of another type: {', '.join(wrong)}.",
            f"If nothing else uses them, remove them ({remove}), then `signedfor doctor --fix`.",
        )
    if missing and not fix:
        # Names and types go in pairs: with fewer types than names some are silently dropped.
        pairs = " ".join(
            f"--name {name} --type {_TYPE_NAMES[kind]}" for name, kind in missing.items()
        )
        create = _operator(client, f"search-attribute create {pairs}")
        return fail(
            _ATTRIBUTES,
            f"Missing: {', '.join(missing)}. Messages cannot be started without them.",
            f"`signedfor doctor --fix`, or: {create}",
        )
    if missing:
        return ok(_ATTRIBUTES, f"Registered now: {', '.join(missing)}.")
    return ok(_ATTRIBUTES, f"All {len(wanted)} are registered.")


async def _encryption(client: Client) -> Finding:
    """Whether payloads are encrypted, here and by the workers that run, with the same key."""
    ours = key_labels(client)
    try:
        workers = await keys_of_workers(client)
    except RPCError as error:
        return fail(_ENCRYPTION, str(rpc_error(error)), "Try again when Temporal answers.")
    problems = [
        f"{worker} {problem}"
        for worker, theirs in workers.items()
        if (problem := differs(ours, theirs) or _other_current(ours, theirs)) is not None
    ]
    if problems:
        return fail(
            _ENCRYPTION,
            f"By process@machine: {'; '.join(problems)}.",
            "Set the same PAYLOAD_* variables here and for every worker. A new key is first added "
            "everywhere, then made the current one: docs/how-to/encryption-keys.md.",
        )
    if not ours:
        return warn(
            _ENCRYPTION,
            "Off: Temporal holds the numbers and texts of messages in clear.",
            "Set PAYLOAD_KEYS and remove PAYLOAD_ENCRYPTION=off, here and for every worker.",
        )
    current = ours[0].partition(":")[0]
    more = f"; {len(ours) - 1} older can be read" if ours[1:] else ""
    by = f"by {len(workers)} worker{'s' if len(workers) > 1 else ''} too" if workers else "here"
    return ok(_ENCRYPTION, f"Payloads are encrypted with the key {current}, {by}{more}.")


def _other_current(ours: Sequence[str], theirs: Sequence[str]) -> str | None:
    if ours[:1] == theirs[:1]:
        return None
    return f"encrypts with the key {theirs[0].partition(':')[0]}, which is not the current one here"


async def _workers(client: Client) -> list[Finding]:
    idle: list[str] = []
    workers: set[str] = set()
    try:
        known = await list_workers(client)
        not_running = {each.identity for each in known if each.condition is not Condition.RUNNING}
        for queue, kind in _POLLED:
            described = await client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace=client.namespace,
                    task_queue=TaskQueue(name=queue),
                    task_queue_type=kind,
                ),
                timeout=RPC_TIMEOUT,
            )
            since = datetime.now(UTC) - _MAX_POLL_AGE
            alive = {
                poller.identity
                for poller in described.pollers
                if poller.last_access_time.ToDatetime(UTC) > since
            } - not_running
            workers |= alive
            if not alive and queue not in idle:
                idle.append(queue)
    except RPCError as error:
        return [fail(_WORKERS, str(rpc_error(error)), "Try again when Temporal answers.")]
    findings = _stuck(known, level=warn if workers else fail)
    if idle:
        return [
            *findings,
            fail(
                _WORKERS,
                f"No worker that runs has polled task queue {' and '.join(idle)} for two minutes.",
                "Start a worker with the same TEMPORAL_* variables: `python -m worker`. One that "
                "runs may have a wrong clock: its log says so.",
            ),
        ]
    found = f"{len(workers)} on queues {MESSAGES_QUEUE} and {TWILIO_SENDS_QUEUE}."
    return [ok(_WORKERS, found), *findings]


def _stuck(
    workers: Iterable[WorkerState], *, level: Callable[[str, str, str], Finding]
) -> list[Finding]:
    """The workers that are there but do not run, in one finding."""
    found: list[str] = []
    for each in workers:
        if each.condition is Condition.SILENT:
            at = f"{each.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
            found.append(f"{each.identity} was frozen or killed: its last heartbeat was at {at}")
        elif each.condition is Condition.HANGING:
            at = f"{each.checked_at:%Y-%m-%d %H:%M:%S} UTC"
            found.append(f"{each.identity} hangs: its event loop has not run since about {at}")
    if not found:
        return []
    return [
        level(
            _STUCK,
            f"By process@machine: {'; '.join(found)}.",
            "If that process is there, end it with SIGKILL and start it again: another worker "
            "takes its messages. One that was killed is shown here for up to a day.",
        )
    ]


def _names(names: list[str]) -> str:
    return " ".join(f"--name {name}" for name in names)


def _operator(client: Client, command: str) -> str:
    """The exact command of Temporal's command line for this server, in backquotes: to be copied."""
    address = client.service_client.config.target_host
    return f"`temporal operator {command} --namespace {client.namespace} --address {address}`"
