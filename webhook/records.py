"""Hands an inbound message to Temporal while the database is away."""

import asyncio
from datetime import timedelta

from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from signedfor.client import CONFLICT_POLICY, REUSE_POLICY
from signedfor.contract import MESSAGES_QUEUE
from signedfor.inbound import (
    BEFORE_MESSAGES,
    RECORD_INBOUND_WORKFLOW,
    InboundRecord,
    inbound_workflow_id,
)


class RecordNotTaken(Exception):
    """Temporal does not have it; the text says why."""


class InboundRecords:
    """Starts a workflow a message, which records it as soon as the database is back."""

    def __init__(self, client: Client, *, timeout: timedelta) -> None:
        self._client = client
        self._timeout = timeout

    async def start(self, record: InboundRecord) -> None:
        """Return when Temporal has it; its SID is the key, so that it is recorded once.

        Raises:
            RecordNotTaken: not within the timeout, or for any other reason.
        """
        # For the exceptions see `webhook.signals.Receipts.deliver`.
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await self._client.start_workflow(
                    RECORD_INBOUND_WORKFLOW,
                    record,
                    id=inbound_workflow_id(record.message_sid),
                    task_queue=MESSAGES_QUEUE,
                    id_conflict_policy=CONFLICT_POLICY,
                    id_reuse_policy=REUSE_POLICY,
                    priority=BEFORE_MESSAGES,
                    rpc_timeout=self._timeout,
                )
        except WorkflowAlreadyStartedError:
            return
        except TimeoutError:
            raise RecordNotTaken("Temporal did not answer in time") from None
        except RPCError as error:
            raise RecordNotTaken(f"Temporal answered {error.status.name}") from error
        except RuntimeError as error:
            raise RecordNotTaken("Temporal cannot be reached") from error
