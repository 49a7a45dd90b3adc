"""Searching Twilio's list when other messages of ours could match: their SIDs are not used."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import Engine

from activities.search import TwilioSearch
from signedfor.contract import Outcome, Stage
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Absent, Ambiguous, Found
from signedfor.retry import SEARCH_TIMEOUT
from signedfor.store.send_attempts import SendAttempts
from signedfor.twilio.client import TwilioClient
from tests.activities.conftest import unlimited_rates
from tests.activities.search.conftest import (
    BROKEN,
    TEXT,
    Candidates,
    find,
    found_sid,
    message,
    template,
)
from tests.devtools.sandbox.support import SENDER


@pytest.mark.parametrize(
    "created",
    [
        {"body": f"Sent from a trial account - {TEXT}"},
        {"body": TEXT, "media_url": ["https://example.com/a.png"]},
    ],
)
async def test_a_different_text_may_be_ours(
    search: TwilioSearch,
    twilio: TwilioClient,
    candidates: Candidates,
    to: str,
    created: dict[str, Any],
) -> None:
    """Twilio may list another text than we sent; it is ambiguous unless another message has it."""
    row = twilio.messages.create(to=to, from_=SENDER, **created)
    await candidates.add(message(to, body="A third text."), status=Stage.SENDING)
    assert Ambiguous() == await find(search, message(to))

    await candidates.add(message(to, body="An altered text."), str(row.sid), status="delivered")
    assert Absent() == await find(search, message(to))


async def test_a_candidate_with_another_text_does_not_matter(
    search: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str
) -> None:
    """Even while its own outcome is unknown, the text shows which listed message is its own."""
    other = message(to, body="Another text.")
    twilio.messages.create(to=to, from_=SENDER, body=other.body)
    await candidates.add(other, status=Stage.RESOLVING)
    assert Absent() == await find(search, message(to))

    ours = twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    assert ours.sid == await found_sid(find(search, message(to)))


async def test_the_sid_of_another_message_is_not_used(
    search: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str
) -> None:
    """Another message with the same text has its own SID already."""
    wanted = message(to)
    theirs = twilio.messages.create(to=wanted.to, from_=SENDER, body=TEXT)
    await candidates.add(wanted, str(theirs.sid), status=Stage.AWAITING_RECEIPT)
    assert Absent() == await find(search, wanted)

    ours = twilio.messages.create(to=wanted.to, from_=SENDER, body=TEXT)
    result = await find(search, wanted)

    assert isinstance(result, Found)
    assert ours.sid == result.message_sid


async def test_a_template_does_not_use_the_sid_of_a_text_message(
    search: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str
) -> None:
    """Any text to the recipient could be the rendered template, unless another message owns it."""
    wanted = template(to)
    theirs = twilio.messages.create(to=wanted.to, from_=SENDER, body=TEXT)
    await candidates.add(message(wanted.to), str(theirs.sid), status=Outcome.DELIVERED)
    assert Absent() == await find(search, wanted)

    ours = twilio.messages.create(to=wanted.to, from_=SENDER, body="As it was rendered.")
    assert ours.sid == await found_sid(find(search, wanted))


@pytest.mark.parametrize(
    "status", [Stage.SENDING, Stage.WAITING, Stage.RETRYING, Stage.RESOLVING, BROKEN]
)
async def test_the_search_is_ambiguous_while_a_candidate_is_open(
    search: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str, status: str
) -> None:
    """While the other's outcome is open or unknown too, the listed message could be either's."""
    wanted = message(to, body=f"open {status}")
    twilio.messages.create(to=wanted.to, from_=SENDER, body=wanted.body)
    await candidates.add(wanted, status=status)

    assert Ambiguous() == await find(search, wanted)


@pytest.mark.parametrize("is_template", [True, False])
async def test_the_search_is_ambiguous_between_a_text_and_a_template(
    search: TwilioSearch,
    twilio: TwilioClient,
    candidates: Candidates,
    to: str,
    is_template: bool,
) -> None:
    """The template may be rendered to exactly that text."""
    both = [message(to), template(to)]
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    await candidates.add(both[not is_template], status=Stage.RESOLVING)

    assert Ambiguous() == await find(search, both[is_template])


@pytest.mark.parametrize(
    "ended",
    [
        (Outcome.UNCONFIRMED, ()),
        (Outcome.UNCONFIRMED, ("SM" + "0d" * 16,)),
        (Outcome.EXPIRED, ()),
    ],
    ids=["unconfirmed", "unconfirmed after a resend", "expired"],
)
async def test_the_search_is_ambiguous_after_an_unresolved_candidate(
    search: TwilioSearch,
    twilio: TwilioClient,
    candidates: Candidates,
    to: str,
    ended: tuple[Outcome, tuple[str, ...]],
) -> None:
    """A message that ended with its outcome unknown may still be the one that Twilio lists."""
    outcome, sids = ended
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    await candidates.add(
        message(to),
        *sids,
        status=outcome,
        failure_class=FailureClass.OUTCOME_UNKNOWN,
    )

    assert Ambiguous() == await find(search, message(to))


async def test_a_candidate_without_a_receipt_owns_only_its_sid(
    search: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str
) -> None:
    """It is unconfirmed, but not because of an unknown outcome."""
    theirs, ours = (twilio.messages.create(to=to, from_=SENDER, body=TEXT) for _ in range(2))
    await candidates.add(
        message(to),
        str(theirs.sid),
        status=Outcome.UNCONFIRMED,
        failure_class=FailureClass.NO_RECEIPT,
    )

    assert ours.sid == await found_sid(find(search, message(to)))


async def test_a_candidate_that_does_not_answer_affects_only_similar_messages(
    search: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str
) -> None:
    """What could be its own is ambiguous; other messages are found."""
    others = [message(to, body=f"Another text, {n}.") for n in range(3)]
    for each in [message(to), *others]:
        twilio.messages.create(to=to, from_=SENDER, body=each.body)
    for each in others:
        await candidates.add(each, status=Stage.SENDING, answers=False)

    async with asyncio.timeout(SEARCH_TIMEOUT.total_seconds()):
        results = await asyncio.gather(*(find(search, each) for each in (message(to), others[0])))

    assert [Found, Ambiguous] == [type(each) for each in results]


async def test_a_candidate_without_a_workflow_does_not_matter(
    search: TwilioSearch, twilio: TwilioClient, sqlite_engine: Engine, to: str
) -> None:
    """An attempt record whose message does not exist any more owns nothing."""
    wanted = message(to)
    created = twilio.messages.create(to=wanted.to, from_=SENDER, body=TEXT)
    SendAttempts(sqlite_engine, unlimited_rates(sqlite_engine)).claim(
        "missing", wanted, sender=SENDER
    )

    assert created.sid == await found_sid(find(search, wanted))
