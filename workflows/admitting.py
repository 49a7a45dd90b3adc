"""Before the send: its time, its consent, its slot."""

from temporalio import workflow

from signedfor.contract import Stage
from signedfor.payloads import invalid_input
from signedfor.steps import Admission, AdmitRequest, Decision, WindowCheck
from signedfor.twilio.rates import rate_limited_segments
from signedfor.twilio.segments import count_segments
from workflows import calls, endings
from workflows.course import Course
from workflows.endings import Ending
from workflows.turns import wait_for_slot, wait_for_window


async def wait_for_send_at(course: Course) -> Ending | None:
    """Hold the message until its `send_at`, if that lies ahead."""
    send_at = course.request.send_at
    if send_at is None or send_at <= workflow.now():
        return None
    window = course.request.send_window
    if window is not None:  # told at once, and not when its time has come
        check = WindowCheck(to=course.request.to, send_window=window)
        problem = await calls.window_problem(check)
        if problem:
            raise invalid_input([("send_window", problem)])
    course.standing.enter(Stage.SCHEDULED, "its send_at", until=send_at)
    return await course.pause(send_at)


async def check_opt_outs(course: Course) -> Ending | None:
    """Ask whether it may be sent, from what sender and from when; wait for its slot."""
    course.segments = rate_limited_segments(
        course.request.to, count_segments(course.request.body or "").count
    )
    course.is_retry, course.retries_end = False, None
    while True:
        admission = await _admit(course)
        if admission is None:
            return endings.canceled()
        course.admission, course.slot = admission, admission.not_before
        course.standing.sender = admission.sender
        if course.has_news:
            return course.interruption()
        if admission.decision is not Decision.CLOSED:
            return await _admitted(course, admission)
        ending = await wait_for_window(course)
        if ending is not None:
            return ending


async def _admitted(course: Course, admission: Admission) -> Ending | None:
    match admission.decision:
        case Decision.NO_SENDER:
            raise invalid_input([("from", "is needed, because no DEFAULT_SENDER is set")])
        case Decision.INVALID_WINDOW if course.sids:
            return course.expired()  # time zones have changed since it was first submitted
        case Decision.INVALID_WINDOW:
            raise invalid_input([("send_window", admission.problem or "never opens")])
        case Decision.SUPPRESSED:
            return endings.suppressed(admission.suppressed_by)
        case Decision.EXPIRED:
            return course.expired()
        case _:
            return None if admission.is_now else await wait_for_slot(course)


async def _admit(course: Course) -> Admission | None:
    """Admission, however long the database takes; None if canceled meanwhile."""
    request = AdmitRequest(
        to=course.request.to,
        sender=course.request.sender,
        category=course.request.category,
        priority=course.request.priority,
        segments=course.segments,
        expires_at=course.request.expires_at,
        send_window=course.request.send_window,
    )
    admission = await calls.admit_inline(request)
    if admission is not None:
        return admission
    course.standing.enter(Stage.WAITING, "the database to answer")
    admitting = calls.start_admitting(request)
    await workflow.wait_condition(lambda: admitting.done() or course.cancel_asked)
    if not admitting.done():
        admitting.cancel()
        return None
    return await admitting
