from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from activities.suppression import SuppressionRecorder
from signedfor.consent import Reason, Scope, Source
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import SuppressionRecord
from signedfor.store.suppressions import Suppressions
from tests.activities.fake_twilio import RECIPIENT, SENDER, SID

WHATSAPP = f"whatsapp:{RECIPIENT}"


def _record(**fields: Any) -> SuppressionRecord:
    return SuppressionRecord(
        **{
            "message_id": "parcel-7",
            "to": RECIPIENT,
            "sender": SENDER,
            "category": None,
            "failure_class": FailureClass.RECIPIENT_OPTED_OUT,
            "error_code": 21610,
            "message_sid": SID,
            **fields,
        }
    )


def _recorder(
    suppressions: Suppressions,
    scope: Scope = Scope.EVERYTHING,
    *,
    now: Callable[[], datetime] | None = None,
) -> SuppressionRecorder:
    return SuppressionRecorder(
        suppressions,
        opt_out_scope=scope,
        undeliverable_for=timedelta(days=90),
        now=now or (lambda: datetime.now(UTC)),
    )


def test_an_opt_out_code_suppresses_the_recipient_for_every_sender(
    suppressions: Suppressions,
) -> None:
    """The evidence names the code and the SID."""
    assert _recorder(suppressions).record_suppression(_record())

    found = suppressions.find(RECIPIENT, sender="12345", category=None)
    assert found is not None
    assert (Reason.OPTED_OUT, Source.TWILIO_CODE) == (found.reason, found.source)
    assert f"code 21610 {SID}" == found.evidence


def test_recording_a_suppression_again_changes_nothing(suppressions: Suppressions) -> None:
    """The second result is false."""
    recorder = _recorder(suppressions)

    assert [True, False] == [recorder.record_suppression(_record()) for _ in range(2)]


def _unreachable(code: int) -> SuppressionRecord:
    return _record(
        failure_class=FailureClass.RECIPIENT_UNREACHABLE, error_code=code, message_sid=None
    )


def test_a_number_that_does_not_exist_is_suppressed_for_every_sender(
    suppressions: Suppressions,
) -> None:
    """The configured scope of opt-outs does not apply to it, nor does it concern other channels."""
    _recorder(suppressions, Scope.SENDER).record_suppression(_unreachable(30005))

    found = suppressions.find(RECIPIENT, sender="12345", category=None)
    assert found is not None
    assert (Reason.UNDELIVERABLE, "code 30005") == (found.reason, found.evidence)
    assert suppressions.find(WHATSAPP, sender="12345", category=None) is None


def test_a_number_without_a_route_is_suppressed_for_that_sender_only(
    suppressions: Suppressions,
) -> None:
    """A short code may not reach a carrier that a long code does."""
    _recorder(suppressions).record_suppression(_unreachable(30006))

    assert suppressions.find(RECIPIENT, sender=SENDER, category=None) is not None
    assert suppressions.find(RECIPIENT, sender="12345", category=None) is None


@pytest.mark.parametrize(
    ("code", "days", "is_suppressed"),
    [(30005, 89, True), (30005, 91, False), (30006, 91, False), (30640, 9999, True)],
)
def test_an_unreachable_number_is_suppressed_for_a_time(
    sqlite_engine: Engine, code: int, days: int, is_suppressed: bool
) -> None:
    """Numbers are assigned again; but who sues over messages stays on the list."""
    ago = datetime.now(UTC) - timedelta(days=days)
    _recorder(Suppressions(sqlite_engine), now=lambda: ago).record_suppression(_unreachable(code))

    found = Suppressions(sqlite_engine).find(RECIPIENT, sender=SENDER, category=None)
    assert is_suppressed == (found is not None)


def test_a_code_that_comes_again_renews_an_expired_suppression(sqlite_engine: Engine) -> None:
    """The number was tried again and is still unreachable."""
    suppressions = Suppressions(sqlite_engine)
    half_a_year_ago = datetime.now(UTC) - timedelta(days=180)
    _recorder(suppressions, now=lambda: half_a_year_ago).record_suppression(_unreachable(21614))

    assert _recorder(suppressions).record_suppression(_unreachable(21614))

    assert suppressions.find(RECIPIENT, sender=SENDER, category=None) is not None


def test_an_opt_out_code_has_the_configured_scope(suppressions: Suppressions) -> None:
    """If a STOP covers one sender only, so does the code that reports it."""
    _recorder(suppressions, Scope.SENDER).record_suppression(_record())

    assert suppressions.find(RECIPIENT, sender=SENDER, category=None) is not None
    assert suppressions.find(RECIPIENT, sender="12345", category=None) is None


def test_an_opt_out_from_an_unknown_sender_covers_all_senders(suppressions: Suppressions) -> None:
    """The scope cannot be narrowed without a sender."""
    _recorder(suppressions, Scope.SENDER).record_suppression(_record(sender=None))

    assert suppressions.find(RECIPIENT, sender="12345", category=None) is not None


@pytest.mark.parametrize("code", [63014, 63050])
def test_blocking_a_whatsapp_sender_covers_only_that_sender(
    suppressions: Suppressions, code: int
) -> None:
    """Other senders and channels can still send to the recipient."""
    sender = f"whatsapp:{SENDER}"

    _recorder(suppressions).record_suppression(_record(to=WHATSAPP, sender=sender, error_code=code))

    assert suppressions.find(WHATSAPP, sender=sender, category=None) is not None
    assert suppressions.find(WHATSAPP, sender=SENDER, category=None) is None
    assert suppressions.find(RECIPIENT, sender=SENDER, category=None) is None


def test_an_opt_out_from_marketing_covers_only_that_category(suppressions: Suppressions) -> None:
    """Messages of other categories are still sent, and the category by other senders."""
    _recorder(suppressions).record_suppression(_record(error_code=63050, category="marketing"))

    assert suppressions.find(RECIPIENT, sender=SENDER, category="marketing") is not None
    assert suppressions.find(RECIPIENT, sender=SENDER, category="alerts") is None
    assert suppressions.find(RECIPIENT, sender="12345", category="marketing") is None


def test_a_suppression_is_recorded_for_the_longest_message_id(suppressions: Suppressions) -> None:
    """An id of 200 characters fits."""
    assert _recorder(suppressions).record_suppression(_record(message_id="x" * 200))
