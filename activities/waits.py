"""What a message needs while it waits to be sent: the end of a pause, its send window."""

from collections.abc import Container
from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.clock import check_clock
from activities.threads import in_thread
from signedfor.contract import CampaignState
from signedfor.destinations import EVERYWHERE, Destinations
from signedfor.message_activities import (
    CampaignCanceled,
    InputCheck,
    InputProblems,
    Reservation,
    Resumed,
    ResumeRequest,
    ResumeResult,
    WaitActivities,
)
from signedfor.outage_hold import OutageHold
from signedfor.recipient_rules import recipient_problem
from signedfor.send_windows import window_problem
from signedfor.store.account_hold import AccountHold
from signedfor.store.campaigns import Campaigns
from signedfor.store.rate_limiter import RateLimiter

_CHECK_AGAIN = timedelta(seconds=5)
"""How soon a paused message checks again, at the earliest."""
_RECORDED_SOON = timedelta(seconds=2)
_MAX_STEPS = 12
"""At most a minute between two checks."""


class Waits(WaitActivities):
    """Reads the state of senders and campaigns for messages that wait."""

    def __init__(
        self,
        rate_limiter: RateLimiter,
        campaigns: Campaigns,
        account_hold: AccountHold,
        outage_hold: OutageHold,
        *,
        own_senders: Container[str] = (),
        destinations: Destinations = EVERYWHERE,
    ) -> None:
        self._rate_limiter = rate_limiter
        self._campaigns = campaigns
        self._account_hold = account_hold
        self._outage_hold = outage_hold
        self._own_senders = own_senders
        self._destinations = destinations

    @in_thread
    def check_input(self, request: InputCheck) -> InputProblems:
        """What the send would find wrong with the recipient, or with the send window for it.

        Raises:
            DatabaseUnavailable: our own senders are not known.
        """
        to, window = request.to, request.send_window
        problems = {
            "to": recipient_problem(
                to,
                sender=request.sender,
                own=self._own_senders,
                destinations=self._destinations,
            ),
            "send_window": None if window is None else window_problem(window, to),
        }
        return InputProblems(
            problems=tuple((field, what) for field, what in problems.items() if what is not None)
        )

    @in_thread
    def await_resume(self, request: ResumeRequest) -> ResumeResult:
        """Return once the message may be tried again; the retry policy waits.

        Messages check again by the clock, ever later, up to a minute. A paused sender may have many
        more messages than it can send in a minute: those that queue check again at the sender's
        next free time, one after the other, and when it is resumed they go at its pace.

        Raises:
            ApplicationError: `Paused`, `AccountHeld` or `InboundWaiting`; check again.
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
        hold = self._account_hold.find()
        if hold is not None and not hold.is_due(datetime.now(UTC)):
            raise ApplicationError(
                f"Twilio refuses the account's requests (code {hold.error_code}); "
                "`signedfor doctor` says what to do.",
                type="AccountHeld",
                next_retry_delay=wait,
                category=ApplicationErrorCategory.BENIGN,
            )
        if not self._outage_hold.is_over:
            raise ApplicationError(
                "Inbound messages that came while the database was away are recorded first.",
                type="InboundWaiting",
                next_retry_delay=_RECORDED_SOON,
                category=ApplicationErrorCategory.BENIGN,
            )
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
