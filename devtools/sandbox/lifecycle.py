"""The life of a message after acceptance: its statuses over time."""

import asyncio
import time

from devtools.sandbox.books import Books
from devtools.sandbox.callbacks import Courier
from devtools.sandbox.messages import Message
from devtools.sandbox.queues import SenderQueues
from devtools.sandbox.settings import Dials

_OPTED_OUT = 21610
_QUEUE_OVERFLOW = 30001
_EXPIRED = 30036
_UNKNOWN = 30008
_UNREACHABLE = 30003


class Lifecycle:
    """Moves messages along: from accepted, scheduled or queued to their last status."""

    def __init__(self, dials: Dials, books: Books, courier: Courier) -> None:
        self._dials = dials
        self._books = books
        self._courier = courier
        self._lives: dict[str, asyncio.Task[None]] = {}
        self.queues = SenderQueues()

    def start(self, message: Message) -> None:
        """Let `message` go its way from the status it has."""
        task = asyncio.create_task(self._live(message))
        self._lives[message.sid] = task
        task.add_done_callback(lambda _: self._lives.pop(message.sid, None))

    def cancel(self, message: Message) -> None:
        """End a scheduled `message` as canceled."""
        task = self._lives.get(message.sid)
        if task is not None:
            task.cancel()
        self._move(message, "canceled", last=True)

    async def ended(self, message: Message) -> None:
        """Wait until `message` has its last status."""
        task = self._lives.get(message.sid)
        if task is not None:
            await asyncio.wait({task})

    async def aclose(self) -> None:
        """Stop every message where it is."""
        tasks = list(self._lives.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live(self, message: Message) -> None:
        if message.status in {"accepted", "scheduled"} and not await self._choose_sender(message):
            return
        if message.status == "queued":
            await self._leave_queue(message)
        if message.status == "sent" and not message.finished:
            await self._receipt(message)

    async def _choose_sender(self, message: Message) -> bool:
        """Bring a message of a Messaging Service into the queue; False when it fails there."""
        settings = self._dials.now
        if message.send_at is not None:
            await asyncio.sleep((message.send_at - time.time()) / settings.time_scale)
        else:
            await asyncio.sleep(settings.sent_after / 2)
        code = self._late_error(message)
        if code is not None:
            self._fail(message, code)
            return False
        message.sender = message.sender or self._dials.now.service_sender
        message.num_segments = message.segments
        self._move(message, "queued")
        return True

    def _late_error(self, message: Message) -> int | None:
        if message.late_error is not None:
            return message.late_error
        if self._books.opt_outs.blocks(message.scope, message.to):
            return _OPTED_OUT
        sender = message.sender or self._dials.now.service_sender
        return _QUEUE_OVERFLOW if self.queue_is_full(sender) else None

    def queue_is_full(self, sender: str) -> bool:
        """Tell whether the queue of `sender` takes no more."""
        settings = self._dials.now
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
        """Wait for the message's turn; False when its validity ran out first."""
        settings = self._dials.now
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
            if self._dials.now.hold:
                await self._dials.changed(within=expires - now)
            elif now < due:
                await asyncio.sleep(min(due, expires) - now)
            else:
                return True

    async def _receipt(self, message: Message) -> None:
        await asyncio.sleep(self._dials.now.delivered_after)
        final = message.step.final
        if final == "undelivered":
            message.error_code = message.step.error_code or _UNREACHABLE
        elif final == "read":
            self._move(message, "delivered")
            await asyncio.sleep(self._dials.now.delivered_after)
        self._move(message, final, last=True)

    def _fail(self, message: Message, code: int) -> None:
        message.error_code = code
        self._move(message, "failed", last=True)

    def _move(self, message: Message, status: str, *, last: bool = False) -> None:
        message.status = status
        message.updated = time.time()
        message.finished = last
        self._books.changed(message)
        self._courier.reached(message, last=last)
