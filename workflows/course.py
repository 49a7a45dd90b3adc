"""One message under way: what its steps share."""

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.workflow import ActivityHandle

from signedfor.contract import MessageRequest
from signedfor.contract.failures import FailureClass
from signedfor.steps import Admission, Decision, Submission, Terms
from workflows import endings
from workflows.endings import Ending
from workflows.receipts import Receipt, Receipts
from workflows.standing import Standing


class Course:
    """The message's state. Signals and updates may come first, so it starts without a request."""

    request: MessageRequest
    admission: Admission

    def __init__(self) -> None:
        self.standing = Standing()
        self.receipts = Receipts()
        self.sids: list[str] = []
        self.submitted_at: datetime | None = None
        self.segments = 1
        self.slot: datetime | None = None
        self.is_retry = False
        """It was tried in its turn and failed: trying again, it does not queue anew."""
        self.retries_end: datetime | None = None
        """End of the retry budget, from the first trouble on."""
        self.later_tries = 0
        self.unknown_since: datetime | None = None
        """When the first POST was begun of which it was not known whether Twilio took it."""
        self.fate_is_open = False
        """Whether the newest POST is such a one."""
        self.sending: ActivityHandle[Submission] | None = None
        self.cancel_asked = False

    @property
    def terms(self) -> Terms:
        """The settings that rule this message."""
        return self.admission.terms

    @property
    def sender(self) -> str:
        """What it is sent from; known once it is admitted."""
        return self.admission.sender or ""

    def ask_to_cancel(self) -> None:
        """Stop at the next point where that is certain."""
        self.cancel_asked = True
        if self.sending is not None:
            self.sending.cancel()

    def note(self, sid: str, status: str, error_code: int | None) -> None:
        """Take in what Twilio said of one of its messages."""
        if not self.receipts.note(sid, status, error_code):
            return
        self.standing.twilio_status = status
        self._is_ours(sid)
        # It is being submitted anew, and an earlier POST turns out to have been taken: no attempt
        # is begun any more. A first POST's own callback, which may come before its answer, is none.
        if self.sending is not None and self.unknown_since is not None and self.has_news:
            self.sending.cancel()

    def adopt(self, sid: str, submitted_at: datetime | None) -> None:
        """This is Twilio's SID for it, from now on."""
        self.sids.append(sid)
        self.fate_is_open = False
        self.submitted_at = submitted_at
        self.standing.message_sid = sid
        self._is_ours(sid)

    def _is_ours(self, sid: str) -> None:
        """So that no other message of the same text takes it for its own."""
        if sid not in self.standing.message_sids:
            self.standing.message_sids += (sid,)

    def called_back_sid(self) -> str | None:
        """A SID that a callback has named and we did not know: ours, its answer lost."""
        newest = self.receipts.newest_besides(self.sids)
        return None if newest is None else newest.message_sid

    @property
    def has_news(self) -> bool:
        """Whether Twilio has a message that is about to be submitted."""
        return self.receipts.delivered() is not None or self.called_back_sid() is not None

    def after_all(self) -> Submission | Ending | None:
        """What callbacks say of a message that is about to be submitted: it has been already.

        Looked at before each POST, also after each wait: a callback may name a POST whose answer
        was lost long after that was taken for a failure.
        """
        delivered = self.receipts.delivered()
        if delivered is not None:
            return endings.delivered(delivered)
        sid = self.called_back_sid()
        if sid is None:
            return None
        return Submission(
            decision=Decision.GO,
            attempts=self.standing.attempts,
            message_sid=sid,
            submitted_at=workflow.now(),
        )

    def receipt(self) -> Receipt | None:
        """The final word: delivered under any SID, or the end of the newest one."""
        delivered = self.receipts.delivered()
        if delivered is not None:
            return delivered
        newest = self.receipts.of(self.sids[-1])
        return newest if newest is not None and newest.is_final else None

    def expired(self) -> Ending:
        """Its time is over; what was tried before decides whether somebody should look at it."""
        if self.fate_is_open:
            return endings.expired(after=FailureClass.OUTCOME_UNKNOWN)
        code = self.standing.error_code
        if self.is_retry:
            return endings.expired(after=FailureClass.TEMPORARILY_UNAVAILABLE, error_code=code)
        if self.later_tries:
            return endings.expired(after=FailureClass.DELIVERY_DELAYED, error_code=code)
        return endings.expired()

    def expires_by(self, moment: datetime) -> bool:
        """Whether it may no longer be submitted at that moment."""
        return self.request.expires_at is not None and moment >= self.request.expires_at

    async def until(self, moment: datetime, condition: Callable[[], bool]) -> bool:
        """Wait until the condition holds, at most until `moment`; whether it holds."""
        left = moment - workflow.now()
        if left > timedelta(0) and not condition():
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(condition, timeout=left)
        return condition()

    async def pause(self, until: datetime, *, error_code: int | None = None) -> Ending | None:
        """Wait until then; shorter if it is canceled or Twilio turns out to have it.

        The ending, if that is one. `error_code` is that of an earlier submission's failure.
        """
        await self.until(until, lambda: self.is_interrupted)
        return self.interruption(error_code=error_code)

    @property
    def is_interrupted(self) -> bool:
        """Whether a wait before a POST is over."""
        return self.cancel_asked or self.has_news

    def interruption(self, *, error_code: int | None = None) -> Ending | None:
        """How such a wait ends the message; None where it goes on, perhaps as one Twilio has."""
        after_all = self.after_all()
        if after_all is not None:
            return after_all if isinstance(after_all, Ending) else None
        return endings.canceled(error_code=error_code) if self.cancel_asked else None
