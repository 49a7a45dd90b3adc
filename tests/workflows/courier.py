"""A scripted Twilio and database behind the workflows' activities, and the worlds they run in."""

import asyncio
import contextlib
import shutil
import sysconfig
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from signedfor.consent import Reason
from signedfor.contract import (
    DELIVERY_STATUS_SIGNAL,
    MESSAGES_QUEUE,
    SEND_MESSAGE,
    TWILIO_SENDS_QUEUE,
    DeliveryStatus,
    MessageReport,
    message_workflow_id,
)
from signedfor.contract.failures import FailureClass
from signedfor.payloads import data_converter
from signedfor.runner import sandboxed_runner
from signedfor.search_attributes import SEARCH_ATTRIBUTES
from signedfor.steps import (
    ADMIT,
    AWAIT_RELEASE,
    CHECK_WINDOW,
    GIVE_BACK,
    LOOK_UP,
    RECORD_SUPPRESSION,
    SEARCH,
    SEND,
    Admission,
    AdmitRequest,
    Decision,
    Finding,
    GiveBackRequest,
    LookUp,
    LookUpRequest,
    Release,
    ReleaseRequest,
    SearchRequest,
    SearchResult,
    SendFailure,
    SendRequest,
    Submission,
    SuppressionRecord,
    Terms,
    WindowCheck,
)
from workflows.dead_letter import DeadLetter
from workflows.inputs import OneArgument
from workflows.send_message import SendMessage

SENDER = "+15005550006"
RECIPIENT = "+15558675309"
REQUEST: dict[str, Any] = {"to": RECIPIENT, "from": SENDER, "body": "Your parcel is at the door."}

TERMS = Terms(
    receipt_checks=(timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6)),
    retry_budget=timedelta(hours=4),
    unknown_wait=timedelta(seconds=30),
    letter_hold=timedelta(days=30),
)


def sid(number: int = 1) -> str:
    """A message SID of Twilio's form."""
    return f"SM{number:032x}"


def failure(
    failure_class: FailureClass,
    *,
    code: int | None = None,
    retry_after: timedelta = timedelta(milliseconds=10),
    final: bool = False,
) -> Callable[[SendRequest], Submission]:
    """A send that fails with this class, as the real activity does."""

    def fail(request: SendRequest) -> Submission:
        raise ApplicationError(
            "scripted",
            SendFailure(
                error_code=code,
                attempts=request.earlier_attempts + activity.info().attempt,
                retry_after=retry_after,
            ),
            type=failure_class.value,
            next_retry_delay=retry_after,
            non_retryable=final,
        )

    return fail


def refuse(
    decision: Decision, *, in_: timedelta | None = None, after_attempts: int = 0
) -> Callable[[SendRequest], Submission]:
    """A last check that lets nothing by; `in_` from the request's own clock, its deadline."""

    def turn_away(request: SendRequest) -> Submission:
        begun = request.deadline - TERMS.retry_budget
        return Submission(
            decision=decision,
            not_before=None if in_ is None else begun + in_,
            attempts=request.earlier_attempts + after_attempts,
        )

    return turn_away


def accept(number: int = 1) -> Callable[[SendRequest], Submission]:
    """A send that Twilio takes."""

    def take(request: SendRequest) -> Submission:
        return Submission(
            decision=Decision.GO,
            attempts=request.earlier_attempts + activity.info().attempt,
            message_sid=sid(number),
            status="queued",
            segments=1,
            submitted_at=datetime.now(UTC),
        )

    return take


def accept_after(answered: threading.Event) -> Callable[[SendRequest], Submission]:
    """A send that Twilio takes, and whose answer comes late."""

    def take(request: SendRequest) -> Submission:
        assert answered.wait(15)
        return Submission(
            decision=Decision.GO,
            attempts=request.earlier_attempts + 1,
            message_sid=sid(),
            status="queued",
            submitted_at=datetime.now(UTC),
        )

    return take


