"""Messages with several runs: reset by an operator, or forgotten by a restored Temporal server."""

from dataclasses import replace
from datetime import datetime
from random import Random

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent

from signedfor.contract import Outcome, Stage
from signedfor.retry import LATEST_POST_START
from tests.faults.soak.history import History, SendFinished, SendOutcome, TaskLost, read_history
from tests.faults.soak.invariants import MessageRecord
from tests.faults.soak.resets import CLOSED, STARTING, schedule_resets, task_to_reset_to
from tests.faults.soak.samples import (
    ACCEPTED,
    DELIVERED,
    FIRST,
    GOOD,
    SECOND,
    TO,
    a_callback,
    a_history,
    a_refusal,
    a_report,
    a_row,
    absent,
    at,
    finished,
    found_in,
    message_with,
    observations_of,
    received,
    shown,
    started,
)
from tests.faults.soak.submissions import Reason, submissions_in, submissions_of

_LATEST = LATEST_POST_START.total_seconds()


def _event(number: int, kind: EventType.ValueType) -> HistoryEvent:
    moment = Timestamp()
    moment.FromDatetime(at(number))
    return HistoryEvent(event_id=number, event_type=kind, event_time=moment)


def _task_until(number: int, *, end: EventType.ValueType) -> list[HistoryEvent]:
    return [
        _event(number, EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED),
        _event(number + 1, EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED),
        _event(number + 2, end),
    ]


