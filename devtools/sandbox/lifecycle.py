"""The life of a message after acceptance: its statuses over time, and its sender's queue."""

import asyncio
import time

from devtools.sandbox.callbacks import CallbackSender
from devtools.sandbox.events import EventSink
from devtools.sandbox.messages import Message
from devtools.sandbox.settings import LiveSettings
from devtools.sandbox.state import State


class SenderQueues:
    """The queue of each sender, from which segments leave at a steady rate."""

    def __init__(self) -> None:
        self._free_at: dict[str, float] = {}

    def reserve(self, sender: str, *, segments: int, rate: float, now: float) -> float:
        """Return when a message of `segments` from `sender` leaves, at `rate` segments a second."""
        leaves = max(now, self._free_at.get(sender, 0.0))
        self._free_at[sender] = leaves + segments / rate
        return leaves

    def is_full(self, sender: str, *, limit: int, rate: float, now: float) -> bool:
        """Whether `limit` segments or more wait for `sender`."""
        return (self._free_at.get(sender, 0.0) - now) * rate >= limit

    def clear(self) -> None:
        """Empty every queue."""
        self._free_at.clear()


_OPTED_OUT = 21610
_QUEUE_OVERFLOW = 30001
_EXPIRED = 30036
_UNKNOWN = 30008
_UNREACHABLE = 30003


class Lifecycle:
    """Advances messages: from accepted, scheduled or queued to their last status."""

    def __init__(
        self, settings: LiveSettings, state: State, callbacks: CallbackSender, events: EventSink
    ) -> None:
        self._settings = settings
        self._state = state
        self._callbacks = callbacks
        self._events = events
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.queues = SenderQueues()

    def start(self, message: Message) -> None:
        """Advance `message` from its current status."""
        task = asyncio.create_task(self._run(message))
        self._tasks[message.sid] = task
        task.add_done_callback(lambda _: self._tasks.pop(message.sid, None))

    def cancel(self, message: Message) -> None:
        """End a scheduled `message` as canceled."""
        task = self._tasks.get(message.sid)
        if task is not None:
            task.cancel()
        self._move(message, "canceled", last=True)

    async def ended(self, message: Message) -> None:
        """Wait until `message` has its last status."""
        task = self._tasks.get(message.sid)
        if task is not None:
            await asyncio.wait({task})

    async def aclose(self) -> None:
        """Stop every message where it is."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, message: Message) -> None:
        if message.status in {"accepted", "scheduled"} and not await self._choose_sender(message):
            return
        if message.status == "queued":
            await self._leave_queue(message)
        if message.status == "sent" and not message.finished:
            await self._receipt(message)

    async def _choose_sender(self, message: Message) -> bool:
        """Queue a message of a Messaging Service; False if it fails."""
        settings = self._settings.now
        if message.send_at is not None:
            await asyncio.sleep((message.send_at - time.time()) / settings.time_scale)
        else:
            await asyncio.sleep(settings.sent_after / 2)
        code = self._late_error(message)
        if code is not None:
            self._fail(message, code)
            return False
        message.sender = message.sender or self._settings.now.service_sender
        message.num_segments = message.segments
        self._move(message, "queued")
        return True

    def _late_error(self, message: Message) -> int | None:
        if message.late_error is not None:
            return message.late_error
        if self._state.opt_outs.blocks(message.scope, message.to):
            return _OPTED_OUT
        sender = message.sender or self._settings.now.service_sender
        return _QUEUE_OVERFLOW if self.queue_is_full(sender) else None

    def queue_is_full(self, sender: str) -> bool:
        """Whether the queue of `sender` is full."""
        settings = self._settings.now
        rate = settings.segments_per_second
        return rate is not None and self.queues.is_full(
            sender, limit=settings.queue_segments, rate=rate, now=time.time()
        )

    async def _leave_queue(self, message: Message) -> None:
        if not await self._wait_in_queue(message):
            self._fail(message, _EXPIRED)
        elif message.step.final == "failed":
            self._fail(message, message.step.error_code or _UNKNOWN)
        else:
            message.sent = time.time()
            self._move(message, "sent", last=message.step.final == "sent")

    async def _wait_in_queue(self, message: Message) -> bool:
        """Wait until the message leaves the queue; False if its validity ends first."""
        settings = self._settings.now
        began = message.created if message.send_at is None else time.time()
        expires = began + message.validity / settings.time_scale
        due = began + settings.sent_after
        if settings.segments_per_second is not None:
            due = self.queues.reserve(
                message.sender or "",
                segments=message.segments,
                rate=settings.segments_per_second,
                now=due,
            )
        while True:
            now = time.time()
            if now >= expires:
                return False
            if self._settings.now.hold:
                await self._settings.changed(within=expires - now)
            elif now < due:
                await asyncio.sleep(min(due, expires) - now)
            else:
                return True

    async def _receipt(self, message: Message) -> None:
        await asyncio.sleep(self._settings.now.delivered_after)
        final = message.step.final
        if final == "undelivered":
            message.error_code = message.step.error_code or _UNREACHABLE
        elif final == "read":
            self._move(message, "delivered")
            await asyncio.sleep(self._settings.now.delivered_after)
        self._move(message, final, last=True)

    def _fail(self, message: Message, code: int) -> None:
        message.error_code = code
        self._move(message, "failed", last=True)

    def _move(self, message: Message, status: str, *, last: bool = False) -> None:
        message.status = status
        message.updated = time.time()
        message.finished = last
        self._state.changed(message)
        self._callbacks.reached(message, last=last)
        self._events.status_reached(message)
