"""An unknown outcome: Twilio may have the message or not, and the truth must be found."""

from datetime import datetime, timedelta
from enum import Enum, auto

from temporalio import workflow

from signedfor.contract import Stage
from signedfor.retry import ABSENT_TWICE, MOST_BETWEEN_SEARCHES, MOST_SEARCHES
from signedfor.steps import Finding, SearchRequest, SearchResult
from workflows import calls
from workflows.course import Course


class Fate(Enum):
    """What was found out."""

    TAKEN = auto()
    """Twilio has it, and its SID is known."""
    NOT_TAKEN = auto()
    """Neither a callback nor Twilio's list knows it."""
    NOT_SUBMITTED = auto()
    """No POST of it was begun: its worker died before."""
    OPEN = auto()
    """It could not be found out."""


async def find_out(course: Course, *, since: datetime) -> Fate:
    """Wait for a callback, which names our message and the SID; then ask Twilio's list, twice.

    Twilio may list a message only some time after the call that created it broke, so one look is
    not enough to say that it is not there.
    """
    misses = 0
    for search in range(MOST_SEARCHES):
        wait = _wait(course, search)
        course.standing.enter(
            Stage.RESOLVING, "a callback, or Twilio's list, to name its SID", until=wait
        )
        if await course.until(wait, lambda: course.called_back_sid() is not None):
            break
        result = await calls.search(_request(course, since))
        if course.called_back_sid() is not None:
            break
        if result is not None and result.finding is Finding.FOUND and result.message_sid:
            _adopt(course, result)
            return Fate.TAKEN
        if result is not None and result.finding is Finding.NOT_SUBMITTED:
            return Fate.NOT_SUBMITTED
        if result is not None and result.finding is Finding.ABSENT:
            misses += 1
            if misses == ABSENT_TWICE:
                return Fate.NOT_TAKEN
    sid = course.called_back_sid()
    if sid is None:
        return Fate.OPEN
    course.adopt(sid, workflow.now())
    return Fate.TAKEN


def _wait(course: Course, search: int) -> datetime:
    """The first two searches are as far apart as the setting says, later ones ever farther."""
    doublings = max(0, search - ABSENT_TWICE)
    wait = course.terms.unknown_wait
    longest = wait * MOST_BETWEEN_SEARCHES
    farther: timedelta = wait * 2**doublings
    return workflow.now() + min(farther, longest)


def _request(course: Course, since: datetime) -> SearchRequest:
    return SearchRequest(
        message_id=course.standing.message_id,
        message=course.request,
        sender=course.sender,
        since=since,
        own_sids=tuple(course.sids),
    )


def _adopt(course: Course, result: SearchResult) -> None:
    sid = result.message_sid or ""
    course.adopt(sid, result.created_at)
    if result.status:
        course.note(sid, result.status, result.error_code)
