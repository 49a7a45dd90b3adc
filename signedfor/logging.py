"""Logging for our processes: one line per event on standard error, never personal data.

Every line has a time in UTC, a level, a logger and a text. Where they are known it also has the
message's id, the run's id, the trace's id, and what the event is about.
"""

import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from asyncio import CancelledError as TaskCancelled
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError, FailureError

from signedfor import tracing
from signedfor.contract.names import message_id_of

LogFormat = Literal["text", "json"]

LOG_SECONDS: Final = 10.0
_MAX_KINDS: Final = 1000
"""Of what is counted at a time; a library may put anything into a line."""

CORE_LOGGER: Final = "temporalio.core"
"""The logger of the Temporal SDK's core, which is not written in Python."""

_FIELDS: Final = (
    *("message_id", "workflow_id", "run_id", "trace_id", "activity", "attempt"),
    *("twilio_sid", "sender", "outcome", "failure_class", "error_code"),
)
"""What may follow a line's text: nothing else of a record is shown, whoever made it."""

_HTTP_SERVER: Final = "uvicorn.error"
_TRACE_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_WORKFLOW_LOGGER: Final = "temporalio.worker._workflow_instance"
_WORKFLOW_STEPS: Final = {"_process_signal_job": "Decoding a signal, which is dropped,"}

_IDS: Final = re.compile(r"[0-9a-f]{8}-[-0-9a-f]{27}|[0-9]+")

_COLORS: Final = {
    logging.DEBUG: "\x1b[2m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[31m",
}
_NO_COLOR: Final = "\x1b[0m"

_OUR_PACKAGES: Final = frozenset({"activities", "signedfor", "temporalio", "webhook", "workflows"})
"""Their exceptions name no values."""


