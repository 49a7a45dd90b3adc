"""Before a resend, the send activity looks once more whether Twilio has the message."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from activities.send import TwilioSends
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import Listed, SendRequest, Sent
from signedfor.store.account_hold import AccountHold
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.send_attempts import SendAttempts
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.client import TwilioClient
from signedfor.worker_metrics import WorkerMetrics
from tests.activities.conftest import unlimited_rates
from tests.activities.search.conftest import TEXT, message
from tests.activities.sending import POLICY, attempt, failed_attempt, no_hold, send_request
from tests.devtools.sandbox.support import SENDER


@pytest.fixture
def sends(twilio: TwilioClient, sqlite_engine: Engine) -> TwilioSends:
    """The activity against the sandbox."""
    return TwilioSends(
        twilio,
        Suppressions(sqlite_engine),
        SendAttempts(sqlite_engine, unlimited_rates(sqlite_engine)),
        AccountHold(sqlite_engine),
        outage_hold=no_hold(sqlite_engine),
        held_back=HeldBackMessages(sqlite_engine),
        public_base_url="https://hooks.example",
        default_sender=None,
        policy=POLICY,
        report=lambda _: None,
        metrics=WorkerMetrics(),
    )


def _resend(to: str, *listed_sids: str) -> SendRequest:
    return send_request(
        message=message(to),
        sender=SENDER,
        submission=2,
        unresolved_since=datetime.now(UTC) - timedelta(minutes=1),
        listed_sids=listed_sids,
    )


def _count(twilio: TwilioClient, to: str) -> int:
    return len(twilio.messages.list(to=to))


def test_what_twilio_lists_by_now_is_not_sent_again(
    sends: TwilioSends, twilio: TwilioClient, to: str
) -> None:
    """The first POST was listed after the searches: it is resolved, not repeated."""
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    assert Listed() == attempt(sends, _resend(to)).decision
    assert 1 == _count(twilio, to)


def test_a_post_of_an_earlier_run_is_not_sent_again(
    sqlite_engine: Engine, sends: TwilioSends, twilio: TwilioClient, to: str
) -> None:
    """After a reset the workflow knows of a later POST only; the claim knows when the first was."""
    claims = SendAttempts(sqlite_engine, unlimited_rates(sqlite_engine))
    claims.claim("parcel-7", message(to), sender=SENDER, submission=1)
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)
    later = datetime.now(UTC) + timedelta(minutes=14)
    resend = _resend(to).model_copy(update={"unresolved_since": later})

    assert Listed() == attempt(sends, resend).decision
    assert 1 == _count(twilio, to)


def test_what_the_searches_have_seen_does_not_count(
    sends: TwilioSends, twilio: TwilioClient, to: str
) -> None:
    """Rows that belong to other messages do not hold up a resend."""
    other = twilio.messages.create(to=to, from_=SENDER, body="Another text.")

    assert isinstance(attempt(sends, _resend(to, str(other.sid))).decision, Sent)
    assert 2 == _count(twilio, to)


def test_a_first_send_does_not_ask_for_the_list(
    sends: TwilioSends, twilio: TwilioClient, to: str
) -> None:
    """Other messages to the same recipient are no reason to wait."""
    twilio.messages.create(to=to, from_=SENDER, body=TEXT)

    result = attempt(sends, send_request(message=message(to), sender=SENDER))

    assert isinstance(result.decision, Sent)


def test_without_the_list_nothing_is_sent_again(
    sends: TwilioSends, twilio: TwilioClient, to: str
) -> None:
    """Twilio cannot be asked: the attempt is repeated later by the policy."""
    base_url, twilio.api.base_url = twilio.api.base_url, "http://127.0.0.1:9"

    error, _ = failed_attempt(sends, _resend(to))

    twilio.api.base_url = base_url
    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert 0 == _count(twilio, to)
