"""A worker's interceptor that tells what became of each message and its sender."""

from collections.abc import Callable
from typing import Any

from temporalio import workflow
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from signedfor.contract import SEND_MESSAGE, MessageReport
from workflows.send_message import SendMessage

Observe = Callable[[str | None, MessageReport], None]
"""Takes in a sender, None if there is none, and the report of its message."""


class OutcomeObserver(Interceptor):
    """Has `observe` called, in the thread of the workflow, for each message that ends.

    A replay calls nothing. A workflow task that is executed again, because its worker died before
    it could report, does: see `workflows.metrics`.
    """

    def __init__(self, observe: Observe) -> None:
        self._observe = observe

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: ARG002 - the SDK's signature
    ) -> type[WorkflowInboundInterceptor]:
        """See base class."""
        observe = self._observe

        class Observing(WorkflowInboundInterceptor):
            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                result = await super().execute_workflow(input)
                is_message = workflow.info().workflow_type == SEND_MESSAGE
                if is_message and not workflow.unsafe.is_replaying():
                    message: SendMessage = workflow.instance()
                    observe(message.sender, result)
                return result

        return Observing
