"""The messages of a soak: who gets what and when, by a seed; handed in by the contract."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Any

import httpx
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from devtools.sandbox.client import SandboxControl, Step
from devtools.sandbox.magic import GOOD_SENDER
from signedfor.client import CONFLICT_POLICY, REUSE_POLICY
from signedfor.contract import (
    CANCEL_UPDATE,
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    CancelResult,
    message_workflow_id,
)
from signedfor.inbound import inbound_workflow_id

RECEIPT_TIMEOUT_SECONDS = 30
_RPC_TIMEOUT = timedelta(seconds=5)
_PAUSE = 0.3
_COMMITTED_WITHIN = 300
_AWAY = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.UNKNOWN,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        # An update of a message whose workers were killed in its workflow tasks: not ready now.
        RPCStatusCode.FAILED_PRECONDITION,
    }
)


def _is_away(error: RPCError) -> bool:
    """Whether to try again: a server that has just been started may not know its namespace yet."""
    return error.status in _AWAY or error.message.startswith("Namespace ")


class Kind(StrEnum):
    """What is peculiar to a message."""

    PLAIN = "plain"
    EXPIRING = "expiring"
    CANCELED = "canceled"
    STOPPED = "stopped"
    """The recipient says STOP at about the time it is sent."""
    AFTER_STOP = "after stop"
    """Handed in when that recipient's STOP was safe."""
    TWIN = "twin"
    """Another message with the same text goes to the same recipient at the same time."""
    TOLD_ONCE = "told once"
    """Only the receipt says that it was delivered: Twilio, when asked, knows no more than sent."""
    LATER = "later"
    """Accepted, and not delivered for a passing reason: tried again minutes later."""
    THROTTLED = "throttled"
    """Poison: Twilio answers 429 for ever."""
    UNHEARD = "unheard"
    """Poison: Twilio never answers, and never takes it."""
    BAD_INPUT = "bad input"
    """Poison: nothing can be made of it."""
    BYSTANDER = "bystander"
    """Handed in amid the poison, with no fault of its own."""


_BUSY: Step = {"respond": "error", "code": 20429, "http_status": 429}
_BUSY_FOR_A_WHILE: tuple[tuple[Step, ...], Step] = ((_BUSY,) * 5, {})
"""About ten seconds: so that STOP and expiry find the message admitted and not yet sent."""
SCRIPTS: dict[Kind, tuple[tuple[Step, ...], Step]] = {
    Kind.EXPIRING: _BUSY_FOR_A_WHILE,
    Kind.STOPPED: _BUSY_FOR_A_WHILE,
    Kind.TOLD_ONCE: (
        (),
        {"final": "sent", "callbacks": {"statuses": ["sent", "delivered"], "delay": 3}},
    ),
    Kind.LATER: (({"final": "undelivered", "error_code": 14107},), {}),
    Kind.THROTTLED: ((), _BUSY),
    Kind.UNHEARD: ((), {"respond": "hang_before_accept"}),
    Kind.BYSTANDER: ((), {}),
}
"""What Twilio does with these, whatever the plan: steps of the first creates, and of the rest."""
POISON = frozenset({Kind.THROTTLED, Kind.UNHEARD, Kind.BAD_INPUT})


@dataclass(frozen=True, kw_only=True)
class Errand:
    """One message to hand in. Times are seconds: `at` from the beginning, the rest from there."""

    message_id: str
    to: str
    kind: Kind
    at: float
    send_after: float | None = None
    expires_after: float | None = None
    cancel_after: float | None = None
    stop_after: float | None = None
    starts: int = 1
    """How often it is handed in, all at once."""


@dataclass(kw_only=True)
class Done:
    """What came of an errand, as far as its caller knows."""

    errand: Errand
    handed_in_at: datetime
    expires_at: datetime | None = None
    stopped_at: datetime | None = None
    """Its STOP was committed by then."""
    canceled_at: datetime | None = None
    run_ids: set[str] = field(default_factory=set)


