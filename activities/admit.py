"""Admission: may this message be sent, from which sender, from when?"""

from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from messaging.contract import CampaignState, Priority
from messaging.payloads import invalid_input
from messaging.steps import (
    ADMIT,
    AWAIT_RELEASE,
    Admission,
    AdmitRequest,
    Release,
    ReleaseRequest,
    Terms,
    Verdict,
)
from messaging.windows import NeverOpens, opening
from store.campaigns import Campaigns
from store.pacing import Pacing
from store.suppressions import Suppressions

_LOOK_AGAIN = timedelta(seconds=5)
"""How soon a message that is held looks again, at the soonest."""
_MOST_STEPS = 12
"""At most a minute between two looks."""


class Admissions:
    """Reads consent, pace and the house's terms for a message about to be sent."""

    def __init__(
        self,
        suppressions: Suppressions,
        pacing: Pacing,
        campaigns: Campaigns,
        *,
        default_sender: str | None,
        terms: Terms,
    ) -> None:
        self._suppressions = suppressions
        self._pacing = pacing
        self._campaigns = campaigns
        self._default_sender = default_sender
        self._terms = terms

    @activity.defn(name=ADMIT)
    def admit(self, request: AdmitRequest) -> Admission:
        """Say whether the message may be submitted, and from when: its slot is taken.

        Raises:
            DatabaseUnavailable: the database cannot be used; nothing may be sent until it can.
        """
        sender = request.sender or self._default_sender
        if sender is None:
            return Admission(verdict=Verdict.NO_SENDER, terms=self._terms)
        now = datetime.now(UTC)
        if _expired(request, now):
            return Admission(verdict=Verdict.EXPIRED, terms=self._terms, sender=sender)
        found = self._suppressions.find(request.to, sender=sender, category=request.category)
        if found is not None:
            return Admission(
                verdict=Verdict.SUPPRESSED,
                terms=self._terms,
                sender=sender,
                suppressed_by=found.reason,
            )
        verdict, not_before = self._planned(request, sender, now)
        return Admission(
            verdict=verdict,
            terms=self._terms,
            sender=sender,
            not_before=not_before,
            is_now=not_before is not None and not_before <= datetime.now(UTC),
        )

    def _planned(
        self, request: AdmitRequest, sender: str, now: datetime
    ) -> tuple[Verdict, datetime | None]:
        """A slot within its time and its window; or when its window opens."""
        slot = now
        opens = _opens(request, now)
        if opens <= now:
            slot = self._pacing.plan(
                sender,
                request.segments,
                has_priority=request.priority is Priority.URGENT,
                fits=lambda slot: not _expired(request, slot) and _opens(request, slot) <= slot,
            )
            opens = _opens(request, slot)
        if _expired(request, max(opens, slot)):
            return Verdict.EXPIRED, None
        return (Verdict.CLOSED, opens) if opens > slot else (Verdict.GO, slot)

    @activity.defn(name=AWAIT_RELEASE)
    def await_release(self, request: ReleaseRequest) -> Release:
        """Return once neither the sender nor the campaign is paused; the retry policy waits.

        A paused sender's messages look again at its next slot: however many are held, they look
        one after the other, and when it is resumed they go at its pace. A paused campaign has
        hardly more than a minute's worth of messages under way, which look again by the clock.

        Raises:
            ApplicationError: `Held`; look again.
            DatabaseUnavailable: the same.
        """
        campaign = self._campaign_state(request.campaign_id)
        if campaign is CampaignState.CANCELED:
            return Release(verdict=Verdict.CANCELED)
        if self._pacing.is_paused(request.sender):
            slot = self._pacing.reserve(request.sender, request.segments)
            raise _held(
                "sender", "senders", look_again_in=max(_LOOK_AGAIN, slot - datetime.now(UTC))
            )
        if campaign is CampaignState.PAUSED:
            wait = _LOOK_AGAIN * min(activity.info().attempt, _MOST_STEPS)
            raise _held("campaign", "campaign", look_again_in=wait)
        return Release(verdict=Verdict.GO)

    def _campaign_state(self, campaign_id: str | None) -> CampaignState | None:
        record = None if campaign_id is None else self._campaigns.find(campaign_id)
        return None if record is None else record.state


def _held(what: str, command: str, *, look_again_in: timedelta) -> ApplicationError:
    return ApplicationError(
        f"The {what} is paused; `signedfor {command} resume` lets it go on.",
        type="Held",
        next_retry_delay=look_again_in,
        # Expected, and as long as somebody wants it.
        category=ApplicationErrorCategory.BENIGN,
    )


def _expired(request: AdmitRequest, moment: datetime) -> bool:
    return request.expires_at is not None and moment >= request.expires_at


def _opens(request: AdmitRequest, moment: datetime) -> datetime:
    """The moment, or when the send window opens next."""
    if request.send_window is None:
        return moment
    try:
        return opening(request.send_window, request.to, moment)
    except NeverOpens as error:
        # It was found to open when it was handed in; time zones have changed since.
        raise invalid_input([("send_window", str(error).removeprefix("send_window "))]) from None
