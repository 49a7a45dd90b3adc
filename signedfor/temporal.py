"""The connection to Temporal, from the `TEMPORAL_*` variables that every Temporal tool reads."""

import asyncio
import contextlib
import logging
import os
import re
import socket
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeTaskQueueRequest,
    PollActivityTaskQueueRequest,
)
from temporalio.client import Client
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
)
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from signedfor.clock import ClockOffset
from signedfor.encryption import EncryptionCodec, encrypting, load_encryption
from signedfor.errors import InvalidSettings
from signedfor.logging import CORE_LOGGER
from signedfor.metrics import (
    CHECK_TO_POST,
    CHECK_TO_POST_BUCKETS,
    RECEIPT_DELAY,
    RECEIPT_DELAY_BUCKETS,
    SDK_LATENCIES,
    SDK_LATENCY_BUCKETS,
)
from signedfor.search_attribute_decoding import skip_unreadable_search_attributes
from signedfor.tracing import with_tracing

_CLOCK_QUEUE: Final = "signedfor-clock"
"""Nothing is ever put on this task queue."""
_POLL_TIMEOUT: Final = timedelta(seconds=25)
"""A server logs a warning at each poll of less than 20 seconds; ours is canceled long before."""
_CLOCK_TIMEOUT: Final = timedelta(seconds=5)
_ASK_AGAIN_SECONDS: Final = 0.02
_CHECK: Final = " clock check "
_KEYS: Final = " keys "
_LOOPBACK: Final = "127.0.0.1"
_PORT_ATTEMPTS: Final = 5
HEARTBEAT_INTERVAL: Final = timedelta(seconds=15)
"""How often the SDK tells Temporal that a worker's process runs."""


class TemporalUnavailable(Exception):
    """Temporal cannot be used; the text names its address and what to check."""


class NamespaceNotFound(TemporalUnavailable):
    """Temporal answers, but the client's namespace does not exist."""


def is_never_connected(error: Exception) -> bool:
    """Whether it is what a lazy client raises until it has connected for the first time."""
    return isinstance(error, RuntimeError) and str(error).startswith("Failed client connect")


async def connect_temporal(
    *,
    lazy: bool = False,
    identity: str | None = None,
    runtime: Runtime | None = None,
    logs_here: bool = False,
) -> Client:
    """A client with the connection settings in `TEMPORAL_*`; by default localhost:7233.

    It encrypts payloads as `PAYLOAD_*` say.

    With `lazy` it connects at its first call. With `logs_here` the SDK's core writes no lines of
    its own form: they go to Python's logging.

    Raises:
        InvalidSettings: `TEMPORAL_*` or its profile file cannot be used, or there is no key.
        TemporalUnavailable: it does not answer, denies access, or has no such namespace.
    """
    skip_unreadable_search_attributes()
    encryption = load_encryption()
    config = connect_config()
    config.setdefault("target_host", "localhost:7233")
    if runtime is None and logs_here:
        runtime = Runtime(telemetry=TelemetryConfig(logging=_core_logs()))
    try:
        client = await Client.connect(
            **config,
            data_converter=encrypting(encryption, config.get("namespace") or "default"),
            interceptors=with_tracing(),
            # Our requests are small; gzip took 2% of all CPU time, the server's included.
            grpc_compression=GrpcCompression.NONE,
            lazy=lazy,
            identity=identity,
            runtime=runtime,
        )
    except (RuntimeError, ValueError) as error:
        raise TemporalUnavailable(
            f"Temporal does not answer at {config['target_host']}: {_innermost_message(error)}. "
            "Is it running, and are TEMPORAL_ADDRESS and TEMPORAL_TLS_* right?"
        ) from None
    if not lazy:
        # A worker would report a missing namespace too, but with a traceback.
        await describe_namespace(client, timeout=timedelta(seconds=10))
    return client


def connect_config() -> ClientConnectConfig:
    """The connection settings in `TEMPORAL_*`; InvalidSettings if they cannot be used."""
    try:
        # An empty variable is none, as everywhere; envconfig would take it for a path.
        filled = {name: value for name, value in os.environ.items() if value}
        return ClientConfig.load_client_connect_config(override_env_vars=filled)
    except (OSError, RuntimeError, ValueError) as error:
        # Without the text, which may quote a key.
        raise InvalidSettings(
            "The TEMPORAL_* variables or the profile file they name cannot be read "
            f"({type(error).__name__}): check TEMPORAL_CONFIG_FILE and the paths in TEMPORAL_TLS_*."
        ) from None


def _innermost_message(error: Exception) -> str:
    """The message in the Temporal client's error, without the types around it."""
    innermost = re.search(r'(?:message|error): "([^"]+)"', str(error))
    return innermost[1] if innermost else str(error)


def _core_logs() -> LoggingConfig:
    """The core's lines go to Python's logging."""
    forwarding = LogForwardingConfig(
        logging.getLogger(CORE_LOGGER), append_target_to_name=False, prepend_target_on_message=False
    )
    return replace(LoggingConfig.default, forwarding=forwarding)


@dataclass(frozen=True, kw_only=True)
class WorkerRuntime:
    """The SDK's runtime of a worker, and where it serves its metrics, on this machine only."""

    runtime: Runtime
    metrics_url: str | None


