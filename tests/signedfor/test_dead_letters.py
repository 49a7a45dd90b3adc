"""Dead letters: found by a filter, grouped by cause, shown as they are, and resolved once."""

import uuid
from collections.abc import AsyncIterator

import pytest
from pydantic import ValidationError
from temporalio.client import Client

from signedfor.contract import Outcome, Resolution, dead_letter_workflow_id
from signedfor.contract.failures import FailureClass
from signedfor.dead_letters import (
    AlreadyClosed,
    DeadLetterFilter,
    MayHaveArrived,
    NoAnswer,
    fetch,
    find,
    group,
    report_of,
    resolve,
)
from signedfor.errors import BadInput, NotFound
from signedfor.twilio import codes
from tests.dead_letters import new_tenant, open_dead_letters
from tests.workflows.fakes import FakeActivities, serving

RETRY, DISCARD = Resolution(action="retry"), Resolution(action="discard", by="ops")


@pytest.fixture
async def client(temporal: Client) -> AsyncIterator[Client]:
    """A client in a namespace with workers."""
    async with serving(temporal, FakeActivities()):
        yield temporal


@pytest.mark.parametrize(
    ("fields", "clause"),
    [
        ({}, None),
        ({"error_code": 30007}, "TwilioErrorCode = 30007"),
        ({"has_no_code": True}, "TwilioErrorCode IS NULL"),
        ({"failure_class": "CarrierFiltered"}, "FailureClass = 'CarrierFiltered'"),
        ({"sender": "+15005550006"}, "MessageSender = '+1500***0006'"),
        ({"may_have_arrived": False}, "MayHaveArrived = false"),
        ({"query": "A = 1 OR B = ')'"}, "(A = 1 OR B = ')')"),
        (
            {"tenant": "acme", "campaign_id": "spring"},
            "Tenant = 'acme' AND CampaignId = 'spring'",
        ),
    ],
)
def test_a_filter_as_a_clause(fields: dict[str, object], clause: str | None) -> None:
    """Each field that is given narrows it; a sender's number is masked."""
    assert clause == DeadLetterFilter.model_validate(fields).clause()


@pytest.mark.parametrize(
    "fields",
    [
        {"query": "Tenant = 'a') OR (Tenant = 'b'"},
        {"query": "Tenant = 'a"},
        {"query": "(Tenant = 'a'"},
        {"query": "Tenant = 'a\\'') OR (Tenant = 'b'"},
        {"tenant": "a' OR 'b"},
        {"campaign_id": "x'"},
        {"failure_class": "x' OR '"},
    ],
)
def test_no_filter_reaches_beyond_itself(fields: dict[str, object]) -> None:
    """A clause or a name that would end its parentheses or quotes is refused."""
    with pytest.raises(ValidationError):
        DeadLetterFilter.model_validate(fields)


async def test_they_are_found_by_what_failed(client: Client) -> None:
    """The filter's fields narrow what is listed, and lists show what Temporal holds in clear."""
    tenant = new_tenant()
    await open_dead_letters(client, 2, tenant=tenant)
    (filtered,) = await open_dead_letters(
        client,
        1,
        tenant=tenant,
        first=10,
        failure_class=FailureClass.CARRIER_FILTERED,
        error_code=30007,
        outcome=Outcome.UNDELIVERED,
    )

    found = [
        each
        async for each in find(
            client, DeadLetterFilter(tenant=tenant, failure_class=FailureClass.CARRIER_FILTERED)
        )
    ]
    assert [filtered] == [each.message_id for each in found]
    assert ("open", 30007, "+1500***0006", tenant, False) == (
        found[0].status,
        found[0].error_code,
        found[0].sender,
        found[0].tenant,
        found[0].may_have_arrived,
    )


async def test_they_are_grouped_by_cause(client: Client) -> None:
    """Most first, with what it means, what to do, and how many may have arrived."""
    tenant = new_tenant()
    await open_dead_letters(
        client,
        1,
        tenant=tenant,
        failure_class=FailureClass.NO_RECEIPT,
        error_code=None,
        outcome=Outcome.UNCONFIRMED,
    )
    await open_dead_letters(client, 2, tenant=tenant, first=10)

    found = await group(client, DeadLetterFilter(tenant=tenant))
    few = await group(client, DeadLetterFilter(tenant=tenant), limit=1)

    assert (3, True) == (found.count, found.is_all)
    assert (1, False) == (few.count, few.is_all)
    config, receipt = found.groups
    assert (2, 0, 21408, {"+1500***0006": 2}) == (
        config.count,
        config.may_have_arrived,
        config.cause.error_code,
        config.senders,
    )
    assert (1, 1, None) == (receipt.count, receipt.may_have_arrived, receipt.cause.error_code)
    assert config.oldest <= config.newest
    assert codes.advice_for(FailureClass.SENDER_MISCONFIGURED, 21408) == config.cause.advice
    assert codes.meaning_for(FailureClass.NO_RECEIPT, None) == receipt.cause.meaning


async def test_one_that_was_terminated_is_not_shown_as_open(client: Client) -> None:
    """The workflow's own answer is still open, since its code did not run."""
    tenant = new_tenant()
    (message_id,) = await open_dead_letters(client, 1, tenant=tenant)
    before = await fetch(client, message_id)

    await client.get_workflow_handle(dead_letter_workflow_id(message_id)).terminate()

    assert ("open", "terminated") == (before.status, (await fetch(client, message_id)).status)
    assert await report_of(client, message_id) is None
    with pytest.raises(AlreadyClosed) as raised:
        await resolve(client, message_id, DISCARD)
    assert raised.value.report is None


async def test_one_is_resolved_once(client: Client) -> None:
    """The second decision learns of the first; the same job's decision has the same answer."""
    tenant = new_tenant()
    first, second = await open_dead_letters(client, 2, tenant=tenant)
    of_a_job = DISCARD.model_copy(update={"job_id": "job-1"})

    done = await resolve(client, first, of_a_job)
    with pytest.raises(AlreadyClosed) as raised:
        await resolve(client, first, RETRY)

    assert done == raised.value.report == await report_of(client, first)
    assert ("job-1", "ops") == (done.job_id, done.by)
    assert await report_of(client, second) is None


async def test_what_a_dead_letter_refuses(client: Client) -> None:
    """Each refusal is a type of its own."""
    tenant = new_tenant()
    (plain,) = await open_dead_letters(client, 1, tenant=tenant)
    (taken,) = await open_dead_letters(
        client,
        1,
        tenant=tenant,
        first=10,
        failure_class=FailureClass.OUTCOME_UNKNOWN,
        error_code=None,
        outcome=Outcome.UNCONFIRMED,
    )
    changed = Resolution.model_validate({"action": "retry", "changes": {"body": "  "}})

    with pytest.raises(BadInput, match="body: is blank"):
        await resolve(client, plain, changed)
    with pytest.raises(MayHaveArrived):
        await resolve(client, taken, RETRY)
    with pytest.raises(NotFound):
        await resolve(client, uuid.uuid4().hex, DISCARD)
    with pytest.raises(NotFound):
        await fetch(client, uuid.uuid4().hex)


async def test_no_answer_is_no_refusal(temporal: Client) -> None:
    """Without a worker it is not known whether it was resolved."""
    (message_id,) = await open_dead_letters(temporal, 1, tenant=new_tenant())

    with pytest.raises(NoAnswer, match="not known whether"):
        await resolve(temporal, message_id, DISCARD, within=0.5)
