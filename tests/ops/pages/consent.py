"""What the tests of consent pages have on record."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract import InboundKind
from signedfor.inbound import InboundRecord
from signedfor.inbound_texts import TextPolicy
from signedfor.store.audit_log import Action, AuditLog
from signedfor.store.inbound import InboundMessages
from signedfor.store.suppressions import Suppressions
from tests.workflows.fakes import RECIPIENT, SENDER

DIGITS = RECIPIENT[1:]
MASKED = "+*******5309"


def receive(
    engine: Engine,
    message_sid: str,
    kind: InboundKind,
    *,
    from_: str = RECIPIENT,
    text: str = "please stop",
    hours_ago: float = 1,
) -> None:
    """Somebody has written."""
    InboundMessages(engine, texts=TextPolicy(dispatches=False, keeps=True)).receive(
        InboundRecord(
            message_sid=message_sid,
            from_=from_,
            to=SENDER,
            kind=kind,
            body=text,
            received_at=datetime.now(UTC) - timedelta(hours=hours_ago),
        )
    )


def opt_out(
    engine: Engine,
    recipient: str = RECIPIENT,
    *,
    reason: Reason = Reason.OPTED_OUT,
    source: Source = Source.OPERATOR,
    scope: Scope = Scope.EVERYTHING,
    scope_value: str = "",
    evidence: str = "ticket 4711",
    ended: bool = False,
) -> None:
    """Somebody must not be sent to."""
    now = datetime.now(UTC)
    Suppressions(engine).record(
        Suppression(
            recipient=recipient,
            reason=reason,
            source=source,
            scope=scope,
            scope_value=scope_value,
            evidence=evidence,
            expires_at=now - timedelta(days=1) if ended else None,
        ),
        by="kim",
    )


def actions(engine: Engine) -> list[Action]:
    """What was done since signing in, oldest first."""
    return [each for each in reversed(AuditLog(engine).entries()) if each.action != "sign-in"]
