"""Whether the process is alive (`/healthz`) and whether it can do its work (`/readyz`)."""

import logging
import time
from datetime import timedelta

import anyio
from anyio import to_thread
from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import JSONResponse
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from signedfor.store.database import DatabaseUnavailable
from signedfor.store.migrate import SchemaMismatch, require_current
from webhook.sparing import SparingLog

_log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
_REMEMBERED_SECONDS = 1.0
"""However often it is asked, what is checked is not troubled more than once in this time."""

_READY = "ready"
_UNREACHABLE = "unreachable"


async def healthz(_request: Request) -> JSONResponse:
    """200 as long as the process answers; what it depends on is `/readyz`' affair."""
    return JSONResponse({"status": "alive"})


class Readiness:
    """Asks Temporal and the database; `/readyz` answers 200 if both are ready, else 503."""

    def __init__(self, *, client: Client, engine: Engine) -> None:
        self._client = client
        self._engine = engine
        self._asking = anyio.Lock()
        self._asked_at = float("-inf")
        self._answers: dict[str, str] = {}
        self._warnings = SparingLog(_log)

    async def readyz(self, _request: Request) -> JSONResponse:
        """Each dependency by name with `ready` or what is the matter, and no more than that."""
        async with self._asking:
            if time.monotonic() - self._asked_at > _REMEMBERED_SECONDS:
                self._answers = await self._ask()
                self._asked_at = time.monotonic()
            answers = self._answers
        ready = all(answer == _READY for answer in answers.values())
        if not ready:
            self._warnings.warning("Not ready: %s", answers)
        return JSONResponse({"ready": ready, **answers}, status_code=200 if ready else 503)

    async def _ask(self) -> dict[str, str]:
        answers = {"temporal": _UNREACHABLE, "database": _UNREACHABLE}

        async def temporal() -> None:
            answers["temporal"] = await self._temporal()

        async def database() -> None:
            # On a timeout its thread is left to end by the database's own timeouts.
            answers["database"] = await to_thread.run_sync(
                _database, self._engine, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )

        with anyio.move_on_after(CHECK_SECONDS):
            async with anyio.create_task_group() as checks:
                checks.start_soon(temporal)
                checks.start_soon(database)
        return answers

    async def _temporal(self) -> str:
        timeout = timedelta(seconds=CHECK_SECONDS)
        try:
            if not await self._client.service_client.check_health(timeout=timeout):
                return "not serving"
            # A lazy client never asked whether its namespace is there.
            await self._client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=self._client.namespace), timeout=timeout
            )
        except RPCError as error:
            missing = error.status is RPCStatusCode.NOT_FOUND
            return "no such namespace" if missing else _UNREACHABLE
        except RuntimeError:  # what a lazy client raises when it cannot connect
            return _UNREACHABLE
        return _READY


def _database(engine: Engine) -> str:
    try:
        require_current(engine)
    except DatabaseUnavailable:
        return _UNREACHABLE
    except SchemaMismatch:
        return "other migrations than this version's"
    return _READY
