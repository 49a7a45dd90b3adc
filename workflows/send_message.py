"""One outbound message, from its start to its outcome."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from signedfor.advice import WaitsFor
    from signedfor.contract import (
        CANCEL_UPDATE,
        DELIVERY_STATUS_SIGNAL,
        PROGRESS_QUERY,
        SEND_MESSAGE,
        CancelRequest,
        CancelResult,
        DeadLetterRequest,
        DeliveryStatus,
        MessageReport,
        MessageRequest,
        Outcome,
        Progress,
        Stage,
        dead_letter_workflow_id,
        message_id_of,
    )
    from signedfor.contract.failures import FailureClass
    from signedfor.message_activities import (
        ATTEMPT_FAILED_SIGNAL,
        AttemptFailed,
        DeliveryConfirmed,
    )
    from signedfor.payloads import id_problems, invalid_input
    from signedfor.twilio import codes
    from signedfor.twilio.statuses import MessageStatus
    from workflows import activity_stubs, metrics, outcomes
    from workflows.dead_letter import open_dead_letter, signal_late_delivery
    from workflows.message_state import MessageState, Submitted
    from workflows.outcomes import Ended, Escalated, Proceed
    from workflows.receipts import Receipt
    from workflows.status_view import after_code, summary_of_wait
    from workflows.submission import check_opt_outs_and_send
    from workflows.waits import wait_for_send_at


@workflow.defn(name=SEND_MESSAGE)
class SendMessage:
    """Checks opt-outs, sends under the retry policy, awaits the receipt, escalates failures.

    Every outcome is a result; the workflow fails only on bad input.
    """

    def __init__(self) -> None:
        self._state = MessageState()
        self._ended: Ended | None = None

    @property
    def sender(self) -> str | None:
        """The sender in use; None if the message names none and no attempt was made."""
        return self._state.sender

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """Carry the message to its outcome."""
        reporting = asyncio.create_task(self._report(request))
        while True:
            try:
                return await asyncio.shield(reporting)
            except asyncio.CancelledError:
                if reporting.done():
                    raise
                # Temporal's own "Request cancellation" means the same as the update.
                self._state.request_cancel()

    async def _report(self, request: MessageRequest) -> MessageReport:
        try:
            self._state.message_id = checked_message_id(request)
            self._state.request = request
            self._ended = await self._carry()
        except ApplicationError:
            # Only bad input is raised. An id that was refused may contain the recipient's number.
            workflow.logger.warning(
                "Refused as bad input", extra={"message_id": self._state.message_id or "(refused)"}
            )
            raise
        return await _finish(self._state, self._ended)

    async def _carry(self) -> Ended:
        """Check opt-outs, send, await the receipt; again if delivery failed temporarily."""
        state = self._state
        due = await wait_for_send_at(state)
        while True:
            sent = await check_opt_outs_and_send(state, due)
            if isinstance(sent, Ended):
                return sent
            received = await _await_receipt(state, sent)
            if isinstance(received, Ended):
                return received
            due = await _wait_to_send_again(state, received)

    @workflow.signal(name=DELIVERY_STATUS_SIGNAL)
    def delivery_status(self, callback: DeliveryStatus) -> None:
        """Record a status callback; callbacks may come in any order and repeatedly."""
        self._state.record_status(
            callback.message_sid, callback.message_status, callback.error_code
        )

    @workflow.signal(name=ATTEMPT_FAILED_SIGNAL)
    def attempt_failed(self, attempt: AttemptFailed) -> None:
        """Show a failed attempt and when the next one is made; only its end decides anything."""
        self._state.record_attempt(
            attempt.attempts, attempt.error_code, next_at=attempt.next_attempt_at
        )

    @workflow.update(name=CANCEL_UPDATE)
    async def cancel(self, _request: CancelRequest | None = None) -> CancelResult:
        """Stop the message unless Twilio has it; return when that is certain."""
        self._state.request_cancel()
        await workflow.wait_condition(
            lambda: self._ended is not None or self._state.stage is Stage.AWAITING_RECEIPT
        )
        outcome = self._ended.outcome if self._ended else None
        return CancelResult(
            canceled=outcome is Outcome.CANCELED, status=outcome or self._state.stage
        )

    @workflow.query(name=PROGRESS_QUERY)
    def progress(self) -> Progress:
        """The message's stage, and what it waits for."""
        return self._state.progress()


def checked_message_id(request: MessageRequest) -> str:
    """The message's id, taken from the workflow id.

    Raises:
        ApplicationError: `InvalidInput` if the id has the wrong form, or if it, the tenant or the
            campaign's id contains the recipient's number: they are stored, logged and shown.
    """
    try:
        message_id = message_id_of(workflow.info().workflow_id)
    except ValueError as error:
        raise invalid_input([("workflow id", str(error))]) from None
    problems = id_problems(message_id, request)
    if problems:
        raise invalid_input(problems)
    return message_id


