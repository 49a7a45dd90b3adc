"""The connection to Temporal, from the `TEMPORAL_*` variables that every Temporal tool reads."""

import asyncio
import contextlib
import os
import re
import sys
from datetime import timedelta
from typing import NoReturn

from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
)
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode

from signedfor.metrics import CHECK_TO_POST, CHECK_TO_POST_BUCKETS
from signedfor.payloads import data_converter
from signedfor.settings import InvalidSettings


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


def end_process(code: int) -> NoReturn:
    """End the process without the interpreter's finalization; all work must be done.

    The Temporal SDK's threads may still use the interpreter during finalization, and Python 3.11
    then aborts: seen in one of 24 runs, with exit code 134 instead of 0.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader is gone
            stream.flush()
    os._exit(code)
