"""Records that a recipient must not be sent to again."""

from activities.threads import in_thread
from signedfor.consent import Reason, Scope, Source, Suppression
from signedfor.contract.failures import FailureClass
from signedfor.message_activities import SuppressionActivities, SuppressionRecord
from signedfor.store.suppressions import Suppressions

_BLOCKED_BY_USER = 63014
_STOPPED_MARKETING = 63050

_REASONS = {
    FailureClass.RECIPIENT_OPTED_OUT: Reason.OPTED_OUT,
    FailureClass.RECIPIENT_UNREACHABLE: Reason.UNDELIVERABLE,
}


class SuppressionRecorder(SuppressionActivities):
    """Writes the suppressions that Twilio's error codes call for."""

    def __init__(self, suppressions: Suppressions, *, opt_out_scope: Scope) -> None:
        self._suppressions = suppressions
        self._opt_out_scope = opt_out_scope

    @in_thread
    def record_suppression(self, record: SuppressionRecord) -> bool:
        """Record the suppression; True if it is new. Doing it twice changes nothing.

        Raises:
            DatabaseUnavailable: the database cannot be written; to be retried until it can.
        """
        reason = _REASONS[record.failure_class]
        scope, scope_value = self._scope(record, reason)
        return self._suppressions.record(
            Suppression(
                recipient=record.to,
                reason=reason,
                source=Source.TWILIO_CODE,
                scope=scope,
                scope_value=scope_value,
                evidence=" ".join(
                    filter(None, (f"code {record.error_code}", record.message_sid or ""))
                ),
            ),
            by=f"message {record.message_id}"[:100],
        )

    def _scope(self, record: SuppressionRecord, reason: Reason) -> tuple[Scope, str]:
        """What it covers: an unreachable number is so for all senders; a STOP is as configured."""
        if reason is Reason.UNDELIVERABLE:
            return Scope.EVERYTHING, ""
        if record.error_code == _STOPPED_MARKETING and record.category:
            return Scope.CATEGORY, record.category
        # Blocking one WhatsApp sender, or its marketing, says nothing about texts from others.
        one_sender = {_BLOCKED_BY_USER, _STOPPED_MARKETING}
        if record.sender and (
            record.error_code in one_sender or self._opt_out_scope is Scope.SENDER
        ):
            return Scope.SENDER, record.sender
        return Scope.EVERYTHING, ""
