"""Before the send: its time, the recipient's consent, and the sender's rate limit."""

import contextlib
from datetime import timedelta
from typing import assert_never

from temporalio import workflow

from signedfor.contract import Priority, Stage
from signedfor.message_activities import (
    AdmissionRequest,
    AdmissionResult,
    Admitted,
    AlreadyClaimed,
    CampaignCanceled,
    Deferred,
    Expired,
    InvalidWindow,
    NoSender,
    NotYet,
    Paused,
    Reservation,
    Resumed,
    ResumeRequest,
    Suppressed,
    WindowCheck,
    WindowClosed,
)
from signedfor.payloads import invalid_input
from signedfor.twilio.rates import rate_limited_segments
from signedfor.twilio.segments import count_segments
from workflows import activity_stubs, outcomes
from workflows.message_state import MessageState
from workflows.outcomes import Ended, Proceed

_SHORT_WAIT = timedelta(seconds=5)
"""A shorter wait is not shown: that would cost two history events and two billable actions."""


async def wait_for_send_at(state: MessageState) -> Proceed | Ended:
    """Hold the message until its `send_at`, if that is in the future."""
    send_at = state.request.send_at
    if send_at is None or send_at <= workflow.now():
        return Proceed()
    window = state.request.send_window
    if window is not None:  # so that bad input fails now, not at its `send_at`
        check = WindowCheck(to=state.request.to, send_window=window)
        problem = await activity_stubs.window_problem(check)
        if problem:
            raise invalid_input([("send_window", problem)])
    state.enter(Stage.SCHEDULED, "its send_at", until=send_at)
    return await state.pause(send_at)


async def check_opt_outs(state: MessageState) -> Proceed | Ended:
    """Check consent and reserve a time at its sender; wait for that time."""
    segments = count_segments(state.request.body or "").count
    state.segments = rate_limited_segments(state.request.to, segments)
    state.is_retry, state.retry_until = False, None
    while True:
        result = await _admit(state)
        if result is None:
            return state.canceled()
        state.policy, state.sender = result.policy, result.sender
        if state.is_with_twilio:
            return state.interruption()
        if not isinstance(result.decision, WindowClosed):
            return await _decided(state, result.decision)
        waited = await _wait_for_window(state, result.decision)
        if isinstance(waited, Ended):
            return waited


async def _decided(
    state: MessageState,
    decision: Admitted | AlreadyClaimed | Suppressed | Expired | NoSender | InvalidWindow,
) -> Proceed | Ended:
    match decision:
        case Admitted():
            state.reserved_at = decision.reserved_at
            return Proceed() if decision.is_due else await _wait_for_reservation(state)
        case AlreadyClaimed():
            state.is_claimed = True
            state.set_outcome_unknown(since=decision.claimed_at)
            return Proceed()
        case Suppressed():
            return outcomes.suppressed(decision.reason)
        case Expired():
            return state.expired()
        case NoSender():
            raise invalid_input([("from", "is needed, because no DEFAULT_SENDER is set")])
        case InvalidWindow() if state.submitted_sids:
            return state.expired()  # time zones have changed since it was first submitted
        case InvalidWindow():
            raise invalid_input([("send_window", decision.problem)])
        case _:
            assert_never(decision)


async def wait_for_turn(state: MessageState, not_yet: NotYet) -> Proceed | Ended:
    """Wait as the last check decided, until the message may be checked again."""
    match not_yet:
        case Deferred():
            state.reserved_at = not_yet.reserved_at
            return await _wait_for_reservation(state)
        case WindowClosed():
            return await _wait_for_window(state, not_yet)
        case Paused():
            return await _wait_for_resume(state)
        case _:
            assert_never(not_yet)


async def _admit(state: MessageState) -> AdmissionResult | None:
    """Admit it, however long the database takes; None if it was canceled and is not at Twilio."""
    request = AdmissionRequest(
        message_id=state.message_id,
        submission=state.submission,
        requested_at=workflow.now(),
        to=state.request.to,
        sender=state.request.sender,
        category=state.request.category,
        priority=state.request.priority,
        segments=state.segments,
        expires_at=state.request.expires_at,
        send_window=state.request.send_window,
    )
    result = await activity_stubs.admit_locally(request)
    if result is not None:
        return result
    state.enter(Stage.WAITING, "the database, or a worker with a correct clock")
    admission = activity_stubs.start_admission(request)
    await workflow.wait_condition(
        lambda: admission.done() or (state.is_cancel_requested and not state.is_with_twilio)
    )
    if not admission.done():
        admission.cancel()
        return None
    return await admission


async def _wait_for_reservation(state: MessageState) -> Proceed | Ended:
    reserved_at = state.reserved_at
    if reserved_at is None or reserved_at <= workflow.now():
        return Proceed()
    if state.expires_by(reserved_at):
        return state.expired()
    if reserved_at - workflow.now() > _SHORT_WAIT:
        state.enter(Stage.WAITING, "its sender's rate limit", until=reserved_at)
    waited = await state.pause(reserved_at)
    if state.is_interrupted and reserved_at > workflow.now():
        await activity_stubs.release_reservation(
            Reservation(
                sender=state.sender or "",
                segments=state.segments,
                reserved_at=reserved_at,
                is_urgent=state.request.priority is Priority.URGENT,
                is_retry=state.is_retry,
            )
        )
    return waited


async def _wait_for_window(state: MessageState, closed: WindowClosed) -> Proceed | Ended:
    """Wait until the send window opens; nothing is reserved for the message until then."""
    if state.expires_by(closed.opens_at):
        return state.expired()
    state.enter(Stage.WAITING, "its send window to open", until=closed.opens_at)
    return await state.pause(closed.opens_at)


async def _wait_for_resume(state: MessageState) -> Proceed | Ended:
    state.retry_until = None  # the pause does not use up the retry budget
    expires_at = state.request.expires_at
    state.enter(Stage.WAITING, "its sender to be resumed", until=expires_at)
    resumed = activity_stubs.start_awaiting_resume(
        ResumeRequest(
            sender=state.sender or "",
            segments=state.segments,
            campaign_id=state.request.campaign_id,
            has_priority=state.is_retry or state.request.priority is Priority.URGENT,
        )
    )
    left = None if expires_at is None else expires_at - workflow.now()
    with contextlib.suppress(TimeoutError):
        await workflow.wait_condition(lambda: resumed.done() or state.is_interrupted, timeout=left)
    if not resumed.done():
        resumed.cancel()
        return state.interruption() if state.is_interrupted else state.expired()
    decision = (await resumed).decision
    match decision:
        case Resumed():
            return Proceed()
        case CampaignCanceled():
            return state.canceled()
        case _:
            assert_never(decision)
