"""`signedfor campaign start`, again: the same input is one campaign, other input is refused."""

import asyncio
import json
from pathlib import Path

import pytest
from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.service import RPCError

from signedfor.contract import CAMPAIGN, CampaignState
from signedfor.store.campaigns import Campaigns
from tests.signedfor.campaigns.support import good_rows, new_id, record, runs, start, written
from tests.signedfor.cli.support import CommandLine


def test_a_dry_run_shows_the_id_and_whether_it_was_started(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """The id is the one that the campaign will have, whatever the file's format."""
    path, saved_again = written(tmp_path, *good_rows(2)), tmp_path / "again.csv"
    saved_again.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))

    before = json.loads(start(cli, path, "--dry-run", "--json").stdout)
    shown = " ".join(start(cli, path, "--dry-run").stdout.split())
    started = start(cli, path, "--json")
    after = json.loads(start(cli, saved_again, "--dry-run", "--json").stdout)
    again = json.loads(start(cli, saved_again, "--json").stdout)

    campaign_id = json.loads(started.stdout)["campaign_id"]
    assert (campaign_id, None) == (before["campaign_id"], before["state"])
    assert f"Campaign {campaign_id}, new" in shown
    assert (campaign_id, "running") == (after["campaign_id"], after["state"])
    assert (campaign_id, "earlier") == (again["campaign_id"], again["accepted"])
    assert 1 == len(Campaigns(cli_engine).newest(limit=2))


def test_the_same_text_to_other_rows_needs_confirmation(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """A corrected file is another campaign, and most recipients would get the text twice."""
    first = start(cli, written(tmp_path, *good_rows(3)))
    corrected = written(tmp_path, *good_rows(4), name="corrected.csv")

    refused = start(cli, corrected)
    with_yes = start(cli, corrected, "--yes")
    with_an_id = start(cli, written(tmp_path, *good_rows(5)), "--id", new_id())

    assert [0, 2, 0, 0] == [each.exit_code for each in (first, refused, with_yes, with_an_id)]
    warning = f"Campaign {first.stdout.strip()} (running, 3 rows) sends the same text"
    assert warning in refused.stderr
    assert warning in with_yes.stderr
    assert "--yes: is needed to send the same again without a terminal" in refused.stderr
    assert "(running, 4 rows) sends the same text" in with_an_id.stderr
    assert 3 == len(Campaigns(cli_engine).newest(limit=5))


def test_an_id_may_be_given_as_temporal_shows_it(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """The workflow id is accepted as in all other commands, even with the prefix twice."""
    campaign_id = new_id()
    path = written(tmp_path, *good_rows(1))

    results = [
        start(cli, path, "--id", f"{prefix}{campaign_id}")
        for prefix in ("campaign:", "", "campaign:campaign:")
    ]

    assert [0, 0, 0] == [result.exit_code for result in results]
    assert campaign_id == results[0].stdout.strip()
    assert [campaign_id] == [each.campaign_id for each in Campaigns(cli_engine).newest(limit=5)]


def test_a_campaign_that_was_canceled_while_loading(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """Starting the same file again shows that; the campaign is not mistaken for another."""
    campaign_id, path = new_id(), written(tmp_path, *good_rows(2))
    assert 0 == start(cli, path, "--id", "before").exit_code
    campaigns = Campaigns(cli_engine)
    campaigns.create(campaign_id, record(cli_engine, "before").message)
    campaigns.add_rows(campaign_id, campaigns.page("before", after=0, limit=1))
    campaigns.set_state(campaign_id, CampaignState.CANCELED)

    result = start(cli, path, "--id", campaign_id)

    assert 0 == result.exit_code, result.output
    assert "canceled" in result.stdout
    assert "Give another --id to send it again" in result.stderr


def test_an_id_belongs_to_one_campaign(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """Another text or file is refused; the same ones are the same campaign."""
    campaign_id = new_id()
    path = written(tmp_path, *good_rows(2))
    other = written(tmp_path, *good_rows(3), name="other.csv")

    results = [
        start(cli, path, "--id", campaign_id),
        start(cli, path, "--id", campaign_id),
        start(cli, other, "--id", campaign_id),
        start(cli, path, "--id", campaign_id, "--category", "news"),
    ]

    assert [0, 0, 3, 3] == [result.exit_code for result in results]
    assert "with the rows of another file" in results[2].stderr
    assert "differs in category" in results[3].stderr
    assert 2 == record(cli_engine, campaign_id).rows


def test_a_canceled_campaign_is_not_started_again(
    cli: CommandLine, cli_engine: Engine, tmp_path: Path
) -> None:
    """The output has its state and says how to send it again."""
    campaign_id = new_id()
    path = written(tmp_path, *good_rows(1))
    assert 0 == start(cli, path, "--id", campaign_id).exit_code
    Campaigns(cli_engine).set_state(campaign_id, CampaignState.CANCELED)

    result = start(cli, path, "--id", campaign_id)

    assert 0 == result.exit_code
    assert "canceled" in result.stdout
    assert "Give another --id to send it again" in result.stderr


async def test_a_loaded_campaign_is_started_by_the_same_command(
    cli: CommandLine, cli_engine: Engine, temporal: Client, tmp_path: Path
) -> None:
    """A process that died between loading and starting is continued."""
    campaign_id = new_id()
    path = written(tmp_path, *good_rows(1))
    assert 0 == (await asyncio.to_thread(start, cli, path, "--id", "before")).exit_code
    campaigns = Campaigns(cli_engine)
    campaigns.create(campaign_id, record(cli_engine, "before").message)
    campaigns.add_rows(campaign_id, campaigns.page("before", after=0, limit=1))
    campaigns.finish_loading(campaign_id, rows=1, segments=1)
    with pytest.raises(RPCError):
        await runs(temporal, campaign_id)

    result = await asyncio.to_thread(start, cli, path, "--id", campaign_id)

    assert 0 == result.exit_code, result.output
    assert CAMPAIGN == (await runs(temporal, campaign_id)).workflow_type
