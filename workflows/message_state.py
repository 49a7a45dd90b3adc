"""The state of one message while it is under way, shared by its steps."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.workflow import ActivityHandle

from signedfor.advice import WaitsFor
from signedfor.contract import MessageReport, MessageRequest, Outcome, Progress, Stage
from signedfor.contract.failures import FailureClass
from signedfor.masks import masked_sender
from signedfor.message_activities import DEFAULT_POLICY, PolicySnapshot, SendResult
from workflows import outcomes
from workflows.outcomes import Ended, Proceed
from workflows.receipts import Receipt, Receipts
from workflows.status_view import StatusView, summary_of_wait


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """Twilio has the message under this SID."""

    message_sid: str


class MessageState:
    """What is known of the message. Signals and updates may arrive before its request."""

    request: MessageRequest
    _timer: asyncio.Task[None] | None = None
    """Of its newest wait."""

    def __init__(self) -> None:
        self.message_id = ""
        self.stage: Stage | Outcome = Stage.SENDING
        self.sender: str | None = None
        """Known from the first attempt on, if the message names none."""
        self.policy: PolicySnapshot = DEFAULT_POLICY
        self.has_policy = False
        """Whether an attempt has reported the policy."""
        self.segments = 1
        self.attempts = 0
        self.error_code: int | None = None
        """The newest one from Twilio."""
        self.message_sid: str | None = None
        """Of its newest submission."""
        self.submitted_sids: tuple[str, ...] = ()
        """Of all its submissions."""
        self.submitted_at: datetime | None = None
        self.receipts = Receipts()
        self.was_unreachable = False
        """Twilio called the recipient unreachable before."""

        self.reserved_at: datetime | None = None
        """The time that its sender's rate limiter has reserved for it."""
        self.is_reserved_by_account = False
        self.is_retry = False
        """An attempt was made at its reserved time and failed: it does not queue again."""
        self.retry_until: datetime | None = None
        """End of the retry budget, from the first failure on."""
        self.limited_since: datetime | None = None
        """When a limit first left no place for it."""
        self.resubmissions = 0
        """How often it was submitted again after a temporary delivery failure."""
        self.resends = 0
        """How often it was submitted again after an unknown outcome."""

        self.unknown_since: datetime | None = None
        """When the first POST of unknown outcome was started."""
        self.is_outcome_unknown = False
        """Whether the outcome of the newest POST is unknown."""
        self.unresolved_from = 1
        """The first submission of unknown outcome."""
        self.unconfirmed = 0
        """How many submissions Twilio has not confirmed, since the last one that it has."""
        self.listed_sids: tuple[str, ...] = ()
        """What Twilio listed since then for the recipient, and is not this message."""
        self.sending: ActivityHandle[SendResult] | None = None
        self.is_cancel_requested = False

        self._since = workflow.now()
        self._waiting_for: str = WaitsFor.FIRST_CHECK
        self._until: datetime | None = None
        self._twilio_status: str | None = None
        self._sids: tuple[str, ...] = ()
        self._view = StatusView()

    @property
    def submission(self) -> int:
        """The number of its newest submission, from 1."""
        return 1 + self.resubmissions + self.resends

    def learn(self, sender: str | None, policy: PolicySnapshot) -> None:
        """Take in what an attempt reports: the sender in use and its worker's settings."""
        self.sender, self.policy, self.has_policy = sender, policy, True

    def queue_again(self) -> None:
        """Forget its turn at the sender: the next attempt is the first of a new one."""
        self.reserved_at, self.is_reserved_by_account = None, False
        self.is_retry, self.retry_until = False, None

    # What operators see.

    def enter(
        self,
        stage: Stage,
        waiting_for: str,
        *,
        until: datetime | None = None,
        is_certain: bool = True,
    ) -> None:
        """Enter `stage`, in which the message waits for `waiting_for`, until `until` at most.

        While that is not certain, only the query shows it.
        """
        if stage is not self.stage:
            self._since = workflow.now()
        self.stage, self._waiting_for, self._until = stage, waiting_for, until
        if is_certain:
            self.publish()

    def end(self, report: MessageReport) -> None:
        """The message has ended."""
        self._since = workflow.now()
        self.stage, self.error_code = report.outcome, report.error_code
        self._waiting_for, self._until = f"nothing: {report.reason}", None
        self.message_sid = report.message_sid
        workflow.logger.log(
            logging.INFO if report.dead_letter_id is None else logging.WARNING,
            "Ended: %s",
            report.outcome.value,
            extra={
                "outcome": report.outcome.value,
                "failure_class": report.failure_class and report.failure_class.value,
                "error_code": report.error_code,
                "twilio_sid": report.message_sid,
            },
        )
        self.publish(report=report)

    def publish(self, *, report: MessageReport | None = None, is_overdue: bool = False) -> None:
        """Show the progress, or how it ended, to operators."""
        self._view.publish(
            self.progress(),
            request=self.request,
            retry_until=self.retry_until if self.stage is Stage.RETRYING else None,
            report=report,
            is_overdue=is_overdue,
        )

    def progress(self) -> Progress:
        """The answer to the query, and what the status view is written from."""
        return Progress(
            message_id=self.message_id,
            status=self.stage,
            since=self._since,
            waiting_for=self._waiting_for,
            until=self._until,
            sender=masked_sender(self.sender) if self.sender else None,
            message_sid=self.message_sid,
            message_sids=self._sids,
            twilio_status=self._twilio_status,
            error_code=self.error_code,
            attempts=self.attempts,
            unknown_statuses=self.receipts.unknown_statuses,
        )

    def record_attempt(self, attempts: int, error_code: int | None, *, next_at: datetime) -> None:
        """An attempt has failed and the send activity waits for the next one."""
        if self.sending is None or attempts <= self.attempts:
            return
        self.attempts, self.error_code = attempts, error_code
        self.enter(Stage.RETRYING, WaitsFor.NEXT_ATTEMPT, until=next_at)

    # What Twilio says.

    def record_status(self, sid: str, status: str, error_code: int | None) -> None:
        """Take in what Twilio said of one of its messages."""
        if not self.receipts.record(sid, status, error_code):
            return
        self._twilio_status = status
        self._claim(sid)
        # It is being sent again, and now an earlier POST turns out to have been accepted: make no
        # further attempt. A first POST is different: its callback may come before its answer.
        if self.sending is not None and self.unknown_since is not None and self.is_with_twilio:
            self.sending.cancel()

    def adopt(
        self, sid: str, submitted_at: datetime | None, *, is_answered: bool = False
    ) -> Submitted:
        """Take this SID as the message's newest submission; `is_answered` if its POST was."""
        if not is_answered:  # otherwise the activity has logged it
            workflow.logger.info("Found at Twilio", extra={"twilio_sid": sid})
        self.message_sid = sid
        self.submitted_sids += (sid,)
        self.is_outcome_unknown = False
        self.unconfirmed = 0
        self.submitted_at = submitted_at
        self._claim(sid)
        return Submitted(message_sid=sid)

    def _claim(self, sid: str) -> None:
        """Show the SID in the progress, so that no other message with the same text adopts it."""
        if sid not in self._sids:
            self._sids += (sid,)
        # The worker that made the POST may have died before it could report the attempt.
        self.attempts = max(self.attempts, len(self._sids))

    def set_outcome_unknown(self, *, since: datetime) -> None:
        """Twilio may have the message, through a POST that was made after `since`."""
        self.unknown_since = min(self.unknown_since or since, since)
        if not self.resends:
            self.unresolved_from = self.submission
        self.is_outcome_unknown = True

    def unexpected_sid(self) -> str | None:
        """A SID from a callback that no answer named: a submission whose answer was lost."""
        newest = self.receipts.newest_besides(self.submitted_sids)
        return None if newest is None else newest.message_sid

    @property
    def is_with_twilio(self) -> bool:
        """Whether callbacks show that Twilio has a message that is about to be sent."""
        return self.receipts.delivered() is not None or self.unexpected_sid() is not None

    def known_submission(self) -> Submitted | Ended | None:
        """The submission that callbacks show of a message that is about to be sent, if any.

        Checked before each POST and after each wait: the callback of a POST whose answer was lost
        may arrive long after that POST counted as failed.
        """
        delivered = self.receipts.delivered()
        if delivered is not None:
            return outcomes.delivered(delivered)
        sid = self.unexpected_sid()
        return None if sid is None else self.adopt(sid, workflow.now())

    def final_receipt(self, message_sid: str) -> Receipt | None:
        """The final status: delivered under any SID, or the end of this one."""
        delivered = self.receipts.delivered()
        if delivered is not None:
            return delivered
        newest = self.receipts.of(message_sid)
        return newest if newest is not None and newest.is_final else None

    # How it may end early.

    def request_cancel(self) -> None:
        """Stop at the next point where it is certain that Twilio does not have the message."""
        self.is_cancel_requested = True
        if self.sending is not None:
            self.sending.cancel()

    def canceled(self, *, error_code: int | None = None) -> Ended:
        """The outcome of a cancel; escalated if Twilio may have the message."""
        if self.is_outcome_unknown:
            return outcomes.unknown(was_canceled=True, resends=self.unconfirmed)
        return outcomes.canceled(error_code=error_code)

    def expired(self) -> Ended:
        """The outcome of a message whose time has passed; escalated if attempts had failed."""
        if self.is_outcome_unknown:
            return outcomes.expired(after=FailureClass.OUTCOME_UNKNOWN)
        code = self.error_code
        if self.is_retry:
            return outcomes.expired(after=FailureClass.TEMPORARILY_UNAVAILABLE, error_code=code)
        if self.resubmissions:
            return outcomes.expired(after=FailureClass.DELIVERY_DELAYED, error_code=code)
        return outcomes.expired()

    def expires_by(self, moment: datetime) -> bool:
        """Whether it may no longer be sent at that moment."""
        return self.request.expires_at is not None and moment >= self.request.expires_at

    # Waiting.

    async def wait_until(
        self, moment: datetime, condition: Callable[[], bool], *, summary: str
    ) -> bool:
        """Wait until the condition holds, or `moment`; whether it holds.

        Its timer is canceled when another wait begins. If none does, it closes with the workflow:
        canceling it would cost most messages a history event.
        """
        left = moment - workflow.now()
        if left > timedelta(0) and not condition():
            if self._timer is not None:
                self._timer.cancel()
            timer = self._timer = asyncio.create_task(workflow.sleep(left, summary=summary))
            await workflow.wait_condition(lambda: condition() or timer.done())
        return condition()

    async def pause(
        self,
        until: datetime,
        waits_for: str,
        *,
        then: str = "",
        error_code: int | None = None,
    ) -> Proceed | Ended:
        """Wait before a POST, until it is canceled or Twilio turns out to have the message.

        `error_code` is that of an earlier submission's failure.
        """
        summary = summary_of_wait(waits_for, until, then=then)
        await self.wait_until(until, lambda: self.is_interrupted, summary=summary)
        return self.interruption(error_code=error_code)

    @property
    def is_interrupted(self) -> bool:
        """Whether a wait before a POST is over."""
        return self.is_cancel_requested or self.is_with_twilio

    def interruption(self, *, error_code: int | None = None) -> Proceed | Ended:
        """How an interrupted wait ends the message; it proceeds if Twilio has it undelivered."""
        delivered = self.receipts.delivered()
        if delivered is not None:
            return outcomes.delivered(delivered)
        if self.is_cancel_requested and self.unexpected_sid() is None:
            return self.canceled(error_code=error_code)
        return Proceed()
