"""`signedfor campaign start`, in front of a real Temporal and a real database."""

import asyncio
import json
import os
import signal
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from temporalio.client import Client

from signedfor.contract import CAMPAIGN, CampaignState
from signedfor.search_attributes import CAMPAIGN_ID
from signedfor.store.campaigns import Campaigns
from signedfor.store.database import transaction
from signedfor.store.rate_limiter import RateLimiter
from tests.signedfor.campaigns.support import (
    BODY,
    OPTIONS,
    good_rows,
    new_id,
    no_campaign_exists,
    number,
    record,
    runs,
    start,
    written,
)
from tests.signedfor.cli.support import CommandLine, until
from tests.signedfor.cli.test_process import Terminal, process
from tests.workflows.fakes import SENDER


async def test_a_file_becomes_one_campaign(
    cli: CommandLine, cli_engine: Engine, temporal: Client, tmp_path: Path
) -> None:
    """Its rows are in the database and its workflow runs; standard output has only the id."""
    path = written(tmp_path, *good_rows(3), f"{uuid.uuid4().int % 10**7 + 15_550_000_000:+d},B,C")

    result = await asyncio.to_thread(start, cli, path)
    again = await asyncio.to_thread(start, cli, path, "--json")

    campaign_id = result.stdout.strip()
    found = record(cli_engine, campaign_id)
    description = await runs(temporal, campaign_id)
    assert (0, 0) == (result.exit_code, again.exit_code), result.output
    assert (CampaignState.RUNNING, 4, BODY) == (found.state, found.rows, found.message.body)
    assert CAMPAIGN == description.workflow_type
    assert campaign_id == description.typed_search_attributes[CAMPAIGN_ID]
    assert "bulk 4 rows" == await description.static_summary()
    document = json.loads(again.stdout)
    assert (campaign_id, "earlier", "running") == (
        document["campaign_id"],
        document["accepted"],
        document["state"],
    )
    assert "nothing is sent twice" in again.stderr
    assert 1 == len(Campaigns(cli_engine).newest(limit=5))
    assert not [
        each for each in (result, again) if number(0) in each.output or "Ann" in each.output
    ]


