import logging
import subprocess
import sys
from pathlib import Path

import pytest

from signedfor.settings import Settings
from tests.activities.edge import (
    ACCOUNT,
    CANARIES,
    RECIPIENT,
    TOKEN,
    Edge,
    created,
    http,
    running_edge,
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


def _asked(edge: Edge) -> list[str]:
    return [each.line.split()[0] for each in edge.asked]


@pytest.mark.integration
@pytest.mark.parametrize("level", ["debug", "INFO"])
def test_twilio_calls_leave_no_trace(level: str) -> None:
    """Neither a text nor a filter by number gets into the log, at any level."""
    with running_edge() as edge:
        edge.answers = [created(), http(200, {"messages": []})]

        logged = _run(
            _SEND_AND_LIST, level, "", edge.url, ACCOUNT, TOKEN, RECIPIENT, "text-canary", "12345"
        )

    assert ["POST", "GET"] == _asked(edge)
    assert [] == [canary for canary in CANARIES if canary in logged]


_SAY = """
import logging, sys
from signedfor.logging import configure_logging

configure_logging(sys.argv[1])
for level in ("debug", "info", "warning"):
    getattr(logging.getLogger(sys.argv[2]), level)("it is %s", level)
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("level", "logger", "said"),
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
def test_levels(level: str, logger: str, said: list[str]) -> None:
    """Ours log from the level up; libraries whose lines may hold personal data are quieted."""
    code = "import sqlalchemy\n" + _SAY if logger.startswith("sqlalchemy") else _SAY

    lines = _run(code, level, logger).splitlines()

    assert [f"{each.upper()} {logger} it is {each}" for each in said] == [
        line.split(" ", 2)[2] for line in lines
    ]


def test_levels_are_those_of_the_settings() -> None:
    """Every level that the settings take is one of Python's."""
    levels = Settings.model_fields["log_level"].annotation.__args__  # type: ignore[union-attr] # a Literal

    assert all(isinstance(logging.getLevelName(each), int) for each in levels)
