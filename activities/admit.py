"""Admission: may this message be sent, from which sender, from when?"""

from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.threads import in_thread
from signedfor.contract import CampaignState, Priority
from signedfor.send_windows import NeverOpens, opening, window_problem
from signedfor.steps import (
    ADMIT,
    AWAIT_RELEASE,
    CHECK_WINDOW,
    GIVE_BACK,
    Admission,
    AdmitRequest,
    Decision,
    GiveBackRequest,
    Release,
    ReleaseRequest,
    Terms,
    WindowCheck,
)
from signedfor.store.campaigns import Campaigns
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions

_LOOK_AGAIN = timedelta(seconds=5)
"""How soon a message that is held looks again, at the soonest."""
_MOST_STEPS = 12
"""At most a minute between two looks."""


class Admissions:
    """Reads consent, pace and the house's terms for a message about to be sent."""

    def __init__(
        self,
        suppressions: Suppressions,
        pacing: RateLimiter,
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

    @in_thread(ADMIT)
    def admit(self, request: AdmitRequest) -> Admission:
        """Say whether the message may be submitted, and from when: its slot is taken.

        Raises:
            DatabaseUnavailable: the database cannot be used; nothing may be sent until it can.
        """
        sender = request.sender or self._default_sender
        if sender is None:
            return Admission(decision=Decision.NO_SENDER, terms=self._terms)
        try:
            return self._admitted(request, sender)
        except NeverOpens as error:
            return Admission(
                decision=Decision.INVALID_WINDOW,
                terms=self._terms,
                sender=sender,
                problem=str(error),
            )

    @in_thread(CHECK_WINDOW)
    def check_window(self, request: WindowCheck) -> str:
        """What is wrong with the send window for this recipient; empty if it opens."""
        return window_problem(request.send_window, request.to) or ""

    def _admitted(self, request: AdmitRequest, sender: str) -> Admission:
        _check_window(request)
        now = datetime.now(UTC)
        if _expired(request, now):
            return Admission(decision=Decision.EXPIRED, terms=self._terms, sender=sender)
        found = self._suppressions.find(request.to, sender=sender, category=request.category)
        if found is not None:
            return Admission(
                decision=Decision.SUPPRESSED,
                terms=self._terms,
                sender=sender,
                suppressed_by=found.reason,
            )
        decision, not_before = self._planned(request, sender, now)
        return Admission(
            decision=decision,
            terms=self._terms,
            sender=sender,
            not_before=not_before,
            is_now=not_before is not None and not_before <= datetime.now(UTC),
        )

    def _planned(
        self, request: AdmitRequest, sender: str, now: datetime
    ) -> tuple[Decision, datetime | None]:
        """A slot within its time and its window; or when its window opens."""
        slot = now
        opens = _opens(request, now)
        if opens <= now:
            slot = self._pacing.reserve(
                sender,
                request.segments,
                is_urgent=request.priority is Priority.URGENT,
                fits=lambda slot: not _expired(request, slot) and _opens(request, slot) <= slot,
            )
            opens = _opens(request, slot)
        if _expired(request, max(opens, slot)):
            return Decision.EXPIRED, None
        return (Decision.CLOSED, opens) if opens > slot else (Decision.GO, slot)

    @in_thread(AWAIT_RELEASE)
    def await_release(self, request: ReleaseRequest) -> Release:
        """Return once neither the sender nor the campaign is paused; the retry policy waits.

        They look again by the clock, ever later, up to a minute. Of a paused sender's messages
        there may be many more than it can send in a minute: those that queue look again at its
        next slot, one after the other, and when it is resumed they go at its pace.

        Raises:
            ApplicationError: `Held`; look again.
            DatabaseUnavailable: the same.
        """
        campaign = self._campaign_state(request.campaign_id)
        if campaign is CampaignState.CANCELED:
            return Release(decision=Decision.CANCELED)
        wait = _LOOK_AGAIN * min(activity.info().attempt, _MOST_STEPS)
        if self._pacing.is_paused(request.sender):
            if not request.has_priority:
                slot = self._pacing.reserve(request.sender, request.segments, is_urgent=False)
                wait = max(wait, slot - datetime.now(UTC))
            raise _held("sender", "senders", look_again_in=wait)
        if campaign is CampaignState.PAUSED:
            raise _held("campaign", "campaign", look_again_in=wait)
        return Release(decision=Decision.GO)

    @in_thread(GIVE_BACK)
    def give_back(self, request: GiveBackRequest) -> None:
        """Free the slot of a message that ended before it came.

        Raises:
            DatabaseUnavailable: the slot passes unused.
        """
        self._pacing.release(
            request.sender,
            request.segments,
            request.slot,
            is_urgent=request.is_urgent,
            is_retry=request.is_retry,
        )

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


def _check_window(request: AdmitRequest) -> None:
    """Raise NeverOpens unless the window, if there is one, opens all year round."""
    if request.send_window is not None:
        problem = window_problem(request.send_window, request.to)
        if problem is not None:
            raise NeverOpens(problem)


def _opens(request: AdmitRequest, moment: datetime) -> datetime:
    """The moment, or when the send window opens next."""
    if request.send_window is None:
        return moment
    return opening(request.send_window, request.to, moment)
