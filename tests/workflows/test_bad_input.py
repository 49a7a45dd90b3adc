"""Bad input fails the message at once, naming every bad field but no value; nothing is sent."""

from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from signedfor.payloads import INVALID_INPUT
from tests.workflows.fakes import REQUEST, Environment, TimeSkippingEnvironment

CANARY = "15551234567"


@pytest.mark.parametrize(
    ("args", "fields"),
    [
        ([{"from": "+15005550006", "body": "x"}], {"to"}),
        ([{**REQUEST, "to": int(CANARY)}], {"to"}),
        ([{**REQUEST, "to": f"+{CANARY},+15557654321"}], {"to"}),
        ([{**REQUEST, "body": "x" * 1601}], {"body"}),
        ([{**REQUEST, "body": "a\x00b"}], {"body"}),
        ([{**REQUEST, "colour": CANARY}], {"colour"}),
        ([{**REQUEST, "media_urls": ["https://example.com/a.png"] * 11}], {"media_urls"}),
        ([{**REQUEST, "send_at": "2030-01-01T10:00:00"}], {"send_at"}),
        (
            [
                {
                    **REQUEST,
                    "send_at": "2030-01-01T10:00:00Z",
                    "expires_at": "2030-01-01T09:00:00Z",
                }
            ],
            {"expires_at"},
        ),
        ([[REQUEST]], {"input"}),
        ([], {"input"}),
        ([REQUEST, REQUEST], {"input"}),
        ([None], {"input"}),
        ([CANARY], {"input"}),
        ([{"to": CANARY, "priority": "now", "send_at": CANARY, "tags": 3}],
         {"to", "body", "priority", "send_at", "tags"}),
    ],
)  # fmt: skip
async def test_bad_input_fails_at_once(
    real_env: Environment, args: list[Any], fields: set[str]
) -> None:
    """The failure names each bad field, and no workflow task fails."""
    handle = await real_env.start(args=args)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert INVALID_INPUT == cause.type
    assert fields == {each["field"] for each in cause.details[0]}
    assert CANARY not in str(cause) + str(cause.details)
    assert [] == real_env.fakes.posts
    events = {event.event_type async for event in handle.fetch_history_events()}
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in events


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(days=30)])
async def test_an_unsuitable_recipient_fails_at_once(
    env: TimeSkippingEnvironment, delay: timedelta
) -> None:
    """An activity checks it, since number ranges change, and does not wait until `send_at`."""
    env.fakes.recipient_problem = "is a premium-rate number"
    send_at = await env.now() + delay
    handle = await env.start({**REQUEST, "send_at": send_at.isoformat()})
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert INVALID_INPUT == cause.type
    assert [{"field": "to", "problem": "is a premium-rate number"}] == cause.details[0]
    assert [] == env.fakes.posts
    events = {event.event_type async for event in handle.fetch_history_events()}
    assert EventType.EVENT_TYPE_TIMER_STARTED not in events


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(days=30)])
async def test_an_invalid_send_window_fails_at_once(
    env: TimeSkippingEnvironment, delay: timedelta
) -> None:
    """An activity checks it, since time zones change, and does not wait until `send_at`."""
    env.fakes.window_problem = "is never open in all time zones of the recipient"
    now = await env.now()
    window = {"from": "09:00", "until": "10:00"}
    handle = await env.start(
        {**REQUEST, "send_window": window, "send_at": (now + delay).isoformat()}
    )
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert INVALID_INPUT == cause.type
    assert ["send_window"] == [each["field"] for each in cause.details[0]]
    assert "is never open" in str(cause)
    assert [] == env.fakes.posts
    events = {event.event_type async for event in handle.fetch_history_events()}
    assert (
        not {
            EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
            EventType.EVENT_TYPE_TIMER_STARTED,
        }
        & events
    )


@pytest.mark.parametrize("message_id", ["parcel-15558675309", "+1-555-867-5309", "a b", "ü"])
async def test_an_id_with_odd_characters_or_the_recipients_number_is_refused(
    real_env: Environment, message_id: str
) -> None:
    """Ids are stored, logged and displayed in clear text."""
    handle = await real_env.start(message_id=message_id)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    assert "workflow id" in str(failed.value.cause)
    assert [] == real_env.fakes.posts


async def test_a_tenant_with_the_recipients_number_is_refused(real_env: Environment) -> None:
    """The tenant is in a search attribute, in clear text."""
    handle = await real_env.start({**REQUEST, "tenant": "t15558675309"})
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()

    assert "tenant" in str(failed.value.cause)
