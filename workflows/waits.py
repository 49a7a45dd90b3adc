"""What a message waits for before it is sent: its time, its sender, its send window."""

import contextlib
from datetime import datetime, timedelta
from typing import assert_never

from temporalio import workflow

from signedfor.advice import WaitsFor
from signedfor.contract import Priority, Stage
from signedfor.message_activities import (
    AccountHeld,
    CampaignCanceled,
    DatabaseAway,
    Deferred,
    InputCheck,
    LimitReached,
    NotYet,
    Paused,
    Reservation,
    Resumed,
    ResumeRequest,
    WindowClosed,
    WrongClock,
)
from signedfor.payloads import invalid_input
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
    state.enter(Stage.SCHEDULED, WaitsFor.SEND_AT, until=send_at, is_certain=False)
    # So that bad input fails now, not at its `send_at`.
    request = state.request
    check = InputCheck(to=request.to, sender=request.sender, send_window=request.send_window)
    if problems := await activity_stubs.input_problems(check):
        raise invalid_input(problems)
    state.enter(Stage.SCHEDULED, WaitsFor.SEND_AT, until=send_at)
    return await state.pause(send_at, WaitsFor.SEND_AT)


async def wait_for_turn(state: MessageState, not_yet: NotYet) -> Proceed | Ended:
    """Wait as the send decided, until the message may be tried again."""
    match not_yet:
        case Deferred():
            return await _wait_for_reservation(state, not_yet)
        case WindowClosed(opens_at=free_at, limit=LimitReached() as limit):
            return await _wait_for_place(state, limit, until=free_at)
        case WindowClosed():
            return await _wait_for_window(state, not_yet)
        case Paused():
            state.reserved_at = workflow.now()  # it does not queue again
            state.retry_until = None  # the pause does not use up the retry budget
            return await _wait_for_resume(state, WaitsFor.RESUME)
        case AccountHeld(error_code=code):
            state.error_code = code
            return await _wait_for_resume(state, WaitsFor.ACCOUNT)
        case DatabaseAway():
            return await _wait_for_resume(state, WaitsFor.DATABASE)
        case WrongClock():
            return await _wait_for_resume(state, WaitsFor.CLOCK)
        case _:
            assert_never(not_yet)


async def _wait_for_reservation(state: MessageState, deferred: Deferred) -> Proceed | Ended:
    reserved_at = deferred.reserved_at
    state.reserved_at = reserved_at
    state.is_reserved_by_account |= deferred.by_account
    if reserved_at <= workflow.now():
        return Proceed()
    if state.expires_by(reserved_at):
        return state.expired()
    limit = WaitsFor.ACCOUNT_RATE if deferred.by_account else WaitsFor.SENDER_RATE
    if reserved_at - workflow.now() > _SHORT_WAIT:
        state.enter(Stage.WAITING, limit, until=reserved_at)
    waited = await state.pause(reserved_at, limit)
    if state.is_interrupted and reserved_at > workflow.now() and not deferred.by_account:
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
    state.queue_again()
    state.enter(Stage.WAITING, WaitsFor.WINDOW, until=closed.opens_at)
    return await state.pause(closed.opens_at, WaitsFor.WINDOW)


async def _wait_for_place(
    state: MessageState, limit: LimitReached, *, until: datetime
) -> Proceed | Ended:
    """Wait until the limit has a place again, but not for longer than a place takes to be free."""
    if state.expires_by(until):
        return state.expired()
    if state.limited_since is None:  # by whatever clock the place is free: it waits once
        state.limited_since = workflow.now()
    elif until > state.limited_since + limit.max_wait:
        return outcomes.limit_reached(limit.rule)
    state.queue_again()
    waits_for = f"{WaitsFor.LIMIT}: {limit.rule}"
    state.enter(Stage.WAITING, waits_for, until=until)
    return await state.pause(until, waits_for)


async def _wait_for_resume(state: MessageState, waits_for: WaitsFor) -> Proceed | Ended:
    expires_at = state.request.expires_at
    state.enter(Stage.WAITING, waits_for, until=expires_at)
    resumed = activity_stubs.start_awaiting_resume(
        ResumeRequest(
            sender=state.sender or "",
            segments=state.segments,
            campaign_id=state.request.campaign_id,
            has_priority=state.is_retry or state.request.priority is Priority.URGENT,
        ),
        summary=f"waits for {waits_for}",
    )
    left = None if expires_at is None else expires_at - workflow.now()
    with contextlib.suppress(TimeoutError):
        await workflow.wait_condition(
            lambda: resumed.done() or state.is_interrupted,
            timeout=left,
            timeout_summary="its expires_at",
        )
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
