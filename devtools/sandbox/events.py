"""Event Streams: the account's events, posted to a sink in batches, again after a failure."""

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from devtools.sandbox.accounts import Account
from devtools.sandbox.messages import API_VERSION, Message, new_sid
from devtools.sandbox.settings import LiveSettings
from devtools.sandbox.webhooks import Attempt, Webhooks

_STATUSES = frozenset({"sent", "delivered", "undelivered", "failed", "read"})
"""`queued` is not reported for messages of the API."""
_SCHEMAS = "https://events-schemas.twilio.com"
_RETRY_SECONDS = 0.1
"""Doubled after each attempt. Our choice: Twilio does not publish its own."""
_MAX_RETRY_SECONDS = 2.0
_RETAINED_SECONDS = 4 * 3600

_Event = dict[str, Any]


class EventSink:
    """Posts what happens to the sink `events_url`, if there is one when it happens.

    As at Twilio, a batch is posted again for four hours after a 5xx, a timeout or without a
    connection, and dropped after a 4xx. Events that are not delivered end with the process.
    """

    def __init__(self, *, account: Account, webhooks: Webhooks, settings: LiveSettings) -> None:
        self._account = account
        self._webhooks = webhooks
        self._settings = settings
        self._collected: list[_Event] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._outcomes: dict[str, int] = {}
        self._pending = 0

    def status_reached(self, message: Message) -> None:
        """Report the status that an outbound message has reached."""
        if message.status not in _STATUSES:
            return
        data: _Event = {
            "apiVersion": API_VERSION,
            "from": message.sender,
            "to": message.to,
            "messageStatus": message.status.upper(),
            "messagingServiceSid": message.messaging_service_sid,
            "errorCode": message.error_code,
            "statusCallBackUrl": message.status_callback,
            "numberOfSegments": message.segments,
            "tags": {},
        }
        name = f"com.twilio.messaging.message.{message.status}"
        self._emit(name, "Messaging.MessageStatus/8", _of_message(message, name) | data)

    def received(self, message: Message, *, service: str | None, opt_out_type: str | None) -> None:
        """Report an inbound message, with the Messaging Service that its webhook is told too."""
        data: _Event = {
            "from": message.sender,
            "to": message.to,
            "body": message.body,
            "messagingServiceSid": service,
            "numMedia": message.num_media,
            "numSegments": message.num_segments,
            "recipients": [],
            "optOutType": opt_out_type,
        }
        name = "com.twilio.messaging.inbound-message.received"
        self._emit(name, "Messaging.InboundMessageV1/6", _of_message(message, name) | data)

    def number_reassigned(self, number: str, *, sender: str) -> None:
        """Report that the Compliance Toolkit found `number` to belong to somebody else now."""
        now = _iso(time.time())
        data = {
            "event_id": new_sid(""),
            "timestamp": now,
            "account_sid": self._account.sid,
            "from_number": sender,
            "to_number": number,
            "is_reassigned": True,
            "last_verified_date": "2026-08-01",
            "consent_operation": "opt-out-created",
            "consent_updated_at": now,
        }
        schema = "DemandGrowth.ReassignedPhoneNumberDetectedEvent/1"
        self._emit("com.twilio.messaging.reassigned-number.detected", schema, data)

    def view(self) -> dict[str, int]:
        """Count the events that are pending, delivered and dropped, and the attempts by answer."""
        return {"pending": self._pending, **self._outcomes}

    def clear(self) -> None:
        """Forget what is pending, and the counts."""
        for task in self._tasks:
            task.cancel()
        self._collected.clear()
        self._outcomes.clear()
        self._pending = 0

    async def aclose(self) -> None:
        """Stop posting."""
        tasks = list(self._tasks)
        self.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _emit(self, name: str, schema: str, data: _Event) -> None:
        url = self._settings.now.events_url
        if url is None:
            return
        event = {
            "specversion": "1.0",
            "type": name,
            "source": f"/{API_VERSION}/Accounts/{self._account.sid}",
            "id": new_sid("EZ"),
            "dataschema": f"{_SCHEMAS}/{schema}",
            "datacontenttype": "application/json",
            "time": data["timestamp"],
            "data": {field: value for field, value in data.items() if value is not None},
        }
        self._collected.append(event)
        self._pending += 1
        if len(self._collected) == 1:
            self._start(self._post_collected(url))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post_collected(self, url: str) -> None:
        settings = self._settings.now
        await asyncio.sleep(settings.events_collected_for)
        batch, self._collected = self._collected, []
        if settings.events_newest_first:
            batch.reverse()
        # The copies follow each other: a late copy is what a sink must be ready for.
        for _ in range(settings.events_copies):
            outcome = await self._deliver(url, batch)
        self._pending -= len(batch)
        self._count(outcome, len(batch))

    async def _deliver(self, url: str, batch: Sequence[_Event]) -> str:
        body = json.dumps(batch).encode()
        give_up_at = time.monotonic() + _RETAINED_SECONDS / self._settings.now.time_scale
        pause = _RETRY_SECONDS
        while True:
            attempt = await self._webhooks.post_json(url, body)
            self._count(_answer_of(attempt))
            if attempt.failure is None:
                return "delivered"
            if attempt.failure == "4xx" or time.monotonic() + pause > give_up_at:
                return "dropped"
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_RETRY_SECONDS)

    def _count(self, what: str, number: int = 1) -> None:
        self._outcomes[what] = self._outcomes.get(what, 0) + number


def _of_message(message: Message, name: str) -> _Event:
    return {
        "messageSid": message.sid,
        "timestamp": _iso(message.updated or message.created),
        "accountSid": message.account_sid,
        "eventName": name,
    }


def _answer_of(attempt: Attempt) -> str:
    return attempt.failure or "" if attempt.response is None else str(attempt.response.status_code)


def _iso(moment: float) -> str:
    in_utc = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return in_utc.removesuffix("+00:00") + "Z"