def worker_runtime(*, with_metrics: bool) -> WorkerRuntime:
    """A runtime whose workers heartbeat; its metrics are named as Prometheus wants it.

    Raises:
        TemporalUnavailable: no port of this machine is free for the metrics.
    """
    if not with_metrics:
        telemetry = TelemetryConfig(logging=_core_logs())
        return WorkerRuntime(
            runtime=Runtime(telemetry=telemetry, worker_heartbeat_interval=HEARTBEAT_INTERVAL),
            metrics_url=None,
        )
    for _ in range(_PORT_ATTEMPTS):
        # The SDK does not say which port it was given, so it is told one that is free now.
        with socket.socket() as probe:
            probe.bind((_LOOPBACK, 0))
            address = f"{_LOOPBACK}:{probe.getsockname()[1]}"
        metrics = PrometheusConfig(
            bind_address=address,
            counters_total_suffix=True,
            unit_suffix=True,
            durations_as_seconds=True,
            histogram_bucket_overrides={
                CHECK_TO_POST: CHECK_TO_POST_BUCKETS,
                RECEIPT_DELAY: RECEIPT_DELAY_BUCKETS,
                **dict.fromkeys(SDK_LATENCIES, SDK_LATENCY_BUCKETS),
            },
        )
        with contextlib.suppress(RuntimeError, ValueError):  # another process was quicker
            return WorkerRuntime(
                runtime=Runtime(
                    telemetry=TelemetryConfig(
                        logging=_core_logs(), metrics=metrics, attach_service_name=False
                    ),
                    worker_heartbeat_interval=HEARTBEAT_INTERVAL,
                ),
                metrics_url=f"http://{address}/metrics",
            )
    raise TemporalUnavailable("The Temporal SDK's metrics cannot be served: no port is free.")


async def clock_offset(client: Client) -> ClockOffset:
    """Compare our clock with Temporal's, to within half the time that asking it takes.

    No request returns the server's time, but the server remembers when it was last polled, and by
    whom. So we poll, under a new name, a task queue that has no tasks, and ask for that time. This
    is no billable action. The name begins with the client's identity and ends with the labels of
    its keys, so that the last time and the keys of each worker can be found: see
    `last_clock_checks`.

    Raises:
        TemporalUnavailable: it does not say, or not in time.
    """
    name = f"{client.identity}{_CHECK}{uuid.uuid4().hex}{_KEYS}{','.join(key_labels(client))}"
    queue = TaskQueue(name=_CLOCK_QUEUE)
    began_at, began = time.time(), time.monotonic()
    polling = asyncio.create_task(
        client.workflow_service.poll_activity_task_queue(
            PollActivityTaskQueueRequest(
                namespace=client.namespace, task_queue=queue, identity=name
            ),
            timeout=_POLL_TIMEOUT,
        )
    )
    try:
        async with asyncio.timeout(_CLOCK_TIMEOUT.total_seconds()):
            while True:
                described = await client.workflow_service.describe_task_queue(
                    DescribeTaskQueueRequest(
                        namespace=client.namespace,
                        task_queue=queue,
                        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
                    ),
                    timeout=_CLOCK_TIMEOUT,
                )
                uncertainty = (time.monotonic() - began) / 2
                for poller in described.pollers:
                    if poller.identity == name:
                        theirs = poller.last_access_time.ToDatetime(UTC).timestamp()
                        return ClockOffset(began_at + uncertainty - theirs, uncertainty)
                await asyncio.sleep(_ASK_AGAIN_SECONDS)
    except (TimeoutError, RPCError, RuntimeError):
        raise TemporalUnavailable("Temporal did not say what time it has.") from None
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def describe_namespace(
    client: Client,
    *,
    timeout: timedelta,  # noqa: ASYNC109 - of the RPC too
) -> DescribeNamespaceResponse:
    """The client's namespace; also the check that Temporal can be reached and used.

    Raises:
        NamespaceNotFound: it does not exist.
        TemporalUnavailable: Temporal did not answer within `timeout`, or denied the request.
    """
    try:
        # The RPC's own timeout does not cover the first connection of a lazy client.
        async with asyncio.timeout(timeout.total_seconds()):
            return await client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=client.namespace), timeout=timeout
            )
    except TimeoutError:
        raise TemporalUnavailable("Temporal did not answer in time.") from None
    except RuntimeError:  # a lazy client that cannot connect
        raise TemporalUnavailable("Temporal cannot be reached.") from None
    except RPCError as error:
        missing = error.status is RPCStatusCode.NOT_FOUND
        raise (NamespaceNotFound if missing else TemporalUnavailable)(
            f"Temporal answers, but not for namespace {client.namespace}: "
            f"{error.message.rstrip('.')}. "
            "Does it exist, and is TEMPORAL_NAMESPACE right?"
        ) from None


@dataclass(frozen=True)
class ClockCheck:
    """When a client last compared its clock, and with which keys."""

    at: datetime
    keys: tuple[str, ...]
    """The labels of the keys that it reads, the one that encrypts first; none: no encryption."""


def key_labels(client: Client) -> tuple[str, ...]:
    """The labels of the keys that this client reads, as in `ClockCheck`."""
    codec = client.data_converter.payload_codec
    if not isinstance(codec, EncryptionCodec):
        return ()
    return tuple(key.label for key in codec.encryption.keys)


async def last_clock_checks(client: Client, *, timeout: timedelta) -> dict[str, ClockCheck]:  # noqa: ASYNC109 - the RPC's own
    """The last time each client compared its clock, by its identity; Temporal keeps five minutes.

    Workers do so from their event loop, so this shows which of them runs.

    Raises:
        RPCError: Temporal does not say.
    """
    described = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=_CLOCK_QUEUE),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        ),
        timeout=timeout,
    )
    checks: dict[str, ClockCheck] = {}
    for poller in described.pollers:
        identity, separator, rest = poller.identity.partition(_CHECK)
        labels = rest.partition(_KEYS)[2]
        check = ClockCheck(
            poller.last_access_time.ToDatetime(UTC),
            tuple(label for label in labels.split(",") if label),
        )
        if separator and (identity not in checks or check.at > checks[identity].at):
            checks[identity] = check
    return checks
