"""Ids that Temporal knows already: nothing would be sent, so the campaign is not begun."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Engine
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from signedfor.contract import CAMPAIGN, SEND_MESSAGE, campaign_workflow_id
from signedfor.store.campaigns import Campaigns
from tests.signedfor.cli.campaigns.support import good_rows, message, new_id, start, written
from tests.signedfor.cli.support import CommandLine


@workflow.defn(name=CAMPAIGN, sandboxed=False)
class Over:
    """A campaign that is over at once."""

    @workflow.run
    async def run(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("is_over", [False, True])
async def test_message_ids_that_somebody_uses(
    cli: CommandLine, cli_engine: Engine, temporal: Client, tmp_path: Path, *, is_over: bool
) -> None:
    """The first row's message is there already, running or ended: its row would be skipped."""
    campaign_id, path = new_id(), written(tmp_path, *good_rows(1))
    theirs = await temporal.start_workflow(
        SEND_MESSAGE, id=f"message:{campaign_id}:1", task_queue="nobody"
    )
    if is_over:
        await theirs.terminate()

    result = await asyncio.to_thread(start, cli, path, "--id", campaign_id)

    assert 3 == result.exit_code
    assert f"Temporal knows message:{campaign_id}:1 already" in result.stderr
    assert Campaigns(cli_engine).find(campaign_id) is None


async def test_a_campaign_that_another_database_had(
    cli: CommandLine, cli_engine: Engine, temporal: Client, tmp_path: Path
) -> None:
    """It has run to its end, and its workflow would not be started again."""
    campaign_id, path = new_id(), written(tmp_path, *good_rows(1))
    workflow_id = campaign_workflow_id(campaign_id)
    async with Worker(temporal, task_queue=campaign_id, workflows=[Over]):
        await temporal.execute_workflow(CAMPAIGN, id=workflow_id, task_queue=campaign_id)

    result = await asyncio.to_thread(start, cli, path, "--id", campaign_id)

    assert 3 == result.exit_code
    assert f"Temporal knows {workflow_id} already" in result.stderr
    assert Campaigns(cli_engine).find(campaign_id) is None


async def test_an_interrupted_start_goes_on_whatever_temporal_knows(
    cli: CommandLine, cli_engine: Engine, temporal: Client, tmp_path: Path
) -> None:
    """The database knows the campaign: the ids are its own."""
    campaign_id, path = new_id(), written(tmp_path, *good_rows(1))
    Campaigns(cli_engine).create(campaign_id, message())
    theirs = await temporal.start_workflow(
        SEND_MESSAGE, id=f"message:{campaign_id}:1", task_queue="nobody"
    )

    result = await asyncio.to_thread(start, cli, path, "--id", campaign_id)
    await theirs.terminate()

    assert 0 == result.exit_code, result.output
    running = await temporal.get_workflow_handle(campaign_workflow_id(campaign_id)).describe()
    assert CAMPAIGN == running.workflow_type