@dataclass
class Courier:
    """What Twilio and the database will say, and what they were asked."""

    sends: list[Callable[[SendRequest], Submission]] = field(default_factory=lambda: [accept()])
    """One a POST; the last is repeated."""
    suppressed_by: Reason | None = None
    look_ups: list[LookUp] = field(default_factory=list)
    default_sender: str | None = None
    not_before: datetime | None = None
    """The slot that admission gives."""
    closed_until: list[datetime] = field(default_factory=list)
    """When the send window opens, one an admission; after that it is open."""
    releases: list[Decision | None] = field(default_factory=list)
    """What a held message is told each time it looks; None: to look again. Then GO."""
    window_problem: str | None = None
    """What admission finds wrong with the send window."""
    hold_admissions: threading.Event | None = None
    """No admission is answered before this is set."""
    admit_fails: int = 0
    look_up_fails: int = 0
    search_fails: int = 0
    hold_searches: threading.Event | None = None
    """No search is answered before this is set."""
    terms: Terms = TERMS
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    admitted: int = 0
    looked: list[ReleaseRequest] = field(default_factory=list)
    posts: list[SendRequest] = field(default_factory=list)
    searches: list[SearchResult] = field(default_factory=list)
    searched: list[SearchRequest] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    recorded: list[SuppressionRecord] = field(default_factory=list)
    given_back: list[GiveBackRequest] = field(default_factory=list)

    @activity.defn(name=ADMIT)
    async def admit(self, request: AdmitRequest) -> Admission:
        """Admission as scripted."""
        if self.hold_admissions is not None:
            await asyncio.to_thread(self.hold_admissions.wait, 30)
        if self.admit_fails:
            self.admit_fails -= 1
            raise ApplicationError("The database cannot be read.", type="DatabaseUnavailable")
        sender = request.sender or self.default_sender
        decision = Decision.GO
        if request.expires_at is not None and request.expires_at <= self.now():
            decision = Decision.EXPIRED
        elif sender is None:
            decision = Decision.NO_SENDER
        elif self.suppressed_by is not None:
            decision = Decision.SUPPRESSED
        if self.window_problem is not None:
            decision = Decision.INVALID_WINDOW
        not_before = self.not_before
        if self.closed_until:
            decision, not_before = Decision.CLOSED, self.closed_until.pop(0)
        self.admitted += 1
        return Admission(
            decision=decision,
            terms=self.terms,
            sender=sender,
            not_before=not_before,
            suppressed_by=self.suppressed_by,
            problem=self.window_problem,
        )

    @activity.defn(name=CHECK_WINDOW)
    async def check_window(self, _check: WindowCheck) -> str:
        """What is wrong with a window that is waited for later."""
        return self.window_problem or ""

    @activity.defn(name=AWAIT_RELEASE)
    async def await_release(self, request: ReleaseRequest) -> Release:
        """What a held message is told."""
        self.looked.append(request)
        told = self.releases.pop(0) if self.releases else Decision.GO
        if told is None:
            raise ApplicationError("Held.", type="Held", next_retry_delay=timedelta(minutes=1))
        return Release(decision=told)

    @activity.defn(name=GIVE_BACK)
    async def give_back(self, request: GiveBackRequest) -> None:
        """Keep what slot was given back."""
        self.given_back.append(request)

    @activity.defn(name=SEND)
    async def send(self, request: SendRequest) -> Submission:
        """A POST, answered as scripted."""
        self.posts.append(request)
        answer = self.sends[min(len(self.posts), len(self.sends)) - 1]
        return await asyncio.to_thread(answer, request)

    @activity.defn(name=LOOK_UP)
    async def look_up(self, request: LookUpRequest) -> LookUp:
        """What Twilio says when asked; `sent` once the script is over."""
        if self.look_up_fails:
            self.look_up_fails -= 1
            raise ApplicationError("Twilio cannot be asked.", type="LookUpFailed")
        self.asked.append(request.message_sid)
        return self.look_ups.pop(0) if self.look_ups else LookUp(status="sent")

    @activity.defn(name=SEARCH)
    async def search(self, request: SearchRequest) -> SearchResult:
        """What a search comes to; nothing once the script is over."""
        if self.search_fails:
            self.search_fails -= 1
            raise ApplicationError("Twilio cannot be asked.", type="SearchFailed")
        self.searched.append(request)
        if self.hold_searches is not None:
            await asyncio.to_thread(self.hold_searches.wait, 15)
        return self.searches.pop(0) if self.searches else SearchResult(finding=Finding.ABSENT)

    @activity.defn(name=RECORD_SUPPRESSION)
    async def record_suppression(self, record: SuppressionRecord) -> bool:
        """Keep what was to be recorded."""
        self.recorded.append(record)
        return True