def configure_logging(level: str, form: LogFormat = "text") -> None:
    """Log to standard error from `level` up.

    Some libraries are limited because they log personal data: the Twilio SDK, urllib3 and HTTPX log
    URLs, whose list filters contain phone numbers; at DEBUG, Temporal's worker logs whole messages.
    """
    handler = logging.StreamHandler()
    is_colored = form == "text" and _shows_color(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter(is_colored))
    handler.addFilter(_add_context)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name in ("twilio.http_client", "urllib3", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("temporalio.worker").setLevel(logging.INFO)
    # No personal data, but two lines at every start.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Both ids would be in the text too.
    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False
    activity.logger.base_logger.filters[:] = [_ActivityFailures()]
    logging.getLogger(_WORKFLOW_LOGGER).filters[:] = [_WorkflowFailures()]
    for name in (CORE_LOGGER, _TRACE_EXPORTER, _HTTP_SERVER):
        logging.getLogger(name).filters[:] = [_Repeats()]


def log_unexpected(logger: logging.Logger, error: Exception) -> None:
    """Log an exception by its type and traceback locations only.

    Its text, and the text of its causes, may quote a phone number or a message.
    """
    locations = "".join(traceback.format_tb(error.__traceback__))
    logger.error("Unexpected %s, raised through:\n%s", type(error).__name__, locations)


class Throttle:
    """Lets one event of each kind pass per `LOG_SECONDS`, and counts the others; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[object, tuple[float, int]] = {}

    def admit(self, kind: object = None) -> int | None:
        """How many were suppressed since the last of its kind; None: this one is suppressed."""
        with self._lock:
            now = self._clock()
            next_at, suppressed = self._kinds.get(kind, (float("-inf"), 0))
            if now < next_at:
                self._kinds[kind] = next_at, suppressed + 1
                return None
            if len(self._kinds) > _MAX_KINDS:
                self._kinds.clear()
            self._kinds[kind] = now + LOG_SECONDS, 0
            return suppressed


class RateLimitedLogger:
    """Logs at most one warning per `LOG_SECONDS`, with the number of warnings it suppressed.

    So neither an attacker nor an outage can flood the log.
    """

    def __init__(
        self, logger: logging.Logger, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._throttle = Throttle(clock)

    def warning(self, message: str, *args: object) -> None:
        """Log as `logging.Logger.warning` does, or count the warning as suppressed."""
        suppressed = self._throttle.admit()
        if suppressed is not None:
            self._logger.warning("%s%s", message % args, _similar(suppressed))


def _similar(suppressed: int) -> str:
    return f" ({suppressed} similar warnings suppressed)" if suppressed else ""


class _ActivityFailures(logging.Filter):
    """Turns what Temporal's SDK logs of a failed activity into one line, and bounds their number.

    It logs a traceback of all causes for each attempt. A database that was away for 77 seconds,
    with 940 messages waiting, so wrote 72 MB. What we raise ourselves needs no traceback. Anything
    else is a defect: the first of its kind keeps it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._throttle = Throttle()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record, which is changed."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return True
        name, text = type(error).__name__, str(error) if _names_no_values(error) else ""
        if isinstance(error, ApplicationError):
            name, text = error.type or name, error.message
        what = self._what_failed(record)
        is_expected = _is_expected(error)
        suppressed = self._throttle.admit((what, name, None if is_expected else _line_of(error)))
        if suppressed is None:
            return False
        if is_expected:
            record.exc_info = record.exc_text = None
        why = f"{name}: {text}" if text else name
        record.msg, record.args = "%s failed: %s%s", (what, why, _similar(suppressed))
        return True

    def _what_failed(self, record: logging.LogRecord) -> str:
        return f"Activity {_of_activity(record).get('activity', 'unknown')}"


class _WorkflowFailures(_ActivityFailures):
    """The same of what it logs of workflows, such as a signal that cannot be decoded."""

    def _what_failed(self, record: logging.LogRecord) -> str:
        function = record.funcName or ""
        return _WORKFLOW_STEPS.get(function, f"A workflow task ({function})")


class _Repeats(logging.Filter):
    """Bounds a library's lines that differ in ids and numbers only.

    In an outage of the database, the SDK's core warns of each workflow task. While its collector
    is away, OpenTelemetry's exporter writes a line every two seconds. The HTTP server writes one
    for each request that is no HTTP, and anybody can send those.
    """

    def __init__(self) -> None:
        super().__init__()
        self._throttle = Throttle()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record."""
        log = getattr(record, "temporal_log", None)
        text = log.message if log else record.getMessage()
        suppressed = self._throttle.admit(_IDS.sub("", text))
        if suppressed:
            record.msg, record.args = f"{record.getMessage()}{_similar(suppressed)}", ()
        return suppressed is not None


def _is_expected(error: BaseException) -> bool:
    """Whether it says what is wrong outside of our code, or what an activity decided.

    Ours have a type. Those of the SDK without one hide a defect, such as a result of another form.
    """
    if isinstance(error, ApplicationError):
        return error.type is not None
    return isinstance(error, FailureError | TaskCancelled) or (
        type(error).__module__.partition(".")[0] == "signedfor"
    )


def _line_of(error: BaseException) -> tuple[str, int] | None:
    frames = traceback.extract_tb(error.__traceback__)
    return (frames[-1].filename, frames[-1].lineno or 0) if frames else None


def _names_no_values(error: BaseException) -> bool:
    """Whether the text of an exception may be shown; others may quote a number or a message."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _OUR_PACKAGES


def _add_context(record: logging.LogRecord) -> bool:
    """Add what is known of the message that the calling code works for."""
    for name, value in _context(record).items():
        if getattr(record, name, None) is None:
            setattr(record, name, value)
    return True


def _context(record: logging.LogRecord) -> dict[str, object]:
    found = _of_activity(record) or _of_workflow(record)
    found["trace_id"] = tracing.trace_id()
    return found


def _of_activity(record: logging.LogRecord) -> dict[str, object]:
    details = getattr(record, "temporal_activity", None)
    if details is None and activity.in_activity():
        info = activity.info()
        details = {
            "activity_type": info.activity_type,
            "attempt": info.attempt,
            "workflow_id": info.workflow_id,
            "workflow_run_id": info.workflow_run_id,
        }
    if details is None:
        return {}
    return {
        **_ids(details["workflow_id"], details["workflow_run_id"]),
        "activity": details["activity_type"],
        "attempt": details["attempt"],
    }


def _of_workflow(record: logging.LogRecord) -> dict[str, object]:
    details = getattr(record, "temporal_workflow", None)
    if details is not None:
        return _ids(details["workflow_id"], details["run_id"])
    if workflow.in_workflow():
        info = workflow.info()
        return _ids(info.workflow_id, info.run_id)
    return {}


def _ids(workflow_id: str | None, run_id: str | None) -> dict[str, object]:
    try:
        return {"message_id": message_id_of(workflow_id or ""), "run_id": run_id}
    except ValueError:
        return {"workflow_id": workflow_id, "run_id": run_id}


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    for name in _FIELDS:
        value = getattr(record, name, None)
        if value is not None:
            yield name, value


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shows_color(stream: TextIO) -> bool:
    """A terminal, unless its user wants none: https://no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Formatter(logging.Formatter):
    """Tracebacks without the texts of exceptions that may quote a number or a message."""

    def formatException(self, ei: object) -> str:  # noqa: N802 - the base class's name
        """The locations and types of an exception and its causes, the innermost first."""
        error = ei[1] if isinstance(ei, tuple) else None
        parts: list[str] = []
        while error is not None:
            text = f": {error}" if _names_no_values(error) else ""
            locations = "".join(traceback.format_tb(error.__traceback__))
            parts.append(f"{locations}{type(error).__qualname__}{text}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nwhich led to\n".join(reversed(parts))


class _TextFormatter(_Formatter):
    """A line to read: time, level, logger, text, and fields as `name=value`."""

    def __init__(self, is_colored: bool) -> None:
        super().__init__()
        self._is_colored = is_colored

    def format(self, record: logging.LogRecord) -> str:
        """The line, and a traceback below it if there is one."""
        level, fields = record.levelname, "".join(f" {k}={v}" for k, v in _fields(record))
        if self._is_colored:
            level = f"{_COLORS.get(record.levelno, '')}{level}{_NO_COLOR}"
            fields = f"\x1b[2m{fields}{_NO_COLOR}" if fields else ""
        line = f"{_time(record)} {level} {record.name} {record.getMessage()}{fields}"
        if record.exc_info:
            line += f"\n{self.formatException(record.exc_info)}"
        return line


class _JsonFormatter(_Formatter):
    """A JSON object in one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The object; its values are text or numbers."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **dict(_fields(record)),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
