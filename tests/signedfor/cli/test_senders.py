"""`signedfor senders` on a real database."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from signedfor.cli.audit import os_user
from signedfor.store.database import open_engine
from signedfor.store.rate_limiter import RateLimiter
from signedfor.times import iso8601
from tests.signedfor.cli.support import CommandLine
from tests.signedfor.store.open_breaker import BECAUSE, open_breaker
from tests.workflows.fakes import SENDER


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """The command line with only a database."""
    line = CommandLine(env={"DATABASE_URL": f"sqlite:///{tmp_path}/x.db", "COLUMNS": "200"})
    assert 0 == line("migrate").exit_code
    return line


@pytest.fixture
def engine(cli: CommandLine) -> Any:
    """The database that the command line works on."""
    engine = open_engine(cli.env["DATABASE_URL"])
    yield engine
    engine.dispose()


def _senders(cli: CommandLine, *options: str) -> list[dict[str, Any]]:
    result = cli("senders", "list", "--json", *options)
    assert 0 == result.exit_code, result.output
    senders: list[dict[str, Any]] = json.loads(result.stdout)["senders"]
    return senders


def test_nothing_yet(cli: CommandLine) -> None:
    """Before any message was sent, the list says so."""
    assert "No sender" in cli("senders", "list").stdout
    assert [] == _senders(cli)


def test_list(cli: CommandLine, engine: Engine) -> None:
    """Rate, backlog in segments and in time, and urgent segments; numbers are masked."""
    limiter = RateLimiter(engine)
    limiter.reserve(SENDER, 600, is_urgent=False)
    for _ in range(5):
        limiter.reserve(SENDER, 1, is_urgent=True)

    (shown,) = _senders(cli)
    text = cli("senders", "list").stdout

    assert ("+1500***0006", "long_code", 1, False) == (
        shown["sender"],
        shown["kind"],
        shown["rate"],
        shown["is_configured"],
    )
    assert 550 < shown["backlog_segments"] <= 600
    assert 550 < shown["backlog_seconds"] <= 600
    assert 0 < shown["urgent_segments"] <= 5
    assert SENDER not in text
    assert re.search(r"0:(09|10):\d\d", text)
    assert SENDER in cli("senders", "list", "--reveal").stdout


def test_rate(cli: CommandLine, engine: Engine) -> None:
    """A rate is set, shown, and reset to the default."""
    assert 0 == cli("senders", "rate", "MG" + "0a" * 16, "37.5").exit_code
    (shown,) = _senders(cli)
    assert (37.5, True) == (shown["rate"], shown["is_configured"])
    assert 37.5 == RateLimiter(engine).rate("MG" + "0a" * 16)

    result = cli("senders", "rate", "MG" + "0a" * 16, "default", "--json")

    assert {"rate": 1} == json.loads(result.stdout)


def test_default_rates(cli: CommandLine) -> None:
    """DEFAULT_SEGMENTS_PER_SECOND holds for the command line as for the workers."""
    result = cli(
        "senders", "rate", "12345", "default", "--json", DEFAULT_SEGMENTS_PER_SECOND="short_code=30"
    )

    assert {"rate": 30} == json.loads(result.stdout)


def test_pause_and_resume(cli: CommandLine, engine: Engine) -> None:
    """A paused sender is shown as paused until it is resumed."""
    RateLimiter(engine).acquire(SENDER, 1)
    assert 0 == cli("senders", "pause", SENDER).exit_code
    assert RateLimiter(engine).is_paused(SENDER)
    assert "paused" in cli("senders", "list").stdout

    assert 0 == cli("senders", "resume", SENDER).exit_code
    assert not RateLimiter(engine).is_paused(SENDER)
    assert timedelta(0) == RateLimiter(engine).backlog(SENDER)


def test_who_paused_it_when_and_why(cli: CommandLine, engine: Engine) -> None:
    """As on the operations page; once it is resumed, nothing is said."""
    RateLimiter(engine).acquire(SENDER, 1)
    cli("senders", "pause", SENDER, "--reason", "filtered since noon")

    (shown,) = _senders(cli)
    text = " ".join(cli("senders", "list").stdout.split())
    assert (os_user(), "filtered since noon") == (shown["pause"]["who"], shown["pause"]["why"])
    when = re.escape(shown["pause"]["at"][:16].replace("T", " "))
    assert re.search(rf"paused by {os_user()} at {when} UTC: filtered since noon", text)

    cli("senders", "resume", SENDER)
    (shown,) = _senders(cli)
    assert shown["pause"] is None
    assert "paused" not in cli("senders", "list").stdout


@pytest.mark.parametrize("command", [("pause",), ("resume",), ("rate", "5")])
def test_a_reason_with_a_number_is_refused(
    cli: CommandLine, engine: Engine, command: tuple[str, ...]
) -> None:
    """Everybody can read the audit log; nothing is done, and the number is not repeated."""
    RateLimiter(engine).acquire(SENDER, 1)
    name, *more = command

    result = cli("senders", name, SENDER, *more, "--reason", "says +1 (555) 867-5309")

    assert 2 == result.exit_code
    assert "--reason: must not contain a phone number" in result.stderr
    assert "867" not in result.output
    (shown,) = _senders(cli)
    assert (False, False) == (shown["is_paused"], shown["is_configured"])


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_an_unknown_sender_is_refused(cli: CommandLine, command: str) -> None:
    """A slip must not look like a pause."""
    result = cli("senders", command, SENDER)

    assert 2 == result.exit_code
    assert "has never been used" in result.stderr
    assert [] == _senders(cli)


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "fast", "", "1e9"])
def test_bad_rate(cli: CommandLine, rate: str) -> None:
    """The error for a bad rate names the argument, and nothing is written."""
    result = cli("senders", "rate", "--json", "12345", "--", rate)

    assert 2 == result.exit_code
    assert ["RATE"] == [each["field"] for each in json.loads(result.stdout)["error"]["fields"]]
    assert [] == _senders(cli)


@pytest.mark.parametrize("command", [("rate",), ("pause",), ("resume",)])
def test_bad_sender(cli: CommandLine, command: tuple[str, ...]) -> None:
    """The error for a bad sender does not repeat it."""
    more = ["5"] if command == ("rate",) else []
    result = cli("senders", *command, "+1 canary", *more)

    assert 2 == result.exit_code
    assert "SENDER" in result.output
    assert "canary" not in result.output


def test_a_sender_that_the_breaker_has_paused(cli: CommandLine, engine: Engine) -> None:
    """The list says why; `resume` lifts it, and the sender is not paused again by the same."""
    opened = open_breaker(engine, SENDER)

    (shown,) = _senders(cli)
    assert {
        "reason": "failed",
        "opened_at": iso8601(opened.opened_at),
        "because": BECAUSE,
    } == shown["breaker"]
    text = " ".join(cli("senders", "list").stdout.split())
    assert f"paused by the breaker at {opened.opened_at:%Y-%m-%d %H:%M} UTC: {BECAUSE}" in text

    assert 0 == cli("senders", "resume", SENDER).exit_code
    (shown,) = _senders(cli)
    assert (False, None) == (shown["is_paused"], shown["breaker"])


def test_a_pause_of_ones_own_is_not_the_breakers(cli: CommandLine, engine: Engine) -> None:
    """It is shown without a reason."""
    RateLimiter(engine).acquire(SENDER, 1)
    cli("senders", "pause", SENDER)

    (shown,) = _senders(cli)
    assert (True, None) == (shown["is_paused"], shown["breaker"])
    assert "breaker" not in cli("senders", "list").stdout
