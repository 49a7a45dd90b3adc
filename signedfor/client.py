"""A typed client for services that send messages: send, report, progress and cancel.

    client = await Client.connect("localhost:7233")
    message = await client.send({"to": "+15558675309", "body": "Hello."}, message_id="order-17")
    report = await message.report()

It does nothing that another Temporal client could not do by the names in `docs/contract.md`.
Temporal's own exceptions, such as `temporalio.service.RPCError`, pass through.
"""

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Literal, Self

import temporalio.client
from pydantic import TypeAdapter, ValidationError
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import (
    Priority,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from signedfor.contract import (
    CANCEL_UPDATE,
    MESSAGES_QUEUE,
    PROGRESS_QUERY,
    SEND_MESSAGE,
    CancelRequest,
    CancelResult,
    MessageReport,
    MessageRequest,
    Outcome,
    Progress,
    message_workflow_id,
)
from signedfor.contract.fields import MessageId, problems_in
from signedfor.encryption import Encryption, EncryptionCodec, load_encryption, with_codec
from signedfor.masks import masked_sender, named
from signedfor.payloads import INVALID_INPUT, UnreadablePayload, id_problems
from signedfor.search_attributes import message_attributes
from signedfor.tracing import with_tracing

__all__ = ["BadInput", "Client", "FieldProblem", "Message", "NotFound", "UnreadablePayload"]

REUSE_POLICY: Final = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
"""A message id is an idempotency key for as long as the namespace retains closed workflows.

A workflow fails only if it was refused as bad input: such a message was never sent and can be
corrected under its id. Whatever starts a message again, the claim of each submission prevents a
second POST.
"""
CONFLICT_POLICY: Final = WorkflowIDConflictPolicy.USE_EXISTING

_message_id = TypeAdapter(MessageId)
_RPC_TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True)
class FieldProblem:
    """The name of a bad field and what is wrong with it, never its value."""

    field: str
    problem: str


