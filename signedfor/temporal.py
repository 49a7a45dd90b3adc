"""The connection to Temporal, from the `TEMPORAL_*` variables that every Temporal tool reads."""

import asyncio
import re
import time
import uuid
from datetime import UTC, timedelta
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
from temporalio.envconfig import ClientConfig
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode

from signedfor.clock import ClockOffset
from signedfor.errors import InvalidSettings
from signedfor.metrics import CHECK_TO_POST, CHECK_TO_POST_BUCKETS
from signedfor.payloads import data_converter

_CLOCK_QUEUE: Final = "signedfor-clock"
"""Nothing is ever put on this task queue."""
_POLL_TIMEOUT: Final = timedelta(seconds=25)
"""A server logs a warning at each poll of less than 20 seconds; ours is canceled long before."""
_CLOCK_TIMEOUT: Final = timedelta(seconds=5)
_ASK_AGAIN_SECONDS: Final = 0.02


class TemporalUnavailable(Exception):
    """Temporal cannot be used; the text names its address and what to check."""


class NamespaceNotFound(TemporalUnavailable):
    """Temporal answers, but the client's namespace does not exist."""


async def connect_temporal(
    *, lazy: bool = False, identity: str | None = None, metrics_address: str | None = None
) -> Client:
    """A client with the connection settings in `TEMPORAL_*`; by default localhost:7233.

    With `lazy` it connects at its first call.

    Raises:
        InvalidSettings: `TEMPORAL_*`, its profile file or `metrics_address` cannot be used.
        TemporalUnavailable: it does not answer, denies access, or has no such namespace.
    """
    try:
        config = ClientConfig.load_client_connect_config()
    except (OSError, RuntimeError, ValueError) as error:
        # Without the text, which may quote a key.
        raise InvalidSettings(
            "The TEMPORAL_* variables or the profile file they name cannot be read "
            f"({type(error).__name__}): check TEMPORAL_CONFIG_FILE and the paths in TEMPORAL_TLS_*."
        ) from None
    config.setdefault("target_host", "localhost:7233")
    runtime = _runtime_with_metrics(metrics_address) if metrics_address else None
    try:
        client = await Client.connect(
            **config, data_converter=data_converter, lazy=lazy, identity=identity, runtime=runtime
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


def _innermost_message(error: Exception) -> str:
    """The message in the Temporal client's error, without the types around it."""
    innermost = re.search(r'(?:message|error): "([^"]+)"', str(error))
    return innermost[1] if innermost else str(error)


def _runtime_with_metrics(address: str) -> Runtime:
    try:
        metrics = PrometheusConfig(
            bind_address=address, histogram_bucket_overrides={CHECK_TO_POST: CHECK_TO_POST_BUCKETS}
        )
        return Runtime(telemetry=TelemetryConfig(metrics=metrics))
    except (RuntimeError, ValueError) as error:
        raise InvalidSettings(
            f"WORKER_METRICS_ADDRESS: cannot be served there ({error}); is the port taken?"
        ) from None


async def clock_offset(client: Client) -> ClockOffset:
    """Compare our clock with Temporal's, to within half the time that asking it takes.

    No request returns the server's time, but the server remembers when it was last polled, and by
    whom. So we poll, under a new name, a task queue that has no tasks, and ask for that time. This
    is no billable action.

    Raises:
        TemporalUnavailable: it does not say, or not in time.
    """
    name = uuid.uuid4().hex
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
