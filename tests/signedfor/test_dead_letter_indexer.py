"""The index of dead letters against a real Temporal server."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from signedfor.contract import DEAD_LETTER, OPEN, dead_letter_workflow_id
from signedfor.contract.failures import FailureClass
from signedfor.dead_letter_indexer import DeadLetterIndexer
from signedfor.dead_letters import ALL, Cause, DeadLetterFilter
from signedfor.open_dead_letters import OpenDeadLetters
from signedfor.search_attributes import (
    CAMPAIGN_ID,
    FAILURE_CLASS,
    MAY_HAVE_ARRIVED,
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    TENANT,
    TWILIO_ERROR_CODE,
)
from signedfor.store.dead_letter_index import DeadLetterIndex
from tests.signedfor.store.indexed_messages import open_letter

FILTERED = FailureClass.CARRIER_FILTERED


@pytest.fixture
def letters(sqlite_engine: Engine) -> OpenDeadLetters:
    """Its open dead letters."""
    return OpenDeadLetters(sqlite_engine)


@pytest.fixture
def indexer(temporal: Client, sqlite_engine: Engine) -> DeadLetterIndexer:
    """An indexer of a Temporal server."""
    return DeadLetterIndexer(temporal, sqlite_engine)


async def _open(temporal: Client, message_id: str, *pairs: Any) -> Any:
    """A dead letter that no worker runs."""
    attributes = TypedSearchAttributes([SearchAttributePair(MESSAGE_STATUS, OPEN)])
    return await temporal.start_workflow(
        DEAD_LETTER,
        id=dead_letter_workflow_id(message_id),
        task_queue="no-worker",
        search_attributes=attributes.updated(*(SearchAttributePair(*pair) for pair in pairs)),
    )


async def _listed(temporal: Client, count: int, clause: str = "") -> None:
    """Wait until Temporal lists so many."""
    query = f"WorkflowType = '{DEAD_LETTER}'{clause}"
    async with asyncio.timeout(30):
        while (await temporal.count_workflows(query)).count != count:  # noqa: ASYNC110 - Temporal's own pace
            await asyncio.sleep(0.05)


async def test_open_dead_letters_are_indexed(
    temporal: Client, indexer: DeadLetterIndexer, letters: OpenDeadLetters
) -> None:
    """By cause, as Temporal has them, and found by every field of a filter."""
    cause = (FAILURE_CLASS, FILTERED.value), (TWILIO_ERROR_CODE, 30007)
    await _open(
        temporal,
        "m1",
        *(*cause, (MAY_HAVE_ARRIVED, False), (TENANT, "shop")),
        *((CAMPAIGN_ID, "spring"), (MESSAGE_SENDER, "+1500***0006")),
    )
    await _open(temporal, "m2", *cause, (MESSAGE_SENDER, "+1500***0007"))
    await _open(temporal, "m3", (FAILURE_CLASS, "of a later version"))
    await _listed(temporal, 3)

    await indexer.bring_up_to_date()

    grouped = letters.group()
    assert 3 == grouped.count
    filtered, other = grouped.groups
    assert Cause(failure_class=FILTERED, error_code=30007) == filtered.cause
    assert (2, 1) == (filtered.count, filtered.may_have_arrived)
    assert {"+1500***0006": 1, "+1500***0007": 1} == filtered.senders
    assert Cause(failure_class=None, error_code=None) == other.cause
    for fields in (
        {"sender": "+15005550006"},
        {"tenant": "shop"},
        {"campaign_id": "spring"},
        {"may_have_arrived": False},
    ):
        which = DeadLetterFilter.model_validate(fields)
        assert ["m1"] == [each.message_id for each in letters.find(which, limit=9)]
        assert 1 == letters.group(which).count
    for which in (DeadLetterFilter(failure_class=FILTERED), DeadLetterFilter(error_code=30007)):
        assert ["m2", "m1"] == [each.message_id for each in letters.find(which, limit=9)]
    without_code = letters.find(DeadLetterFilter(has_no_code=True), limit=9)
    assert ["m3"] == [each.message_id for each in without_code]
    assert ["m3", "m2"] == [each.message_id for each in letters.find(ALL, limit=2)]


async def test_what_is_closed_is_not_open(
    temporal: Client, indexer: DeadLetterIndexer, letters: OpenDeadLetters
) -> None:
    """However it ended; and one that has its decision, though its workflow still runs."""
    ended = await _open(temporal, "m1")
    await _listed(temporal, 1)
    await indexer.bring_up_to_date()
    assert 1 == letters.group().count

    await ended.terminate()
    await _open(temporal, "m2", (MESSAGE_STATUS, "retried"))
    await _listed(temporal, 1, " AND ExecutionStatus = 'Terminated'")
    await _listed(temporal, 2)
    await indexer.bring_up_to_date()

    assert 0 == letters.group().count


async def test_an_older_look_opens_none_again(
    temporal: Client, letters: OpenDeadLetters, indexer: DeadLetterIndexer, sqlite_engine: Engine
) -> None:
    """Who has closed one looks again; what a round had read before that changes nothing."""
    handle = await _open(temporal, "m1")
    await _listed(temporal, 1)
    await indexer.bring_up_to_date()
    index = DeadLetterIndex(sqlite_engine)
    [before] = index.find_open({}, limit=1)

    await handle.terminate()
    await letters.look_again(temporal, "m1")
    index.put([before])
    index.put([replace(before, may_have_arrived=False)])

    assert 0 == letters.group().count


async def test_one_that_temporal_does_not_have_is_forgotten(
    temporal: Client, letters: OpenDeadLetters, sqlite_engine: Engine
) -> None:
    """It is looked at itself."""
    handle = await _open(temporal, "m1")
    await letters.look_again(temporal, "m1")
    [row] = DeadLetterIndex(sqlite_engine).find_open({}, limit=1)
    await handle.terminate()
    DeadLetterIndex(sqlite_engine).put([replace(row, message_id="m2")])

    await letters.look_again(temporal, "m2")

    assert ["m1"] == [each.message_id for each in letters.find(ALL, limit=9)]


def test_a_cause_of_a_later_version(letters: OpenDeadLetters, sqlite_engine: Engine) -> None:
    """It is shown as not known: a release can be taken back."""
    DeadLetterIndex(sqlite_engine).put([open_letter(1, failure_class="OfALaterVersion")])

    [group] = letters.group().groups
    assert (None, 1) == (group.cause.failure_class, group.count)