def test_a_dry_run_shows_everything_and_does_nothing(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """It shows three messages, opt-outs, segments, rate and price, and needs no Temporal."""
    path = written(tmp_path, *good_rows(101))
    assert 0 == cli("opt-outs", "add", number(5)).exit_code
    RateLimiter(cli_engine).set_rate(SENDER, 2)

    result = start(
        cli,
        path,
        "--dry-run",
        TEMPORAL_ADDRESS="127.0.0.1:9",
        PRICE_PER_SEGMENT="0.01",
        PRICE_CURRENCY="EUR",
    )

    said = " ".join(result.stdout.split())
    assert 0 == result.exit_code, result.output
    assert "To +*******0000, 1 segment in GSM-7: Hi Ann 0, your code is C0." in said
    assert "Hi Ann 2" in said
    assert "Hi Ann 3" not in said
    assert "Recipients 101 Opted out 1, or unreachable" in said
    assert "Time to send 50 s at 2 per second Cost 1.00 EUR at 0.01 per segment" in said
    assert number(0) not in said
    assert no_campaign_exists(cli_engine)


@pytest.mark.parametrize("form", ["text", "json"])
def test_bad_rows_are_named_and_nothing_is_done(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path, form: str
) -> None:
    """Exit code 2; the first twenty problems with line and column, the total, and no cell."""
    path = written(tmp_path, "to,name,code", *(f"1.5{n}E+10,private," for n in range(15)))

    result = start(cli, path, "--yes", *(["--json"] if form == "json" else []))

    assert 2 == result.exit_code
    assert "line 2: to: was turned into scientific notation" in result.stderr
    assert "line 2: code: is empty" in result.stderr
    assert "line 12" not in result.stderr
    assert "and 10 more problems" in result.stderr
    assert not [word for word in ("private", "E+10") if word in result.output]
    if form == "json":
        error = json.loads(result.stdout)["error"]
        assert (30, 30) == (len(error["fields"]), error["total"])
    assert no_campaign_exists(cli_engine)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--body", "Hi {nmae}"), "--body: {nmae} is not a column of the file"),
        (("--body", "Hi {name"), "--body: has a brace that is not closed"),
        (("--body", " "), "--body: is blank"),
        (("--from", "+1private"), "--from: has a letter"),
        (("--to-column", "cell"), "line 1: the header must be here, and it has no column cell"),
        (("--expires-at", "2020-01-01T00:00:00Z"), "--expires-at: has passed"),
        (("--id", "a b"), "--id: must be 1 to 64 letters, digits,"),
        (("--category", "a b"), "--category: must be 1 to 64 letters, digits,"),
        (("--price", "private"), "--price: must be a number from 0 to 1000"),
        (("--price", "1001"), "--price: must be a number from 0 to 1000"),
        (("--price", "-1"), "--price: must be a number from 0 to 1000"),
        (("--priority", "urgent"), "--priority: must be normal or bulk"),
        (("--between", "9-20"), "--between (from): "),
        (("--days", "mon"), "--days: needs --between or --quiet-hours"),
        (("--quiet-hours", "us,private"), "--quiet-hours: has a name that is not known"),
        (("--between", "09:00-20:00", "--time-zone", "private"), "--time-zone: is not an"),
        (("--tag", "private"), "--tag: must be name=value"),
    ],
)
def test_bad_options_are_named(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    """Exit code 2; the error names the option and not its value."""
    result = start(cli, written(tmp_path, *good_rows(1)), *options)

    assert 2 == result.exit_code
    assert said in result.stderr
    assert "private" not in result.output
    assert no_campaign_exists(cli_engine)


@pytest.mark.parametrize(
    "variables",
    [
        {"PRICE_PER_SEGMENT": "private"},
        {"PRICE_CURRENCY": "private"},
        {"QUIET_HOURS": "marketing:private"},
    ],
)
def test_bad_variables_are_named(
    cli: CommandLine, tmp_path: Path, variables: dict[str, str]
) -> None:
    """Exit code 2; the error names the variable and not its value."""
    result = start(cli, written(tmp_path, *good_rows(1)), "--dry-run", **variables)

    assert 2 == result.exit_code
    assert next(iter(variables)) in result.stderr
    assert "private" not in result.output


def test_obstacles_are_shown_before_anything_is_sent(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """The sender is paused, or too slow for --expires-at."""
    limiter = RateLimiter(cli_engine)
    limiter.set_rate(SENDER, 0.001)
    limiter.pause(SENDER)
    expiry = (datetime.now(UTC) + timedelta(hours=12, minutes=30, seconds=30)).isoformat()

    result = start(cli, written(tmp_path, *good_rows(100)), "--dry-run", "--expires-at", expiry)

    assert 0 == result.exit_code, result.output
    assert "the sender needs 1 d 3 h, and --expires-at is in 12 h 30 min" in result.stderr
    said = " ".join(result.stdout.split())
    assert "1 d 3 h at 0.001 per second, once the sender is resumed Cost" in said


def test_a_sender_is_needed(cli: CommandLine, tmp_path: Path) -> None:
    """DEFAULT_SENDER is used if it is set, and counts as one of your own numbers."""
    path = written(tmp_path, *good_rows(1), f"{SENDER},Me,C")

    without = cli("campaign", "start", str(path), "--body", BODY)
    default = cli("campaign", "start", str(path), "--body", BODY, DEFAULT_SENDER=SENDER)

    assert "--from: is needed, since DEFAULT_SENDER is not set" in without.stderr
    assert "line 3: to: is one of your own numbers" in default.stderr


def test_a_window_that_opens_too_late_is_reported_first(cli: CommandLine, tmp_path: Path) -> None:
    """Otherwise nothing would be sent and nothing would say why."""
    now = datetime.now(UTC)
    begins = (now + timedelta(hours=2)).replace(minute=0)
    if begins.date() != now.date():
        begins = begins.replace(hour=1)
    hours = f"{begins:%H:%M}-{begins:%H}:30"

    result = start(
        cli,
        written(tmp_path, *good_rows(3)),
        *("--dry-run", "--between", hours, "--time-zone", "UTC"),
        *("--expires-at", (now + timedelta(minutes=30)).isoformat()),
    )

    assert 0 == result.exit_code, result.output
    assert (
        "for 3 of 3 recipients the send window does not open before --expires-at" in result.stderr
    )


def test_rows_are_checked_with_the_quiet_hours_of_their_category(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """They never open for a toll-free number; the campaign itself does not get the setting."""
    path = written(tmp_path, "to,name,code", "+18005550100,Ann,C")

    refused = start(cli, path, "--category", "marketing", QUIET_HOURS="marketing:us")
    other = start(cli, path, "--category", "news", "--dry-run", QUIET_HOURS="marketing:us")

    assert "line 2: --quiet-hours: does not open" in refused.stderr
    assert 2 == refused.exit_code
    assert no_campaign_exists(cli_engine)
    assert 0 == other.exit_code, other.output


def test_the_length_limit_applies_to_the_rendered_text(cli: CommandLine, tmp_path: Path) -> None:
    """Names in braces and doubled braces are not counted."""
    path = written(tmp_path, *good_rows(1))
    long_name = "{" + " " * 20 + "name" + "}"

    fits = start(cli, path, "--dry-run", "--body", long_name * 100 + "{{" * 1000)
    does_not = start(cli, path, "--dry-run", "--body", "{name}" * 400 + "x")

    assert 0 == fits.exit_code, fits.output
    assert "line 2: the text with its fields is longer than Twilio's 1600" in does_not.stderr


def test_more_than_a_hundred_need_confirmation(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """Without a terminal nothing is done, and the error says why."""
    path = written(tmp_path, *good_rows(101))

    refused = start(cli, path)
    assert 2 == refused.exit_code
    assert "--yes: is needed to send to 101 without a terminal" in refused.stderr
    assert no_campaign_exists(cli_engine)

    assert 0 == start(cli, path, "--yes", "--id", new_id()).exit_code


def test_a_file_can_be_piped_in(cli: CommandLine, cli_engine: Engine) -> None:
    """Standard input is read like a file; the text must come from somewhere else."""
    campaign_id = new_id()
    content = "".join(f"{line}\n" for line in good_rows(2))

    both = cli("campaign", "start", "-", "--body", "-", "--from", SENDER, stdin=content)
    result = cli("campaign", "start", "-", *OPTIONS, "--id", campaign_id, stdin=content)

    assert 2 == both.exit_code
    assert 0 == result.exit_code, result.output
    assert 2 == record(cli_engine, campaign_id).rows


def test_without_temporal_nothing_is_written(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """That is noticed before any row is written."""
    result = start(cli, written(tmp_path, *good_rows(1)), TEMPORAL_ADDRESS="127.0.0.1:9")

    assert 1 == result.exit_code
    assert no_campaign_exists(cli_engine)


# Keeps the database busy for a minute in the middle of the third batch.
_STALL = """
CREATE TRIGGER stall BEFORE INSERT ON campaign_rows WHEN NEW.number = 2500 BEGIN
    SELECT count(*) FROM (
        WITH RECURSIVE many(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM many WHERE x < 300000000)
        SELECT x FROM many
    );
END
"""


@pytest.mark.integration
async def test_a_start_that_was_killed_while_loading_continues(
    cli: CommandLine, cli_engine: Engine, temporal: Client, tmp_path: Path
) -> None:
    """The same command loads the rest, each row once, and only then starts the campaign."""
    campaign_id = new_id()
    path = written(tmp_path, *good_rows(3100))
    with transaction(cli_engine) as connection:
        connection.exec_driver_sql(_STALL)
    with process(
        *("campaign", "start", str(path), *OPTIONS, "--yes", "--id", campaign_id), env=cli.env
    ) as running:
        await until(lambda: asyncio.to_thread(_loaded_rows, cli_engine), lambda rows: rows == 2000)
        os.kill(running.pid, signal.SIGKILL)
        running.wait(30)
    assert CampaignState.LOADING is record(cli_engine, campaign_id).state
    with transaction(cli_engine) as connection:
        connection.exec_driver_sql("DROP TRIGGER stall")

    result = await asyncio.to_thread(start, cli, path, "--yes", "--id", campaign_id)

    assert 0 == result.exit_code, result.output
    assert 3100 == record(cli_engine, campaign_id).rows == _loaded_rows(cli_engine)
    assert CAMPAIGN == (await runs(temporal, campaign_id)).workflow_type


def _loaded_rows(cli_engine: Engine) -> int:
    with transaction(cli_engine, read_only=True) as connection:
        return int(connection.execute(text("SELECT count(*) FROM campaign_rows")).scalar_one())


@pytest.mark.integration
async def test_at_a_terminal_it_shows_and_confirms(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """It shows preview, summary and question; any answer but yes does nothing."""
    path = written(tmp_path, *good_rows(101))

    with Terminal("campaign", "start", str(path), *OPTIONS, env=cli.env) as terminal:
        await terminal.shows("This will send to 101 recipients. Continue? [y/N]")
        terminal.type("n")
        code = await terminal.exit_code()

    shown = terminal._shown.decode()
    assert 3 == code
    assert "Hi Ann 2, your code is C2." in shown
    assert "Time to send" in shown
    assert number(0) not in shown
    assert no_campaign_exists(cli_engine)
