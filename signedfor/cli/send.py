"""`signedfor send`: start a message, and wait for its end if asked to."""

import uuid
from typing import Annotated, Any

import typer
from temporalio.client import Client

from signedfor.cli.options import (
    BetweenOption,
    DaysOption,
    JsonOption,
    ReceiptTimeoutOption,
    TagOption,
    TimeZoneOption,
    text_or_standard_input,
)
from signedfor.cli.output import CommandError, ExitCode, Output, answering
from signedfor.cli.request import differing_fields, message_request
from signedfor.cli.standing import Standing, ask_request, ask_standing, message_handle
from signedfor.cli.temporal import RPC_TIMEOUT, connect, run
from signedfor.cli.views import EXIT_CODES, standing_document, standing_facts
from signedfor.cli.waiting import await_report
from signedfor.client import Client as SignedforClient
from signedfor.contract import (
    MessageRequest,
    OnUnknownOutcome,
    Priority,
    Stage,
)


def send(
    to: Annotated[
        str,
        typer.Argument(
            metavar="TO", help="Recipient: E.164, or whatsapp:, rcs: or messenger: before it."
        ),
    ],
    *,
    body: Annotated[
        str | None,
        typer.Option(
            "--body",
            help="The text; - reads it from standard input. A text given here stays in the "
            "shell's history and shows in the process list.",
        ),
    ] = None,
    sender: Annotated[
        str | None, typer.Option("--from", help="Sender. Default: the workers' DEFAULT_SENDER.")
    ] = None,
    media: Annotated[
        list[str] | None, typer.Option("--media", help="URL of a picture or file; repeatable.")
    ] = None,
    content_sid: Annotated[
        str | None, typer.Option("--content-sid", help="Twilio Content template, HX...")
    ] = None,
    content_variables: Annotated[
        str | None,
        typer.Option("--content-variables", help="The template's variables, a JSON object."),
    ] = None,
    priority: Annotated[
        Priority, typer.Option("--priority", help="urgent is for one-time codes and the like.")
    ] = Priority.NORMAL,
    category: Annotated[
        str | None, typer.Option("--category", help="Consent scope, such as marketing.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Whom it is sent for.")] = None,
    send_at: Annotated[
        str | None, typer.Option("--send-at", help="RFC 3339 time with its zone. Default: now.")
    ] = None,
    expires_at: Annotated[
        str | None,
        typer.Option("--expires-at", help="RFC 3339 time after which it is never submitted."),
    ] = None,
    between: BetweenOption = None,
    days: DaysOption = None,
    time_zone: TimeZoneOption = None,
    receipt_timeout: ReceiptTimeoutOption = None,
    on_unknown_outcome: Annotated[
        OnUnknownOutcome | None,
        typer.Option(
            "--on-unknown-outcome",
            help="What to do if it cannot be found out whether Twilio took it. "
            "Default: resend; dead_letter for bulk.",
        ),
    ] = None,
    tag: TagOption = None,
    message_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="Its id, by which it is sent once however often you ask. Default: a new one.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for its end; the exit code tells the outcome.")
    ] = False,
    wait_timeout: Annotated[
        float | None,
        typer.Option("--wait-timeout", min=0.1, help="Seconds to wait at most; implies --wait."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send one message.

    It is handed to Temporal and sent by the workers. With an id that was used before nothing is
    sent again: you see what became of the earlier one.
    """
    with answering(as_json=as_json) as out:
        chosen_id = str(uuid.uuid4()) if message_id is None else message_id
        request = message_request(
            {
                "to": to,
                "from": sender,
                "body": text_or_standard_input(out, body),
                "media_urls": media,
                "content_sid": content_sid,
                "priority": priority,
                "category": category,
                "tenant": tenant,
                "send_at": send_at,
                "expires_at": expires_at,
                "receipt_timeout_seconds": receipt_timeout,
                "on_unknown_outcome": on_unknown_outcome,
            },
            content_variables=content_variables,
            tags=tag or (),
            message_id=chosen_id,
            between=between,
            days=days,
            time_zone=time_zone,
        )
        waits = wait or wait_timeout is not None
        code = run(_send(out, request, chosen_id, waits=waits, wait_timeout=wait_timeout))
        raise typer.Exit(code)


async def _send(
    out: Output,
    request: MessageRequest,
    message_id: str,
    *,
    waits: bool,
    wait_timeout: float | None,
) -> ExitCode:
    client = await connect()
    is_new = (await SignedforClient(client).send(request, message_id=message_id)).is_new
    accepted: dict[str, Any] = {"accepted": "now" if is_new else "earlier"}
    if is_new:
        out.note(f"Accepted as message {message_id}.")
    else:
        out.note(f"Message {message_id} was accepted earlier; nothing new is sent.")
        accepted |= await _differences(out, client, request, message_id)
    if waits:
        handle = message_handle(client, message_id)
        report = await await_report(out, handle, message_id, within=wait_timeout)
        standing = Standing(message_id=message_id, status=report.outcome, report=report)
        out.result(accepted | standing_document(standing), standing_facts(standing))
        return EXIT_CODES[report.outcome]
    if is_new:
        document = {"message_id": message_id, "status": Stage.SENDING.value}
        out.result(accepted | document, message_id)
    else:
        standing = await ask_standing(client, message_id, within=RPC_TIMEOUT)
        out.result(accepted | standing_document(standing), standing_facts(standing))
    return ExitCode.OK


async def _differences(
    out: Output, client: Client, request: MessageRequest, message_id: str
) -> dict[str, list[str]]:
    """Where the earlier message is another one than this, by field; its id was then reused."""
    try:
        fields = differing_fields(request, await ask_request(client, message_id))
    except CommandError:
        return {}
    if fields:
        out.note(
            f"Warning: the earlier message differs from this one in {', '.join(fields)}. "
            "A new message needs an id of its own."
        )
    return {"differs_in": fields}
