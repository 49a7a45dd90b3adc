"""The order of an erasure, with a real Temporal and no worker."""

import itertools
from collections.abc import Sequence

import pytest
from sqlalchemy import Engine
from temporalio.client import Client

from signedfor.client import Client as SignedforClient
from signedfor.contract import MessageRequest
from signedfor.erasure.person import PersonErasure
from signedfor.erasure.twilio import TwilioCopies
from signedfor.erasure.workflows import Removed
from signedfor.errors import Unconfirmed
from signedfor.settings import AtTwilio
from signedfor.store.erasure import Erasure
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import Claimed, SendAttempts
from signedfor.twilio.client import TwilioClient

pytestmark = pytest.mark.integration


PERSON, SENDER = "+15558675309", "+15005550006"
MESSAGE = {"to": PERSON, "from": SENDER, "body": "x"}


def _erasure(temporal: Client, sqlite_engine: Engine, waits: list[float]) -> PersonErasure:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    twilio = TwilioClient(
        account_sid="AC" + "0" * 32,
        username="x",
        password="x",
        connections=1,
        base_url="http://127.0.0.1:9",
    )
    return PersonErasure(
        sqlite_engine,
        temporal,
        PERSON,
        by="test",
        within=1,
        twilio=TwilioCopies(twilio, AtTwilio.KEEP),
        sleep=sleep,
    )


async def test_a_post_that_may_be_under_way_is_awaited(
    temporal: Client, sqlite_engine: Engine
) -> None:
    """Its worker does not answer, but may still be making it: Twilio's list has it only then."""
    message = await SignedforClient(temporal).send(MESSAGE)
    attempts = SendAttempts(sqlite_engine, RateLimiter(sqlite_engine))
    request = MessageRequest.model_validate(MESSAGE)
    assert isinstance(attempts.claim(message.message_id, request, sender=SENDER), Claimed)
    waits: list[float] = []

    erased = await _erasure(temporal, sqlite_engine, waits).erase()

    [wait] = waits
    assert 20 < wait <= 30
    assert ({"messages": 1}, ()) == (erased.temporal, erased.left)


async def test_what_arrives_meanwhile_is_erased_too(
    temporal: Client, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not for ever: then it says so."""
    client, numbers, arriving = SignedforClient(temporal), itertools.count(), 1
    erasure = _erasure(temporal, sqlite_engine, [])
    bring = erasure._bring_index_up_to_date

    async def arrive() -> int:
        if next(numbers) < arriving:
            await client.send(MESSAGE)
        return await bring()

    monkeypatch.setattr("signedfor.erasure.person._MAX_ROUNDS", 2)
    monkeypatch.setattr(erasure, "_bring_index_up_to_date", arrive)
    erased = await erasure.erase()
    assert ({"messages": 1}, ()) == (erased.temporal, erased.left)

    numbers, arriving = itertools.count(), 99
    erased = await erasure.erase()
    assert {"messages": 2} == erased.temporal
    assert ("Messages to or from the person keep arriving.",) == erased.left


async def test_what_leads_to_the_messages_is_deleted_last(
    temporal: Client, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When histories cannot be deleted, the records still say which they are."""
    message = await SignedforClient(temporal).send(MESSAGE)
    attempts = SendAttempts(sqlite_engine, RateLimiter(sqlite_engine))
    attempts.claim(message.message_id, MessageRequest.model_validate(MESSAGE), sender=SENDER)
    erasure = _erasure(temporal, sqlite_engine, [])
    remove = erasure._workflows.remove

    async def fail(ids: Sequence[str]) -> Removed:
        await remove(ids)
        raise Unconfirmed("scripted")

    monkeypatch.setattr(erasure._workflows, "remove", fail)
    with pytest.raises(Unconfirmed):
        await erasure.erase()

    assert {message.message_id} == Erasure(sqlite_engine, PERSON).find().message_ids
    monkeypatch.undo()
    assert 1 == (await erasure.erase()).database["send_attempts"]
    assert Erasure(sqlite_engine, PERSON).find().is_nothing
