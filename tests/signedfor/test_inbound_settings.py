"""Workers and webhooks say in the database which workflow inbound messages start."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from signedfor.checks.database import check_database
from signedfor.inbound_settings import (
    MAX_AGE,
    Role,
    comparing_inbound_settings,
    mismatch,
    publish,
)
from signedfor.settings import Settings
from signedfor.store.inbound import Watermarks
from tests.webhook.support import SETTINGS

NONE = SETTINGS
ONE = SETTINGS.model_copy(
    update={"inbound_workflow": "AnswerReply", "inbound_task_queue": "replies"}
)
OTHER_QUEUE = ONE.model_copy(update={"inbound_task_queue": "others"})


@pytest.mark.parametrize(
    ("workers", "webhooks", "effect"),
    [
        ([ONE], [ONE], None),
        ([NONE], [NONE], None),
        ([ONE], [], None),
        ([], [ONE], None),
        ([NONE], [ONE], "start no workflow"),
        ([ONE, NONE], [ONE], "start no workflow"),
        ([ONE], [NONE], "those that a worker records wait"),
        ([ONE], [OTHER_QUEUE], "The webhook's count"),
        ([ONE], [ONE, OTHER_QUEUE], "depends on the webhook"),
        ([ONE], [ONE, NONE], "depends on the webhook"),
    ],
)
def test_a_difference_is_found_and_its_effect_is_said(
    engine: Engine,
    workers: Sequence[Settings],
    webhooks: Sequence[Settings],
    effect: str | None,
) -> None:
    """Only a difference between processes that run."""
    for role, processes in ((Role.WORKER, workers), (Role.WEBHOOK, webhooks)):
        for settings in processes:
            publish(engine, settings, role)

    found = mismatch(engine)

    assert (effect is None) == (found is None)
    assert (effect or "") in (found or "")


def test_a_process_that_has_ended_does_not_count(engine: Engine) -> None:
    """It has said nothing for a while."""
    publish(engine, ONE, Role.WORKER)
    ended, now = "inbound-workflow:webhook:ended", datetime.now(UTC)
    watermarks = Watermarks(engine)

    watermarks.advance(ended, now - MAX_AGE - timedelta(seconds=1))
    assert mismatch(engine) is None

    watermarks.advance(ended, now)
    assert mismatch(engine)


def test_the_doctor_warns(database_url: str, engine: Engine) -> None:
    """With the effect and what to do, and without the values."""
    publish(engine, NONE, Role.WORKER)
    publish(engine, ONE, Role.WEBHOOK)

    (found,) = [each for each in check_database(database_url) if each.name == "INBOUND_WORKFLOW"]

    assert "warn" == found.level
    assert "AnswerReply" not in str(found)


async def test_a_process_logs_a_difference_and_its_end(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Once each."""

    async def logged(count: int) -> None:
        async with asyncio.timeout(20):
            while len(caplog.messages) < count:  # noqa: ASYNC110 - the log
                await asyncio.sleep(0.01)

    publish(engine, ONE, Role.WEBHOOK)
    with caplog.at_level(logging.WARNING, "signedfor.worker"):
        async with comparing_inbound_settings(
            engine, NONE, Role.WORKER, interval=timedelta(0), patience=timedelta(0)
        ):
            await logged(1)
            publish(engine, NONE, Role.WEBHOOK)
            await logged(2)

    assert "start no workflow" in caplog.messages[0]
    assert "depends on the webhook" in caplog.messages[1]
