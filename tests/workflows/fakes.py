"""Fake activities that each test scripts, and environments that run workflows with them."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Interceptor, Worker

from activities.search import delivery_failure
from activities.threads import in_thread
from devtools.workflow_sandbox import sandboxed_runner
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
from signedfor.interceptors import OneArgument
from signedfor.message_activities import (
    Absent,
    AlreadyClaimed,
    Ambiguous,
    CampaignCanceled,
    DatabaseAway,
    Deferred,
    DeliveryConfirmed,
    DeliveryFailure,
    Expired,
    FailedDelivery,
    Found,
    InputCheck,
    InputProblems,
    InvalidRecipient,
    InvalidWindow,
    LimitReached,
    NeverSubmitted,
    NoSender,
    NotSent,
    PolicySnapshot,
    Reservation,
    Resumed,
    ResumeRequest,
    ResumeResult,
    SearchActivities,
    SearchRequest,
    SearchResult,
    SendActivities,
    SendFailureDetail,
    SendRequest,
    SendResult,
    Sent,
    StatusActivities,
    StatusRequest,
    StatusResult,
    Submission,
    Suppressed,
    SuppressionActivities,
    SuppressionRecord,
    WaitActivities,
    WindowClosed,
)
from signedfor.payloads import data_converter
from tests.fixtures.temporal import binary, register_search_attributes
from workflows.dead_letter import DeadLetter
from workflows.dead_letter_job import DeadLetterJob
from workflows.send_message import SendMessage

SENDER = "+15005550006"
RECIPIENT = "+15558675309"
REQUEST: dict[str, Any] = {"to": RECIPIENT, "from": SENDER, "body": "Your parcel is at the door."}

POLICY = PolicySnapshot(
    receipt_checks=(timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6)),
    retry_budget=timedelta(hours=4),
    unknown_wait=timedelta(seconds=30),
    dead_letter_hold=timedelta(days=30),
)


def sid(number: int = 1) -> str:
    """A message SID of Twilio's form."""
    return f"SM{number:032x}"


def send_result(request: SendRequest, decision: Any, *, attempts: int) -> SendResult:
    """The result of a send, from the request's own sender."""
    return SendResult(attempts=attempts, sender=request.sender, policy=POLICY, decision=decision)


def failure(
    failure_class: FailureClass,
    *,
    code: int | None = None,
    retry_after: timedelta = timedelta(milliseconds=10),
    final: bool = False,
    duplicate_of: str | None = None,
) -> Callable[[SendRequest], SendResult]:
    """A send that fails with this class, raised as the real activity raises it."""

    def fail(request: SendRequest) -> SendResult:
        raise ApplicationError(
            "scripted",
            SendFailureDetail(
                error_code=code,
                # A duplicate is found before the POST.
                attempts=request.earlier_attempts
                + (0 if duplicate_of else activity.info().attempt),
                retry_after=retry_after,
                duplicate_of=duplicate_of,
                sender=request.sender,
                policy=POLICY,
            ),
            type=failure_class.value,
            next_retry_delay=retry_after,
            non_retryable=final
            or (request.max_retry_wait is not None and retry_after > request.max_retry_wait),
        )

    return fail


def from_start(request: SendRequest, after: timedelta) -> datetime:
    """The time `after` the workflow asked for the send, by the server's clock."""
    return request.requested_at + after


def deferred(after: timedelta) -> Callable[[SendRequest], Deferred]:
    """The rate limiter defers the send for this long."""
    return lambda request: Deferred(reserved_at=from_start(request, after))


def window_closed(after: timedelta) -> Callable[[SendRequest], WindowClosed]:
    """The send window is closed for this long."""
    return lambda request: WindowClosed(opens_at=from_start(request, after))


def limited(
    after: timedelta, *, max_wait: timedelta = timedelta(hours=26), rule: str = "person=5/24h"
) -> Callable[[SendRequest], WindowClosed]:
    """A limit has no place for the message for this long."""
    limit = LimitReached(rule=rule, max_wait=max_wait)
    return lambda request: WindowClosed(opens_at=from_start(request, after), limit=limit)


