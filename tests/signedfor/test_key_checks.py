"""Keys that do not fit: between workers, and with what is open; with a real Temporal server."""

import asyncio
import logging
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from signedfor import key_checks
from signedfor.contract import MessageReport, Outcome
from signedfor.encryption import Encryption, encrypting
from signedfor.errors import InvalidSettings
from signedfor.key_checks import differs, require_readable_workflows, until_keys_fit
from signedfor.temporal import clock_offset, key_labels
from signedfor.workers import keys_of_workers
from tests.encryption import KEYS
from tests.integration.support import until
from tests.workflows.fakes import Environment, FakeActivities, accept, callback, serving

_OTHER = "other=" + "B" * 43 + "="
_OFTEN = timedelta(seconds=0.1)
_SAME_ID = "test=" + "B" * 43 + "="


def _with(client: Client, keys: str | None) -> Client:
    """The client, with these keys."""
    config = client.config()
    encryption = None if keys is None else Encryption.parse(keys)
    config["data_converter"] = encrypting(encryption, client.namespace)
    return Client(**config)


def _labels(keys: str) -> list[str]:
    return [key.label for key in Encryption.parse(keys).keys]


@pytest.mark.parametrize(
    ("ours", "theirs", "problem"),
    [
        ([], [], None),
        (_labels(KEYS), _labels(KEYS), None),
        (_labels(KEYS), _labels(f"{_OTHER},{KEYS}"), None),
        (_labels(f"{KEYS},{_OTHER}"), _labels(KEYS), None),
        (_labels(f"{_OTHER},{KEYS}"), _labels(KEYS), "lacks the key other"),
        (_labels(_SAME_ID), _labels(KEYS), "has another key of the id test"),
        (_labels(KEYS), [], "does not encrypt payloads"),
        ([], _labels(KEYS), "PAYLOAD_ENCRYPTION is off here"),
    ],
)
def test_keys_fit_if_the_others_can_read_what_we_write(
    ours: list[str], theirs: list[str], problem: str | None
) -> None:
    """What we can read of theirs is their own check."""
    found = differs(ours, theirs)

    assert (problem is None) is (found is None)
    assert problem is None or problem in str(found)


async def test_workers_say_which_keys_they_have(temporal: Client) -> None:
    """With each comparison of the clock; a client that asks for no work is none of them."""
    client = _with(temporal, f"{KEYS},{_OTHER}")
    assert tuple(_labels(f"{KEYS},{_OTHER}")) == key_labels(client)
    assert () == key_labels(temporal)

    await clock_offset(client)
    assert {} == await keys_of_workers(client)
    async with serving(client, FakeActivities()):
        found = await until(lambda: keys_of_workers(client), "the worker's keys")

    assert {client.identity: key_labels(client)} == found


async def test_a_worker_waits_until_others_have_its_key(
    temporal: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, and goes on by itself."""
    others = {"4711@elsewhere": tuple(_labels(KEYS)), temporal.identity: ()}

    async def keys(_: Client) -> dict[str, tuple[str, ...]]:
        return dict(others)

    monkeypatch.setattr(key_checks, "keys_of_workers", keys)
    client = _with(temporal, f"{_OTHER},{KEYS}")
    waiting = asyncio.create_task(until_keys_fit(client, interval=_OFTEN))
    async with asyncio.timeout(10):
        while len(caplog.records) < 2:  # noqa: ASYNC110 - a log
            await asyncio.sleep(0.01)
    assert not waiting.done()

    others["4711@elsewhere"] = tuple(_labels(f"{KEYS},{_OTHER}"))
    await asyncio.wait_for(waiting, 10)

    assert {logging.ERROR} == {each.levelno for each in caplog.records}
    assert caplog.messages[0].startswith("The worker 4711@elsewhere lacks the key other")
    assert "takes no messages until" in caplog.messages[0]


async def test_a_worker_starts_while_temporal_does_not_say(
    temporal: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The messages of today must be sent; the log says that the keys are not known."""

    async def away(_: Client) -> None:
        raise RPCError("It is away.", RPCStatusCode.UNAVAILABLE, b"")

    monkeypatch.setattr(key_checks, "keys_of_workers", away)
    monkeypatch.setattr(key_checks, "unreadable_workflows", away)
    client = _with(temporal, KEYS)

    await until_keys_fit(client)
    await require_readable_workflows(client)

    assert [
        "The keys of other workers are not known (UNAVAILABLE)",
        "Whether open workflows can be read is not known (UNAVAILABLE)",
    ] == caplog.messages


async def test_open_workflows_must_be_readable(temporal: Client) -> None:
    """Of those that a worker has continued; a retired key is missed, a current one not."""
    old = _with(temporal, KEYS)
    fakes = FakeActivities()
    fakes.sends = [accept()]
    async with serving(old, fakes):
        message = await Environment(old, fakes).submitted()

    async def is_listed() -> bool | None:
        return bool([each async for each in old.list_workflows("")]) or None

    await until(is_listed, "the message in visibility")
    await require_readable_workflows(old)
    await require_readable_workflows(_with(temporal, f"{_OTHER},{KEYS}"))
    for keys, problem in (
        (_OTHER, "with the key test, which is not among"),
        (_SAME_ID, "another key of that id"),
        (None, "PAYLOAD_ENCRYPTION is off here"),
    ):
        with pytest.raises(InvalidSettings, match=problem) as refused:
            await require_readable_workflows(_with(temporal, keys))
        assert str(refused.value).startswith(f"{message.id} is open")


async def test_messages_of_others_do_not_count(temporal: Client) -> None:
    """Anybody may start a message with a wrong key, and no worker has taken it yet."""
    theirs = _with(temporal, _OTHER)
    await Environment(theirs, FakeActivities()).start()

    async def is_listed() -> bool | None:
        return bool([each async for each in theirs.list_workflows("")]) or None

    await until(is_listed, "the message in visibility")
    await require_readable_workflows(_with(temporal, KEYS))


async def test_a_signal_with_an_unknown_key_is_received_later(temporal: Client) -> None:
    """The task fails and says why; with the key, the message goes on where it was."""
    ours, newer = _with(temporal, KEYS), _with(temporal, f"{_OTHER},{KEYS}")
    fakes = FakeActivities()
    fakes.sends = [accept()]
    async with serving(ours, fakes):
        message = await Environment(ours, fakes).submitted()
        await callback(newer.get_workflow_handle(message.id), "delivered")

        async def failed() -> str | None:
            async for event in message.fetch_history_events():
                if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                    failure = event.workflow_task_failed_event_attributes.failure
                    return str(await ours.data_converter.decode_failure(failure))
            return None

        said = await until(failed, "the workflow task to fail")
    async with serving(newer, fakes):
        handle = newer.get_workflow_handle(message.id, result_type=MessageReport)
        report = await asyncio.wait_for(handle.result(), 60)

    assert "encrypted with the key other, which is not among the PAYLOAD_KEYS here" in said
    assert Outcome.DELIVERED is report.outcome
    assert 1 == len(fakes.posts)
