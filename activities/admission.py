"""Admission: may this message be sent, from which sender, and from when on?"""

from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.clock import check_clock
from activities.threads import in_thread
from signedfor.contract import CampaignState, Priority
from signedfor.message_activities import (
    AdmissionActivities,
    AdmissionRequest,
    AdmissionResult,
    Admitted,
    AlreadyClaimed,
    CampaignCanceled,
    Expired,
    InvalidWindow,
    NoSender,
    PolicySnapshot,
    Reservation,
    Resumed,
    ResumeRequest,
    ResumeResult,
    Suppressed,
    WindowCheck,
    WindowClosed,
)
from signedfor.send_windows import NeverOpens, opening, window_problem
from signedfor.store.campaigns import Campaigns
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import SendAttempts
from signedfor.store.suppressions import Suppressions

_CHECK_AGAIN = timedelta(seconds=5)
"""How soon a paused message checks again, at the earliest."""
_MAX_STEPS = 12
"""At most a minute between two checks."""


class Admission(AdmissionActivities):
    """Reads consent, the sender's rate and the policy for a message that is about to be sent."""

    def __init__(
        self,
        suppressions: Suppressions,
        rate_limiter: RateLimiter,
        campaigns: Campaigns,
        attempts: SendAttempts,
        *,
        default_sender: str | None,
        policy: PolicySnapshot,
    ) -> None:
        self._suppressions = suppressions
        self._rate_limiter = rate_limiter
        self._campaigns = campaigns
        self._attempts = attempts
        self._default_sender = default_sender
        self._policy = policy

    @in_thread
    def admit(self, request: AdmissionRequest) -> AdmissionResult:
        """Decide whether and from when the message may be sent, and reserve that time.

        Raises:
            DatabaseUnavailable: nothing may be sent until it can be used.
            ApplicationError: `ClockSkew`; another worker may admit it.
        """
        check_clock(request.requested_at or activity.info().started_time)
        sender = request.sender or self._default_sender
        return AdmissionResult(
            policy=self._policy,
            sender=sender,
            decision=NoSender() if sender is None else self._decide(request, sender),
        )

    @in_thread
    def check_window(self, request: WindowCheck) -> str:
        """What is wrong with the send window for this recipient; empty if it opens."""
        return window_problem(request.send_window, request.to) or ""

    def _decide(
        self, request: AdmissionRequest, sender: str
    ) -> Admitted | AlreadyClaimed | Suppressed | Expired | InvalidWindow | WindowClosed:
        # First, because the outcome of a message that Twilio may have must be resolved.
        claimed_at = self._attempts.claimed_at(request.message_id, request.submission)
        if claimed_at is not None:
            return AlreadyClaimed(claimed_at=claimed_at)
        if request.send_window is not None:
            problem = window_problem(request.send_window, request.to)
            if problem is not None:
                return InvalidWindow(problem=problem)
        now = datetime.now(UTC)
        if _expired(request, now):
            return Expired()
        found = self._suppressions.find(request.to, sender=sender, category=request.category)
        if found is not None:
            return Suppressed(reason=found.reason)
        try:
            return self._reserve(request, sender, now)
        except NeverOpens as error:
            return InvalidWindow(problem=str(error))

    def _reserve(
        self, request: AdmissionRequest, sender: str, now: datetime
    ) -> Admitted | Expired | WindowClosed:
        """Reserve a time before it expires and while its window is open, if it is open now."""
        reserved_at = now
        opens_at = _opens(request, now)
        if opens_at <= now:
            reserved_at = self._rate_limiter.reserve(
                sender,
                request.segments,
                is_urgent=request.priority is Priority.URGENT,
                fits=lambda at: not _expired(request, at) and _opens(request, at) <= at,
            )
            opens_at = _opens(request, reserved_at)
        if _expired(request, max(opens_at, reserved_at)):
            return Expired()
        if opens_at > reserved_at:
            return WindowClosed(opens_at=opens_at)
        return Admitted(reserved_at=reserved_at, is_due=reserved_at <= datetime.now(UTC))

    @in_thread
    def await_resume(self, request: ResumeRequest) -> ResumeResult:
        """Return once neither the sender nor the campaign is paused; the retry policy waits.

        Messages check again by the clock, ever later, up to a minute. A paused sender may have many
        more messages than it can send in a minute: those that queue check again at the sender's
        next free time, one after the other, and when it is resumed they go at its pace.

        Raises:
            ApplicationError: `Paused`; check again.
            DatabaseUnavailable: the same.
        """
        check_clock(activity.info().started_time)
        campaign = self._campaign_state(request.campaign_id)
        if campaign is CampaignState.CANCELED:
            return ResumeResult(decision=CampaignCanceled())
        wait = _CHECK_AGAIN * min(activity.info().attempt, _MAX_STEPS)
        if self._rate_limiter.is_paused(request.sender):
            if not request.has_priority:
                reserved_at = self._rate_limiter.reserve(
                    request.sender, request.segments, is_urgent=False
                )
                wait = max(wait, reserved_at - datetime.now(UTC))
            raise _paused("sender", "senders", check_again_in=wait)
        if campaign is CampaignState.PAUSED:
            raise _paused("campaign", "campaign", check_again_in=wait)
        return ResumeResult(decision=Resumed())

    @in_thread
    def release_reservation(self, reservation: Reservation) -> None:
        """Release the reserved time of a message that ended before that time.

        Raises:
            DatabaseUnavailable: the time passes unused.
        """
        self._rate_limiter.release(
            reservation.sender,
            reservation.segments,
            reservation.reserved_at,
            is_urgent=reservation.is_urgent,
            is_retry=reservation.is_retry,
        )

    def _campaign_state(self, campaign_id: str | None) -> CampaignState | None:
        record = None if campaign_id is None else self._campaigns.find(campaign_id)
        return None if record is None else record.state


def _paused(what: str, command: str, *, check_again_in: timedelta) -> ApplicationError:
    return ApplicationError(
        f"The {what} is paused; `signedfor {command} resume` resumes it.",
        type="Paused",
        next_retry_delay=check_again_in,
        # Expected, for as long as an operator wants it.
        category=ApplicationErrorCategory.BENIGN,
    )


def _expired(request: AdmissionRequest, moment: datetime) -> bool:
    return request.expires_at is not None and moment >= request.expires_at


def _opens(request: AdmissionRequest, moment: datetime) -> datetime:
    """The moment, or when the send window opens next."""
    if request.send_window is None:
        return moment
    return opening(request.send_window, request.to, moment)
