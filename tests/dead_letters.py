"""Open dead letters for tests, and workers that resolve many of them."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from activities.dead_letters import PAGE, DeadLetterResolver
from signedfor.arrival import Arrival, arrival
from signedfor.contract import (
    DEAD_LETTER,
    MESSAGES_QUEUE,
    OPEN,
    DeadLetterRequest,
    MessageReport,
    MessageRequest,
    Outcome,
    dead_letter_workflow_id,
)
from signedfor.contract.failures import FailureClass
from signedfor.dead_letters import DeadLetterFilter, find
from signedfor.masks import masked_sender
from signedfor.search_attributes import (
    FAILURE_CLASS,
    MAY_HAVE_ARRIVED,
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    TENANT,
    TWILIO_ERROR_CODE,
)
from signedfor.store.suppressions import Suppressions
from tests.workflows.fakes import REQUEST, SENDER, FakeActivities, serving

REGION_DISABLED = 21408


def number(index: int) -> str:
    """A recipient of its own."""
    return f"+1555867{index:04}"


async def open_dead_letters(
    client: Client,
    count: int,
    *,
    tenant: str,
    failure_class: FailureClass = FailureClass.SENDER_MISCONFIGURED,
    error_code: int | None = REGION_DISABLED,
    outcome: Outcome = Outcome.FAILED,
    first: int = 0,
    queue: str = MESSAGES_QUEUE,
    **message: Any,
) -> list[str]:
    """Open so many dead letters as messages do; their messages' ids, once they can be found."""
    free = asyncio.Semaphore(20)

    async def one(index: int) -> str:
        message_id = f"{tenant}:{failure_class}:{index}"
        fields = {**REQUEST, "to": number(first + index), "tenant": tenant, **message}
        report = MessageReport(
            message_id=message_id,
            outcome=outcome,
            failure_class=failure_class,
            error_code=error_code,
            reason="Scripted.",
            attempts=1,
            segments=1,
            finished_at=datetime.now(UTC),
            tags={},
        )
        attributes = TypedSearchAttributes(
            [
                SearchAttributePair(MESSAGE_STATUS, OPEN),
                SearchAttributePair(FAILURE_CLASS, failure_class.value),
                SearchAttributePair(MESSAGE_SENDER, masked_sender(SENDER)),
                SearchAttributePair(TENANT, tenant),
            ]
        ).updated(SearchAttributePair(MAY_HAVE_ARRIVED, arrival(report) is not Arrival.NONE))
        if error_code is not None:
            attributes = attributes.updated(SearchAttributePair(TWILIO_ERROR_CODE, error_code))
        async with free:
            await client.start_workflow(
                DEAD_LETTER,
                DeadLetterRequest(
                    message=MessageRequest.model_validate(fields),
                    report=report,
                    sender=SENDER,
                    advice="Scripted.",
                ),
                id=dead_letter_workflow_id(message_id),
                task_queue=queue,
                search_attributes=attributes,
            )
        return message_id

    message_ids = await asyncio.gather(*map(one, range(count)))
    await until_open(client, tenant, set(message_ids), at_least=True)
    return message_ids


async def still_open(client: Client, tenant: str) -> set[str]:
    """The messages of the tenant whose dead letters are open, as the search shows it."""
    return {each.message_id async for each in find(client, DeadLetterFilter(tenant=tenant))}


async def until_open(
    client: Client, tenant: str, message_ids: set[str], *, at_least: bool = False
) -> None:
    """Wait until the search shows that exactly these are open; with `at_least`, others too."""
    async with asyncio.timeout(60):
        while True:
            found = await still_open(client, tenant)
            if found == message_ids or (at_least and found >= message_ids):
                return
            await asyncio.sleep(0.1)


def new_tenant() -> str:
    """A tenant that no other test has."""
    return f"t-{uuid.uuid4().hex[:12]}"


@contextlib.asynccontextmanager
async def resolving(
    client: Client, fakes: FakeActivities, engine: Engine, *, page: int = PAGE
) -> AsyncIterator[DeadLetterResolver]:
    """Workers with the fake activities of a message, and the real ones of a job."""
    resolver = DeadLetterResolver(client, Suppressions(engine), page=page)
    more = (
        resolver.select_dead_letters,
        resolver.resolve_dead_letters,
        resolver.count_resolved,
    )
    async with serving(client, fakes, more_activities=more):
        yield resolver
