"""Recording inbound messages from the webhook and from Twilio's list."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import Engine, func, select
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment
from twilio.rest import Client

from activities.inbound import InboundRecorder
from devtools.sandbox.accounts import DEFAULT_ACCOUNT_SID, DEFAULT_AUTH_TOKEN
from devtools.sandbox.client import SandboxControl
from signedfor.consent import Scope
from signedfor.contract import InboundKind
from signedfor.inbound import CATCH_UP_ID, CatchUp, CatchUpResult, InboundRecord
from signedfor.inbound_texts import NO_TEXTS, TextPolicy
from signedfor.store.database import DatabaseUnavailable, open_engine, transaction
from signedfor.store.inbound import InboundMessages, Watermarks
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import inbound_messages
from signedfor.twilio import messaging_services
from signedfor.twilio.client import TwilioClient
from tests.activities.conftest import Connect
from tests.activities.fake_twilio import (
    ACCOUNT,
    BODY,
    RECIPIENT,
    SENDER,
    ConnectionFault,
    FakeTwilio,
    http,
    problem_details,
    refused,
)
from tests.activities.sending import assert_no_personal_data
from tests.devtools.sandbox.support import Receiver, running_receiver, running_sandbox
from tests.devtools.sandbox.test_configuration import everywhere, pool
from webhook.inbound import InboundCallback

NOW = datetime(2026, 11, 21, 20, 0, 30, 500_000, tzinfo=UTC)
SERVICE = "MG" + "d" * 32

Make = Callable[..., InboundRecorder]


@pytest.fixture
def make(connect: Connect, fake_twilio: FakeTwilio, sqlite_engine: Engine) -> Make:
    """Make inbound activities with the fake Twilio, a database and the time NOW."""

    def inbound(
        engine: Engine = sqlite_engine,
        now: datetime = NOW,
        scope: Scope = Scope.EVERYTHING,
        texts: TextPolicy = NO_TEXTS,
        **options: Any,
    ) -> InboundRecorder:
        return InboundRecorder(
            InboundMessages(engine, scope=scope, texts=texts, now=lambda: now),
            watermarks=Watermarks(engine),
            twilio=connect(fake_twilio.url),
            now=lambda: now,
            **options,
        )

    return inbound


def _sid(number: int) -> str:
    return f"SM{number:032x}"


def _row(number: int, body: str, *, ago: timedelta, **fields: Any) -> dict[str, Any]:
    """An inbound message as Twilio lists it."""
    sent = (NOW - ago).strftime("%a, %d %b %Y %H:%M:%S +0000")
    return {
        "sid": _sid(number),
        "from": RECIPIENT,
        "to": SENDER,
        "body": body,
        "direction": "inbound",
        "status": "received",
        "date_created": sent,
        "date_sent": sent,
        "messaging_service_sid": None,
        **fields,
    }


def _page(*rows: dict[str, Any], more: str | None = None) -> bytes:
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    return http(
        200,
        {
            "messages": rows,
            "page": 0,
            "page_size": 500,
            "start": 0,
            "end": max(len(rows) - 1, 0),
            "uri": path,
            "first_page_uri": path,
            "next_page_uri": f"{path}?PageToken={more}" if more else None,
            "previous_page_uri": None,
        },
    )


def _catch_up(inbound: InboundRecorder, since: datetime | None = None) -> CatchUpResult:
    caught: CatchUpResult = ActivityEnvironment().run(
        inbound.catch_up_inbound, CatchUp(since=since)
    )
    return caught


def _stored(engine: Engine) -> int:
    with transaction(engine, read_only=True) as connection:
        return connection.execute(select(func.count()).select_from(inbound_messages)).scalar_one()


def _queries(fake_twilio: FakeTwilio) -> list[dict[str, list[str]]]:
    return [parse_qs(urlsplit(each.line.split(" ")[1]).query) for each in fake_twilio.requests]


def test_a_message_is_recorded_once(make: Make, sqlite_engine: Engine) -> None:
    """A STOP from the webhook is recorded with its suppression, and only once."""
    record = InboundRecord(
        message_sid=_sid(1), from_=RECIPIENT, to=SENDER, kind=InboundKind.STOP, received_at=NOW
    )
    inbound = make()

    results = [ActivityEnvironment().run(inbound.record_inbound, record) for _ in range(2)]

    assert [True, False] == results
    assert [_sid(1)] == [each.evidence for each in Suppressions(sqlite_engine).list_()]


def test_an_unavailable_database_fails_the_activity(make: Make) -> None:
    """The error is retryable and contains no personal data."""
    engine = open_engine("postgresql://user@127.0.0.1:1/name")
    record = InboundRecord(
        message_sid=_sid(1), from_=RECIPIENT, to=SENDER, kind=InboundKind.STOP, received_at=NOW
    )

    with pytest.raises(DatabaseUnavailable) as caught:
        ActivityEnvironment().run(make(engine).record_inbound, record)
    engine.dispose()

    assert_no_personal_data(caught.value)


def test_the_catch_up_records_missed_messages(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """Inbound messages in Twilio's list that we do not have are recorded; outbound are not."""
    minute = timedelta(minutes=1)
    fake_twilio.responses = [
        _page(
            _row(3, "hello", ago=1 * minute, to=f"whatsapp:{SENDER}", **{"from": "+15558675310"}),
            _row(2, "STOP", ago=2 * minute, direction="outbound-api", status="delivered"),
            _row(1, "Stop!", ago=3 * minute, messaging_service_sid=SERVICE),
        )
    ]

    caught_up = _catch_up(make(), NOW - timedelta(minutes=30))

    assert (3, 2, 2, 0) == (
        caught_up.listed,
        caught_up.inbound,
        caught_up.new,
        caught_up.unusable,
    )
    (suppression,) = Suppressions(sqlite_engine).list_()
    assert (RECIPIENT, _sid(1)) == (suppression.recipient, suppression.evidence)
    assert 2 == _stored(sqlite_engine)