def _reset(number: int) -> list[HistoryEvent]:
    """A workflow task to which a run was reset: the end of the copied history."""
    events = _task_until(number, end=EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    attributes = events[-1].workflow_task_failed_event_attributes
    attributes.cause = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
    return events


_STARTED = _event(1, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)


def test_a_reset_run_is_read_as_one() -> None:
    """Its lost task belongs to the earlier run, whose history says what was done in it."""
    history = read_history([_STARTED, *_reset(2)])

    assert history.is_reset
    assert (TaskLost(at=at(2), by_reset=True),) == history.events


def test_a_lost_task_is_no_reset() -> None:
    """A worker that was killed has lost the task too, and may have sent in it."""
    lost = _task_until(2, end=EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)

    assert not read_history([_STARTED, *lost]).is_reset


def test_a_lost_task_began_with_the_one_that_it_extends() -> None:
    """A local send that takes long is made over several tasks; the first may have posted."""
    completed, lost = (
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    )
    extended = [*_task_until(2, end=completed), *_task_until(4, end=lost)]
    with_command = [
        *_task_until(2, end=completed),
        _event(4, EventType.EVENT_TYPE_TIMER_STARTED),
        *_task_until(5, end=lost),
    ]
    later = [*_task_until(2, end=completed), *_task_until(9, end=lost)]

    began = [read_history([_STARTED, *each]).events for each in (extended, with_command, later)]

    assert [(TaskLost(at=at(each)),) for each in (2, 5, 9)] == began


def test_a_run_may_be_terminated_while_it_sends() -> None:
    """The task is then unfinished; after a completed one it is not."""
    terminated = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED
    failed = _task_until(2, end=EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    completed = _task_until(2, end=EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)

    assert at(2) == read_history([_STARTED, *failed, _event(5, terminated)]).unfinished_task_at
    assert read_history([_STARTED, *completed, _event(5, terminated)]).unfinished_task_at is None


_TERMINATED = replace(a_history(*ACCEPTED, closed=2), completed=False)
_SENDING = replace(a_history(closed=2), completed=False, unfinished_task_at=at(0))
_CLAIM_HELD = SendFinished(at=at(12), outcome=SendOutcome.UNKNOWN, is_claim_held=True)
_AFTER_RESET = (TaskLost(at=at(0), by_reset=True), started(11), _CLAIM_HELD)
_FOUND_AGAIN = (*_AFTER_RESET, received(13), shown(14, "delivered"))


def _reset_message(*earlier: History, then: tuple[object, ...] = _FOUND_AGAIN) -> MessageRecord:
    return replace(
        GOOD,
        history=a_history(*then, report=a_report(finished=14), closed=14),  # type: ignore[arg-type] # events
        earlier_runs=earlier,
        run_ids=frozenset({"r", "reset"}),
        reset_run_ids=frozenset({"reset"}),
        reset_at=(at(10),),
    )


@pytest.mark.parametrize("earlier", [_TERMINATED, _SENDING], ids=["awaiting", "sending"])
def test_a_reset_message_that_is_sent_once_violates_nothing(earlier: History) -> None:
    """The new run finds the claim of the first one, also if that has recorded nothing."""
    assert [] == found_in(observations_of(_reset_message(earlier)))


def test_a_reset_message_that_is_sent_again_is_found() -> None:
    """Invariant 1: the same submission, accepted in both runs."""
    observed = observations_of(
        _reset_message(_TERMINATED, then=(*_AFTER_RESET[:2], *DELIVERED[1:])),
        [a_row(0.5), a_row(11.5, SECOND)],
        attempts=[0.4, 11.4],
    )

    assert (1, "accepted twice for one submission") in found_in(observed)


def test_a_resend_in_an_earlier_run_counts() -> None:
    """Invariant 1: the second submission of one run is not sent again as that of the other."""
    resent = (
        started(0),
        finished(1, SendOutcome.UNKNOWN),
        absent(3),
        absent(5),
        started(6),
        finished(7, SendOutcome.ACCEPTED, SECOND),
    )
    earlier = replace(a_history(*resent, closed=8), completed=False)
    message = _reset_message(earlier)

    assert [Reason.FIRST, Reason.RESENT] == [each.reason for each in submissions_of(message.runs)]
    assert [at(0), at(6)] == [each.started_at for each in submissions_of(message.runs)]
    observed = observations_of(
        message, [a_row(6.5, SECOND), a_row(11.5, FIRST)], attempts=[0.4, 6.4, 11.4]
    )
    assert (1, "accepted twice for one submission") in found_in(observed)


def test_a_second_submission_may_be_lost_with_its_run() -> None:
    """Only if there was a reason for it: the run was terminated while it was made."""
    unknown = (started(0), finished(1, SendOutcome.UNKNOWN))
    without_trace = (*unknown, absent(3), absent(5))

    numbers = [
        len(submissions_in(replace(a_history(*events), unfinished_task_at=at(6))))
        for events in (without_trace, unknown, (started(0), finished(1, SendOutcome.NOT_SENT)))
    ]

    assert [2, 1, 1] == numbers


def test_a_send_that_finds_a_claim_needs_no_reason_after_a_reset() -> None:
    """The reason may be in the run that was reset; without a reset there is none."""
    again = (*ACCEPTED, started(11), _CLAIM_HELD)
    reset = (TaskLost(at=at(0), by_reset=True), *again)

    assert [Reason.FIRST] == [each.reason for each in submissions_in(a_history(*reset))]
    assert [Reason.FIRST, Reason.UNINTENDED] == [
        each.reason for each in submissions_in(a_history(*again))
    ]


def test_a_send_that_is_made_again_after_its_callback_is_none_if_it_posts_nothing() -> None:
    """Its task was extended, then lost, and Twilio's callback had come meanwhile."""
    lost = (TaskLost(at=at(0)), received(7, "sent"), started(11))

    found, canceled, posted = (
        [each.reason for each in submissions_in(a_history(*lost, end))]
        for end in (
            _CLAIM_HELD,
            finished(12, SendOutcome.NOT_SENT),
            finished(12, SendOutcome.ACCEPTED, SECOND),
        )
    )

    assert [Reason.FIRST] == found == canceled
    assert [Reason.FIRST, Reason.UNINTENDED] == posted


def test_another_run_without_a_reset_is_found() -> None:
    """Invariant 4: a caller's second start must not run it again."""
    message = replace(_reset_message(_TERMINATED), reset_run_ids=frozenset())

    assert (4, "it ran again when it was started again") in found_in(observations_of(message))


def test_a_receipt_may_have_reached_an_earlier_run() -> None:
    """Invariant 5: it is in Temporal."""
    unconfirmed = replace(
        _reset_message(_TERMINATED),
        history=a_history(
            *_AFTER_RESET, received(13, "sent"), report=a_report(Outcome.UNDELIVERED), closed=14
        ),
    )
    with_receipt = replace(a_history(*DELIVERED), completed=False)

    lost = (5, "a receipt delivered was lost")
    assert lost in found_in(observations_of(unconfirmed))
    known = replace(unconfirmed, earlier_runs=(with_receipt,))
    assert lost not in found_in(observations_of(known))


_STARTED_AGAIN = replace(
    GOOD,
    run_ids=frozenset({"forgotten", "r"}),
    started_again_at=at(20),
    history=a_history(
        started(20),
        SendFinished(at=at(21), outcome=SendOutcome.UNKNOWN, is_claim_held=True),
        received(22),
        shown(23, "delivered"),
        report=a_report(finished=23),
        closed=23,
    ),
)


def test_a_message_that_temporal_has_forgotten_violates_nothing() -> None:
    """Its first run is gone, with a POST that no history shows, and its caller starts it again."""
    observed = observations_of(_STARTED_AGAIN)

    assert [] == found_in(replace(observed, forgotten=[(at(-1), at(10))]))
    assert {
        (1, "accepted before it was submitted"),
        (4, "it ran again when it was started again"),
    } == set(found_in(observed))
    before_and_after = [(at(-9), at(-1)), (at(24), at(30))]
    assert found_in(observed) == found_in(replace(observed, forgotten=before_and_after))


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("delivered", [(1, "accepted again although its delivery had not failed")]),
        ("sent", [(1, "accepted again although its delivery had not failed")]),
        ("undelivered", []),
    ],
)
def test_a_forgotten_message_that_is_sent_again_is_found(
    status: str, found: list[tuple[int, str]]
) -> None:
    """Invariant 1: Twilio's own status decides whether it had a reason to be sent again."""
    observed = observations_of(
        _STARTED_AGAIN, [a_row(0.5, SECOND, status), a_row(20.5)], attempts=[0.4, 20.4]
    )

    assert found == found_in(replace(observed, forgotten=[(at(-1), at(10))]))


