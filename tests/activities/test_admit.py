from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from activities.admit import Admissions
from messaging.consent import Reason, Scope, Source, Suppression
from messaging.contract import Priority
from messaging.steps import Admission, AdmitRequest, Terms, Verdict
from store.database import DatabaseUnavailable, open_engine
from store.suppressions import Suppressions
from tests.activities.edge import RECIPIENT, SENDER
from tests.activities.sending import assert_silent

HOUSE = "12345"
TERMS = Terms(
    receipt_checks=(timedelta(minutes=1),),
    retry_budget=timedelta(hours=1),
    unknown_wait=timedelta(seconds=3),
    letter_hold=timedelta(days=2),
)


def _request(**fields: Any) -> AdmitRequest:
    return AdmitRequest(
        **{
            "to": RECIPIENT,
            "sender": SENDER,
            "category": None,
            "priority": Priority.NORMAL,
            "segments": 1,
            "expires_at": None,
            **fields,
        }
    )


def _admissions(suppressions: Suppressions, default_sender: str | None = None) -> Admissions:
    return Admissions(suppressions, default_sender=default_sender, terms=TERMS)


def _suppress(suppressions: Suppressions, **fields: Any) -> None:
    suppressions.record(
        Suppression(
            **{
                "recipient": RECIPIENT,
                "reason": Reason.OPTED_OUT,
                "source": Source.INBOUND,
                **fields,
            }
        ),
        who="test",
    )


@pytest.mark.parametrize("default_sender", [None, HOUSE])
def test_go(suppressions: Suppressions, default_sender: str | None) -> None:
    """A message that nothing forbids goes, from its own sender, under the house's terms."""
    admission = _admissions(suppressions, default_sender).admit(_request())

    assert Admission(verdict=Verdict.GO, terms=TERMS, sender=SENDER) == admission


def test_default_sender(suppressions: Suppressions) -> None:
    """A message without a sender goes from the default one."""
    admission = _admissions(suppressions, HOUSE).admit(_request(sender=None))

    assert Admission(verdict=Verdict.GO, terms=TERMS, sender=HOUSE) == admission


def test_no_sender(suppressions: Suppressions) -> None:
    """Without any sender the message cannot go."""
    admission = _admissions(suppressions).admit(_request(sender=None))

    assert Admission(verdict=Verdict.NO_SENDER, terms=TERMS) == admission


@pytest.mark.parametrize(
    ("left", "verdict"),
    [(timedelta(seconds=-1), Verdict.EXPIRED), (timedelta(minutes=1), Verdict.GO)],
)
def test_expiry(suppressions: Suppressions, left: timedelta, verdict: Verdict) -> None:
    """A message whose time has passed is not admitted."""
    admission = _admissions(suppressions).admit(_request(expires_at=datetime.now(UTC) + left))

    assert verdict == admission.verdict


@pytest.mark.parametrize("reason", Reason)
def test_suppressed(suppressions: Suppressions, reason: Reason) -> None:
    """A suppressed recipient is not admitted, and the reason is told."""
    _suppress(suppressions, reason=reason)

    admission = _admissions(suppressions).admit(_request())

    assert (Verdict.SUPPRESSED, reason) == (admission.verdict, admission.suppressed_by)


def test_suppressed_for_the_default_sender(suppressions: Suppressions) -> None:
    """An opt-out from the default sender holds for messages that name no sender."""
    _suppress(suppressions, scope=Scope.SENDER, scope_value=HOUSE)

    admissions = _admissions(suppressions, HOUSE)

    assert Verdict.SUPPRESSED == admissions.admit(_request(sender=None)).verdict
    assert Verdict.GO == admissions.admit(_request()).verdict


def test_suppressed_category(suppressions: Suppressions) -> None:
    """An opt-out from a category holds for that category only."""
    _suppress(suppressions, scope=Scope.CATEGORY, scope_value="marketing")

    admissions = _admissions(suppressions)

    assert Verdict.SUPPRESSED == admissions.admit(_request(category="marketing")).verdict
    assert Verdict.GO == admissions.admit(_request(category="alerts")).verdict
    assert Verdict.GO == admissions.admit(_request()).verdict


def test_database_unreachable(tmp_path: Path) -> None:
    """When consent cannot be read there is no admission, only a failure to try again."""
    engine = open_engine(f"sqlite:///{tmp_path / 'gone' / 'x.db'}")

    with pytest.raises(DatabaseUnavailable) as caught:
        _admissions(Suppressions(engine)).admit(_request())

    engine.dispose()
    assert_silent(caught.value)
