"""What recorded histories, cut off where a worker was lost, show of possible POSTs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowHistory

from signedfor.attempt_history import Gap, PossiblePosts, has_open_send, possible_posts
from signedfor.payloads import data_converter

_FOLDER = Path(__file__).resolve().parents[1] / "histories"
_SECOND = timedelta(seconds=1)


def _events(
    name: str, until: EventType.ValueType | None = None, number: int = 1
) -> list[HistoryEvent]:
    """A recorded history; with `until`, only to this event, the one of that number."""
    text = (_FOLDER / f"{name}.json").read_text()
    events = list(WorkflowHistory.from_json("message:m", text).events)
    if until is None:
        return events
    places = [place for place, each in enumerate(events) if each.event_type == until]
    return events[: places[number - 1] + 1]


def _at(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(tzinfo=UTC)


def _gap(events: list[HistoryEvent], *, is_complete: bool, hours: int = 1) -> Gap:
    """The database has lost everything, and the worker stopped a second after the last event."""
    return Gap(
        since=_at(events[0]) - timedelta(hours=hours),
        until=_at(events[-1]) + _SECOND,
        is_temporal_complete=is_complete,
    )


async def _posts(
    events: list[HistoryEvent], *, is_complete: bool = True, waits: bool | None = None
) -> PossiblePosts:
    pending = [] if waits is None else [_pending(events, waits=waits)]
    return await possible_posts(
        events, data_converter, gap=_gap(events, is_complete=is_complete), pending=pending
    )


def _pending(events: list[HistoryEvent], *, waits: bool) -> PendingActivityInfo:
    """The last activity, between two attempts or in one; the next is an hour away."""
    state = (
        PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
        if waits
        else PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    )
    info = PendingActivityInfo(activity_id=str(events[-1].event_id), state=state)
    info.scheduled_time.FromDatetime(_at(events[-1]) + timedelta(hours=1))
    return info


TASK_SCHEDULED = EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
TASK_STARTED = EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
TASK_COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
TIMER_STARTED = EventType.EVENT_TYPE_TIMER_STARTED
ACTIVITY_SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
MARKER = EventType.EVENT_TYPE_MARKER_RECORDED


async def test_a_message_that_no_worker_had_was_not_sent() -> None:
    """Its first workflow task has not begun: nothing is held for nothing."""
    assert PossiblePosts() == await _posts(_events("delivered", TASK_SCHEDULED))


@pytest.mark.parametrize("is_complete", [True, False])
async def test_a_task_in_progress_may_have_sent_it(*, is_complete: bool) -> None:
    """A quick attempt shows in the history only when its workflow task has completed."""
    events = _events("delivered", TASK_STARTED)

    posts = await _posts(events, is_complete=is_complete)

    assert PossiblePosts(unnumbered=_at(events[-1])) == posts


async def test_a_quick_attempt_may_last_longer_than_its_task() -> None:
    """It began in the first of them."""
    events = _events("worker_lost_in_a_send", TASK_STARTED, 3)
    [first, *_] = [each for each in events if each.event_type == TASK_STARTED]

    assert PossiblePosts(unnumbered=_at(first)) == await _posts(events)


async def test_what_twilio_accepted_was_sent() -> None:
    """Its submission is known, and so is its sender."""
    events = _events("delivered", TIMER_STARTED)

    posts = await _posts(events)

    assert {1: _at(events[2])} == posts.numbered
    assert "+15005550006" == posts.sender
    assert posts.unnumbered is None


async def test_temporal_may_have_forgotten_what_followed() -> None:
    """It may have failed, and been sent again."""
    events = _events("delivered", TIMER_STARTED)

    posts = await _posts(events, is_complete=False)

    assert {1} == set(posts.numbered)
    assert _at(events[-1]) == posts.unnumbered


@pytest.mark.parametrize("is_complete", [True, False])
async def test_a_message_that_waits_for_a_later_time_was_not_sent(*, is_complete: bool) -> None:
    """Its reserved time comes after the last worker stopped, whatever Temporal has forgotten."""
    events = _events("canceled_while_waiting_for_its_reserved_time", TIMER_STARTED)

    posts = await _posts(events, is_complete=is_complete)

    assert {} == posts.numbered
    assert posts.unnumbered is None


async def test_a_message_whose_time_came_in_the_gap_may_have_been_sent() -> None:
    """Temporal does not know it, if it has lost something itself."""
    events = _events("canceled_while_waiting_for_its_reserved_time", TIMER_STARTED)
    since, until = _at(events[0]), _at(events[-1]) + timedelta(days=30)

    known = await possible_posts(
        events, data_converter, gap=Gap(since=since, until=until, is_temporal_complete=True)
    )
    forgotten = await possible_posts(events, data_converter, gap=Gap(since=since, until=until))

    assert known.unnumbered is None
    assert _at(events[-1]) == forgotten.unnumbered


@pytest.mark.parametrize(
    ("waits", "is_complete", "is_possible"),
    [(True, True, False), (True, False, False), (False, True, True), (False, False, True)],
)
async def test_a_patient_attempt_in_progress_may_have_sent_it(
    *, waits: bool, is_complete: bool, is_possible: bool
) -> None:
    """Between two attempts it was not sent: the last one was refused."""
    events = _events("expired_while_retrying", ACTIVITY_SCHEDULED)

    posts = await _posts(events, is_complete=is_complete, waits=waits)

    assert has_open_send(events)
    assert ({1: _at(events[-1])} if is_possible else {}) == posts.numbered


async def test_refused_attempts_are_none() -> None:
    """Twilio does not have it."""
    events = _events("expired_while_retrying")

    assert {} == (await _posts(events)).numbered
    assert not has_open_send(events)


async def test_a_lost_worker_may_have_sent_it() -> None:
    """The attempt timed out."""
    events = _events("worker_lost_in_a_patient_send")

    assert {1} == set((await _posts(events)).numbered)


async def test_a_claim_that_an_attempt_found_is_written_again() -> None:
    """Also by a local attempt that timed out before."""
    assert {1} == set((await _posts(_events("claimed_by_an_earlier_run"))).numbered)


async def test_what_was_never_submitted_is_none() -> None:
    """The attempt records had said so, before they were lost."""
    events = _events("unknown_and_never_submitted")
    [search, *_] = [
        place
        for place, each in enumerate(events)
        if each.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
    ]

    before, after = await _posts(events[:search]), await _posts(events[: search + 1])

    assert {1} == set(before.numbered)
    assert {} == after.numbered
