"""Records that a recipient must not be sent to again."""

from collections.abc import Callable
from datetime import datetime, timedelta

from activities.threads import in_thread
from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import (
    DeliveryConfirmed,
    SuppressionActivities,
    SuppressionRecord,
)
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import utc_now
from signedfor.twilio import codes
from signedfor.twilio.codes import Undeliverable

_BLOCKED_BY_USER = 63014
_STOPPED_MARKETING = 63050

_REASONS = {
    FailureClass.RECIPIENT_OPTED_OUT: Reason.OPTED_OUT,
    FailureClass.RECIPIENT_UNREACHABLE: Reason.UNDELIVERABLE,
}


class SuppressionRecorder(SuppressionActivities):
    """Writes the suppressions that Twilio's error codes call for."""

    def __init__(
        self,
        suppressions: Suppressions,
        *,
        opt_out_scope: Scope,
        undeliverable_for: timedelta,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._suppressions = suppressions
        self._opt_out_scope = opt_out_scope
        self._undeliverable_for = undeliverable_for
        self._now = now

    @in_thread
    def record_suppression(self, record: SuppressionRecord) -> bool:
        """Record the suppression, or newer evidence for it. Doing it twice changes nothing.

        Raises:
            DatabaseUnavailable: the database cannot be written; to be retried until it can.
        """
        now = self._now()
        by = f"message {record.message_id}"[:100]
        reason = _REASONS[record.failure_class]
        if reason is Reason.OPTED_OUT:
            scope, scope_value = self._opt_out_covers(record)
            to_sender, expires_at = record.sender or "", None
        else:
            scope, scope_value, expires_at = self._undeliverable(record, now)
            to_sender = ""
        return self._suppressions.renew(
            Suppression(
                recipient=record.to,
                reason=reason,
                source=Source.TWILIO_CODE,
                scope=scope,
                scope_value=scope_value,
                evidence=" ".join(
                    filter(None, (f"code {record.error_code}", record.message_sid or ""))
                ),
                to_sender=to_sender,
                created_at=now,
                expires_at=expires_at,
            ),
            by=by,
        )

    @in_thread
    def lift_undeliverable(self, delivery: DeliveryConfirmed) -> int:
        """Lift what the delivery disproves; how many suppressions there were.

        Raises:
            DatabaseUnavailable: the database cannot be written.
        """
        return self._suppressions.lift_undeliverable(
            delivery.to,
            by_sender=delivery.sender,
            source=Source.TWILIO_CODE,
            evidence=f"delivered {delivery.message_sid}",
            by=f"message {delivery.message_id}"[:100],
        )

    def _opt_out_covers(self, record: SuppressionRecord) -> tuple[Scope, str]:
        """As configured for a STOP, unless the code says less."""
        if record.error_code == _STOPPED_MARKETING and record.category:
            scope = Scope.SENDER_CATEGORY if record.sender else Scope.CATEGORY
            return scope, record.category
        # Blocking one WhatsApp sender, or its marketing, says nothing about texts from others.
        one_sender = {_BLOCKED_BY_USER, _STOPPED_MARKETING}
        if record.sender and (
            record.error_code in one_sender or self._opt_out_scope is Scope.SENDER
        ):
            return Scope.SENDER, record.sender
        return Scope.EVERYTHING, ""

    def _undeliverable(
        self, record: SuppressionRecord, now: datetime
    ) -> tuple[Scope, str, datetime | None]:
        """What it covers and until when: numbers are assigned again, and carriers connected."""
        expires_at = now + self._undeliverable_for
        row = codes.find(record.error_code)
        whom = Undeliverable.ADDRESS if row is None else row.undeliverable
        match whom:
            case Undeliverable.SENDER if record.sender:
                return Scope.SENDER, record.sender, expires_at
            case Undeliverable.FOREVER:
                return Scope.EVERYTHING, "", None
            case _:
                return Scope.EVERYTHING, "", expires_at