@pytest.mark.parametrize(("answered", "is_lost"), [(2, False), (15, False), (21, True)])
def test_a_receipt_may_be_forgotten(answered: float, is_lost: bool) -> None:
    """Invariant 5: until its message was started again; no longer."""
    unaware = replace(
        _STARTED_AGAIN,
        history=a_history(started(20), report=a_report(Outcome.UNDELIVERED), closed=23),
    )
    callback = a_callback()
    callback["at"] = at(answered).timestamp()
    observed = replace(observations_of(unaware, callbacks=[callback]), forgotten=[(at(-1), at(10))])

    assert is_lost == ((5, "a receipt delivered was lost") in found_in(observed))


@pytest.mark.parametrize(
    ("arrived", "is_late"), [(-0.1, False), (_LATEST, False), (_LATEST + 0.1, True)]
)
@pytest.mark.parametrize("is_accepted", [True, False], ids=["accepted", "refused"])
def test_no_post_arrives_long_after_a_stop(
    arrived: float, is_late: bool, is_accepted: bool
) -> None:
    """Invariant 3: whatever Twilio answers, and whatever the attempt record says."""
    rows = [a_row(arrived)] if is_accepted else []
    refused = [] if is_accepted else [a_refusal(arrived)]
    observed = replace(
        observations_of(rows=rows, refused=refused, attempts=[arrived - 0.1] if rows else [-0.2]),
        stopped_at={TO: at(0)},
    )

    late = (3, f"a POST arrived {arrived:.1f} s after the recipient's STOP")
    assert is_late == (late in found_in(observed))


def test_a_frozen_twilio_receives_a_post_late() -> None:
    """Invariant 3: what waits in its socket has arrived, but not been recorded."""
    observed = replace(
        observations_of(rows=[a_row(_LATEST + 3)], attempts=[-0.2]),
        stopped_at={TO: at(0)},
    )
    late = (3, f"a POST arrived {_LATEST + 3:.1f} s after the recipient's STOP")

    assert late in found_in(observed)
    assert late not in found_in(replace(observed, sandbox_frozen=[(at(1), at(5))]))


def test_a_claim_after_a_committed_stop_is_found() -> None:
    """Invariant 3: by our database's own time of the STOP, and however soon the POST follows."""
    observed = observations_of(rows=[a_row(0.5)], attempts=[0.4])

    stop = (3, "a POST after the recipient's STOP")
    assert stop in found_in(replace(observed, stopped_at={TO: at(0.39)}))
    assert stop not in found_in(replace(observed, stopped_at={TO: at(0.41)}))


def test_resets_are_of_every_stage() -> None:
    """A seed reproduces them; half are to the first workflow task."""
    resets = schedule_resets(7, seconds=600)

    assert resets == schedule_resets(7, seconds=600) != schedule_resets(8, seconds=600)
    assert {STARTING, *Stage, CLOSED} == {each.target for each in resets}
    assert {True, False} == {each.to_first_task for each in resets}
    assert all(each.at < 600 for each in resets)


def test_a_message_is_reset_to_a_workflow_task() -> None:
    """The first completed one, or any; while none is completed, the one that has started."""
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    events = [_STARTED, *_task_until(2, end=completed), *_task_until(5, end=completed)]
    chance = Random(1)  # noqa: S311 - seeded chance, not a secret

    assert 4 == task_to_reset_to(events, chance, to_first_task=True)
    assert {4, 7} == {task_to_reset_to(events, chance, to_first_task=False) for _ in range(20)}
    assert 3 == task_to_reset_to(events[:3], chance, to_first_task=True)
    assert task_to_reset_to(events[:2], chance, to_first_task=True) is None


def test_the_times_of_a_run_are_its_own() -> None:
    """The parts of a message that was reset twice are merged by the number of the submission."""
    runs = [a_history(started(moment)) for moment in (5, 0, 9)]

    assert [at(0)] == [each.started_at for each in submissions_of(runs)]
    empty: list[datetime] = [each.started_at for each in submissions_of([])]
    assert [] == empty


def test_a_local_send_that_is_repeated_after_its_callback_is_one_submission() -> None:
    """Its workflow task was lost after a heartbeat; another worker repeats it, and posts nothing.

    If that worker did post, one submission would have two rows.
    """
    events = (
        started(0),
        finished(0.1, SendOutcome.NOT_SENT),  # deferred
        received(2),
        TaskLost(at=at(8), by_reset=False),
        started(28),
        finished(28.1, SendOutcome.NOT_SENT),
    )

    assert [Reason.FIRST] == [each.reason for each in submissions_in(a_history(*events))]
    message = message_with(*events, report=a_report(sid=FIRST))
    assert [] == found_in(observations_of(message, rows=[a_row(1.5)]))
    twice = observations_of(message, rows=[a_row(1.5), a_row(28.05, SECOND)])
    assert (1, "accepted twice for one submission") in found_in(twice)
