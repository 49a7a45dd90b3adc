import inspect
from pathlib import Path

from temporalio import activity
from temporalio.client import Client

from signedfor.settings import Settings
from signedfor.store.database import open_engine
from tests.activities.edge import ACCOUNT, TOKEN
from worker import activities


async def test_nothing_is_thrown_into_an_activity_in_a_thread(tmp_path: Path) -> None:
    """An exception between two steps of a transaction would leave its lock taken for ever."""
    settings = Settings(
        twilio_account_sid=ACCOUNT, twilio_auth_token=TOKEN, public_base_url="https://hooks.example"
    )
    client = await Client.connect("127.0.0.1:1", lazy=True)
    engine = open_engine(f"sqlite:///{tmp_path}/a.db")

    parts = activities(settings, engine=engine, client=client)

    engine.dispose()
    every = [*parts.messages, *parts.twilio_sends]
    in_threads = [each for each in every if not inspect.iscoroutinefunction(each)]
    assert len(in_threads) > 5
    for each in in_threads:
        definition = activity._Definition.from_callable(each)
        assert definition is not None
        assert definition.no_thread_cancel_exception, definition.name