def refuse(
    decision: NotSent | Callable[[SendRequest], NotSent], *, after_attempts: int = 0
) -> Callable[[SendRequest], SendResult]:
    """A check that decides not to send; `after_attempts` of the same activity had failed."""

    def check(request: SendRequest) -> SendResult:
        decided = decision(request) if callable(decision) else decision
        attempts = request.earlier_attempts + after_attempts
        if isinstance(decided, AlreadyClaimed):
            attempts = max(attempts, decided.attempts)
        return send_result(request, decided, attempts=attempts)

    return check


def accept(
    number: int = 1, *, was_unreachable: bool = False
) -> Callable[[SendRequest], SendResult]:
    """A send that Twilio accepts."""

    def send(request: SendRequest) -> SendResult:
        sent = Sent(
            message_sid=sid(number),
            status="queued",
            segments=1,
            submitted_at=datetime.now(UTC),
            was_unreachable=was_unreachable,
        )
        attempts = request.earlier_attempts + activity.info().attempt
        return send_result(request, sent, attempts=attempts)

    return send


def accept_after(answered: threading.Event) -> Callable[[SendRequest], SendResult]:
    """A send that Twilio accepts, but whose response is held until `answered` is set."""

    def send(request: SendRequest) -> SendResult:
        assert answered.wait(15)
        sent = Sent(
            message_sid=sid(), status="queued", segments=None, submitted_at=datetime.now(UTC)
        )
        return send_result(request, sent, attempts=request.earlier_attempts + 1)

    return send


