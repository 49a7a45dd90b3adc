"""Whether workers and webhooks have the same INBOUND_WORKFLOW and INBOUND_TASK_QUEUE.

Both record inbound messages for the service's workflow, and only the webhook starts it. So each
process says in the database what it has, as a watermark whose name has a fingerprint of both.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final

from sqlalchemy import Engine

from signedfor.background import in_background
from signedfor.logging import log_unexpected
from signedfor.settings import Settings
from signedfor.store.database import DatabaseUnavailable
from signedfor.store.inbound import Watermarks
from signedfor.worker_checks import CHECK_INTERVAL

MAX_AGE: Final = 3 * CHECK_INTERVAL
"""A process that has said nothing for so long has ended."""
REMEDY: Final = (
    "Set INBOUND_WORKFLOW and INBOUND_TASK_QUEUE to the same for every worker and webhook, and "
    "restart those that differ."
)
_PREFIX: Final = "inbound-workflow:"
_NONE: Final = "none"


class Role(StrEnum):
    """A process that records inbound messages."""

    WORKER = "worker"
    WEBHOOK = "webhook"


def publish(engine: Engine, settings: Settings, role: Role) -> None:
    """Say in the database what this process has.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    name = f"{_PREFIX}{role}:{_fingerprint(settings)}"
    Watermarks(engine).advance(name, datetime.now(UTC))


def mismatch(engine: Engine) -> str | None:
    """What differs between the processes that run, and what it does; None if nothing does.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    since = datetime.now(UTC) - MAX_AGE
    by_role: dict[Role, set[str]] = {role: set() for role in Role}
    for name in Watermarks(engine).names(_PREFIX, since=since):
        role, _, fingerprint = name.removeprefix(_PREFIX).partition(":")
        by_role[Role(role)].add(fingerprint)
    return _problem(by_role)


def _problem(by_role: Mapping[Role, AbstractSet[str]]) -> str | None:
    workers, webhooks = by_role[Role.WORKER], by_role[Role.WEBHOOK]
    if len(webhooks) > 1:
        return (
            "Webhooks have different ones: which workflow an inbound message starts, and whether "
            "it starts any, depends on the webhook that receives it."
        )
    if not workers or not webhooks or workers == webhooks:
        return None
    if webhooks == {_NONE}:
        return (
            "A worker has them and the webhook, which starts the workflows, has not: no inbound "
            "message starts your workflow, and those that a worker records wait."
        )
    if _NONE in workers:
        return (
            "The webhook has them and a worker has not: the inbound messages that this worker "
            "records, after an outage, start no workflow."
        )
    return "A worker has others than the webhook. The webhook's count."


def _fingerprint(settings: Settings) -> str:
    """Of both values. It is no secret, but a name has up to 255 characters."""
    if settings.inbound_workflow is None:
        return _NONE
    both = f"{settings.inbound_workflow}\n{settings.inbound_task_queue}"
    return sha256(both.encode()).hexdigest()[:12]


def comparing_inbound_settings(
    engine: Engine,
    settings: Settings,
    role: Role,
    *,
    interval: timedelta = CHECK_INTERVAL,
    patience: timedelta = MAX_AGE,
) -> AbstractAsyncContextManager[None]:
    """Publish and compare them regularly while the context is open; log a difference that lasts.

    While processes are restarted with new ones, what the old ones said stands for `MAX_AGE`.
    """
    return in_background(_compare(engine, settings, role, interval=interval, patience=patience))


async def _compare(
    engine: Engine, settings: Settings, role: Role, *, interval: timedelta, patience: timedelta
) -> None:
    logger = logging.getLogger(f"signedfor.{role}")
    logged: str | None = None
    last: str | None = None
    since = time.monotonic()
    while True:
        try:
            await asyncio.to_thread(publish, engine, settings, role)
            found = await asyncio.to_thread(mismatch, engine)
        except DatabaseUnavailable:
            found = last  # others report it
        except Exception as error:  # noqa: BLE001 - a defect must not end the comparison
            log_unexpected(logger, error)
            found = last
        if found != last:
            last, since = found, time.monotonic()
        if last != logged and time.monotonic() - since >= patience.total_seconds():
            logged = last
            what = f"{last} {REMEDY}" if last else "They are the same everywhere now."
            logger.warning("INBOUND_WORKFLOW and INBOUND_TASK_QUEUE: %s", what)
        await asyncio.sleep(interval.total_seconds())
