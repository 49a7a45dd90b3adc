"""`signedfor show` and `signedfor cancel`: one message, while it runs and afterwards."""

from datetime import timedelta
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from signedfor.cli.options import (
    TIMEOUT,
    ByOption,
    JsonOption,
    MessageIdArgument,
    RevealOption,
    TimeoutOption,
    checked_message_id,
    option_problems,
    who,
)
from signedfor.cli.output import BadInput, ExitCode, Output, Unconfirmed, answering
from signedfor.cli.standing import ask_request, ask_standing, describe, message_handle
from signedfor.cli.temporal import answer, connect, run
from signedfor.cli.views import standing_document, standing_facts
from signedfor.contract import CANCEL_UPDATE, CancelRequest, CancelResult, Outcome


def show(
    message_id: MessageIdArgument,
    *,
    reveal: RevealOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Show where a message stands, or what became of it and what to do about it."""
    with answering(as_json=as_json) as out:
        bare_id = checked_message_id(message_id)
        raise typer.Exit(run(_show(out, bare_id, reveal=reveal, within=timeout)))


async def _show(out: Output, message_id: str, *, reveal: bool, within: float) -> ExitCode:
    client = await connect()
    standing = await ask_standing(client, message_id, within=timedelta(seconds=within))
    request = await ask_request(client, message_id) if reveal else None
    out.result(
        standing_document(standing, request=request), standing_facts(standing, request=request)
    )
    # A message that ended in bad input has been shown; one that no worker speaks for has not.
    running_unseen = standing.trouble is not None and standing.status != "failed"
    return ExitCode.TROUBLE if running_unseen else ExitCode.OK


def cancel(
    message_id: MessageIdArgument,
    *,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why, kept with the message.")
    ] = None,
    by: ByOption = None,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Stop a message, if it is not in Twilio's hands yet.

    Exit code 0: it was canceled and will not be sent. 3: too late.
    """
    with answering(as_json=as_json) as out:
        bare_id = checked_message_id(message_id)
        try:
            request = CancelRequest(by=who(by), reason=reason)
        except ValidationError as error:
            names = {"by": "--by", "reason": "--reason"}
            raise BadInput(option_problems(error, names)) from None
        raise typer.Exit(run(_cancel(out, bare_id, request, within=timeout)))


async def _cancel(
    out: Output, message_id: str, request: CancelRequest, *, within: float
) -> ExitCode:
    client = await connect()
    handle = message_handle(client, message_id)
    description = await describe(handle, message_id)
    result: CancelResult | None = None
    if description.status is WorkflowExecutionStatus.RUNNING:
        try:
            update = handle.execute_update(CANCEL_UPDATE, request, result_type=CancelResult)
            result = await answer(update, within=within)
        except TimeoutError:
            raise Unconfirmed(
                f"It is not known whether message {message_id} was canceled: no worker answered "
                f"within {within:g} seconds. Look with `signedfor show {message_id}`."
            ) from None
        except WorkflowUpdateFailedError:
            pass  # it ended while the request was on its way: its end tells
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
    if result is None:
        standing = await ask_standing(client, message_id, within=timedelta(seconds=within))
        result = CancelResult(
            canceled=standing.status == Outcome.CANCELED, status=standing.status or "not known"
        )
    document: dict[str, Any] = {"message_id": message_id, **result.model_dump(mode="json")}
    if result.canceled:
        out.result(document, f"Message {message_id} is canceled; it will not be sent.")
        return ExitCode.OK
    out.result(document, f"Too late: message {message_id} is {result.status}.")
    return ExitCode.REFUSED