@dataclass
class FakeActivities(
    WaitActivities, SendActivities, StatusActivities, SearchActivities, SuppressionActivities
):
    """What Twilio and the database will answer, and the requests that reached them."""

    sends: list[Callable[[SendRequest], SendResult]] = field(default_factory=lambda: [accept()])
    """One per POST; the last is repeated."""
    claimed_at: datetime | None = None
    """When an earlier run claimed the first submission."""
    suppressed_by: Reason | None = None
    statuses: list[StatusResult] = field(default_factory=list)
    default_sender: str | None = None
    reserved_at: datetime | None = None
    """The time that the sender's rate limiter reserves; None: it is idle."""
    closed_until: list[datetime] = field(default_factory=list)
    """When the send window opens, one entry per send; after the last it is open."""
    resumes: list[Resumed | CampaignCanceled | None] = field(default_factory=list)
    """What each check of a paused message finds (None: still paused); after the last, resumed."""
    window_problem: str | None = None
    """What is wrong with the send window."""
    recipient_problem: str | None = None
    """Why nothing is sent to the recipient."""
    database_away: int = 0
    """The database does not answer so many sends and checks for its return."""
    suppressions_fail: int = 0
    """So many times the database cannot record a suppression."""
    status_fails: int = 0
    search_fails: int = 0
    hold_searches: threading.Event | None = None
    """Searches are not answered until this is set."""
    policy: PolicySnapshot = POLICY
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    requests: list[SendRequest] = field(default_factory=list)
    """Every attempt to send, as the workflow asked for it."""
    resume_checks: list[ResumeRequest] = field(default_factory=list)
    posts: list[SendRequest] = field(default_factory=list)
    """Those that `sends` answered, with the sender in use."""
    searches: list[Found | Absent | NeverSubmitted | Ambiguous] = field(default_factory=list)
    search_requests: list[SearchRequest] = field(default_factory=list)
    status_checks: list[str] = field(default_factory=list)
    suppressions: list[SuppressionRecord] = field(default_factory=list)
    reached: list[DeliveryConfirmed] = field(default_factory=list)
    claim_queries: list[Submission] = field(default_factory=list)
    released_reservations: list[Reservation] = field(default_factory=list)

    @activity.defn
    def check_input(self, request: InputCheck) -> InputProblems:
        """What is wrong with a message that is scheduled for later."""
        window = None if request.send_window is None else self.window_problem
        found = {"to": self.recipient_problem, "send_window": window}
        return InputProblems(problems=tuple((name, what) for name, what in found.items() if what))

    @activity.defn
    def await_resume(self, request: ResumeRequest) -> ResumeResult:
        """What a paused message's check finds, as scripted."""
        self.resume_checks.append(request)
        if self.database_away:
            self.database_away -= 1
            raise ApplicationError("The database cannot be read.", type="DatabaseUnavailable")
        found = self.resumes.pop(0) if self.resumes else Resumed()
        if found is None:
            raise ApplicationError("Paused.", type="Paused", next_retry_delay=timedelta(minutes=1))
        return ResumeResult(decision=found)

    @activity.defn
    def release_reservation(self, reservation: Reservation) -> None:
        """Remember the released reservation."""
        self.released_reservations.append(reservation)

    @in_thread
    def send(self, request: SendRequest) -> SendResult:
        """The checks as scripted, then a POST, answered as scripted."""
        self.requests.append(request)
        request = request.model_copy(update={"sender": request.sender or self.default_sender})
        obstacle = self._obstacle(request)
        if obstacle is not None:
            return self._with_policy(refuse(obstacle)(request))
        self.posts.append(request)
        answer = self.sends[min(len(self.posts), len(self.sends)) - 1]
        try:
            return self._with_policy(answer(request))
        except ApplicationError as error:
            raise self._failure_with_policy(error) from None

    def _obstacle(self, request: SendRequest) -> NotSent | None:
        """What the checks find, in the order of the real ones."""
        expires_at = request.message.expires_at
        if self.database_away:
            self.database_away -= 1
            return DatabaseAway()
        if request.sender is None:
            return NoSender()
        if self.claimed_at is not None and request.submission == 1:
            return AlreadyClaimed(claimed_at=self.claimed_at)
        if self.recipient_problem is not None:
            return InvalidRecipient(problem=self.recipient_problem)
        if self.window_problem is not None:
            return InvalidWindow(problem=self.window_problem)
        if expires_at is not None and expires_at <= self.now():
            return Expired()
        if self.closed_until:
            return WindowClosed(opens_at=self.closed_until.pop(0))
        if self.suppressed_by is not None:
            return Suppressed(reason=self.suppressed_by)
        if self.reserved_at is not None and not request.is_reserved:
            return Deferred(reserved_at=self.reserved_at)
        return None

    def _with_policy(self, result: SendResult) -> SendResult:
        return result.model_copy(update={"policy": self.policy})

    def _failure_with_policy(self, error: ApplicationError) -> ApplicationError:
        return ApplicationError(
            error.message,
            *(
                each.model_copy(update={"policy": self.policy})
                if isinstance(each, SendFailureDetail)
                else each
                for each in error.details
            ),
            type=error.type,
            non_retryable=error.non_retryable,
            next_retry_delay=error.next_retry_delay,
        )

    @activity.defn
    def fetch_status(self, request: StatusRequest) -> StatusResult:
        """The status that Twilio reports; `sent` once the script has run out."""
        if self.status_fails:
            self.status_fails -= 1
            raise ApplicationError("Twilio is unreachable.", type="StatusUnavailable")
        self.status_checks.append(request.message_sid)
        return self.statuses.pop(0) if self.statuses else StatusResult(status="sent")

    @activity.defn
    async def classify_delivery(self, failed: FailedDelivery) -> DeliveryFailure:
        """What the table says."""
        return delivery_failure(failed.error_code)

    @activity.defn
    async def find_message(self, request: SearchRequest) -> SearchResult:
        """What a search finds; nothing once the script has run out."""
        if self.search_fails:
            self.search_fails -= 1
            raise ApplicationError("Twilio is unreachable.", type="SearchFailed")
        self.search_requests.append(request)
        if self.hold_searches is not None:
            await asyncio.to_thread(self.hold_searches.wait, 15)
        return SearchResult(finding=self.searches.pop(0) if self.searches else Absent())

    @activity.defn
    def find_claim(self, submission: Submission) -> AlreadyClaimed | None:
        """The claim of an earlier run."""
        self.claim_queries.append(submission)
        return None if self.claimed_at is None else AlreadyClaimed(claimed_at=self.claimed_at)

    @activity.defn
    def record_suppression(self, record: SuppressionRecord) -> bool:
        """Remember the suppression."""
        if self.suppressions_fail:
            self.suppressions_fail -= 1
            raise ApplicationError("The database is unavailable.", type="DatabaseUnavailable")
        self.suppressions.append(record)
        return True

    @activity.defn
    def lift_undeliverable(self, delivery: DeliveryConfirmed) -> int:
        """Remember the delivery."""
        self.reached.append(delivery)
        return 1