class BadInput(ValueError):
    """The message cannot be sent as it is; `problems` names every bad field."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.problem}" for each in problems))
        self.problems = tuple(problems)


class NotFound(LookupError):
    """Temporal has no message with this id: it was never sent, or its retention period is over."""


class Client:
    """Sends messages through a Temporal client; safe to share between tasks."""

    def __init__(self, temporal: temporalio.client.Client) -> None:
        """Use this connection and its payload codec, with the converter that the contract needs.

        A connection without a codec sends clear text; `Client.connect` encrypts.
        """
        config = temporal.config()
        self.data_converter: Final = with_codec(config["data_converter"].payload_codec)
        config["data_converter"] = self.data_converter
        config["interceptors"] = with_tracing(config["interceptors"])
        self._temporal = temporalio.client.Client(**config)

    @classmethod
    async def connect(
        cls,
        address: str = "localhost:7233",
        *,
        namespace: str = "default",
        encryption: Encryption | Literal["off"] | None = None,
        **options: Any,
    ) -> Self:
        """Connect to Temporal; `options` are those of `temporalio.client.Client.connect`.

        Messages are encrypted with these keys; by default with those of the variables `PAYLOAD_*`.

        Raises:
            InvalidSettings: there is no key, and encryption is not off.
        """
        keys = load_encryption() if encryption is None else encryption
        if isinstance(keys, Encryption):
            codec = EncryptionCodec(keys, namespace)
            options = {**options, "data_converter": with_codec(codec)}
        temporal = await temporalio.client.Client.connect(address, namespace=namespace, **options)
        return cls(temporal)

    async def send(
        self,
        request: MessageRequest | Mapping[str, Any],
        *,
        message_id: str | None = None,
        rpc_timeout: timedelta = _RPC_TIMEOUT,
    ) -> "Message":
        """Start a message. Once this returns, no crash loses it.

        A `message_id` that was used before sends nothing: the result is the earlier message, its
        `is_new` is False, and `differs_in` names the fields in which it differs. A message that was
        refused as bad input does not count. Without a `message_id` the message gets a new one.

        Raises:
            BadInput: names every bad field.
        """
        message_id = str(uuid.uuid4()) if message_id is None else message_id
        checked = checked_request(request, message_id)
        try:
            await self._temporal.start_workflow(
                SEND_MESSAGE,
                checked,
                id=message_workflow_id(message_id),
                task_queue=MESSAGES_QUEUE,
                # Like USE_EXISTING it starts nothing twice, but it also reports a duplicate.
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=REUSE_POLICY,
                search_attributes=message_attributes(checked),
                static_summary=_summary(checked),
                # Urgent messages come first in the task queue as well.
                priority=Priority(priority_key=checked.priority.temporal_key),
                rpc_timeout=rpc_timeout,
            )
        except WorkflowAlreadyStartedError:
            earlier = self.message(message_id)
            return replace(earlier, differs_in=await self._differences(earlier, checked))
        return replace(self.message(message_id), is_new=True)

    def message(self, message_id: str) -> "Message":
        """A message that was sent before. Makes no call to Temporal."""
        handle = self._temporal.get_workflow_handle(
            message_workflow_id(message_id), result_type=MessageReport
        )
        return Message(message_id=message_id, handle=handle)

    async def request_of(self, message: "Message") -> MessageRequest | None:
        """What was to be sent, from the workflow's first event; None if it cannot be read.

        That is the case for bad input, and for payloads that are encrypted with another key.
        """
        async for event in message.handle.fetch_history_events(page_size=1):
            return await request_in(event, self.data_converter)
        return None

    async def _differences(self, message: "Message", request: MessageRequest) -> tuple[str, ...]:
        earlier = None
        # It was accepted, whether or not this caller may read it.
        with contextlib.suppress(RPCError):
            earlier = await self.request_of(message)
        if earlier is None:
            return ()
        fields = request.model_dump(by_alias=True), earlier.model_dump(by_alias=True)
        return tuple(name for name, value in fields[0].items() if value != fields[1][name])


def _summary(request: MessageRequest) -> str:
    """What a message is, for the Temporal UI: it cannot change while the message is under way."""
    what = f"{request.category or 'message'}, {request.priority} priority"
    sender = "" if request.sender is None else f", from {masked_sender(request.sender)}"
    campaign = "" if request.campaign_id is None else f", of campaign {request.campaign_id}"
    return what + sender + campaign


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message that was started."""

    message_id: str
    is_new: bool = False
    """Whether this call started it; False if its id was used before."""
    differs_in: tuple[str, ...] = ()
    """The fields in which the earlier message differs from the one that was to be sent."""
    handle: WorkflowHandle[Any, MessageReport] = field(repr=False)
    """Its workflow, for everything else that Temporal can do with it."""

    async def report(self) -> MessageReport:
        """Wait until the message has ended, however long that takes, and return its report.

        Raises:
            BadInput: a worker found what only it can know, such as a missing sender.
            NotFound: there is no such message.
            temporalio.client.WorkflowFailureError: it was terminated.
        """
        try:
            return await self.handle.result()
        except WorkflowFailureError as error:
            bad_input = bad_input_in(error.cause)
            if bad_input is None:
                raise
            raise bad_input from None
        except RPCError as error:
            raise self._not_found(error) from error

    async def progress(self, *, rpc_timeout: timedelta = _RPC_TIMEOUT) -> Progress:
        """The current state of the message, from a worker.

        Raises:
            BadInput: a worker refused it as bad input: no worker can answer for it.
            NotFound: there is no such message.
        """
        try:
            progress: Progress = await self.handle.query(
                PROGRESS_QUERY, result_type=Progress, rpc_timeout=rpc_timeout
            )
        except WorkflowQueryFailedError:
            # The SDK cannot make a workflow whose input it cannot decode, not even to ask it.
            if not await self._is_running():
                with contextlib.suppress(WorkflowFailureError):
                    await self.report()
            raise
        except RPCError as error:
            raise self._not_found(error) from error
        return progress

    async def cancel(self, *, by: str | None = None, reason: str | None = None) -> CancelResult:
        """Cancel the message unless Twilio has it; return once that is certain.

        Raises:
            BadInput: `by` or `reason` is too long.
            NotFound: there is no such message.
        """
        try:
            request = CancelRequest(by=by, reason=reason)
        except ValidationError as error:
            raise bad_input_of(error) from None
        try:
            result: CancelResult = await self.handle.execute_update(
                CANCEL_UPDATE, request, result_type=CancelResult
            )
        except WorkflowUpdateFailedError:
            pass  # it ended in the meantime
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND or await self._is_running():
                raise
        else:
            return result
        report = await self.report()
        return CancelResult(
            canceled=report.outcome is Outcome.CANCELED, status=report.outcome.value
        )

    async def _is_running(self) -> bool:
        try:
            description = await self.handle.describe(rpc_timeout=_RPC_TIMEOUT)
        except RPCError as error:
            raise self._not_found(error) from error
        return description.status is WorkflowExecutionStatus.RUNNING

    def _not_found(self, error: RPCError) -> Exception:
        if error.status is not RPCStatusCode.NOT_FOUND or _is_namespace_missing(error):
            return error
        message = named("message", self.message_id)
        return NotFound(f"There is no {message}, or its retention period is over.")


async def request_in(event: HistoryEvent, converter: DataConverter) -> MessageRequest | None:
    """What was to be sent, from the first event of a message's history; None if unreadable."""
    payloads = event.workflow_execution_started_event_attributes.input.payloads
    try:
        (request,) = await converter.decode(payloads, [MessageRequest])
    except (ApplicationError, RuntimeError, ValueError):
        return None
    return request if isinstance(request, MessageRequest) else None


def _is_namespace_missing(error: RPCError) -> bool:
    return any(
        detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details
    )


def checked_request(request: MessageRequest | Mapping[str, Any], message_id: str) -> MessageRequest:
    """The validated request.

    Raises:
        BadInput: names every bad field.
    """
    problems: list[FieldProblem] = []
    try:
        _message_id.validate_python(message_id)
    except ValidationError as error:
        problems = [FieldProblem("message_id", what) for _, what in problems_in(error)]
    try:
        checked = MessageRequest.model_validate(request)
    except ValidationError as error:
        raise BadInput([*bad_input_of(error).problems, *problems]) from None
    problems = problems or [
        FieldProblem(name, what)
        for name, what in id_problems(message_id, checked, id_field="message_id")
    ]
    if problems:
        raise BadInput(problems)
    return checked


def bad_input_of(error: ValidationError) -> BadInput:
    """A model's validation error as `BadInput`."""
    return BadInput([FieldProblem(name, what) for name, what in problems_in(error)])


def bad_input_in(cause: BaseException | None) -> BadInput | None:
    """The bad fields for which a workflow refused its input, if that is the cause."""
    if not isinstance(cause, ApplicationError) or cause.type != INVALID_INPUT or not cause.details:
        return None
    return BadInput(
        [FieldProblem(str(each["field"]), str(each["problem"])) for each in cause.details[0]]
    )
