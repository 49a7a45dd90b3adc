"""`signedfor send`, `show` and `cancel`: one message."""

import uuid
from datetime import timedelta
from typing import Annotated, Any

import typer
from temporalio.client import WorkflowFailureError

from signedfor import client
from signedfor.cli.message_status import (
    EXIT_CODES,
    FAILED,
    StatusView,
    await_report,
    fetch_status,
)
from signedfor.cli.options import (
    TIMEOUT,
    BetweenOption,
    ByOption,
    CategoryOption,
    DaysOption,
    ExpiresAtOption,
    JsonOption,
    MediaOption,
    MessageIdArgument,
    OnUnknownOutcomeOption,
    Problems,
    QuietHoursOption,
    ReceiptTimeoutOption,
    RevealOption,
    TagOption,
    TenantOption,
    TimeoutOption,
    TimeZoneOption,
    checked_message_id,
    checked_model,
    given,
    json_object,
    operator,
    option_problems,
    send_window,
    tags,
    text_or_standard_input,
    window_option,
)
from signedfor.cli.output import (
    BadInput,
    ExitCode,
    Output,
    Refused,
    Unavailable,
    Unconfirmed,
    command_output,
)
from signedfor.cli.temporal import RPC_TIMEOUT, answer, connect, run
from signedfor.client import Client, Message, checked_request
from signedfor.contract import CancelRequest, CancelResult, MessageRequest, Priority, Stage
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
            f"Nothing was sent: {message.message_id} is the id of an earlier message that differs "
            f"in {fields}. Give a new message its own --id."
        )
    out.note(f"Warning: the earlier message differs from this one in {fields}.")


def show(
    message_id: MessageIdArgument,
    *,
    reveal: RevealOption = False,
    timeout: TimeoutOption = TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Show a message's status or, when it has ended, its report."""
    with command_output(as_json=as_json) as out:
        bare_id = checked_message_id(message_id)
        raise typer.Exit(run(_show(out, bare_id, reveal=reveal, within=timeout)))


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
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="Why, recorded with the message."),
    ] = None,
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
        result = run(_cancel(bare_id, request, within=timeout))
        document = {"message_id": bare_id, **result.model_dump(mode="json")}
        if result.canceled:
            out.result(document, f"Message {bare_id} is canceled; it will not be sent.")
            return
        out.result(document, f"Not canceled: message {bare_id} is {result.status}.")
        raise typer.Exit(ExitCode.REFUSED)


async def _cancel(message_id: str, request: CancelRequest, *, within: float) -> CancelResult:
    message = Client(await connect()).message(message_id)
    try:
        canceling = message.cancel(by=request.by, reason=request.reason)
        return await answer(canceling, within=within)
    except (client.BadInput, WorkflowFailureError):
        return CancelResult(canceled=False, status=FAILED)
    except TimeoutError:
        raise Unconfirmed(
            f"It is not known whether message {message_id} was canceled: no worker answered "
            f"within {within:g} seconds. See `signedfor show {message_id}`."
        ) from None
