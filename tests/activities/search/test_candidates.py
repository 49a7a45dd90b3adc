"""The search in Twilio's list beside other messages of ours: no SID of theirs is taken."""

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
from tests.activities.conftest import pacing
from tests.activities.search.conftest import (
    BROKEN,
    TEXT,
    Candidates,
    found_sid,
    look,
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
async def test_a_strange_text_may_be_ours(
    searching: TwilioSearch,
    twilio: TwilioClient,
    candidates: Candidates,
    to: str,
    created: dict[str, Any],
) -> None:
    """Twilio may list another text than we sent: unless it is another message's, who knows."""
    row = twilio.messages.create(to=to, from_=SENDER, **created)
    await candidates.add(message(to, body="A third text."), status=Stage.SENDING)
    assert Ambiguous() == await look(searching, message(to))

    await candidates.add(message(to, body="An altered text."), str(row.sid), status="delivered")
    assert Absent() == await look(searching, message(to))


async def test_an_open_candidates_text_is_the_candidates(
    searching: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str
) -> None:
    """A message with another text, of unknown fate too, holds nobody up: its row is known by it."""
    other = message(to, body="Another text.")
    twilio.messages.create(to=to, from_=SENDER, body=other.body)
    await candidates.add(other, status=Stage.RESOLVING)
    assert Absent() == await look(searching, message(to))

    ours = twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    assert ours.sid == await found_sid(look(searching, message(to)))


async def test_a_sid_of_another_message_is_never_taken(
    searching: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str
) -> None:
    """Two messages with the same text at the same time: the other's SID is the other's."""
    wanted = message(to)
    theirs = twilio.messages.create(to=wanted.to, from_=SENDER, body=TEXT)
    await candidates.add(wanted, str(theirs.sid), status=Stage.AWAITING_RECEIPT)
    assert Absent() == await look(searching, wanted)

    ours = twilio.messages.create(to=wanted.to, from_=SENDER, body=TEXT)
    result = await look(searching, wanted)

    assert isinstance(result, Found)
    assert (ours.sid) == (result.message_sid)


async def test_a_template_takes_no_text_s_sid(
    searching: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str
) -> None:
    """Any text to the person could be the template's, but not one that another message owns."""
    wanted = template(to)
    theirs = twilio.messages.create(to=wanted.to, from_=SENDER, body=TEXT)
    await candidates.add(message(wanted.to), str(theirs.sid), status=Outcome.DELIVERED)
    assert Absent() == await look(searching, wanted)

    ours = twilio.messages.create(to=wanted.to, from_=SENDER, body="As it was rendered.")
    assert ours.sid == await found_sid(look(searching, wanted))


@pytest.mark.parametrize(
    "status", [Stage.SENDING, Stage.WAITING, Stage.RETRYING, Stage.RESOLVING, BROKEN]
)
async def test_nothing_is_guessed_while_a_candidate_is_open(
    searching: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str, status: str
) -> None:
    """While the other's fate is open too, or it cannot say, the row could be either's."""
    wanted = message(to, body=f"open {status}")
    twilio.messages.create(to=wanted.to, from_=SENDER, body=wanted.body)
    await candidates.add(wanted, status=status)

    assert Ambiguous() == await look(searching, wanted)


@pytest.mark.parametrize("is_template", [True, False])
async def test_a_text_and_a_template_may_be_mistaken_for_each_other(
    searching: TwilioSearch,
    twilio: TwilioClient,
    candidates: Candidates,
    to: str,
    is_template: bool,
) -> None:
    """A template may be rendered to the very text, so neither is taken while both are open."""
    both = [message(to), template(to)]
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    await candidates.add(both[not is_template], status=Stage.RESOLVING)

    assert Ambiguous() == await look(searching, both[is_template])


@pytest.mark.parametrize(
    "ended",
    [
        (Outcome.UNCONFIRMED, ()),
        (Outcome.UNCONFIRMED, ("SM" + "0d" * 16,)),
        (Outcome.EXPIRED, ()),
    ],
    ids=["unconfirmed", "unconfirmed after a resend", "expired"],
)
async def test_an_unresolved_candidate_may_still_own_the_row(
    searching: TwilioSearch,
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

    assert Ambiguous() == await look(searching, message(to))


async def test_a_candidate_without_a_receipt_has_its_own(
    searching: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str
) -> None:
    """Unconfirmed with a SID, it lacks only the receipt and lays claim to nothing more."""
    theirs, ours = (twilio.messages.create(to=to, from_=SENDER, body=TEXT) for _ in range(2))
    await candidates.add(
        message(to),
        str(theirs.sid),
        status=Outcome.UNCONFIRMED,
        failure_class=FailureClass.NO_RECEIPT,
    )

    assert ours.sid == await found_sid(look(searching, message(to)))


async def test_a_candidate_that_does_not_answer_holds_up_its_likes_only(
    searching: TwilioSearch, twilio: TwilioClient, candidates: Candidates, to: str
) -> None:
    """A poisoned message leaves open what could be its own; all else is found as ever."""
    others = [message(to, body=f"Another text, {n}.") for n in range(3)]
    for each in [message(to), *others]:
        twilio.messages.create(to=to, from_=SENDER, body=each.body)
    for each in others:
        await candidates.add(each, status=Stage.SENDING, answers=False)

    async with asyncio.timeout(SEARCH_TIMEOUT.total_seconds()):
        results = await asyncio.gather(
            *(look(searching, each) for each in (message(to), others[0]))
        )

    assert [Found, Ambiguous] == [type(each) for each in results]


async def test_a_candidate_without_workflow_is_no_candidate(
    searching: TwilioSearch, twilio: TwilioClient, sqlite_engine: Engine, to: str
) -> None:
    """A note whose message is gone cannot own anything."""
    wanted = message(to)
    created = twilio.messages.create(to=wanted.to, from_=SENDER, body=TEXT)
    SendAttempts(sqlite_engine, pacing(sqlite_engine)).claim("gone", wanted, sender=SENDER)

    assert created.sid == await found_sid(look(searching, wanted))