@dataclass(frozen=True)
class World:
    """A Temporal with our workflows and a scripted courier."""

    client: Client
    courier: Courier

    async def start(
        self, request: Any = None, *, message_id: str | None = None, args: Any = None
    ) -> WorkflowHandle[Any, MessageReport]:
        """Start a message as any client would: plain JSON, by name."""
        return await self.client.start_workflow(
            SEND_MESSAGE,
            args=args if args is not None else [REQUEST if request is None else request],
            id=message_workflow_id(message_id or uuid.uuid4().hex),
            task_queue=MESSAGES_QUEUE,
            result_type=MessageReport,
        )

    async def submitted(self, request: Any = None) -> WorkflowHandle[Any, MessageReport]:
        """Start a message and wait until Twilio has it, as it has what it calls back for."""
        before = len(self.courier.posts)
        handle = await self.start(request)
        await self.until(lambda: len(self.courier.posts) > before)
        return handle

    async def report(self, request: Any = None, *, message_id: str | None = None) -> MessageReport:
        """What became of a message that needs nothing more from outside."""
        return await (await self.start(request, message_id=message_id)).result()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait, in real time, for something the worker does."""
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - what is waited for is not ours to signal
                await asyncio.sleep(0.02)


@dataclass(frozen=True)
class SkippingWorld(World):
    """A world whose server skips over waits."""

    env: WorkflowEnvironment

    async def now(self) -> datetime:
        """The server's time."""
        return await self.env.get_current_time()

    async def sleep(self, length: timedelta) -> None:
        """Let this much of the server's time pass."""
        await self.env.sleep(length)


async def callback(
    handle: WorkflowHandle[Any, Any], status: str, *, number: int = 1, code: int | None = None
) -> None:
    """The webhook's signal."""
    await handle.signal(
        DELIVERY_STATUS_SIGNAL,
        DeliveryStatus(message_sid=sid(number), message_status=status, error_code=code),
    )


def binary(name: str) -> str:
    """A Temporal binary that its package put beside the interpreter."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    assert found is not None, f"{name} is not installed; its package is in requirements-dev.lock"
    assert Path(found).is_file()
    return found


@contextlib.asynccontextmanager
async def skipping_time(identity: str | None = None) -> AsyncIterator[WorkflowEnvironment]:
    """Temporal's test server, where a wait of hours takes no time."""
    env = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=binary("temporal-test-server"),
        data_converter=data_converter,
        identity=identity,
    )
    async with env:
        await register_search_attributes(env.client)
        yield env


async def register_search_attributes(client: Client) -> None:
    """Make the contract's search attributes known to the server's default namespace."""
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=client.namespace,
            search_attributes={
                key.name: IndexedValueType.ValueType(key.indexed_value_type)
                for key in SEARCH_ATTRIBUTES
            },
        )
    )


@contextlib.asynccontextmanager
async def serving(client: Client, courier: Courier) -> AsyncIterator[None]:
    """Workers for both queues, with the courier's activities."""
    async with (
        Worker(
            client,
            task_queue=MESSAGES_QUEUE,
            workflows=[SendMessage, DeadLetter],
            activities=[
                courier.admit,
                courier.await_release,
                courier.give_back,
                courier.check_window,
                courier.look_up,
                courier.search,
                courier.record_suppression,
            ],
            interceptors=[OneArgument()],
            workflow_runner=sandboxed_runner(),
        ),
        Worker(client, task_queue=TWILIO_SENDS_QUEUE, activities=[courier.send]),
    ):
        yield
