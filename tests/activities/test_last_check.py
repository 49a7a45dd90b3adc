"""What the send activity looks at immediately before its POST."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activities.send import TwilioSends
from messaging.consent import Reason, Scope, Source, Suppression
from messaging.failures import FailureClass
from messaging.retry import LATEST_POST_START
from messaging.steps import Submission, Verdict
from store.database import open_engine
from store.suppressions import Suppressions
from tests.activities.conftest import MakeSends
from tests.activities.edge import RECIPIENT, SENDER, Edge
from tests.activities.sending import attempt, failed_attempt, message, send_request

SERVICE = "MG" + "0" * 32


@pytest.mark.parametrize("reason", Reason)
def test_suppressed(
    sends: TwilioSends, edge: Edge, suppressions: Suppressions, reason: Reason
) -> None:
    """Who is suppressed by the time of the attempt gets no POST, and the reason is named."""
    suppressions.record(
        Suppression(recipient=RECIPIENT, reason=reason, source=Source.OPERATOR), who="test"
    )

    submission = attempt(sends, number=2)

    expected = Submission(verdict=Verdict.SUPPRESSED, suppressed_by=reason, attempts=1)
    assert expected == submission
    assert [] == edge.asked


@pytest.mark.parametrize(
    ("scope", "value", "suppressed"),
    [
        (Scope.SENDER, SENDER, True),
        (Scope.SENDER, SERVICE, False),
        (Scope.CATEGORY, "marketing", True),
        (Scope.CATEGORY, "alerts", False),
    ],
)
def test_scope_of_the_last_check(  # noqa: PLR0917 - pytest passes them by name
    sends: TwilioSends,
    edge: Edge,
    suppressions: Suppressions,
    scope: Scope,
    value: str,
    suppressed: bool,
) -> None:
    """The last check asks for this sender and this category."""
    suppressions.record(
        Suppression(
            recipient=RECIPIENT,
            reason=Reason.OPTED_OUT,
            source=Source.INBOUND,
            scope=scope,
            scope_value=value,
        ),
        who="test",
    )

    submission = attempt(sends, send_request(message=message(category="marketing")))

    assert suppressed == (submission.verdict is Verdict.SUPPRESSED)
    assert [] == edge.asked if suppressed else len(edge.asked) == 1


def test_database_unreachable(make_sends: MakeSends, edge: Edge, tmp_path: Path) -> None:
    """When consent cannot be read nothing is sent, and it is tried again."""
    engine = open_engine(f"sqlite:///{tmp_path / 'gone' / 'x.db'}")

    error, detail = failed_attempt(make_sends(edge.url, engine=engine))

    engine.dispose()
    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert not error.non_retryable
    assert detail.retry_after is not None
    assert [] == edge.asked


def test_expired(sends: TwilioSends, edge: Edge) -> None:
    """After `expires_at` there is no POST."""
    late = message(expires_at=datetime.now(UTC) - timedelta(milliseconds=1))

    assert Submission(verdict=Verdict.EXPIRED) == attempt(sends, send_request(message=late))
    assert [] == edge.asked


def test_a_frozen_worker(sends: TwilioSends, edge: Edge) -> None:
    """An attempt that wakes up later than its POST may begin sends nothing."""
    error, _ = failed_attempt(sends, age=LATEST_POST_START + timedelta(seconds=0.1))

    assert FailureClass.TEMPORARILY_UNAVAILABLE == error.type
    assert not error.non_retryable
    assert [] == edge.asked


def test_an_attempt_within_its_time(sends: TwilioSends, edge: Edge) -> None:
    """An attempt that is a little late still sends."""
    attempt(sends, age=LATEST_POST_START - timedelta(seconds=1))

    assert 1 == len(edge.asked)


def test_deadline_passed(sends: TwilioSends, edge: Edge) -> None:
    """After the retry budget there is no POST, and no further attempt."""
    over = send_request(deadline=datetime.now(UTC) - timedelta(milliseconds=1))

    error, _ = failed_attempt(sends, over)

    assert (FailureClass.TEMPORARILY_UNAVAILABLE, True) == (error.type, error.non_retryable)
    assert [] == edge.asked
