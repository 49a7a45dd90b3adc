"""Twilio refuses the account's requests: messages wait, and one is tried at a time."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, update

from activities.send import TwilioSends
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import AccountHeld, SendResult, Sent
from signedfor.store.account_hold import AccountHold
from signedfor.store.database import DatabaseUnavailable, transaction
from signedfor.store.tables import account_hold
from tests.activities.fake_twilio import (
    CANARIES,
    SENDER,
    ConnectionFault,
    FakeTwilio,
    created,
    http,
    refused,
)
from tests.activities.sending import POLICY, attempt, failed_attempt, send_request, unsent

UNAUTHORIZED = refused(401, 20003)


@pytest.fixture
def hold(sqlite_engine: Engine) -> AccountHold:
    """The account's hold: there is none at first."""
    return AccountHold(sqlite_engine)


def _let_it_try(engine: Engine) -> None:
    """As if the time until the next try had passed."""
    with transaction(engine) as connection:
        connection.execute(update(account_hold).values(next_try_at=datetime.now(UTC)))


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (UNAUTHORIZED, 20003),
        (http(401, "<html>"), None),
        (refused(403, 20005), 20005),
        (refused(403, 20008), 20008),
        (refused(400, 10001), 10001),
    ],
    ids=["credentials", "no code", "not active", "test credentials", "no balance"],
)
def test_a_refusal_of_the_account_holds_it(  # noqa: PLR0917 - pytest passes them by name
    sends: TwilioSends,
    fake_twilio: FakeTwilio,
    hold: AccountHold,
    response: bytes,
    code: int | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The message is not at fault: it waits, and so do others, without a POST."""
    fake_twilio.responses = [response]

    result = attempt(sends)
    others = [attempt(sends, send_request(message_id=str(number))) for number in range(3)]

    held = AccountHeld(error_code=code)
    assert SendResult(attempts=1, sender=SENDER, policy=POLICY, decision=held) == result
    assert [unsent(held)] * 3 == others
    assert 1 == len(fake_twilio.requests)
    found = hold.find()
    assert found is not None
    assert code == found.error_code
    assert 1 == caplog.text.count("Twilio refuses this account's requests")
    assert [] == [canary for canary in CANARIES if canary in caplog.text]


@pytest.mark.parametrize("response", [refused(403, 21408), http(403, "<html>")])
def test_a_refusal_of_one_message_does_not_hold_the_account(
    sends: TwilioSends, fake_twilio: FakeTwilio, hold: AccountHold, response: bytes
) -> None:
    """It fails, and others are sent."""
    fake_twilio.responses = [response, created()]

    error, _ = failed_attempt(sends)

    assert FailureClass.SENDER_MISCONFIGURED == error.type
    assert hold.find() is None
    assert isinstance(attempt(sends, send_request(message_id="other")).decision, Sent)


def test_one_message_is_tried_and_ends_the_hold(
    sends: TwilioSends, fake_twilio: FakeTwilio, hold: AccountHold, sqlite_engine: Engine
) -> None:
    """The same message may be: Twilio does not have it."""
    fake_twilio.responses = [UNAUTHORIZED, created()]
    attempt(sends)
    _let_it_try(sqlite_engine)

    result = attempt(sends, send_request(earlier_attempts=1))

    assert isinstance(result.decision, Sent)
    assert 2 == result.attempts
    assert hold.find() is None


def test_a_try_that_is_refused_holds_the_account_for_longer(
    sends: TwilioSends, fake_twilio: FakeTwilio, hold: AccountHold, sqlite_engine: Engine
) -> None:
    """The next message waits again."""
    fake_twilio.responses = [UNAUTHORIZED, refused(403, 20005)]
    attempt(sends)
    begun = hold.find()
    _let_it_try(sqlite_engine)

    second = attempt(sends).decision

    assert AccountHeld(error_code=20005) == second == attempt(sends).decision
    found = hold.find()
    assert begun is not None
    assert found is not None
    assert (20005, begun.since) == (found.error_code, found.since)
    assert found.next_try_at > datetime.now(UTC)
    assert 2 == len(fake_twilio.requests)


@pytest.mark.parametrize("response", [refused(400, 21610), refused(403, 21408)])
def test_a_try_that_fails_for_another_reason_ends_the_hold(
    sends: TwilioSends,
    fake_twilio: FakeTwilio,
    hold: AccountHold,
    sqlite_engine: Engine,
    response: bytes,
) -> None:
    """Twilio knows the account again."""
    fake_twilio.responses = [UNAUTHORIZED, response]
    attempt(sends)
    _let_it_try(sqlite_engine)

    failed_attempt(sends)

    assert hold.find() is None


@pytest.mark.parametrize(
    "response",
    [ConnectionFault.CLOSE, ConnectionFault.HANG, refused(429, 20429), refused(503, 20503)],
)
def test_a_try_that_is_not_decided_proves_nothing(
    sends: TwilioSends,
    fake_twilio: FakeTwilio,
    hold: AccountHold,
    sqlite_engine: Engine,
    response: bytes | str,
) -> None:
    """The account stays held until the next try."""
    fake_twilio.responses = [UNAUTHORIZED, response]
    attempt(sends)
    _let_it_try(sqlite_engine)

    failed_attempt(sends)

    assert hold.find() is not None
    assert isinstance(attempt(sends, send_request(message_id="other")).decision, AccountHeld)


def test_a_hold_that_cannot_be_recorded(
    sends: TwilioSends, fake_twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message waits all the same; the next one finds out for itself."""
    fake_twilio.responses = [UNAUTHORIZED]

    def unavailable(*_: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(AccountHold, "begin", unavailable)

    assert AccountHeld(error_code=20003) == attempt(sends).decision
    assert AccountHeld(error_code=20003) == attempt(sends, send_request(message_id="2")).decision
    assert 2 == len(fake_twilio.requests)