@dataclass(frozen=True)
class Environment:
    """A Temporal server that runs our workflows with the fake activities."""

    client: Client
    fakes: FakeActivities

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
        """Start a message and wait for its POST, so that callbacks can follow."""
        before = len(self.fakes.posts)
        handle = await self.start(request)
        await self.until(lambda: len(self.fakes.posts) > before)
        return handle

    async def report(self, request: Any = None, *, message_id: str | None = None) -> MessageReport:
        """Start a message that ends without further signals, and return its report."""
        return await (await self.start(request, message_id=message_id)).result()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait, in real time, until the worker has made the condition true."""
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - nothing signals the condition
                await asyncio.sleep(0.02)


@dataclass(frozen=True)
class TimeSkippingEnvironment(Environment):
    """An environment whose server skips time."""

    server: WorkflowEnvironment

    async def now(self) -> datetime:
        """The server's time."""
        return await self.server.get_current_time()

    async def sleep(self, length: timedelta) -> None:
        """Let this much of the server's time pass, by skipping."""
        await self.server.sleep(length)


async def callback(
    handle: WorkflowHandle[Any, Any], status: str, *, number: int = 1, code: int | None = None
) -> None:
    """Send the signal that the webhook sends for a status callback."""
    await handle.signal(
        DELIVERY_STATUS_SIGNAL,
        DeliveryStatus(message_sid=sid(number), message_status=status, error_code=code),
    )


@contextlib.asynccontextmanager
async def skipping_time(identity: str | None = None) -> AsyncIterator[WorkflowEnvironment]:
    """Temporal's test server, which skips time, with our search attributes."""
    env = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=binary("temporal-test-server"),
        data_converter=data_converter,
        identity=identity,
    )
    async with env:
        await register_search_attributes(env.client)
        yield env


def messages_worker(
    client: Client,
    fakes: FakeActivities,
    threads: ThreadPoolExecutor,
    *interceptors: Interceptor,
    task_queue: str = MESSAGES_QUEUE,
    quick_sends: int = 100,
    more_activities: Sequence[Callable[..., Any]] = (),
    more_workflows: Sequence[type] = (),
) -> Worker:
    """A worker for our workflows, which runs `quick_sends` local activities at a time."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[SendMessage, DeadLetter, DeadLetterJob, *more_workflows],
        activities=[
            fakes.send,
            fakes.await_resume,
            fakes.release_reservation,
            fakes.check_input,
            fakes.fetch_status,
            fakes.classify_delivery,
            fakes.find_message,
            fakes.find_claim,
            fakes.record_suppression,
            fakes.lift_undeliverable,
            *more_activities,
        ],
        activity_executor=threads,
        max_concurrent_local_activities=quick_sends,
        interceptors=[OneArgument(), *interceptors],
        workflow_runner=sandboxed_runner(),
    )


@contextlib.asynccontextmanager
async def serving(
    client: Client,
    fakes: FakeActivities,
    *interceptors: Interceptor,
    quick_sends: int = 100,
    more_activities: Sequence[Callable[..., Any]] = (),
    more_workflows: Sequence[type] = (),
) -> AsyncIterator[None]:
    """Workers for both task queues, with the fake activities."""
    with ThreadPoolExecutor(20) as threads:
        async with (
            messages_worker(
                client,
                fakes,
                threads,
                *interceptors,
                quick_sends=quick_sends,
                more_activities=more_activities,
                more_workflows=more_workflows,
            ),
            Worker(
                client,
                task_queue=TWILIO_SENDS_QUEUE,
                activities=[fakes.send],
                activity_executor=threads,
                max_concurrent_activities=20,
            ),
        ):
            yield
