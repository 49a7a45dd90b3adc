"""Keeps the index of messages up to date with Temporal, without any cost to messages."""

import asyncio
from datetime import timedelta
from typing import Final

from anyio import to_thread
from sqlalchemy import Engine
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError

from signedfor import client as signedfor_client
from signedfor.contract import SEND_MESSAGE, Outcome, Stage, message_workflow_id
from signedfor.search_attributes import (
    CAMPAIGN_ID,
    MESSAGE_SENDER,
    MESSAGE_STATUS,
    TENANT,
    TWILIO_ERROR_CODE,
    TWILIO_SID,
)
from signedfor.store.message_index import IndexedMessage, MessageIndex
from signedfor.store.people import People
from signedfor.store.tables import message_index
from signedfor.visibility_follower import (
    Notify,
    VisibilityFollower,
    concurrently,
    storable,
    storable_code,
)
from signedfor.workflow_calls import is_workflow_missing

_MAX_REQUESTS: Final = 200
"""Histories that are read at a time, for recipients that no record knows."""
_MAX_REQUEST_TIME: Final = timedelta(seconds=2)
"""How long a round goes on reading more of them."""
_HAS_REPORT: Final = frozenset({WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED})


class MessageIndexer(VisibilityFollower[IndexedMessage]):
    """Brings the index of messages in the database of `engine` up to date with Temporal."""

    def __init__(self, temporal: Client, engine: Engine) -> None:
        self._messages = signedfor_client.Client(temporal)
        self._message_index = MessageIndex(engine)
        self._people = People(engine)
        super().__init__(
            temporal,
            engine,
            self._message_index,
            workflow_type=SEND_MESSAGE,
            id_prefix=message_workflow_id(""),
            row_of=_row_of,
        )

    async def bring_up_to_date(self, notify: Notify | None = None) -> None:
        """As of every index; then find out who the recipients are."""
        await super().bring_up_to_date(notify)
        until = asyncio.get_running_loop().time() + _MAX_REQUEST_TIME.total_seconds()
        while await self._find_people() and asyncio.get_running_loop().time() < until:
            pass

    async def rebuild(self, notify: Notify | None = None) -> None:
        """As of every index; then find out who the recipients are."""
        await super().rebuild(notify)
        while await self._find_people():
            pass

    async def _find_people(self) -> int:
        """Find out who the recipients are who are not known yet; how many there were."""
        index = self._message_index
        unknown = await to_thread.run_sync(index.without_person, _MAX_REQUESTS)
        people = await to_thread.run_sync(index.recorded_people, unknown)
        recipients = await to_thread.run_sync(index.held_back, unknown)

        async def read(message_id: str) -> None:
            try:
                request = await self._messages.request_of(self._messages.message(message_id))
            except RPCError as error:
                # Anything but the end of its retention period is tried again in the next round.
                if is_workflow_missing(error):
                    recipients[message_id] = ""
            else:
                recipients[message_id] = "" if request is None else request.to

        await concurrently(read, set(unknown) - people.keys() - recipients.keys())
        people |= {
            message_id: self._people.reference(to) if to else ""
            for message_id, to in recipients.items()
        }
        await to_thread.run_sync(index.set_people, people)
        return len(people)


def _row_of(message_id: str, execution: WorkflowExecution) -> IndexedMessage:
    attributes, table = execution.typed_search_attributes, message_index
    has_report = execution.status in _HAS_REPORT
    status = storable(attributes.get(MESSAGE_STATUS), table, "status") or Stage.SENDING
    return IndexedMessage(
        message_id=message_id,
        run_id=execution.run_id,
        started_at=execution.start_time,
        closed_at=execution.close_time,
        status=status if has_report else Outcome.FAILED,
        sender=storable(attributes.get(MESSAGE_SENDER), table, "sender"),
        tenant=storable(attributes.get(TENANT), table, "tenant"),
        campaign_id=storable(attributes.get(CAMPAIGN_ID), table, "campaign_id"),
        message_sid=storable(attributes.get(TWILIO_SID), table, "message_sid"),
        error_code=storable_code(attributes.get(TWILIO_ERROR_CODE)),
        has_report=has_report,
    )
