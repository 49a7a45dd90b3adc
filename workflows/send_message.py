"""One outbound message, from hand-in to outcome."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.workflow import ActivityHandle

with workflow.unsafe.imports_passed_through():
    from messaging import codes
    from messaging.contract import (
        CANCEL_UPDATE,
        DELIVERY_STATUS_SIGNAL,
        PROGRESS_QUERY,
        SEND_MESSAGE,
        CancelRequest,
        CancelResult,
        DeliveryStatus,
        Letter,
        MessageReport,
        MessageRequest,
        Outcome,
        Progress,
        Stage,
        dead_letter_workflow_id,
    )
    from messaging.failures import RETRYABLE, FailureClass
    from messaging.payloads import invalid_input
    from messaging.retry import LONGEST_QUICK_WAIT, PATIENT_SEND, QUICK_SEND
    from messaging.segments import count_segments
    from messaging.steps import Admission, AdmitRequest, SendRequest, Submission, Verdict
    from workflows import calls, endings
    from workflows.endings import Ending
    from workflows.inputs import checked_message_id
    from workflows.letters import open_letter
    from workflows.receipts import Receipt, Receipts
    from workflows.standing import Standing
    from workflows.trouble import Trouble, trouble_in

_IN_TWILIOS_HANDS = frozenset({Stage.AWAITING_RECEIPT, Stage.RESOLVING})
"""Stages at which it is too late to cancel."""


@workflow.defn(name=SEND_MESSAGE)
class SendMessage:
    """Checks opt-outs, sends under the retry policy, awaits the receipt, escalates what is left.

    Every outcome is a result; the workflow fails only on bad input.
    """

    _request: MessageRequest
    _admission: Admission

    def __init__(self) -> None:
        # Signals and updates may come before `run`, so what they touch exists from the start.
        self._standing = Standing()
        self._receipts = Receipts()
        self._sids: list[str] = []
        self._submitted_at: datetime | None = None
        self._segments = 0
        self._sending: ActivityHandle[Submission] | None = None
        self._cancel_asked = False
        self._later_tries = 0
        self._ending: Ending | None = None

    @workflow.run
    async def run(self, request: MessageRequest) -> MessageReport:
        """Carry the message to its outcome."""
        life = asyncio.create_task(self._live(request))
        while True:
            try:
                return await asyncio.shield(life)
            except asyncio.CancelledError:
                if life.done():
                    raise
                # Temporal's own "Request cancellation" means the same as the update.
                self._ask_to_cancel()

    async def _live(self, request: MessageRequest) -> MessageReport:
        self._standing.message_id = checked_message_id(request)
        self._request = request
        ending = await self._wait_for_send_at()
        while ending is None:
            ending = (
                await self._check_opt_outs()
                or await self._send()
                or await self._await_receipt()
                or await self._wait_to_try_again()
            )
        return await self._settle(ending)

    @workflow.signal(name=DELIVERY_STATUS_SIGNAL)
    def delivery_status(self, callback: DeliveryStatus) -> None:
        """Take in a status callback; in any order, any number of times."""
        self._note(callback.message_sid, callback.message_status, callback.error_code)

    @workflow.update(name=CANCEL_UPDATE)
    async def cancel(self, _request: CancelRequest | None = None) -> CancelResult:
        """Stop the message if it is not in Twilio's hands; answer when that is certain."""
        self._ask_to_cancel()
        await workflow.wait_condition(
            lambda: self._ending is not None or self._standing.status in _IN_TWILIOS_HANDS
        )
        outcome = self._ending.outcome if self._ending else None
        return CancelResult(
            canceled=outcome is Outcome.CANCELED, status=outcome or self._standing.status
        )

    @workflow.query(name=PROGRESS_QUERY)
    def progress(self) -> Progress:
        """Say where the message stands."""
        return self._standing.progress()

    async def _wait_for_send_at(self) -> Ending | None:
        send_at = self._request.send_at
        if send_at is None or send_at <= workflow.now():
            return None
        self._standing.enter(Stage.SCHEDULED, "its send_at", until=send_at)
        return await self._pause(send_at)

    async def _check_opt_outs(self) -> Ending | None:
        request = self._request
        self._segments = count_segments(request.body or "").count
        admission = await self._admit()
        if admission is None:
            return endings.canceled()
        self._admission = admission
        self._standing.sender, self._standing.tenant = admission.sender, request.tenant
        match admission.verdict:
            case Verdict.NO_SENDER:
                raise invalid_input([("from", "is needed, because no DEFAULT_SENDER is set")])
            case Verdict.SUPPRESSED:
                return endings.suppressed(admission.suppressed_by)
            case Verdict.EXPIRED:
                return endings.expired()
            case Verdict.GO:
                slot = admission.not_before
                if slot is None or slot <= workflow.now():
                    return None
                self._standing.enter(Stage.WAITING, "its sender's next slot", until=slot)
                return await self._pause(slot)

    async def _admit(self) -> Admission | None:
        """Admission, however long the database takes; None if canceled meanwhile."""
        request = AdmitRequest(
            to=self._request.to,
            sender=self._request.sender,
            category=self._request.category,
            priority=self._request.priority,
            segments=self._segments,
            expires_at=self._request.expires_at,
        )
        admission = await calls.admit_inline(request)
        if admission is None:
            self._standing.enter(Stage.WAITING, "the database to answer")
            admitting = calls.start_admitting(request)
            await workflow.wait_condition(lambda: admitting.done() or self._cancel_asked)
            if not admitting.done():
                admitting.cancel()
                return None
            admission = await admitting
        return admission

    async def _send(self) -> Ending | None:
        """Submit to Twilio: a few quick tries, then patient ones until the budget ends."""
        deadline = workflow.now() + self._admission.terms.retry_budget
        if self._request.expires_at is not None:
            deadline = min(deadline, self._request.expires_at)
        self._standing.enter(Stage.SENDING, "Twilio to take it", until=deadline)
        sent = await self._submit(QUICK_SEND, deadline)
        if isinstance(sent, Trouble) and sent.failure_class in RETRYABLE and not sent.canceled:
            self._standing.error_code = sent.detail.error_code
            self._standing.enter(Stage.RETRYING, "Twilio to take it", until=deadline)
            again_at = workflow.now() + (sent.detail.retry_after or LONGEST_QUICK_WAIT)
            if again_at < deadline:
                canceled = await self._pause(again_at)
                if canceled:
                    return canceled
                sent = await self._submit(PATIENT_SEND, deadline)
        return self._submitted(sent) if isinstance(sent, Submission) else await self._judge(sent)

    async def _submit(self, policy: RetryPolicy, deadline: datetime) -> Submission | Trouble:
        before = self._standing.attempts
        request = SendRequest(
            message_id=self._standing.message_id,
            message=self._request,
            sender=self._admission.sender or "",
            deadline=deadline,
            earlier_attempts=before,
            hand_back_after=LONGEST_QUICK_WAIT if policy is QUICK_SEND else None,
        )
        self._sending = calls.start_sending(
            request, policy=policy, within=deadline - workflow.now()
        )
        if self._cancel_asked:
            self._sending.cancel()
        try:
            submission = await self._sending
        except ActivityError as error:
            trouble = trouble_in(error, attempts_before=before)
            self._standing.attempts = trouble.detail.attempts
            return trouble
        finally:
            self._sending = None
        self._standing.attempts = submission.attempts
        return submission

    def _submitted(self, submission: Submission) -> Ending | None:
        match submission.verdict:
            case Verdict.SUPPRESSED:
                return endings.suppressed(submission.suppressed_by)
            case Verdict.EXPIRED:
                return endings.expired()
            case _:
                self._segments = submission.segments or self._segments
                self._submitted_at = submission.submitted_at
                self._adopt(submission.message_sid or "")
                if submission.status:
                    self._note(self._sids[-1], submission.status, None)
                return None

    async def _judge(self, trouble: Trouble) -> Ending | None:
        """What a send that did not end in a submission means for the message."""
        code = trouble.detail.error_code
        self._standing.error_code = code
        if trouble.failure_class is FailureClass.OUTCOME_UNKNOWN:
            return await self._find_out()
        if trouble.failure_class in RETRYABLE:
            if self._cancel_asked:
                return endings.canceled()
            expires_at = self._request.expires_at
            again_at = workflow.now() + (trouble.detail.retry_after or LONGEST_QUICK_WAIT)
            if expires_at is not None and again_at >= expires_at:
                return endings.expired(after=trouble.failure_class, error_code=code)
        return endings.refused(trouble.failure_class, code)

    async def _find_out(self) -> Ending | None:
        """Twilio may have it. Its callback carries our message id and the SID: wait for one."""
        until = workflow.now() + self._admission.terms.unknown_wait
        self._standing.enter(Stage.RESOLVING, "a callback that names its SID", until=until)
        await self._until(until, lambda: self._called_back_sid() is not None)
        sid = self._called_back_sid()
        if sid is None:
            return endings.unknown()
        self._submitted_at = workflow.now()
        self._adopt(sid)
        return None

    def _called_back_sid(self) -> str | None:
        return self._receipts.newest_sid_besides(set(self._sids))

    async def _await_receipt(self) -> Ending | None:
        sid = self._sids[-1]
        timeout_at = workflow.now() + self._request.receipt_timeout
        self._standing.error_code = None
        self._standing.enter(Stage.AWAITING_RECEIPT, "a receipt from Twilio", until=timeout_at)
        for moment in self._moments_to_ask(timeout_at):
            if await self._until(moment, lambda: self._receipt() is not None):
                break
            await self._ask_twilio(sid)
            if self._receipt() is not None:
                break
        receipt = self._receipt()
        if receipt is None:
            return endings.no_receipt(sid)
        if receipt.says_delivered:
            return endings.delivered(receipt)
        self._standing.error_code = receipt.error_code
        ending = endings.not_delivered(receipt)
        return None if self._worth_another_try(ending) else ending

    def _receipt(self) -> Receipt | None:
        """The final word: delivered under any SID, or the end of the newest one."""
        delivered = self._receipts.delivered()
        if delivered is not None:
            return delivered
        newest = self._receipts.of(self._sids[-1])
        return newest if newest is not None and newest.is_final else None

    def _moments_to_ask(self, timeout_at: datetime) -> Iterator[datetime]:
        begun = workflow.now()
        for after in self._admission.terms.receipt_checks:
            if begun + after < timeout_at:
                yield begun + after
        yield timeout_at

    async def _ask_twilio(self, sid: str) -> None:
        answer = await calls.look_up(sid)
        if answer is not None and answer.status is not None:
            self._note(sid, answer.status, answer.error_code)

    def _worth_another_try(self, ending: Ending) -> bool:
        if ending.failure_class is not FailureClass.DELIVERY_DELAYED:
            return False
        again_at = workflow.now() + timedelta(seconds=codes.delay_for(ending.error_code))
        in_time = self._request.expires_at is None or again_at < self._request.expires_at
        return in_time and self._later_tries < codes.later_tries_for(ending.error_code)

    async def _wait_to_try_again(self) -> Ending | None:
        """A passing trouble at the recipient's end: later, as a new Twilio message."""
        self._later_tries += 1
        again_at = workflow.now() + timedelta(seconds=codes.delay_for(self._standing.error_code))
        self._standing.enter(Stage.DELAYED, "its next try as a new message", until=again_at)
        canceled = await self._pause(again_at)
        late = self._receipts.delivered()
        if late is not None:
            return endings.delivered(late)
        return canceled and replace(canceled, error_code=self._standing.error_code)

    async def _settle(self, ending: Ending) -> MessageReport:
        self._ending = ending
        message_id = self._standing.message_id
        report = MessageReport(
            message_id=message_id,
            outcome=ending.outcome,
            message_sid=ending.message_sid or (self._sids[-1] if self._sids else None),
            error_code=ending.error_code,
            failure_class=ending.failure_class,
            reason=ending.reason,
            attempts=self._standing.attempts,
            segments=self._segments,
            submitted_at=self._submitted_at,
            settled_at=workflow.now(),
            dead_letter_id=dead_letter_workflow_id(message_id) if ending.letter else None,
            tags=self._request.tags,
        )
        if ending.failure_class is not None and ending.letter:
            await open_letter(
                Letter(
                    request=self._request,
                    report=report,
                    sender=self._standing.sender,
                    action=codes.action_for(ending.failure_class, ending.error_code),
                    hold_days=self._admission.terms.letter_hold.days,
                )
            )
        self._standing.message_sid, self._standing.error_code = (
            report.message_sid,
            ending.error_code,
        )
        self._standing.end(ending.outcome, ending.reason)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return report

    def _note(self, sid: str, status: str, error_code: int | None) -> None:
        if self._receipts.note(sid, status, error_code):
            self._standing.twilio_status = status

    def _adopt(self, sid: str) -> None:
        self._sids.append(sid)
        self._standing.message_sid = sid

    def _ask_to_cancel(self) -> None:
        self._cancel_asked = True
        if self._sending is not None:
            self._sending.cancel()

    async def _pause(self, until: datetime) -> Ending | None:
        """Wait until then; the ending instead if it was canceled or proved delivered meanwhile."""
        await self._until(
            until, lambda: self._cancel_asked or self._receipts.delivered() is not None
        )
        return endings.canceled() if self._cancel_asked else None

    async def _until(self, moment: datetime, condition: Callable[[], bool]) -> bool:
        """Wait until the condition holds, at most until `moment`; whether it holds."""
        left = moment - workflow.now()
        if left > timedelta(0) and not condition():
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(condition, timeout=left)
        return condition()