_SHARES = {
    Kind.PLAIN: 64,
    Kind.TOLD_ONCE: 12,
    Kind.EXPIRING: 6,
    Kind.CANCELED: 6,
    Kind.STOPPED: 5,
    Kind.TWIN: 5,
    Kind.LATER: 2,
}


def storm_crowd(seed: int, *, messages: int, seconds: float, later_tries: bool) -> list[Errand]:
    """The messages of the storm, spread over `seconds`. Later tries take five minutes."""
    chance = Random(f"{seed}:crowd")  # noqa: S311 - seeded chance, not a secret
    shares = {kind: share for kind, share in _SHARES.items() if later_tries or kind != Kind.LATER}
    errands: list[Errand] = []
    while len(errands) < messages:
        kind = chance.choices(list(shares), weights=list(shares.values()))[0]
        to, at = _number(len(errands)), chance.uniform(0, seconds)
        send_after = chance.uniform(0.5, 6) if chance.random() < 1 / 2 else None
        first = Errand(
            message_id=f"soak-{len(errands)}",
            to=to,
            kind=kind,
            at=at,
            send_after=send_after if kind in {Kind.CANCELED, Kind.STOPPED} else None,
            expires_after=chance.uniform(0.5, 20) if kind is Kind.EXPIRING else None,
            cancel_after=chance.uniform(0, 8) if kind is Kind.CANCELED else None,
            stop_after=chance.uniform(0, 8) if kind is Kind.STOPPED else None,
            starts=50 if chance.random() < 1 / 500 else chance.choice((1, 1, 1, 1, 2)),
        )
        errands.append(first)
        if kind is Kind.TWIN and len(errands) < messages:
            twin_id = f"soak-{len(errands)}"
            errands.append(Errand(message_id=twin_id, to=to, kind=kind, at=at))
    return errands


def poison_crowd(*, first: int) -> list[Errand]:
    """Messages that can never be sent."""
    kinds = [Kind.THROTTLED, Kind.UNHEARD, Kind.BAD_INPUT] * 4
    return _one_after_the_other(kinds, first=first)


def bystanders(*, first: int) -> list[Errand]:
    """Messages with nothing in their way, for when the poison is at work."""
    return _one_after_the_other([Kind.BYSTANDER] * 24, first=first)


def _one_after_the_other(kinds: Sequence[Kind], *, first: int) -> list[Errand]:
    return [
        Errand(
            message_id=f"soak-{number}", to=_number(number), kind=kind, at=0.1 * (number - first)
        )
        for number, kind in enumerate(kinds, start=first)
    ]


def _number(index: int) -> str:
    return f"+1555{2_000_000 + index}"