def test_a_message_that_is_already_recorded_changes_nothing(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """A listed STOP counts once, even after its opt-out was lifted."""
    fake_twilio.responses = [_page(_row(1, "STOP", ago=timedelta(minutes=3)))]
    since = NOW - timedelta(minutes=30)
    first = _catch_up(make(), since)
    suppressions = Suppressions(sqlite_engine)
    (suppression,) = suppressions.list_()
    suppressions.lift(RECIPIENT, source=suppression.source, evidence="by phone", by="ops")

    second = _catch_up(make(), since)

    assert [1, 0] == [first.new, second.new]
    assert [] == suppressions.list_()


@pytest.mark.parametrize("gap", [60, 0])
@pytest.mark.parametrize(("newest", "oldest"), [("START", "STOP"), ("STOP", "START")])
def test_listed_messages_are_recorded_oldest_first(  # noqa: PLR0917 - pytest passes them by name
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine, newest: str, oldest: str, gap: int
) -> None:
    """Twilio lists newest first; the last keyword decides, and in doubt the STOP."""
    ago = timedelta(minutes=10)
    fake_twilio.responses = [
        _page(_row(2, newest, ago=ago), more="PA1"),
        _page(_row(1, oldest, ago=ago + timedelta(seconds=gap))),
    ]

    assert 2 == _catch_up(make(), NOW - timedelta(minutes=30)).new
    assert (newest == "STOP" or not gap) == bool(Suppressions(sqlite_engine).list_())


@pytest.mark.parametrize(
    ("started_ago", "suppressed"), [(timedelta(minutes=5), False), (timedelta(minutes=15), True)]
)
def test_a_start_from_the_webhook_beats_an_older_missed_stop(
    make: Make,
    fake_twilio: FakeTwilio,
    sqlite_engine: Engine,
    started_ago: timedelta,
    suppressed: bool,
) -> None:
    """A missed STOP of ten minutes ago suppresses only if no START came after it."""
    InboundMessages(sqlite_engine).receive(
        InboundRecord(
            message_sid=_sid(9),
            from_=RECIPIENT,
            to=SENDER,
            kind=InboundKind.START,
            received_at=NOW - started_ago,
        )
    )
    fake_twilio.responses = [_page(_row(1, "STOP", ago=timedelta(minutes=10)))]

    _catch_up(make(), NOW - timedelta(minutes=30))

    assert suppressed == bool(Suppressions(sqlite_engine).list_())


def test_the_list_is_queried_in_utc(make: Make, fake_twilio: FakeTwilio) -> None:
    """Times of any zone are converted to UTC and rounded to whole seconds without a gap."""
    fake_twilio.responses = [_page()]
    since = datetime.fromisoformat("2026-11-21T21:30:10.750+02:00")

    caught_up = _catch_up(make(), since)

    assert [("2026-11-21T19:30:10Z", "2026-11-21T20:00:31Z")] == [
        (query["DateSent>"][0], query["DateSent<"][0]) for query in _queries(fake_twilio)
    ]
    assert (since, NOW) == (caught_up.since, caught_up.until)


def test_catch_ups_overlap(make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine) -> None:
    """The first goes a day back, each later one to an hour before the end of the previous."""
    fake_twilio.responses = [_page()]

    first = _catch_up(make())
    second = _catch_up(make(now=NOW + timedelta(minutes=5)))

    assert (NOW - timedelta(hours=24), NOW) == (first.since, first.until)
    assert NOW - timedelta(hours=1) == second.since
    assert NOW + timedelta(minutes=5) == Watermarks(sqlite_engine).read(CATCH_UP_ID)


def test_a_short_catch_up_does_not_hide_an_earlier_gap(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """One that starts after the end of the previous one does not move the watermark."""
    fake_twilio.responses = [_page()]
    _catch_up(make())
    later = NOW + timedelta(days=2)

    _catch_up(make(now=later), later - timedelta(minutes=10))

    assert NOW == Watermarks(sqlite_engine).read(CATCH_UP_ID)


def test_a_short_first_catch_up_does_not_hide_an_earlier_gap(
    make: Make, fake_twilio: FakeTwilio
) -> None:
    """If the very first covers only a few minutes, the next one still goes a day back."""
    fake_twilio.responses = [_page()]
    _catch_up(make(), NOW - timedelta(minutes=10))

    assert NOW - timedelta(hours=24) == _catch_up(make()).since


def test_a_catch_up_goes_back_thirty_days_at_most(make: Make, fake_twilio: FakeTwilio) -> None:
    """An earlier start is moved forward."""
    fake_twilio.responses = [_page()]

    assert NOW - timedelta(days=30) == _catch_up(make(), NOW - timedelta(days=400)).since


def test_a_failed_catch_up_continues_where_it_stopped(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """Completed windows are recorded, and the error contains no personal data."""
    fake_twilio.responses = [
        *[_page()] * 21,
        _page(_row(1, "STOP", ago=timedelta(minutes=150))),
        refused(500, 20500),
    ]

    with pytest.raises(ApplicationError) as caught:
        _catch_up(make())

    assert ("ListFailed", False) == (caught.value.type, caught.value.non_retryable)
    assert_no_personal_data(caught.value)
    assert NOW - timedelta(hours=2) == Watermarks(sqlite_engine).read(CATCH_UP_ID)
    assert 1 == len(Suppressions(sqlite_engine).list_())


def test_a_long_list_takes_several_runs(make: Make, fake_twilio: FakeTwilio) -> None:
    """A run ends after a number of messages, and each run gets further than the previous one."""
    fake_twilio.responses = [_page(*(_row(n, "hello", ago=timedelta(minutes=1)) for n in range(5)))]
    ends = [_catch_up(make(max_listed=5)).until for _ in range(3)]

    assert [NOW - timedelta(hours=hours) for hours in (23, 22, 21)] == ends


@pytest.mark.parametrize(
    "response",
    [
        ConnectionFault.CLOSE,
        ConnectionFault.HANG,
        ConnectionFault.TRUNCATE,
        http(200, "<html>"),
        refused(401, 20003),
        problem_details(500, code=20500),
    ],
)
def test_failing_to_read_the_list_is_retryable(
    make: Make, fake_twilio: FakeTwilio, response: bytes | str
) -> None:
    """The error contains no personal data."""
    fake_twilio.responses = [response]

    with pytest.raises(ApplicationError) as caught:
        _catch_up(make(), NOW - timedelta(minutes=5))

    assert ("ListFailed", False) == (caught.value.type, caught.value.non_retryable)
    assert_no_personal_data(caught.value)


def test_nothing_is_recorded_if_the_second_page_fails(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """Newer messages must not be recorded before the older ones."""
    fake_twilio.responses = [
        _page(_row(2, "START", ago=timedelta(minutes=1)), more="PA1"),
        refused(500, 20500),
    ]

    with pytest.raises(ApplicationError):
        _catch_up(make(), NOW - timedelta(minutes=5))

    assert 0 == _stored(sqlite_engine)
    assert Watermarks(sqlite_engine).read(CATCH_UP_ID) is None


@pytest.mark.parametrize(
    ("fields", "unusable"),
    [
        ({"from": "72345"}, 0),
        ({"from": None}, 1),
        ({"from": "+15558675309x"}, 1),
        ({"to": ""}, 1),
    ],
)
def test_messages_without_a_usable_address_are_skipped(
    make: Make,
    fake_twilio: FakeTwilio,
    sqlite_engine: Engine,
    fields: dict[str, Any],
    unusable: int,
) -> None:
    """Messages from short codes or with invalid addresses are not recorded."""
    fake_twilio.responses = [
        _page(
            _row(2, "STOP", ago=timedelta(minutes=1), **fields),
            _row(1, "STOP", ago=timedelta(minutes=2)),
        )
    ]

    caught_up = _catch_up(make(), NOW - timedelta(minutes=5))

    assert (2, 1, unusable) == (caught_up.inbound, caught_up.new, caught_up.unusable)
    assert 1 == len(Suppressions(sqlite_engine).list_())


def test_only_messages_for_review_keep_their_body(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """The body is stored if a person has to read it, with the time the message was sent."""
    fake_twilio.responses = [
        _page(
            _row(2, "please stop texting me", ago=timedelta(minutes=1)),
            _row(1, BODY, ago=timedelta(minutes=2)),
        )
    ]

    _catch_up(make(), NOW - timedelta(minutes=5))

    (review,) = InboundMessages(sqlite_engine).reviews()
    assert "please stop texting me" == review.body
    assert timedelta(0) <= review.received_at - (NOW - timedelta(minutes=1)) < timedelta(seconds=1)
    assert 2 == _stored(sqlite_engine)


def test_a_catch_up_sends_heartbeats(make: Make, fake_twilio: FakeTwilio) -> None:
    """So Temporal can tell a long catch-up from a dead worker."""
    fake_twilio.responses = [_page(_row(1, "hello", ago=timedelta(minutes=1)))]
    beats: list[Any] = []
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: beats.append(details)

    environment.run(make().catch_up_inbound, CatchUp(since=NOW - timedelta(minutes=5)))

    assert beats


@pytest.mark.parametrize("end", ["worker_shutdown", "cancel"])
def test_a_catch_up_stops_on_shutdown_or_cancellation(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine, end: str
) -> None:
    """It does not delay the worker's shutdown; the next one starts where this one stopped."""
    fake_twilio.responses = [_page(_row(1, "STOP", ago=timedelta(minutes=1)))] * 2
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_: getattr(environment, end)()
    request = CatchUp(since=NOW - timedelta(minutes=5))

    with pytest.raises(ApplicationError if end == "worker_shutdown" else CancelledError):
        environment.run(make().catch_up_inbound, request)

    assert [] == Suppressions(sqlite_engine).list_()
    assert 1 == ActivityEnvironment().run(make().catch_up_inbound, request).new


NUMBER = "+15005550123"
PERSON = "+15558675320"


@dataclass(frozen=True, kw_only=True)
class Missed:
    """Twilio, with a number in a Messaging Service, and messages that it could not deliver."""

    control: SandboxControl
    account: Client
    service_sid: str
    receiver: Receiver

    def look(self, engine: Engine, connect: Connect, url: str, *, scope: Scope) -> CatchUpResult:
        """Record what was missed, with the workers' client."""
        recorder = InboundRecorder(
            InboundMessages(engine, scope=scope),
            watermarks=Watermarks(engine),
            twilio=connect(url, account_sid=DEFAULT_ACCOUNT_SID, token=DEFAULT_AUTH_TOKEN),
        )
        return _catch_up(recorder, datetime.now(UTC) - timedelta(minutes=5))


@pytest.fixture
def sandbox() -> Iterator[str]:
    """A sandbox: its base URL."""
    with running_sandbox() as (url, _):
        yield url


@pytest.fixture
def missed(sandbox: str) -> Iterator[Missed]:
    """A STOP to the number, that the webhook answered with an error."""
    account = everywhere(sandbox)
    pool(account)  # one that does not have it
    with SandboxControl(sandbox) as control, running_receiver() as receiver:
        receiver.answers = [500]
        sid = pool(account, NUMBER, inbound_request_url=receiver.url)
        control.inbound(PERSON, NUMBER, "STOP")
        yield Missed(control=control, account=account, service_sid=sid, receiver=receiver)


def test_the_service_is_found_where_the_list_omits_it(
    missed: Missed, sandbox: str, connect: Connect, sqlite_engine: Engine
) -> None:
    """So what is recorded equals what the webhook would have recorded, and covers the service."""
    result = missed.look(sqlite_engine, connect, sandbox, scope=Scope.SENDER)

    [request] = missed.receiver.requests
    would_be = InboundCallback.model_validate(request.form).record(InboundKind.STOP, ())
    with transaction(sqlite_engine, read_only=True) as connection:
        row = connection.execute(select(inbound_messages)).one()
    assert 1 == result.new
    assert missed.service_sid == would_be.messaging_service_sid
    assert (would_be.from_, would_be.to, would_be.messaging_service_sid, "stop") == (
        row.from_address,
        row.to_address,
        row.messaging_service_sid,
        row.kind,
    )
    (suppression,) = Suppressions(sqlite_engine).list_()
    assert (Scope.SENDER, missed.service_sid) == (suppression.scope, suppression.scope_value)


def test_services_are_read_once_and_only_for_missed_messages(
    missed: Missed,
    sandbox: str,
    connect: Connect,
    sqlite_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next look, which lists the same messages again, does not ask for services."""
    for word in ("hello", "START"):
        missed.control.inbound(PERSON, NUMBER, word)
    paths: list[str] = []
    request = TwilioClient.request

    def recorded(client: TwilioClient, method: str, uri: str, *args: Any, **options: Any) -> Any:
        paths.append(urlsplit(uri).path)
        return request(client, method, uri, *args, **options)

    monkeypatch.setattr(TwilioClient, "request", recorded)
    looks = [missed.look(sqlite_engine, connect, sandbox, scope=Scope.SENDER) for _ in range(2)]

    assert [3, 0] == [each.new for each in looks]
    assert 1 == paths.count("/v1/Services")
    assert 2 == sum(path.endswith("/PhoneNumbers") for path in paths)


def test_a_number_without_a_service_is_recorded_as_itself(
    missed: Missed, sandbox: str, connect: Connect, sqlite_engine: Engine
) -> None:
    """As the webhook does."""
    missed.account.messaging.v1.services(missed.service_sid).delete()

    missed.look(sqlite_engine, connect, sandbox, scope=Scope.SENDER)

    (suppression,) = Suppressions(sqlite_engine).list_()
    assert NUMBER == suppression.scope_value


@pytest.mark.parametrize("answer", [http(500, {"code": 20500}), http(429, {"code": 20429}), b""])
def test_services_that_cannot_be_read_now(
    make: Make,
    fake_twilio: FakeTwilio,
    sqlite_engine: Engine,
    answer: bytes,
) -> None:
    """An opt-out that covers everything is recorded anyway; one for a sender needs the service."""
    fake_twilio.responses = [_page(_row(1, "STOP", ago=timedelta(minutes=1)))]
    fake_twilio.services = answer
    since = NOW - timedelta(minutes=5)

    with pytest.raises(ApplicationError) as caught:
        _catch_up(make(scope=Scope.SENDER), since)
    assert ("ListFailed", False) == (caught.value.type, caught.value.non_retryable)
    assert_no_personal_data(caught.value)
    assert 0 == _stored(sqlite_engine)

    assert 1 == _catch_up(make(), since).new
    assert 1 == len(Suppressions(sqlite_engine).list_())


@pytest.mark.parametrize("status", [401, 403, 404])
def test_credentials_that_may_not_read_services(
    make: Make,
    fake_twilio: FakeTwilio,
    sqlite_engine: Engine,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A STOP is recorded for the number, with one warning: waiting would not help."""
    minute = timedelta(minutes=1)
    fake_twilio.responses = [_page(_row(2, "hi", ago=minute), _row(1, "STOP", ago=2 * minute))]
    fake_twilio.services = http(status, {"code": 20003, "message": f"no {SENDER}"})

    assert 2 == _catch_up(make(scope=Scope.SENDER), NOW - timedelta(minutes=5)).new

    (suppression,) = Suppressions(sqlite_engine).list_()
    (warning,) = caplog.messages
    assert SENDER == suppression.scope_value
    assert f"HTTP {status}" in warning
    assert SENDER not in warning


def test_too_many_services(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search is limited; a STOP is then recorded for the number."""
    monkeypatch.setattr(messaging_services, "MAX_SERVICES", 1)
    fake_twilio.responses = [_page(_row(1, "STOP", ago=timedelta(minutes=1)))]
    fake_twilio.services = http(200, {"services": [{"sid": SERVICE}], "meta": {"key": "services"}})

    assert 1 == _catch_up(make(scope=Scope.SENDER), NOW - timedelta(minutes=5)).new
    (suppression,) = Suppressions(sqlite_engine).list_()
    assert SENDER == suppression.scope_value


DISPATCHES = TextPolicy(dispatches=True)
PICTURE = timedelta(minutes=2)


def _media(sid: str, *, content_type: str | None = "image/jpeg") -> bytes:
    """The media of a message as Twilio lists them."""
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media"
    row = {"sid": "ME1", "content_type": content_type, "uri": f"{path}/ME1.json"}
    page = {"media_list": [row], "page": 0, "page_size": 50, "next_page_uri": None}
    return http(200, {**page, "first_page_uri": path, "uri": path})


def test_the_catch_up_asks_for_media_once(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """The message awaits its workflow with the URL that the webhook would have had."""
    sid = _sid(1)
    listed = _page(_row(1, "look", ago=PICTURE, num_media="1"))
    fake_twilio.responses = [listed, _media(sid)]
    inbound = make(texts=DISPATCHES)
    _catch_up(inbound, since=NOW - timedelta(minutes=30))
    fake_twilio.responses = [listed]
    _catch_up(inbound, since=NOW - timedelta(minutes=30))

    [message] = InboundMessages(sqlite_engine).list_()
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media/ME1"
    assert ("look", True) == (message.text, message.awaits_dispatch)
    assert [(f"{fake_twilio.url}{path}", "image/jpeg")] == [
        (each.url, each.content_type) for each in message.media
    ]
    assert 3 == len(fake_twilio.requests)


def test_media_that_are_not_stored_are_not_asked_for(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """Neither text nor media are, without a workflow or a time for which they are kept."""
    fake_twilio.responses = [_page(_row(1, "look", ago=PICTURE, num_media="1"))]
    _catch_up(make(), since=NOW - timedelta(minutes=30))

    [message] = InboundMessages(sqlite_engine).list_()
    assert (None, ()) == (message.text, message.media)
    assert 1 == len(fake_twilio.requests)


def test_media_that_are_gone_do_not_stop_the_message(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """They were deleted at Twilio."""
    fake_twilio.responses = [
        _page(_row(1, "look", ago=PICTURE, num_media="1")),
        refused(404, 20404),
    ]
    _catch_up(make(texts=DISPATCHES), since=NOW - timedelta(minutes=30))

    [message] = InboundMessages(sqlite_engine).list_()
    assert ("look", ()) == (message.text, message.media)


def test_a_stop_does_not_wait_for_media(
    make: Make, fake_twilio: FakeTwilio, sqlite_engine: Engine
) -> None:
    """Twilio does not list those of an earlier message: the catch-up fails after the STOP."""
    fake_twilio.responses = [
        _page(
            _row(2, "STOP", ago=timedelta(minutes=1)),
            _row(1, "look", ago=PICTURE, num_media="1"),
        ),
        *[refused(500, 20500)] * 3,
    ]

    with pytest.raises(ApplicationError) as caught:
        _catch_up(make(texts=DISPATCHES), since=NOW - timedelta(minutes=30))

    assert "ListFailed" == caught.value.type
    assert_no_personal_data(caught.value)
    assert [_sid(2)] == [each.evidence for each in Suppressions(sqlite_engine).list_()]
