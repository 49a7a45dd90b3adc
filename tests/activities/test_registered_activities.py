import inspect
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from temporalio import activity
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from signedfor.breaker import Breaker
from signedfor.campaign_activities import CampaignActivities
from signedfor.consent import Reason, Scope
from signedfor.contract import InboundKind
from signedfor.dead_letter_activities import DeadLetterActivities
from signedfor.inbound import InboundActivities, InboundRecord
from signedfor.message_activities import (
    SearchActivities,
    SendActivities,
    StatusActivities,
    SuppressionActivities,
    WaitActivities,
)
from signedfor.outage_hold import OutageHold
from signedfor.settings import Settings
from signedfor.store.database import open_engine
from signedfor.store.suppressions import Suppressions
from signedfor.worker_metrics import WorkerMetrics
from tests.activities.fake_twilio import ACCOUNT, TOKEN
from worker import Activities, activities

_MESSAGES_INTERFACES: tuple[type, ...] = (
    WaitActivities,
    SendActivities,  # the quick attempts, as a local activity
    StatusActivities,
    SearchActivities,
    SuppressionActivities,
    CampaignActivities,
    InboundActivities,
    DeadLetterActivities,
)

SETTINGS = Settings(
    twilio_account_sid=ACCOUNT, twilio_auth_token=TOKEN, public_base_url="https://hooks.example"
)


@pytest.fixture
async def registered(tmp_path: Path) -> AsyncIterator[Activities]:
    """The activities that a worker registers."""
    client = await Client.connect("127.0.0.1:1", lazy=True)
    engine = open_engine(f"sqlite:///{tmp_path}/a.db")
    yield activities(
        SETTINGS,
        engine=engine,
        client=client,
        outage_hold=OutageHold(engine),
        metrics=WorkerMetrics(),
        breaker=Breaker(engine, SETTINGS.breaker_limits, None),
    )
    engine.dispose()


def _name(function: object) -> str:
    """The activity's name in Temporal."""
    assert callable(function)
    definition = activity._Definition.from_callable(function)
    assert definition is not None, f"{function} is not declared as an activity"
    assert definition.name is not None
    return definition.name


def _names(*interfaces: type) -> list[str]:
    """The names of the activities that workflows call through these interfaces."""
    return sorted(
        _name(getattr(interface, method))
        for interface in interfaces
        for method in interface.__abstractmethods__  # type: ignore[attr-defined]
    )


async def test_no_exception_is_raised_in_the_threads_of_activities(registered: Activities) -> None:
    """A cancellation during a transaction would leave its lock held forever."""
    every = [*registered.messages, *registered.twilio_sends]
    in_threads = [each for each in every if not inspect.iscoroutinefunction(each)]
    assert len(in_threads) > 5
    for each in in_threads:
        definition = activity._Definition.from_callable(each)
        assert definition is not None
        assert definition.no_thread_cancel_exception, definition.name


async def test_each_queue_serves_the_activities_that_workflows_call(
    registered: Activities,
) -> None:
    """The names are those of the interfaces; none is missing or served on the wrong queue."""
    assert _names(*_MESSAGES_INTERFACES) == sorted(map(_name, registered.messages))
    assert _names(SendActivities) == sorted(map(_name, registered.twilio_sends))


async def test_the_settings_say_what_a_deferred_message_suppresses(sqlite_engine: Engine) -> None:
    """As if the webhook had recorded it itself."""
    registered = activities(
        SETTINGS.model_copy(update={"opt_out_scope": Scope.SENDER, "review_suppresses": ("all",)}),
        engine=sqlite_engine,
        client=await Client.connect("127.0.0.1:1", lazy=True),
        outage_hold=OutageHold(sqlite_engine),
        metrics=WorkerMetrics(),
        breaker=Breaker(sqlite_engine, SETTINGS.breaker_limits, None),
    )
    [record] = [each for each in registered.messages if _name(each) == "record_inbound"]

    ActivityEnvironment().run(
        record,
        InboundRecord(
            message_sid="SM1",
            from_="+15558675309",
            to="+15005550006",
            kind=InboundKind.REVIEW,
        ),
    )

    [found] = Suppressions(sqlite_engine).list_()
    assert (Reason.REVIEW, Scope.SENDER) == (found.reason, found.scope)
