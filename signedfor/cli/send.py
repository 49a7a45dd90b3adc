"""`signedfor send`: one message."""

import uuid
from typing import Annotated, Any

import typer

from signedfor import client
from signedfor.cli.message_status import (
    EXIT_CODES,
    StatusView,
    await_report,
    fetch_status,
)
from signedfor.cli.options import (
    MAX_SECONDS,
    CategoryOption,
    ExpiresAtOption,
    JsonOption,
    MediaOption,
    OnUnknownOutcomeOption,
    Problems,
    ReceiptTimeoutOption,
    TagOption,
    TenantOption,
    given,
    json_object,
    option_problems,
    tags,
    text_or_standard_input,
)
from signedfor.cli.output import (
    BadInput,
    ExitCode,
    Output,
    Refused,
    command_output,
)
from signedfor.cli.temporal import RPC_TIMEOUT, connect, run
from signedfor.cli.window_options import (
    BetweenOption,
    DaysOption,
    QuietHoursOption,
    TimeZoneOption,
    send_window,
    window_option,
)
from signedfor.client import Client, Message, checked_request
from signedfor.contract import MessageRequest, Priority, Stage
from signedfor.send_windows import window_problem

_CONTENT = frozenset({"to", "from", "body", "media_urls", "content_sid", "content_variables"})
"""The fields that make it another message, and not only another handling of the same one."""


def send(
    to: Annotated[
        str,
        typer.Argument(
            metavar="TO",
            help="Recipient: +15558675309, or with whatsapp:, rcs: or messenger: before it.",
        ),
    ],
    *,
    body: Annotated[
        str | None,
        typer.Option(
            "--body",
            metavar="TEXT",
            help="The text; - reads it from standard input, which keeps it out of the shell's "
            "history and the process list.",
        ),
    ] = None,
    sender: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SENDER",
            help="Number, Messaging Service or other sender. Default: the workers' DEFAULT_SENDER.",
        ),
    ] = None,
    media: MediaOption = None,
    content_sid: Annotated[
        str | None,
        typer.Option("--content-sid", metavar="SID", help="Content template at Twilio: HX..."),
    ] = None,
    content_variables: Annotated[
        str | None,
        typer.Option("--content-variables", metavar="JSON", help="The template's variables."),
    ] = None,
    priority: Annotated[
        Priority, typer.Option("--priority", help="urgent is for one-time codes and the like.")
    ] = Priority.NORMAL,
    category: CategoryOption = None,
    tenant: TenantOption = None,
    send_at: Annotated[
        str | None,
        typer.Option(
            "--send-at", metavar="TIME", help="Submit it at this time, RFC 3339. Default: now."
        ),
    ] = None,
    expires_at: ExpiresAtOption = None,
    between: BetweenOption = None,
    days: DaysOption = None,
    time_zone: TimeZoneOption = None,
    quiet_hours: QuietHoursOption = None,
    receipt_timeout: ReceiptTimeoutOption = None,
    on_unknown_outcome: OnUnknownOutcomeOption = None,
    tag: TagOption = None,
    message_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="MESSAGE_ID",
            help="Idempotency key: an ID that was used before sends nothing. Default: a new ID.",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait for the outcome; it determines the exit code."),
    ] = False,
    wait_timeout: Annotated[
        float | None,
        typer.Option(
            "--wait-timeout",
            metavar="SECONDS",
            min=0.1,
            max=MAX_SECONDS,
            help="How long to wait; implies --wait.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send one message.

    The command starts a workflow in Temporal; the workers send the message. If the ID was used
    before, nothing is sent, and the status of the earlier message is shown. An ID that was used for
    another recipient, sender or content is an error.
    """
    with command_output(as_json=as_json) as out:
        chosen_id = str(uuid.uuid4()) if message_id is None else message_id
        problems: Problems = []
        fields = {
            "to": to,
            "from": sender,
            "body": text_or_standard_input(out, body),
            "media_urls": media,
            "content_sid": content_sid,
            "content_variables": json_object(
                content_variables, option="--content-variables", problems=problems
            ),
            "priority": priority,
            "category": category,
            "tenant": tenant,
            "send_at": send_at,
            "expires_at": expires_at,
            "send_window": send_window(between, days, time_zone, quiet_hours, problems),
            "receipt_timeout_seconds": receipt_timeout,
            "on_unknown_outcome": on_unknown_outcome,
            "tags": tags(tag or (), problems),
        }
        request = _checked(fields, chosen_id, problems)
        waits = wait or wait_timeout is not None
        code = run(_send(out, request, chosen_id, waits=waits, wait_timeout=wait_timeout))
        raise typer.Exit(code)


def _checked(fields: dict[str, Any], message_id: str, problems: Problems) -> MessageRequest:
    """The request; BadInput names every bad option, those in `problems` too, never its value."""
    try:
        request = checked_request(given(fields), message_id)
    except client.BadInput as error:
        found = [(each.field, each.problem) for each in error.problems]
        raise BadInput(option_problems(found) + problems) from None
    if request.send_window and (unusable := window_problem(request.send_window, request.to)):
        problems.append((window_option(request.send_window), unusable))
    if problems:
        raise BadInput(problems)
    return request


async def _send(
    out: Output,
    request: MessageRequest,
    message_id: str,
    *,
    waits: bool,
    wait_timeout: float | None,
) -> ExitCode:
    temporal = await connect()
    message = await Client(temporal).send(request, message_id=message_id, rpc_timeout=RPC_TIMEOUT)
    document: dict[str, Any] = {"accepted": "now" if message.is_new else "earlier"}
    if message.is_new:
        out.note(f"Accepted as message {message_id}.")
    else:
        _check_same(out, message)
        out.note(f"Message {message_id} was accepted earlier; nothing new is sent.")
        document["differs_in"] = list(message.differs_in)
    if waits:
        report = await await_report(out, message, within=wait_timeout)
        view = StatusView(message_id=message_id, status=report.outcome, report=report)
        out.result(document | view.document(), view.table())
        return EXIT_CODES[report.outcome]
    if message.is_new:
        document |= {"message_id": message_id, "status": Stage.SENDING.value}
        out.result(document, message_id)
    else:
        view = await fetch_status(temporal, message, within=RPC_TIMEOUT)
        out.result(document | view.document(), view.table())
    return ExitCode.OK


def _check_same(out: Output, message: Message) -> None:
    """Say in what the earlier message differs.

    Raises:
        Refused: it goes to someone else or says something else.
    """
    if not message.differs_in:
        return
    fields = ", ".join(message.differs_in)
    if not _CONTENT.isdisjoint(message.differs_in):
        raise Refused(
            f"Nothing was sent: {message.message_id} is the ID of an earlier message that differs "
            f"in {fields}. Give a new message its own --id."
        )
    out.note(f"Warning: the earlier message differs from this one in {fields}.")
