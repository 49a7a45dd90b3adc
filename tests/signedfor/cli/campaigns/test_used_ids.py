"""A campaign whose ids Temporal already knows is refused: its rows would count as sent."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Engine
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from signedfor.contract import CAMPAIGN, SEND_MESSAGE, campaign_workflow_id
from signedfor.store.campaigns import Campaigns
from tests.signedfor.campaigns.support import good_rows, message, new_id, start, written
from tests.signedfor.cli.support import CommandLine


@workflow.defn(name=CAMPAIGN, sandboxed=False)
class EndedCampaign:
    """A campaign that ends at once."""

    @workflow.run
    async def run(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("is_over", [False, True])
async def test_message_ids_that_are_in_use(
    cli: CommandLine, cli_engine: Engine, temporal: Client, tmp_path: Path, *, is_over: bool
) -> None:
    """The first row's message exists, running or ended: its row would not be sent."""
    campaign_id, path = new_id(), written(tmp_path, *good_rows(1))
    theirs = await temporal.start_workflow(
        SEND_MESSAGE, id=f"message:{campaign_id}:1", task_queue="no-worker"
    )
    if is_over:
        await theirs.terminate()

    result = await asyncio.to_thread(start, cli, path, "--id", campaign_id)

    assert 3 == result.exit_code
    assert f"Temporal already knows message:{campaign_id}:1" in result.stderr
    assert Campaigns(cli_engine).find(campaign_id) is None


async def test_a_campaign_of_another_database(
    cli: CommandLine, cli_engine: Engine, temporal: Client, tmp_path: Path
) -> None:
    """Its workflow has completed and would not be started again."""
    campaign_id, path = new_id(), written(tmp_path, *good_rows(1))
    workflow_id = campaign_workflow_id(campaign_id)
    async with Worker(temporal, task_queue=campaign_id, workflows=[EndedCampaign]):
        await temporal.execute_workflow(CAMPAIGN, id=workflow_id, task_queue=campaign_id)

    result = await asyncio.to_thread(start, cli, path, "--id", campaign_id)

    assert 3 == result.exit_code
    assert f"Temporal already knows {workflow_id}" in result.stderr
    assert Campaigns(cli_engine).find(campaign_id) is None


async def test_an_interrupted_start_continues_with_its_own_ids(
    cli: CommandLine, cli_engine: Engine, temporal: Client, tmp_path: Path
) -> None:
    """The database knows the campaign: the ids are its own."""
    campaign_id, path = new_id(), written(tmp_path, *good_rows(1))
    Campaigns(cli_engine).create(campaign_id, message())
    theirs = await temporal.start_workflow(
        SEND_MESSAGE, id=f"message:{campaign_id}:1", task_queue="no-worker"
    )

    result = await asyncio.to_thread(start, cli, path, "--id", campaign_id)
    await theirs.terminate()

    assert 0 == result.exit_code, result.output
    running = await temporal.get_workflow_handle(campaign_workflow_id(campaign_id)).describe()
    assert CAMPAIGN == running.workflow_type
