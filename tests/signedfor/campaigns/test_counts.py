"""The rows of a campaign are counted in Temporal, each once, by its newest message."""

import uuid
from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from signedfor.campaigns.counts import count_ended, count_outcomes, count_rows
from signedfor.contract import DEAD_LETTER, SEND_MESSAGE, DeadLetterOutcome, Outcome, Stage
from signedfor.search_attributes import CAMPAIGN_ID, MESSAGE_STATUS, PRIOR_OUTCOME
from tests.activities.campaign_setup import until

pytestmark = pytest.mark.integration

_WITHIN = timedelta(seconds=10)


async def _start(
    client: Client,
    campaign_id: str,
    status: str,
    *,
    prior: Outcome | None = None,
    kind: str = SEND_MESSAGE,
    is_over: bool = True,
) -> None:
    """A workflow that is found by these attributes; no worker runs it."""
    attributes = [
        SearchAttributePair(CAMPAIGN_ID, campaign_id),
        SearchAttributePair(MESSAGE_STATUS, status),
    ]
    if prior is not None:
        attributes.append(SearchAttributePair(PRIOR_OUTCOME, prior.value))
    handle = await client.start_workflow(
        kind,
        id=f"{campaign_id}-{uuid.uuid4()}",
        task_queue="no-worker",
        search_attributes=TypedSearchAttributes(attributes),
    )
    if is_over:
        await handle.terminate()


async def test_a_row_counts_by_its_newest_message(temporal: Client) -> None:
    """A retry takes the place of what it retries, and so does a delivery that came late."""
    campaign_id = f"c-{uuid.uuid4().hex[:12]}"
    # Four rows: delivered; failed, failed again, delivered; failed; unconfirmed, delivered late.
    await _start(temporal, campaign_id, Outcome.DELIVERED)
    await _start(temporal, campaign_id, Outcome.FAILED)
    await _start(temporal, campaign_id, Outcome.FAILED, prior=Outcome.FAILED)
    await _start(temporal, campaign_id, Outcome.DELIVERED, prior=Outcome.FAILED)
    await _start(temporal, campaign_id, Outcome.FAILED)
    await _start(temporal, campaign_id, Outcome.UNCONFIRMED)
    for status, prior in (
        (DeadLetterOutcome.RETRIED, Outcome.FAILED),
        (DeadLetterOutcome.DELIVERED_LATE, Outcome.UNCONFIRMED),
    ):
        await _start(temporal, campaign_id, status, prior=prior, kind=DEAD_LETTER)

    async def counted() -> bool:
        outcomes = await count_outcomes(temporal, campaign_id, rpc_timeout=_WITHIN)
        ended = await count_ended(temporal, campaign_id, rpc_timeout=_WITHIN)
        return (outcomes, ended) == ({"delivered": 3, "failed": 1}, (0, 4))

    await until(counted)


async def test_a_retry_under_way_is_not_an_end(temporal: Client) -> None:
    """Its row has not ended, and is at the stage of the retry."""
    campaign_id = f"c-{uuid.uuid4().hex[:12]}"
    await _start(temporal, campaign_id, Outcome.UNDELIVERED)
    await _start(temporal, campaign_id, Stage.WAITING, prior=Outcome.UNDELIVERED, is_over=False)

    async def counted() -> bool:
        rows = await count_rows(temporal, campaign_id, rpc_timeout=_WITHIN)
        ended = await count_ended(temporal, campaign_id, rpc_timeout=_WITHIN)
        # The first was terminated here, as if it had ended without a report.
        return (rows, ended) == ({"waiting": 1, "no_report": 1}, (1, 0))

    await until(counted)
