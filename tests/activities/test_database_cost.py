"""What a send costs the database, which bounds how many messages a second are sent."""

import pytest
from sqlalchemy import Engine

from signedfor.message_activities import Sent
from signedfor.store.rate_limiter import RateLimiter
from tests.activities.conftest import MakeSends
from tests.activities.fake_twilio import FakeTwilio
from tests.activities.sending import attempt, send_request
from tests.signedfor.store.observation import observed


@pytest.mark.parametrize(("account_rate", "statements"), [(None, 2), (1000.0, 3)])
def test_a_send_is_one_transaction(
    make_sends: MakeSends,
    fake_twilio: FakeTwilio,
    engine: Engine,
    account_rate: float | None,
    statements: int,
) -> None:
    """Checks, rate limiter and claim are in it; an accepted POST needs no other."""
    limiter = RateLimiter(engine, account_rate=account_rate)
    sends = make_sends(fake_twilio.url, engine=engine, limiter=limiter)
    # A process reads the key of references once.
    attempt(sends, send_request(message_id="before", sender="+15005550007"), is_local=True)
    work = observed(engine)

    decision = attempt(sends, send_request(), is_local=True).decision

    assert isinstance(decision, Sent)
    assert (1, ["commit"]) == (work.begins, work.ends)
    assert statements == len(work.statements)
    assert 2 == len(fake_twilio.requests)
