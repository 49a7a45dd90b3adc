"""The status of a message: queried, awaited, and shown to programs and people.

Nothing here shows a phone number, a text or the caller's tags, unless --reveal is given.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.service import RPCError

from signedfor import client
from signedfor.cli.layout import Facts
from signedfor.cli.output import (
    CommandError,
    ExitCode,
    NotFound,
    Output,
    Unavailable,
    Unconfirmed,
    clock,
    facts,
)
from signedfor.cli.temporal import NO_WORKER, command_error, describe, is_no_worker
from signedfor.client import Message
from signedfor.contract import (
    MESSAGES_QUEUE,
    DeadLetterOutcome,
    MessageReport,
    MessageRequest,
    Outcome,
    Progress,
)
from signedfor.contract.failures import FailureClass
from signedfor.masks import named
from signedfor.retries import Continuation, Retry, continuation
from signedfor.search_attributes import MESSAGE_STATUS
from signedfor.twilio import codes

EXIT_CODES = {
    Outcome.DELIVERED: ExitCode.OK,
    Outcome.UNCONFIRMED: ExitCode.UNCONFIRMED,
    Outcome.UNDELIVERED: ExitCode.REFUSED,
    Outcome.FAILED: ExitCode.REFUSED,
    Outcome.SUPPRESSED: ExitCode.REFUSED,
    Outcome.EXPIRED: ExitCode.REFUSED,
    Outcome.CANCELED: ExitCode.REFUSED,
}
"""The exit code of `send --wait` for each outcome."""

FAILED = "failed"
"""The status of a message whose workflow ended without a report."""

_FIRST_POLL = 0.3
_POLL_FACTOR = 1.5
_MAX_POLL_INTERVAL = 10.0
"""Each poll is a query to a worker: a message that takes hours is polled less often."""
_QUERY_TIMEOUT = timedelta(seconds=3)


@dataclass(frozen=True, kw_only=True)
class StatusView:
    """What is known about a message: one of `progress`, `report` and `error` is set."""

    message_id: str
    status: str | None
    """A stage or an outcome; `failed` for a workflow that ended without a report."""
    progress: Progress | None = None
    report: MessageReport | None = None
    error: CommandError | None = None
    went_on: Continuation | None = None
    """What followed its report, if a dead letter was opened."""

    def document(self, *, request: MessageRequest | None = None) -> dict[str, Any]:
        """The message for programs; `request` only with --reveal."""
        document: dict[str, Any] = {
            "message_id": self.message_id,
            "status": self.status,
            "progress": None,
            "report": None,
            "error": None,
            "advice": _advice(*self._failure()),
            "dead_letter": self.went_on.dead_letter if self.went_on else None,
            "retries": retry_documents(self.went_on),
        }
        if self.progress is not None:
            document["progress"] = self.progress.model_dump(mode="json")
        if self.report is not None:
            hidden = set() if request is not None else {"tags"}
            document["report"] = self.report.model_dump(mode="json", exclude=hidden)
        if self.error is not None:
            document |= self.error.document()
        if request is not None:
            document["request"] = request.model_dump(mode="json")
        return document

    def table(self, *, request: MessageRequest | None = None) -> Facts:
        """The message for people; `request` only with --reveal."""
        rows: list[tuple[str, object]] = [("Message", self.message_id)]
        if self.progress is not None:
            rows += _progress_rows(self.progress)
        elif self.report is not None:
            rows += _report_rows(self.report)
        elif self.error is not None:
            rows += [("Status", self.status or "not known"), ("Problem", self.error)]
        reason = self.report.reason if self.report is not None else None
        rows += advice_rows(*self._failure(), reason=reason)
        if self.report is not None and self.report.dead_letter_id is not None:
            rows += self._continuation_rows()
        return facts(rows + (request_rows(request) if request is not None else []))

    def _continuation_rows(self) -> list[tuple[str, object]]:
        status = None
        if self.went_on is not None:
            status = DeadLetterOutcome.RETRIED if self.went_on.retries else self.went_on.dead_letter
        see = f"see `signedfor dead-letters show {self.message_id}`"
        return [
            ("Dead letter", f"{status}; {see}" if status else see),
            *retry_rows(self.went_on),
        ]

    def _failure(self) -> tuple[FailureClass | None, int | None]:
        if self.report is not None:
            return self.report.failure_class, self.report.error_code
        code = self.progress.error_code if self.progress is not None else None
        row = codes.find(code)
        return (row.failure_class if row else None), code


async def fetch_status(temporal: Client, message: Message, *, within: timedelta) -> StatusView:
    """The message's status now.

    Raises:
        NotFound: Temporal has no message with this id, or no longer.
        RPCError: Temporal did not answer.
    """
    message_id = message.message_id
    description = await describe(message.handle)
    if description is None:
        raise NotFound(
            f"There is no {named('message', message_id)}. Temporal deletes messages when the "
            "namespace's retention is over."
        )
    if description.status is not WorkflowExecutionStatus.RUNNING:
        try:
            report = await message.report()
        except (client.BadInput, WorkflowFailureError) as error:
            return StatusView(message_id=message_id, status=FAILED, error=command_error(error))
        went_on = None
        if report.dead_letter_id is not None:
            went_on = await continuation(temporal, message_id)
        return StatusView(
            message_id=message_id, status=report.outcome, report=report, went_on=went_on
        )
    try:
        progress = await _fetch_progress(message, within=within)
    except client.BadInput as error:  # it was refused in this moment
        return StatusView(message_id=message_id, status=FAILED, error=command_error(error))
    if progress is None:
        known = description.typed_search_attributes.get(MESSAGE_STATUS)
        return StatusView(message_id=message_id, status=known, error=Unavailable(NO_WORKER))
    return StatusView(message_id=message_id, status=progress.status, progress=progress)


async def await_report(out: Output, message: Message, *, within: float | None) -> MessageReport:
    """Wait for the message's report, and show its progress until then.

    Raises:
        Unconfirmed: `within` seconds passed. The message continues.
        BadInput, WorkflowFailureError: as of `Message.report`.
    """
    result = asyncio.create_task(message.report())
    try:
        async with asyncio.timeout(within):
            with out.changing_line("Waiting for the report") as show:
                await _show_until_done(message, result, show)
        return await result
    except TimeoutError:
        raise Unconfirmed(
            f"Message {message.message_id} has not ended within {within:g} seconds. It continues; "
            f"see `signedfor show {message.message_id}`."
        ) from None
    finally:
        result.cancel()


async def _show_until_done(
    message: Message, result: "asyncio.Task[MessageReport]", show: Callable[[str], None]
) -> None:
    pause = _FIRST_POLL
    while not (await asyncio.wait({result}, timeout=pause))[0]:
        poll = asyncio.create_task(_progress_line(message))
        try:
            await asyncio.wait({result, poll}, return_when=asyncio.FIRST_COMPLETED)
            if poll.done() and not result.done():
                show(poll.result())
        finally:
            poll.cancel()
        pause = min(pause * _POLL_FACTOR, _MAX_POLL_INTERVAL)


async def _progress_line(message: Message) -> str:
    try:
        progress = await _fetch_progress(message, within=_QUERY_TIMEOUT)
    except (RPCError, client.NotFound):
        return "Waiting for Temporal, which does not answer"
    except client.BadInput:
        return "Waiting for the report"
    if progress is None:
        return f"Waiting for a worker: none answers on task queue {MESSAGES_QUEUE}"
    twilio = f"; Twilio status {progress.twilio_status}" if progress.twilio_status else ""
    return f"Waiting for {_wait(progress)} ({progress.status}{twilio})"


async def _fetch_progress(message: Message, *, within: timedelta) -> Progress | None:
    """The answer to query `progress`; None when no worker gives it in time."""
    try:
        return await message.progress(rpc_timeout=within)
    except RPCError as error:
        if is_no_worker(error):
            return None
        raise


def retry_documents(went_on: Continuation | None) -> list[dict[str, Any]]:
    """The retries of a message for programs."""
    return [each.document() for each in went_on.retries] if went_on is not None else []


def retry_rows(went_on: Continuation | None) -> list[tuple[str, object]]:
    """The retries of a message for people, and how each stands."""
    if went_on is None:
        return []
    return [("Retried as", f"{each.message_id}, {_retry_status(each)}") for each in went_on.retries]


def _retry_status(retry: Retry) -> str:
    status = retry.status or "ended without a report"
    code = f" ({retry.error_code})" if retry.error_code is not None else ""
    ended = f" at {clock(retry.ended_at)}" if retry.ended_at is not None else ""
    return f"{status}{code}{ended}"


def request_rows(request: MessageRequest) -> list[tuple[str, object]]:
    """What was to be sent, in full."""
    return [
        ("To", request.to),
        ("From", request.sender),
        ("Text", request.body),
        ("Media", "\n".join(request.media_urls)),
        ("Content", request.content_sid),
        ("Tags", ", ".join(f"{name}={value}" for name, value in request.tags.items())),
    ]


def advice_rows(
    failure_class: FailureClass | None, code: int | None, *, reason: str | None
) -> list[tuple[str, object]]:
    """What a failure means, unless `reason` says the same, and what to do about it."""
    advice = _advice(failure_class, code)
    if advice is None:
        return []
    named = " ".join(str(part) for part in (failure_class, code) if part is not None)
    meaning = advice["meaning"] if advice["meaning"] != reason else None
    return [("Failure", named), ("Meaning", meaning), ("What to do", advice["action"])]


def _wait(progress: Progress) -> str:
    until = f", at most until {clock(progress.until)}" if progress.until else ""
    return progress.waiting_for + until


def _progress_rows(progress: Progress) -> list[tuple[str, object]]:
    return [
        ("Status", f"{progress.status} since {clock(progress.since)}"),
        ("Waits for", _wait(progress)),
        ("Sender", progress.sender),
        ("Twilio message", progress.message_sid),
        ("Twilio status", progress.twilio_status),
        ("Attempts", progress.attempts),
    ]


def _report_rows(report: MessageReport) -> list[tuple[str, object]]:
    return [
        ("Outcome", f"{report.outcome} at {clock(report.finished_at)}"),
        ("Reason", report.reason),
        ("Twilio message", report.message_sid),
        ("Submitted", clock(report.submitted_at)),
        ("Attempts", report.attempts),
        ("Segments", report.segments),
    ]


def _advice(failure_class: FailureClass | None, code: int | None) -> dict[str, Any] | None:
    if failure_class is not None:
        meaning = codes.meaning_for(failure_class, code)
        action = codes.advice_for(failure_class, code)
    elif code is not None:
        meaning = "This version does not know the code."
        action = f"Look it up at twilio.com/docs/api/errors/{code}."
    else:
        return None
    return {"error_code": code, "meaning": meaning, "action": action}
