"""Input that types alone cannot judge: how many arguments there are, and the workflow's own id."""

import re
from typing import Any

from temporalio import workflow
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleSignalInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from messaging.contract import MessageRequest, message_id_of
from messaging.fields import MAX_MESSAGE_ID_CHARACTERS
from messaging.payloads import invalid_input

_VISIBLE = re.compile(r"[\x21-\x7e]+")


def checked_message_id(request: MessageRequest) -> str:
    """The message's id, from the workflow's.

    Raises:
        ApplicationError: `InvalidInput` when the id is not one, or holds the recipient's number:
            ids are stored, logged and shown in clear.
    """
    try:
        message_id = message_id_of(workflow.info().workflow_id)
    except ValueError as error:
        raise invalid_input([("workflow id", str(error))]) from None
    problem = None
    if len(message_id) > MAX_MESSAGE_ID_CHARACTERS or not _VISIBLE.fullmatch(message_id):
        problem = (
            f"the message id must be 1 to {MAX_MESSAGE_ID_CHARACTERS} visible ASCII characters"
        )
    elif re.sub(r"\D", "", request.to) in re.sub(r"[^0-9a-zA-Z]", "", message_id):
        problem = "the message id must not contain the recipient's number"
    if problem is not None:
        raise invalid_input([("workflow id", problem)])
    return message_id


class OneArgument(Interceptor):
    """Refuses a workflow start, and drops a signal, with another number of arguments than one.

    With a wrong count the SDK drops all type hints and calls the method as it is: the TypeError
    would fail the workflow task for ever.
    """

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: ARG002 - the SDK's signature
    ) -> type[WorkflowInboundInterceptor]:
        """See base class."""
        return _OneArgument


class _OneArgument(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        if len(input.args) != 1:
            raise invalid_input(
                [("input", f"exactly one JSON object is needed, {len(input.args)} were given")]
            )
        return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        if len(input.args) != 1:
            workflow.logger.warning(
                "Dropped a signal with %d arguments; exactly one object is needed", len(input.args)
            )
            return
        await super().handle_signal(input)
