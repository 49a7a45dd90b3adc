"""How messages and their ends are shown: to programs by the contract's models, to people as facts.

Neither holds a phone number, a text or the caller's tags, unless the person asked to see them.
"""

import re
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from signedfor.cli.output import ExitCode, facts
from signedfor.cli.standing import Standing
from signedfor.contract import MessageReport, MessageRequest, Outcome, Progress
from signedfor.contract.failures import FailureClass
from signedfor.twilio import codes

_HIDDEN = re.compile(r"\d(?=\d{4})", re.ASCII)

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


def standing_document(
    standing: Standing, *, request: MessageRequest | None = None
) -> dict[str, Any]:
    """The message for programs; `request` only where the person asked to see it."""
    document: dict[str, Any] = {
        "message_id": standing.message_id,
        "status": standing.status,
        "progress": None,
        "report": None,
        "error": None,
        "advice": _advice_document(*_failure_of(standing)),
    }
    if standing.progress is not None:
        document["progress"] = standing.progress.model_dump(mode="json")
    if standing.report is not None:
        hidden = set() if request is not None else {"tags"}
        document["report"] = standing.report.model_dump(mode="json", exclude=hidden)
    if standing.trouble is not None:
        document |= standing.trouble.document()
    if request is not None:
        document["request"] = request.model_dump(mode="json")
    return document


def standing_facts(standing: Standing, *, request: MessageRequest | None = None) -> Table:
    """The message for people."""
    rows: list[tuple[str, object]] = [("Message", standing.message_id)]
    if standing.progress is not None:
        rows += _progress_rows(standing.progress)
    elif standing.report is not None:
        rows += _report_rows(standing.report)
    elif standing.trouble is not None:
        rows += [("Status", standing.status or "not known"), ("Problem", standing.trouble)]
    failure_class, code = _failure_of(standing)
    rows += advice_rows(failure_class, code)
    if standing.report is not None and standing.report.dead_letter_id is not None:
        rows.append(("Dead letter", f"see `signedfor dead-letters show {standing.message_id}`"))
    return facts(rows + (request_rows(request) if request is not None else []))


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


def advice_rows(failure_class: FailureClass | None, code: int | None) -> list[tuple[str, object]]:
    """What a failure means and what to do about it."""
    advice = _advice_document(failure_class, code)
    if advice is None:
        return []
    named = " ".join(str(part) for part in (failure_class, code) if part is not None)
    return [("Failure", named), ("Meaning", advice["meaning"]), ("What to do", advice["action"])]


def clock(moment: datetime | None) -> str | None:
    """A time of day a person can compare with the Temporal UI."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def progress_line(progress: Progress | None) -> str:
    """One line for somebody who waits."""
    if progress is None:
        return "no worker answers; the message goes on when one does"
    until = f", at most until {clock(progress.until)}" if progress.until else ""
    said = f"; Twilio says {progress.twilio_status}" if progress.twilio_status else ""
    return f"{progress.status}: waits for {progress.waiting_for}{until}{said}"


def masked_recipient(address: str) -> str:
    """`address` with all digits of its number but the last four hidden, and an id altogether.

    A sender keeps more of its number, being ours; a person's is to be recognised, not known.
    """
    channel, colon, rest = address.rpartition(":")
    shown = _HIDDEN.sub("*", rest) if rest.startswith("+") else "***"
    return channel + colon + shown


def _progress_rows(progress: Progress) -> list[tuple[str, object]]:
    until = f", at most until {clock(progress.until)}" if progress.until else ""
    return [
        ("Status", f"{progress.status} since {clock(progress.since)}"),
        ("Waits for", progress.waiting_for + until),
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


def _failure_of(standing: Standing) -> tuple[FailureClass | None, int | None]:
    if standing.report is not None:
        return standing.report.failure_class, standing.report.error_code
    code = standing.progress.error_code if standing.progress is not None else None
    row = codes.find(code)
    return (row.failure_class if row else None), code


def _advice_document(failure_class: FailureClass | None, code: int | None) -> dict[str, Any] | None:
    if failure_class is not None:
        meaning = codes.meaning_for(failure_class, code)
        action = codes.advice_for(failure_class, code)
    elif code is not None:
        meaning = "The table of this version does not know the code."
        action = f"Look it up at twilio.com/docs/api/errors/{code}."
    else:
        return None
    return {"error_code": code, "meaning": meaning, "action": action}
