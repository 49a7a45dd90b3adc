"""Recipients to whom nothing is sent: the send activity refuses them before any POST."""

import pytest
from sqlalchemy import Engine

from activities.send import TwilioSends
from activities.waits import Waits
from signedfor.contract import SendWindow
from signedfor.destinations import Destinations
from signedfor.message_activities import InputCheck, InvalidRecipient, Sent
from signedfor.store.account_hold import AccountHold
from signedfor.store.campaigns import Campaigns
from signedfor.store.own_senders import OwnSenders
from signedfor.store.rate_limiter import RateLimiter
from tests.activities.conftest import MakeSends
from tests.activities.fake_twilio import RECIPIENT, SENDER, FakeTwilio
from tests.activities.sending import attempt, message, no_hold, send_request, unsent

PREMIUM = "+19002345678"


@pytest.mark.parametrize("to", [PREMIUM, "+447012345678", "+2105555555", SENDER])
def test_nothing_is_posted_to_some_recipients(
    sends: TwilioSends, fake_twilio: FakeTwilio, to: str
) -> None:
    """Premium-rate, personal and unassigned numbers, and the message's own sender."""
    result = attempt(sends, send_request(message=message(to=to)))

    assert isinstance(result.decision, InvalidRecipient)
    assert unsent(result.decision) == result
    assert to[1:] not in result.decision.problem
    assert [] == fake_twilio.requests


def test_nothing_is_posted_to_another_sender_of_ours(
    make_sends: MakeSends, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """It is known from an earlier message from it."""
    other = "+15557654321"
    own = OwnSenders(sqlite_engine)
    first = attempt(
        make_sends(fake_twilio.url), send_request(message=message(sender=other), sender=other)
    )
    sends = make_sends(fake_twilio.url, own_senders=own)

    result = attempt(sends, send_request(message_id="m2", message=message(to=other)))

    assert isinstance(first.decision, Sent)
    assert unsent(InvalidRecipient(problem="is one of your own numbers")) == result
    assert 1 == len(fake_twilio.requests)


def test_nothing_is_posted_beyond_the_allowed_countries(
    make_sends: MakeSends, fake_twilio: FakeTwilio
) -> None:
    """Once the setting is corrected, the message can be handed in again under its id."""
    request = send_request(message=message(to="+18765550123"))
    refused = attempt(
        make_sends(fake_twilio.url, destinations=Destinations(["US"])), request
    ).decision
    assert [] == fake_twilio.requests

    sent = attempt(make_sends(fake_twilio.url, destinations=Destinations(["JM"])), request)

    assert InvalidRecipient(problem="is in JM, which ALLOWED_COUNTRIES does not have") == refused
    assert isinstance(sent.decision, Sent)


def test_a_scheduled_message_is_checked_before_it_waits(sqlite_engine: Engine) -> None:
    """Every problem is named at once."""
    waits = Waits(
        RateLimiter(sqlite_engine),
        Campaigns(sqlite_engine),
        AccountHold(sqlite_engine),
        no_hold(sqlite_engine),
        own_senders={"+15557654321"},
        destinations=Destinations(["US"]),
    )
    window = SendWindow(opens="09:00", closes="10:00", time_zone="Europe/Secret")

    found = waits.check_input(InputCheck(to=PREMIUM, sender=SENDER, send_window=window))
    own = waits.check_input(InputCheck(to="+15557654321", sender=SENDER, send_window=None))
    abroad = waits.check_input(InputCheck(to="+18765550123", sender=SENDER, send_window=None))
    good = waits.check_input(InputCheck(to=RECIPIENT, sender=SENDER, send_window=None))

    assert ["to", "send_window"] == [field for field, _ in found.problems]
    assert (("to", "is one of your own numbers"),) == own.problems
    assert [("to", "is in JM, which ALLOWED_COUNTRIES does not have")] == [*abroad.problems]
    assert () == good.problems
