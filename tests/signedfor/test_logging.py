import asyncio
import json
import logging
import os
import pty
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment

from signedfor.logging import (
    CORE_LOGGER,
    LOG_SECONDS,
    RateLimitedLogger,
    Throttle,
    configure_logging,
)
from signedfor.payloads import invalid_input
from signedfor.settings import Settings
from signedfor.store.database import DatabaseUnavailable
from tests.activities.fake_twilio import (
    ACCOUNT,
    CANARIES,
    RECIPIENT,
    TOKEN,
    FakeTwilio,
    created,
    http,
    running_fake_twilio,
)

_ROOT = Path(__file__).parents[2]

_SEND_AND_LIST = """
import sys
from signedfor.twilio.client import TwilioClient
from signedfor.logging import configure_logging

configure_logging(sys.argv[1])
_, _, url, account, token, to, body, sender = sys.argv[1:]
client = TwilioClient(
    account_sid=account, username=account, password=token, connections=1, base_url=url
)
client.messages.create(to=to, from_=sender, body=body)
client.messages.list(to=to, limit=1)
client.http_client.close()
"""


def _run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "" == done.stdout
    return done.stderr


def _methods(fake_twilio: FakeTwilio) -> list[str]:
    return [each.line.split()[0] for each in fake_twilio.requests]


@pytest.mark.integration
@pytest.mark.parametrize("level", ["debug", "INFO"])
def test_twilio_requests_log_no_personal_data(level: str) -> None:
    """Neither a message text nor a filter by number gets into the log, at any level."""
    with running_fake_twilio() as fake_twilio:
        fake_twilio.responses = [created(), http(200, {"messages": []})]

        logged = _run(
            _SEND_AND_LIST,
            level,
            "",
            fake_twilio.url,
            ACCOUNT,
            TOKEN,
            RECIPIENT,
            "text-canary",
            "12345",
        )

    assert ["POST", "GET"] == _methods(fake_twilio)
    assert [] == [canary for canary in CANARIES if canary in logged]


_LOG_EACH_LEVEL = """
import logging, sys
from signedfor.logging import configure_logging

configure_logging(sys.argv[1])
for level in ("debug", "info", "warning"):
    getattr(logging.getLogger(sys.argv[2]), level)("it is %s", level)
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("level", "logger", "logged"),
    [
        ("INFO", "signedfor.worker", ["info", "warning"]),
        ("debug", "signedfor.worker", ["debug", "info", "warning"]),
        ("WARNING", "signedfor.worker", ["warning"]),
        ("DEBUG", "twilio.http_client", ["warning"]),
        ("DEBUG", "urllib3.connectionpool", ["warning"]),
        ("DEBUG", "httpx", ["warning"]),
        ("DEBUG", "httpcore.http11", ["warning"]),
        ("DEBUG", "temporalio.worker._workflow", ["info", "warning"]),
        ("DEBUG", "temporalio.activity", ["debug", "info", "warning"]),
        ("INFO", "alembic.runtime.migration", ["warning"]),
        ("DEBUG", "sqlalchemy.engine.Engine", ["warning"]),
    ],
)
def test_loggers_have_the_configured_level(level: str, logger: str, logged: list[str]) -> None:
    """Libraries whose log lines may contain personal data have a higher level."""
    code = _LOG_EACH_LEVEL
    if logger.startswith("sqlalchemy"):
        code = "import sqlalchemy\n" + code

    lines = _run(code, level, logger).splitlines()

    assert [f"{each.upper()} {logger} it is {each}" for each in logged] == [
        line.split(" ", 1)[1] for line in lines
    ]


def test_the_settings_accept_only_pythons_levels() -> None:
    """Every accepted level is known to Python's logging."""
    levels = Settings.model_fields["log_level"].annotation.__args__  # type: ignore[union-attr] # a Literal

    assert all(isinstance(logging.getLevelName(each), int) for each in levels)


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    """Undo what `configure_logging` changes in this process."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = before[0], before[1]
    activity.logger.base_logger.filters.clear()
    exporter = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    for name in (CORE_LOGGER, exporter, "temporalio.worker._workflow_instance"):
        logging.getLogger(name).filters.clear()


_NUMBER = "+15558675309"


class Defect(Exception):
    """Of a class that is not ours, so its text may quote a number."""

    __module__ = "elsewhere"


@pytest.mark.usefixtures("_restored_logging")
def test_a_json_line_has_time_zone_and_the_known_fields_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a library adds to a record is not shown: it may be personal."""
    before = datetime.now(UTC)
    configure_logging("INFO", "json")
    extra = {"message_id": "order-1", "outcome": "delivered", "recipient": _NUMBER}
    logging.getLogger("signedfor.test").info("Ended: %s", "delivered", extra=extra)

    (line,) = capsys.readouterr().err.splitlines()
    document = json.loads(line)
    time = document.pop("time")
    assert {
        "level": "INFO",
        "logger": "signedfor.test",
        "message": "Ended: delivered",
        "message_id": "order-1",
        "outcome": "delivered",
    } == document
    assert re.fullmatch(r"20..-..-..T..:..:..\.[0-9]{3}Z", time)
    logged_at = datetime.fromisoformat(time)
    assert before - timedelta(milliseconds=1) <= logged_at <= datetime.now(UTC)


