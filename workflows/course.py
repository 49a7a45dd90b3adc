"""One message under way: what its steps share."""

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.workflow import ActivityHandle

from messaging.contract import MessageRequest
from messaging.steps import Admission, Submission, Terms
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
        self.had_turn = False
        """It was tried in its turn and failed: trying again, it does not queue anew."""
        self.retries_end: datetime | None = None
        """End of the retry budget, from the first trouble on."""
        self.later_tries = 0
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
        if self.receipts.note(sid, status, error_code):
            self.standing.twilio_status = status

    def adopt(self, sid: str, submitted_at: datetime | None) -> None:
        """This is Twilio's SID for it, from now on."""
        self.sids.append(sid)
        self.submitted_at = submitted_at
        self.standing.message_sid = sid
        self.standing.message_sids = tuple(self.sids)

    def called_back_sid(self) -> str | None:
        """A SID that a callback has named and we did not know: ours, its answer lost."""
        return self.receipts.newest_sid_besides(set(self.sids))

    def receipt(self) -> Receipt | None:
        """The final word: delivered under any SID, or the end of the newest one."""
        delivered = self.receipts.delivered()
        if delivered is not None:
            return delivered
        newest = self.receipts.of(self.sids[-1])
        return newest if newest is not None and newest.is_final else None

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

    async def pause(self, until: datetime) -> Ending | None:
        """Wait until then; shorter, and with the ending, if it is canceled.

        It is also cut short when a receipt says that an earlier submission was delivered.
        """
        await self.until(until, lambda: self.cancel_asked or self.receipts.delivered() is not None)
        return endings.canceled() if self.cancel_asked else None
