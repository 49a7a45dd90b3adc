"""Input that types alone cannot judge: how many arguments there are, and the workflow's own id."""

import re
from typing import Any

from pydantic import TypeAdapter, ValidationError
from temporalio import workflow
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from signedfor.contract import (
    CANCEL_UPDATE,
    PAUSE_UPDATE,
    RESUME_UPDATE,
    MessageRequest,
    campaign_workflow_id,
    message_id_of,
)
from signedfor.contract.fields import MAX_MESSAGE_ID_CHARACTERS, Label
from signedfor.masks import holds_number_of
from signedfor.payloads import invalid_input

_VISIBLE = re.compile(r"[\x21-\x7e]+")


def checked_message_id(request: MessageRequest) -> str:
    """The message's id, from the workflow's.

    Raises:
        ApplicationError: `InvalidInput` when the id is not one, or when it, the tenant or the
            campaign's id holds the recipient's number: all are stored, logged and shown in clear.
    """
    try:
        message_id = message_id_of(workflow.info().workflow_id)
    except ValueError as error:
        raise invalid_input([("workflow id", str(error))]) from None
    problems: list[tuple[str, str]] = []
    if len(message_id) > MAX_MESSAGE_ID_CHARACTERS or not _VISIBLE.fullmatch(message_id):
        allowed = f"1 to {MAX_MESSAGE_ID_CHARACTERS} visible ASCII characters"
        problems.append(("workflow id", f"the message id must be {allowed}"))
    shown = {
        "workflow id": message_id,
        "tenant": request.tenant,
        "campaign_id": request.campaign_id,
    }
    for field, text in shown.items():
        if text is not None and holds_number_of(text, request.to):
            problems.append((field, "must not contain the recipient's number"))
    if problems:
        raise invalid_input(problems)
    return message_id


_campaign_id = TypeAdapter(Label)


def checked_campaign_id() -> str:
    """The campaign's id, from the workflow's.

    Raises:
        ApplicationError: `InvalidInput` when it is none.
    """
    workflow_id, prefix = workflow.info().workflow_id, campaign_workflow_id("")
    if workflow_id.startswith(prefix):
        try:
            return _campaign_id.validate_python(workflow_id.removeprefix(prefix))
        except ValidationError:
            pass
    raise invalid_input([("workflow id", f"must be {prefix}<campaign_id>")])


_UPDATES_WITHOUT_INPUT = frozenset({CANCEL_UPDATE, PAUSE_UPDATE, RESUME_UPDATE})


def _at_most_one(input: HandleUpdateInput) -> None:
    least = 0 if input.update in _UPDATES_WITHOUT_INPUT else 1
    if not least <= len(input.args) <= 1:
        raise invalid_input(
            [("input", f"exactly one JSON object is needed, {len(input.args)} were given")]
        )


class OneArgument(Interceptor):
    """Refuses a start or an update, and drops a signal, with a wrong number of arguments.

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
        await super().handle_signal(input)