@pytest.mark.usefixtures("_restored_logging")
def test_a_text_line_has_the_same_in_a_form_to_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Time with a zone, level, logger, text, and the fields."""
    configure_logging("INFO")
    logging.getLogger("signedfor.test").warning("Hello", extra={"message_id": "order-1"})

    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"20\S+Z WARNING signedfor\.test Hello message_id=order-1", line)


def _break() -> None:
    try:
        int(_NUMBER + "x")
    except ValueError as error:
        raise DatabaseUnavailable("The database is away.") from error


@pytest.mark.usefixtures("_restored_logging")
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_has_no_text_that_may_be_personal(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Types and locations are enough to find a defect; our own texts name no values."""
    configure_logging("INFO", "json" if form == "json" else "text")
    try:
        _break()
    except DatabaseUnavailable:
        logging.getLogger("signedfor.test").exception("It failed")

    logged = capsys.readouterr().err
    assert _NUMBER not in logged
    assert re.search(
        "test_logging.*ValueError.*led to.*DatabaseUnavailable: The database", logged, re.DOTALL
    )
    if form == "json":
        (line,) = logged.splitlines()
        assert "It failed" == json.loads(line)["message"]


@activity.defn(name="check")
async def _check(error: BaseException) -> None:
    # As the SDK's worker does.
    try:
        raise error  # noqa: TRY301 - the point
    except BaseException:  # noqa: BLE001 - as above
        activity.logger.warning("Completing activity as failed", exc_info=True)


def _fail(*errors: BaseException) -> None:
    async def run() -> None:
        for error in errors:
            await ActivityEnvironment().run(_check, error)

    asyncio.run(run())


@pytest.mark.usefixtures("_restored_logging")
@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (DatabaseUnavailable("It is away."), "DatabaseUnavailable: It is away."),
        (ApplicationError("No route.", type="Unreachable"), "Unreachable: No route."),
        (CancelledError("Canceled."), "CancelledError: Canceled."),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
