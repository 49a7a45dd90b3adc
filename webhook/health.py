"""Whether the process is alive (`/healthz`) and whether it can do its work (`/readyz`)."""

import logging
import time
from datetime import timedelta

import anyio
from anyio import to_thread
from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import JSONResponse
from temporalio.client import Client

from signedfor.logging import RateLimitedLogger
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.migrate import DatabaseIncompatible, MigrationsPending, require_usable
from signedfor.temporal import NamespaceNotFound, TemporalUnavailable, describe_namespace

_log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
_CACHE_SECONDS = 1.0
"""Dependencies are checked at most once in this time, however often it is called."""

_READY = "ready"
_NEWER_SCHEMA = "ready, with a newer schema"
"""A newer version has migrated it, as during an upgrade and after a roll-back."""
_UNREACHABLE = "unreachable"


async def healthz(_request: Request) -> JSONResponse:
    """200 as long as the process answers; `/readyz` checks its dependencies."""
    return JSONResponse({"status": "alive"})


class Readiness:
    """Checks Temporal and the database; `/readyz` answers 200 if both are ready, else 503."""

    def __init__(self, *, client: Client, engine: Engine) -> None:
        self._client = client
        self._engine = engine
        self._checking = anyio.Lock()
        self._checked_at = float("-inf")
        self._answers: dict[str, str] = {}
        self._warnings = RateLimitedLogger(_log)

    async def readyz(self, _request: Request) -> JSONResponse:
        """Each dependency by name: `ready`, or what is wrong."""
        async with self._checking:
            if time.monotonic() - self._checked_at > _CACHE_SECONDS:
                self._answers = await self._check()
                self._checked_at = time.monotonic()
            answers = self._answers
        ready = all(answer in {_READY, _NEWER_SCHEMA} for answer in answers.values())
        if not ready:
            self._warnings.warning("Not ready: %s", answers)
        return JSONResponse({"ready": ready, **answers}, status_code=200 if ready else 503)

    async def _check(self) -> dict[str, str]:
        answers = {"temporal": _UNREACHABLE, "database": _UNREACHABLE}

        async def temporal() -> None:
            answers["temporal"] = await self._temporal()

        async def database() -> None:
            # After a timeout here, the thread ends by the database's own timeouts.
            answers["database"] = await to_thread.run_sync(
                _database, self._engine, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
            )

        with anyio.move_on_after(CHECK_SECONDS):
            async with anyio.create_task_group() as checks:
                checks.start_soon(temporal)
                checks.start_soon(database)
        return answers

    async def _temporal(self) -> str:
        try:
            # A lazy client has not checked that its namespace exists.
            await describe_namespace(self._client, timeout=timedelta(seconds=CHECK_SECONDS))
        except NamespaceNotFound:
            return "no such namespace"
        except TemporalUnavailable:
            return _UNREACHABLE
        return _READY


def _database(engine: Engine) -> str:
    try:
        schema = require_usable(engine)
    except DatabaseUnavailable:
        return _UNREACHABLE
    except DatabaseIncompatible:
        return "its migrations are too new for this version"
    except MigrationsPending:
        return "migrations are pending"
    return _READY if schema.newer is None else _NEWER_SCHEMA
