"""`signedfor show` and `cancel`: one message."""

import re
from datetime import timedelta

import typer
from temporalio.client import WorkflowFailureError

from signedfor import client
from signedfor.cli.message_status import (
    FAILED,
    fetch_status,
)
from signedfor.cli.options import (
    TIMEOUT,
    ByOption,
    JsonOption,
    MessageIdArgument,
    ReasonOption,
    RevealOption,
    TimeoutOption,
    check_reason,
    checked_message_id,
    checked_model,
    operator,
)
from signedfor.cli.output import (
    ExitCode,
    Output,
    Unavailable,
    Unconfirmed,
    command_output,
)
from signedfor.cli.temporal import answer, connect, run
from signedfor.client import Client, Message
from signedfor.contract import (
    SEND_MESSAGE,
    CancelRequest,
    CancelResult,
    MessageRequest,
    message_id_of,
)
from signedfor.masks import has_digits_of_number
from signedfor.notes import check_note_on
from signedfor.search_attributes import TWILIO_SID

_SID = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")


def show(
    message_id: MessageIdArgument,
    *,
    reveal: RevealOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Show a message's status or, when it has ended, its report.

    Instead of its id you can give its newest SID at Twilio (SM… or MM…).
    """
    with command_output(as_json=as_json) as out:
        bare_id = checked_message_id(message_id)
        if _SID.fullmatch(bare_id):
            bare_id = run(_message_of(bare_id)) or bare_id
        raise typer.Exit(run(_show(out, bare_id, reveal=reveal, within=timeout)))


async def _message_of(message_sid: str) -> str | None:
    """The id of the message that has this SID, if Temporal lists one."""
    temporal = await connect()
    query = f"WorkflowType = '{SEND_MESSAGE}' AND {TWILIO_SID.name} = '{message_sid}'"
    async for execution in temporal.list_workflows(query, limit=1):
        return message_id_of(execution.id)
    return None


async def _show(out: Output, message_id: str, *, reveal: bool, within: float) -> ExitCode:
    temporal = await connect()
    sender = Client(temporal)
    message = sender.message(message_id)
    view = await fetch_status(temporal, message, within=timedelta(seconds=within))
    request = await _fetch_request(sender, message) if reveal else None
    out.result(view.document(request=request), view.table(request=request))
    # A message that failed has been shown completely; one whose workers do not answer has not.
    is_incomplete = view.error is not None and view.status != FAILED
    return ExitCode.UNAVAILABLE if is_incomplete else ExitCode.OK


async def _fetch_request(sender: Client, message: Message) -> MessageRequest:
    request = await sender.request_of(message)
    if request is None:
        raise Unavailable("The message's request cannot be read.")
    return request


def cancel(
    message_id: MessageIdArgument,
    *,
    reason: ReasonOption = None,
    by: ByOption = None,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Cancel a message that Twilio does not have yet.

    Exit code 0: it is canceled and will not be sent. 3: it was not canceled.
    """
    with command_output(as_json=as_json) as out:
        bare_id = checked_message_id(message_id)
        request = checked_model(CancelRequest, {"by": operator(by), "reason": reason})
        check_reason(reason)
        result = run(_cancel(bare_id, request, within=timeout))
        document = {"message_id": bare_id, **result.model_dump(mode="json")}
        if result.canceled:
            out.result(document, f"Message {bare_id} is canceled; it will not be sent.")
            return
        out.result(document, f"Not canceled: message {bare_id} is {result.status}.")
        raise typer.Exit(ExitCode.REFUSED)


async def _check_reason(sender: Client, message: Message, reason: str | None) -> None:
    """Refuse a reason with the recipient's number: all who read the message's history see it."""
    if reason and has_digits_of_number(reason):
        request = await sender.request_of(message)
        check_note_on(
            [request.to] if request else [], reason, field="--reason", whose="the recipient's"
        )


async def _cancel(message_id: str, request: CancelRequest, *, within: float) -> CancelResult:
    sender = Client(await connect())
    message = sender.message(message_id)
    try:
        await _check_reason(sender, message, request.reason)
        canceling = message.cancel(by=request.by, reason=request.reason)
        return await answer(canceling, within=within)
    except (client.BadInput, WorkflowFailureError):
        return CancelResult(canceled=False, status=FAILED)
    except TimeoutError:
        raise Unconfirmed(
            f"It is not known whether message {message_id} was canceled: no worker answered "
            f"within {within:g} seconds. See `signedfor show {message_id}`."
        ) from None
