"""Status callbacks: which statuses are posted, in which order, with which parameters."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from devtools.sandbox.addresses import channel_of
from devtools.sandbox.faults import CallbackScript
from devtools.sandbox.ledger import Callback
from devtools.sandbox.messages import API_VERSION, Message
from devtools.sandbox.state import State
from devtools.sandbox.webhooks import Attempt, Webhooks

_log = logging.getLogger(__name__)

_WITH_ERROR_CODE = frozenset({"failed", "undelivered"})
_WITH_RECEIPT = frozenset({"delivered", "undelivered"})


class Outbox:
    """Decides for each status which callbacks are posted for one message."""

    def __init__(self, script: CallbackScript, *, posted: Sequence[str] = ()) -> None:
        """`posted`: the statuses that were posted before the sandbox was restarted."""
        self._script = script
        self._reached: set[str] = set()
        self._waiting: list[str] = [
            status for status in script.statuses or () if status not in posted
        ]

    def reached(self, status: str, *, last: bool) -> list[str]:
        """Return what to post when `status` is reached; `last` if it is the final one."""
        due = self._due(status, last=last)
        lost = self._script.lost
        posted = [] if lost is True else [one for one in due if not lost or one not in lost]
        return [one for one in posted for _ in range(self._script.double)]

    def _due(self, status: str, *, last: bool) -> list[str]:
        self._reached.add(status)
        if self._script.statuses is None:
            self._waiting.append(status)
            if self._script.reorder:
                return [status, *self._take(len(self._waiting))[:-1]] if last else []
            return self._take(1)
        if last:
            return self._take(len(self._waiting))
        ready = 0
        while ready < len(self._waiting) and self._waiting[ready] in self._reached:
            ready += 1
        return self._take(ready)

    def _take(self, count: int) -> list[str]:
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken


class CallbackSender:
    """Posts the callbacks of every message, those of one message in order."""

    def __init__(self, webhooks: Webhooks, state: State) -> None:
        self._webhooks = webhooks
        self._state = state
        self._outboxes: dict[str, Outbox] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def reached(self, message: Message, *, last: bool) -> None:
        """Post what is due now that `message` has reached its status; does not wait for it."""
        if message.status_callback is None:
            return
        script = message.step.callbacks
        outbox = self._outboxes.setdefault(message.sid, Outbox(script))
        due = outbox.reached(message.status, last=last)
        if last:
            del self._outboxes[message.sid]
        if due:
            before = self._tasks.get(message.sid)
            task = asyncio.create_task(self._post_all(message, due, before))
            self._tasks[message.sid] = task
            task.add_done_callback(lambda done: self._finish(message.sid, done))

    def resume(self, message: Message) -> None:
        """Continue a message of the journal: callbacks that were posted are not repeated."""
        posted = {
            entry.status for entry in self._state.ledger.callbacks if entry.sid == message.sid
        }
        self._outboxes[message.sid] = Outbox(message.step.callbacks, posted=sorted(posted))

    @property
    def pending(self) -> int:
        """The number of messages with callbacks that are due and not posted yet."""
        return len(self._tasks)

    async def wait_until_posted(self, message: Message) -> None:
        """Wait until everything due so far for `message` is posted."""
        task = self._tasks.get(message.sid)
        if task is not None:
            await asyncio.wait({task})

    async def aclose(self) -> None:
        """Cancel callbacks that are not posted yet."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _post_all(
        self, message: Message, due: Sequence[str], before: asyncio.Task[None] | None
    ) -> None:
        delay = message.step.callbacks.delay
        if delay:
            await asyncio.sleep(delay)
        if before is not None:
            await asyncio.wait({before})
        for status in due:
            await self._post(message, status)

    async def _post(self, message: Message, status: str) -> None:
        def record(attempt: Attempt) -> None:
            answer = attempt.response
            self._state.called_back(
                Callback(
                    sid=message.sid,
                    to=message.to,
                    status=status,
                    attempt=attempt.attempt,
                    http_status=None if answer is None else answer.status_code,
                    error=attempt.failure if answer is None else None,
                    at=attempt.at,
                )
            )

        url = message.status_callback or ""
        await self._webhooks.post(url, parameters_of(message, status), on_attempt=record)

    def _finish(self, sid: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(sid) is task:
            del self._tasks[sid]
        if not task.cancelled() and task.exception() is not None:
            # Only the kind: the text may contain the client's URL.
            _log.error("A status callback could not be made: %s", type(task.exception()).__name__)


def parameters_of(message: Message, status: str) -> dict[str, str]:
    """Return the parameters that Twilio posts when `message` reaches `status`."""
    parameters = {
        "AccountSid": message.account_sid,
        "ApiVersion": API_VERSION,
        "MessageSid": message.sid,
        "MessageStatus": status,
        "SmsSid": message.sid,
        "SmsStatus": status,
        "To": message.to,
    }
    if message.sender is not None:
        parameters["From"] = message.sender
    if message.messaging_service_sid is not None:
        parameters["MessagingServiceSid"] = message.messaging_service_sid
    code = message.step.callbacks.error_code or message.error_code or message.step.error_code
    if status in _WITH_ERROR_CODE and code is not None:
        parameters["ErrorCode"] = str(code)
    channel = channel_of(message.to)
    if channel:
        parameters |= {"ChannelPrefix": channel, "ChannelToAddress": message.to}
        if status == "read":
            parameters["EventType"] = "READ"
    elif status in _WITH_RECEIPT:
        parameters["RawDlrDoneDate"] = datetime.now(UTC).strftime("%y%m%d%H%M")
    return parameters