class Crowd:
    """Hands errands in, as patient callers do: again and again until the answer is there."""

    def __init__(self, client: Client, sandbox: SandboxControl) -> None:
        self._client = client
        self._sandbox = sandbox
        self.done: dict[str, Done] = {}

    async def run(self, errands: Sequence[Errand]) -> None:
        """Carry out all errands, each at its time; return when the last is done."""
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for errand in sorted(errands, key=lambda each: each.at):
                await asyncio.sleep(max(0.0, begun + errand.at - time.monotonic()))
                group.create_task(self._carry_out(errand))

    async def hand_in_again(self, message_id: str) -> None:
        """The same id once more, when everything is over, with another text."""
        done = self.done[message_id]
        run_id = await self._start(done.errand, {**_request(done), "body": "Another text."})
        done.run_ids.add(run_id)

    async def _carry_out(self, errand: Errand) -> None:
        now = datetime.now(UTC)
        done = self.done[errand.message_id] = Done(
            errand=errand, handed_in_at=now, expires_at=_after(now, errand.expires_after)
        )
        request = _request(done)
        starts = [self._start(errand, request) for _ in range(errand.starts)]
        done.run_ids.update(await asyncio.gather(*starts))
        if errand.cancel_after is not None:
            await asyncio.sleep(errand.cancel_after)
            if await self._cancel(errand):
                done.canceled_at = datetime.now(UTC)
        if errand.stop_after is not None:
            await asyncio.sleep(errand.stop_after)
            await self._stop(done)

    async def _start(self, errand: Errand, request: dict[str, Any]) -> str:
        while True:
            try:
                handle = await self._client.start_workflow(
                    SEND_MESSAGE,
                    request,
                    id=message_workflow_id(errand.message_id),
                    task_queue=MESSAGES_QUEUE,
                    id_conflict_policy=CONFLICT_POLICY,
                    id_reuse_policy=REUSE_POLICY,
                    rpc_timeout=_RPC_TIMEOUT,
                )
            except WorkflowAlreadyStartedError as earlier:
                return earlier.run_id or ""
            except RPCError as error:
                if not _is_away(error):
                    raise
                await asyncio.sleep(_PAUSE)
            else:
                return handle.result_run_id or ""

    async def _cancel(self, errand: Errand) -> bool:
        handle = self._client.get_workflow_handle(message_workflow_id(errand.message_id))
        while True:
            try:
                result: CancelResult = await handle.execute_update(
                    CANCEL_UPDATE, id="cancel", result_type=CancelResult, rpc_timeout=_RPC_TIMEOUT
                )
            except WorkflowUpdateFailedError:
                return False  # it ended while it was asked
            except WorkflowUpdateRPCTimeoutOrCancelledError:
                await asyncio.sleep(_PAUSE)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND and not _is_away(error):
                    return False  # it is over
                if not _is_away(error):
                    raise
                await asyncio.sleep(_PAUSE)
            else:
                return result.canceled

    async def _stop(self, done: Done) -> None:
        """The person says STOP until our webhook has taken it; then one more is handed in."""
        to = done.errand.to
        while done.stopped_at is None:
            try:
                answer = await asyncio.to_thread(self._sandbox.inbound, to, GOOD_SENDER, "STOP")
            except httpx.HTTPError:
                answer = None
            if answer is not None and (answer["http_status"] or 0) // 100 == 2:
                await self._committed(answer["sid"])
                done.stopped_at = datetime.now(UTC)
            else:
                await asyncio.sleep(_PAUSE)
        after_id = f"{done.errand.message_id}-after"
        after = Errand(message_id=after_id, to=to, kind=Kind.AFTER_STOP, at=0)
        await self._carry_out(after)
        self.done[after.message_id].stopped_at = done.stopped_at

    async def _committed(self, inbound_sid: str) -> None:
        """Wait until our database has what was said.

        While it cannot be written to, the webhook answers as soon as Temporal has it. The wait has
        an end: where none of it was kept, the books must find that the STOP was lost.
        """
        handle = self._client.get_workflow_handle(inbound_workflow_id(inbound_sid))
        with suppress(TimeoutError, WorkflowFailureError):
            async with asyncio.timeout(_COMMITTED_WITHIN):
                while True:
                    try:
                        await handle.result(rpc_timeout=_RPC_TIMEOUT)
                    except RPCError as error:
                        if error.status is RPCStatusCode.NOT_FOUND and not _is_away(error):
                            return  # it was not needed: the database has it
                        if not _is_away(error):
                            raise
                        await asyncio.sleep(_PAUSE)
                    else:
                        return


def _request(done: Done) -> dict[str, Any]:
    errand = done.errand
    if errand.kind is Kind.BAD_INPUT:
        return {"to": errand.to, "bodi": "A field that there is not."}
    request: dict[str, Any] = {
        "to": errand.to,
        "body": "A text that must arrive once.",
        "receipt_timeout_seconds": RECEIPT_TIMEOUT_SECONDS,
    }
    send_at = _after(done.handed_in_at, errand.send_after)
    if send_at is not None:
        request["send_at"] = send_at.isoformat()
    if done.expires_at is not None:
        request["expires_at"] = done.expires_at.isoformat()
    return request


def _after(moment: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else moment + timedelta(seconds=seconds)