@dataclass(frozen=True, kw_only=True)
class _DeliveryDelayed:
    """It was not delivered for a temporary reason and may be sent again after this delay."""

    error_code: int | None
    delay: timedelta


async def _await_receipt(state: MessageState, submitted: Submitted) -> _DeliveryDelayed | Ended:
    """Wait for the final status until the receipt timeout; fetch it from Twilio when overdue."""
    sid = submitted.message_sid
    timeout_at = workflow.now() + state.request.receipt_timeout
    state.error_code = None
    state.enter(Stage.AWAITING_RECEIPT, WaitsFor.RECEIPT, until=timeout_at)
    is_overdue = False
    for check_at in _checks(state, timeout_at):
        if await state.wait_until(
            check_at,
            lambda: state.final_receipt(sid) is not None,
            summary=summary_of_wait(
                "Twilio's receipt", check_at, then=", then asks for the status"
            ),
        ):
            break
        if not is_overdue:
            is_overdue = True
            metrics.count_overdue_receipt(state.sender)
        answer = await activity_stubs.fetch_status(sid)
        if answer is not None and answer.status is not None:
            state.record_status(sid, answer.status, answer.error_code)
        if state.final_receipt(sid) is not None:
            break
        state.publish(is_overdue=True)
    receipt = state.final_receipt(sid)
    if receipt is None:
        return outcomes.no_receipt(sid)
    if state.submitted_at is not None:
        metrics.record_receipt(receipt, state.sender, submitted_at=state.submitted_at)
    if receipt.is_delivered:
        return outcomes.delivered(receipt)
    if receipt.status is MessageStatus.CANCELED:
        return outcomes.canceled_at_twilio(receipt.message_sid)
    return await _not_delivered(state, receipt)


async def _not_delivered(state: MessageState, receipt: Receipt) -> _DeliveryDelayed | Ended:
    """What follows from an undelivered or failed message."""
    state.error_code = receipt.error_code
    failure = await activity_stubs.classify_delivery(receipt.error_code)
    may_resend = (
        failure.failure_class is FailureClass.DELIVERY_DELAYED
        and state.resubmissions < failure.resubmissions
        and not state.expires_by(workflow.now() + failure.delay)
    )
    if may_resend:
        return _DeliveryDelayed(error_code=receipt.error_code, delay=failure.delay)
    return outcomes.not_delivered(receipt, failure)


def _checks(state: MessageState, timeout_at: datetime) -> Iterator[datetime]:
    """When to fetch the status from Twilio."""
    started_at = workflow.now()
    for after in state.policy.receipt_checks:
        if started_at + after < timeout_at:
            yield started_at + after
    yield timeout_at


async def _wait_to_send_again(state: MessageState, delayed: _DeliveryDelayed) -> Proceed | Ended:
    """Wait until the message may be sent again, as a new Twilio message."""
    state.resubmissions += 1
    again_at = workflow.now() + delayed.delay
    state.enter(Stage.DELAYED, WaitsFor.RESUBMISSION, until=again_at)
    return await state.pause(
        again_at,
        WaitsFor.RESUBMISSION,
        then=after_code(delayed.error_code),
        error_code=delayed.error_code,
    )


async def _finish(state: MessageState, ended: Ended) -> MessageReport:
    """Open the dead letter, if any, show the outcome, and report it."""
    is_escalated = isinstance(ended, Escalated)
    report = MessageReport(
        message_id=state.message_id,
        outcome=ended.outcome,
        message_sid=ended.message_sid or state.message_sid,
        error_code=ended.error_code,
        failure_class=ended.failure_class,
        reason=ended.reason,
        attempts=state.attempts,
        segments=state.segments,
        submitted_at=state.submitted_at,
        finished_at=workflow.now(),
        dead_letter_id=dead_letter_workflow_id(state.message_id) if is_escalated else None,
        tags=state.request.tags,
    )
    if isinstance(ended, Escalated):
        await open_dead_letter(
            DeadLetterRequest(
                message=state.request,
                report=report,
                sender=state.sender,
                advice=codes.advice_for(ended.failure_class, ended.error_code),
                hold_days=state.policy.dead_letter_hold.days,
            )
        )
        late = state.receipts.delivered()
        if late is not None:  # it arrived after the outcome was decided
            await signal_late_delivery(state.message_id, late)
    if ended.outcome is Outcome.DELIVERED and state.was_unreachable:
        await activity_stubs.lift_undeliverable(
            DeliveryConfirmed(
                message_id=state.message_id,
                to=state.request.to,
                sender=state.sender or "",
                message_sid=report.message_sid or "",
            )
        )
    state.end(report)
    await workflow.wait_condition(workflow.all_handlers_finished)
    metrics.count_outcome(ended, state.sender)
    return report
