"""Admission: may this message be sent, from which sender, from when?"""

from datetime import UTC, datetime

from temporalio import activity

from messaging.steps import ADMIT, Admission, AdmitRequest, Terms, Verdict
from store.suppressions import Suppressions


class Admissions:
    """Reads consent and the house's terms for a message about to be sent."""

    def __init__(
        self, suppressions: Suppressions, *, default_sender: str | None, terms: Terms
    ) -> None:
        self._suppressions = suppressions
        self._default_sender = default_sender
        self._terms = terms

    @activity.defn(name=ADMIT)
    def admit(self, request: AdmitRequest) -> Admission:
        """Say whether the message may be submitted.

        Raises:
            DatabaseUnavailable: the database cannot be read; nothing may be sent until it can.
        """
        sender = request.sender or self._default_sender
        if sender is None:
            return Admission(verdict=Verdict.NO_SENDER, terms=self._terms)
        if request.expires_at is not None and datetime.now(UTC) >= request.expires_at:
            return Admission(verdict=Verdict.EXPIRED, terms=self._terms, sender=sender)
        found = self._suppressions.find(request.to, sender=sender, category=request.category)
        if found is not None:
            return Admission(
                verdict=Verdict.SUPPRESSED,
                terms=self._terms,
                sender=sender,
                suppressed_by=found.reason,
            )
        return Admission(verdict=Verdict.GO, terms=self._terms, sender=sender)
