import logging
import subprocess
import sys
from pathlib import Path

import pytest

from signedfor.settings import Settings
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
client.http_client.session.close()
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
        line.split(" ", 2)[2] for line in lines
    ]


def test_the_settings_accept_only_pythons_levels() -> None:
    """Every accepted level is known to Python's logging."""
    levels = Settings.model_fields["log_level"].annotation.__args__  # type: ignore[union-attr] # a Literal

    assert all(isinstance(logging.getLevelName(each), int) for each in levels)