def test_an_expected_failure_of_an_activity_is_one_line(
    error: BaseException, logged: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has the ids of what it worked for, and no traceback."""
    configure_logging("INFO", "json")
    _fail(error)

    (line,) = capsys.readouterr().err.splitlines()
    document = json.loads(line)
    assert "exception" not in document
    assert f"Activity unknown failed: {logged}" == document["message"]
    assert ("unknown", 1) == (document["activity"], document["attempt"])


@pytest.mark.usefixtures("_restored_logging")
def test_many_equal_failures_are_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One of each kind, and how many more there were; each kind is counted for itself."""
    configure_logging("INFO")
    _fail(
        *(DatabaseUnavailable("It is away.") for _ in range(1000)),
        *(ApplicationError("Busy.", type="Busy") for _ in range(1000)),
    )

    logged = capsys.readouterr().err
    assert 2 == len(logged.splitlines())
    assert len(logged) < 1000


@pytest.mark.usefixtures("_restored_logging")
def test_an_unexpected_failure_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """The first one; the text stays out."""
    configure_logging("INFO")
    _fail(*(Defect(_NUMBER) for _ in range(1000)))

    logged = capsys.readouterr().err
    assert "Activity unknown failed: Defect" in logged
    assert re.search(r'File ".*test_logging\.py", line \d+, in _check', logged)
    assert _NUMBER not in logged
    assert 1 == logged.count("in _check")


@pytest.mark.usefixtures("_restored_logging")
def test_a_signal_that_cannot_be_decoded_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Anyone with access to Temporal can send any number of them."""
    configure_logging("INFO")
    for _ in range(1000):
        _process_signal_job()

    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "Decoding a signal, which is dropped, failed: InvalidInput: Bad input. a: b"
    )


def _process_signal_job() -> None:
    # As the SDK's function of this name does.
    try:
        raise invalid_input([("a", "b")])
    except ApplicationError:
        logging.getLogger("temporalio.worker._workflow_instance").exception("Failed")


@pytest.mark.usefixtures("_restored_logging")
@pytest.mark.parametrize(
    "logger", [CORE_LOGGER, "opentelemetry.exporter.otlp.proto.http.trace_exporter"]
)
def test_repeated_warnings_of_libraries_are_bounded(
    logger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that differ in ids and numbers only are of one kind."""
    configure_logging("INFO")
    log = logging.getLogger(logger)
    for number in range(1000):
        log.warning("%s: a task took %d seconds", uuid.uuid4(), number)
    log.warning("Something else")

    assert 2 == len(capsys.readouterr().err.splitlines())


@pytest.mark.usefixtures("_restored_logging")
def test_an_error_that_hides_a_defect_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The SDK raises its own type, without a type name, for arguments that cannot be decoded."""
    configure_logging("INFO")
    _fail(ApplicationError("Failed decoding arguments"))

    assert "in _check" in capsys.readouterr().err


def test_suppressed_events_are_counted_by_kind() -> None:
    """The first of a kind passes, and after some seconds one that says how many did not."""
    now = 100.0
    throttle = Throttle(lambda: now)
    first = [throttle.admit("a"), throttle.admit("a"), throttle.admit("b"), throttle.admit("a")]
    now += LOG_SECONDS

    assert [0, None, 0, None] == first
    assert [2, 0] == [throttle.admit("a"), throttle.admit("b")]


def test_suppressed_warnings_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The first warning is logged; a later one says how many were suppressed in between."""
    now = 100.0
    log = RateLimitedLogger(logging.getLogger("limited"), clock=lambda: now)

    for _ in range(4):
        log.warning("%s of %d", "one", 2)
    now += LOG_SECONDS
    log.warning("again")

    assert ["one of 2", "again (3 similar warnings suppressed)"] == [
        record.getMessage() for record in caplog.records
    ]


_WARN = """
import logging, sys
from signedfor.logging import configure_logging

configure_logging("INFO", sys.argv[1])
logging.getLogger("signedfor.test").warning("Hello")
"""


def _on_a_terminal(form: str, **environment: str) -> str:
    """What a process writes whose standard error is a terminal."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-c", _WARN, form],
            cwd=_ROOT,
            env={"TERM": "xterm", **environment},
            stderr=theirs,
        )
        os.close(theirs)
        written = terminal.read(1000) or b""
        assert 0 == process.wait(60)
    return written.decode()


@pytest.mark.integration
def test_only_a_terminal_shows_color() -> None:
    """Neither a file or pipe, nor a terminal whose user sets NO_COLOR, nor JSON."""
    assert "\x1b[33mWARNING\x1b[0m signedfor.test Hello" in _on_a_terminal("text")
    plain = [
        _on_a_terminal("text", NO_COLOR="1"),
        _on_a_terminal("text", TERM="dumb"),
        _on_a_terminal("json"),
        _run(_WARN, "text"),
    ]
    assert [] == [each for each in plain if "\x1b" in each or "Hello" not in each]
