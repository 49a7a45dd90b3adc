"""A worker's interceptor that checks the number of arguments of starts, updates and signals."""

from typing import Any

from temporalio import workflow
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from signedfor.contract import CANCEL_UPDATE, PAUSE_UPDATE, RESUME_UPDATE
from signedfor.payloads import UnreadablePayload, UnreadableSignal, invalid_input

_UPDATES_WITHOUT_INPUT = frozenset({CANCEL_UPDATE, PAUSE_UPDATE, RESUME_UPDATE})


def _at_most_one(input: HandleUpdateInput) -> None:
    required = 0 if input.update in _UPDATES_WITHOUT_INPUT else 1
    if not required <= len(input.args) <= 1:
        raise invalid_input(
            [("input", f"exactly one JSON object is needed, {len(input.args)} were given")]
        )


class OneArgument(Interceptor):
    """Rejects a start or an update, and drops a signal, with a wrong number of arguments.

    The SDK would ignore all type hints and call the method anyway, and its TypeError would fail the
    workflow task again and again.
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

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        _at_most_one(input)
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        _at_most_one(input)
        return await super().handle_update_handler(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        if len(input.args) != 1:
            workflow.logger.warning(
                "Dropped a signal with %d arguments; exactly one object is needed", len(input.args)
            )
            return
        if isinstance(input.args[0], UnreadableSignal):
            raise UnreadablePayload(input.args[0].problem)
        await super().handle_signal(input)
