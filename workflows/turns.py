"""Waiting for its turn: the sender's slot, its send window, a sender that is paused."""

import contextlib
from datetime import timedelta

from temporalio import workflow

from signedfor.contract import Priority, Stage
from signedfor.steps import Decision, GiveBackRequest, ReleaseRequest, Submission
from workflows import calls, endings
from workflows.course import Course
from workflows.endings import Ending

OUT_OF_TURN = frozenset({Decision.NOT_YET, Decision.CLOSED, Decision.HELD})
"""What the last check says of a message that must wait some more before it is submitted."""


_NOT_WORTH_SHOWING = timedelta(seconds=5)
"""Showing a wait and its end costs two history events and two billable actions."""


async def wait_for_slot(course: Course) -> Ending | None:
    """Wait for the slot that the message has."""
    slot = course.slot
    if slot is None or slot <= workflow.now():
        return None
    if course.expires_by(slot):
        return course.expired()
    if slot - workflow.now() > _NOT_WORTH_SHOWING:
        course.standing.enter(Stage.WAITING, "its sender's next slot", until=slot)
    ending = await course.pause(slot)
    if course.is_interrupted and slot > workflow.now():
        await calls.give_back(
            GiveBackRequest(
                sender=course.sender,
                segments=course.segments,
                slot=slot,
                is_urgent=course.request.priority is Priority.URGENT,
                is_retry=course.is_retry,
            )
        )
    return ending


async def wait_for_window(course: Course) -> Ending | None:
    """Wait until the send window opens; the message has no slot until then."""
    opens = course.slot
    if opens is None or course.expires_by(opens):
        return course.expired()
    course.standing.enter(Stage.WAITING, "its send window to open", until=opens)
    return await course.pause(opens)


async def wait_for_turn(course: Course, refused: Submission) -> Ending | None:
    """Wait as the last check said, until the message may be checked again."""
    course.slot = refused.not_before
    match refused.decision:
        case Decision.CLOSED:
            return await wait_for_window(course)
        case Decision.HELD:
            return await _wait_for_release(course)
        case _:
            return await wait_for_slot(course)


async def _wait_for_release(course: Course) -> Ending | None:
    course.retries_end = None  # the time on hold is nobody's failure
    expires_at = course.request.expires_at
    course.standing.enter(Stage.WAITING, "its sender to be resumed", until=expires_at)
    release = calls.start_awaiting_release(
        ReleaseRequest(
            sender=course.sender,
            segments=course.segments,
            campaign_id=course.request.campaign_id,
            has_priority=course.is_retry or course.request.priority is Priority.URGENT,
        )
    )
    left = None if expires_at is None else expires_at - workflow.now()
    with contextlib.suppress(TimeoutError):
        await workflow.wait_condition(lambda: release.done() or course.is_interrupted, timeout=left)
    if release.done():
        canceled = (await release).decision is Decision.CANCELED
        return endings.canceled() if canceled else None
    release.cancel()
    return course.interruption() if course.is_interrupted else course.expired()
