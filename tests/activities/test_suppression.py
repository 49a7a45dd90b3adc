from typing import Any

import pytest

from activities.suppression import SuppressionRecorder
from signedfor.consent import Reason, Scope, Source
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import SuppressionRecord
from signedfor.store.suppressions import Suppressions
from tests.activities.edge import RECIPIENT, SENDER, SID

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


def _records(suppressions: Suppressions, scope: Scope = Scope.EVERYTHING) -> SuppressionRecorder:
    return SuppressionRecorder(suppressions, opt_out_scope=scope)


def test_opt_out(suppressions: Suppressions) -> None:
    """An opt-out code suppresses the recipient for every sender, with code and SID as evidence."""
    assert _records(suppressions).record_suppression(_record())

    found = suppressions.find(RECIPIENT, sender="12345", category=None)
    assert found is not None
    assert (Reason.OPTED_OUT, Source.TWILIO_CODE) == (found.reason, found.source)
    assert f"code 21610 {SID}" == found.evidence


def test_twice(suppressions: Suppressions) -> None:
    """Recording it again changes nothing and says so."""
    records = _records(suppressions)

    assert [True, False] == [records.record_suppression(_record()) for _ in range(2)]


def test_undeliverable(suppressions: Suppressions) -> None:
    """An unreachable number is suppressed for every sender, whatever the scope of a STOP."""
    _records(suppressions, Scope.SENDER).record_suppression(
        _record(
            failure_class=FailureClass.RECIPIENT_UNREACHABLE, error_code=30005, message_sid=None
        )
    )

    found = suppressions.find(RECIPIENT, sender="12345", category=None)
    assert found is not None
    assert (Reason.UNDELIVERABLE, "code 30005") == (found.reason, found.evidence)
    assert suppressions.find(WHATSAPP, sender="12345", category=None) is None


def test_opt_out_from_one_sender(suppressions: Suppressions) -> None:
    """Where a STOP covers one sender, so does the code that reports it."""
    _records(suppressions, Scope.SENDER).record_suppression(_record())

    assert suppressions.find(RECIPIENT, sender=SENDER, category=None) is not None
    assert suppressions.find(RECIPIENT, sender="12345", category=None) is None


def test_opt_out_without_a_sender(suppressions: Suppressions) -> None:
    """Where the sender is not known, the opt-out covers all of them."""
    _records(suppressions, Scope.SENDER).record_suppression(_record(sender=None))

    assert suppressions.find(RECIPIENT, sender="12345", category=None) is not None


@pytest.mark.parametrize("code", [63014, 63050])
def test_blocked_on_one_channel(suppressions: Suppressions, code: int) -> None:
    """Blocking one WhatsApp sender says nothing about others."""
    sender = f"whatsapp:{SENDER}"

    _records(suppressions).record_suppression(_record(to=WHATSAPP, sender=sender, error_code=code))

    assert suppressions.find(WHATSAPP, sender=sender, category=None) is not None
    assert suppressions.find(WHATSAPP, sender=SENDER, category=None) is None
    assert suppressions.find(RECIPIENT, sender=SENDER, category=None) is None


def test_stopped_marketing(suppressions: Suppressions) -> None:
    """Who stopped marketing still gets the other categories."""
    _records(suppressions).record_suppression(_record(error_code=63050, category="marketing"))

    assert suppressions.find(RECIPIENT, sender=SENDER, category="marketing") is not None
    assert suppressions.find(RECIPIENT, sender=SENDER, category="alerts") is None


def test_a_long_message_id(suppressions: Suppressions) -> None:
    """The longest message id there may be does not keep the suppression from being recorded."""
    assert _records(suppressions).record_suppression(_record(message_id="x" * 200))
