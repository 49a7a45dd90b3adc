"""Event Streams at the webhook: batches, their statuses, inbound messages, reassigned numbers."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from temporalio.client import Client, WorkflowExecutionStatus

from signedfor.consent import OptIn, Reason, Scope, Source
from signedfor.contract import InboundKind
from signedfor.inbound import InboundRecord, record_inbound_workflow_id
from signedfor.store.database import open_engine
from signedfor.store.inbound import InboundMessages
from signedfor.store.inbox import Inbox
from signedfor.store.opt_ins import OptIns
from signedfor.store.suppressions import Suppressions
from tests.webhook.support import (
    ACCOUNT,
    PERSON,
    PUBLIC,
    SENDER,
    SETTINGS,
    SID,
    Twilio,
    metric,
    sign,
)
from tests.webhook.workflows import new_message_id, open_dead_letter, open_message, received
from webhook import inbound, status
from webhook.app import create_app
from webhook.body import MAX_BODY_BYTES
from webhook.events import MAX_BATCH_BYTES, MAX_BATCHES
from webhook.inbound import InboundEndpoint
from webhook.signature import Verifier
from webhook.status import StatusEndpoint

PATH = "/webhook/events"
SERVICE = "MG" + "d" * 32
OTHER_ACCOUNT = "AC" + "0" * 32
WITH_EVENTS = SETTINGS.model_copy(update={"event_streams": True})
NOW = datetime.now(UTC)


def _event(name: str, data: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    event = {
        "specversion": "1.0",
        "type": f"com.twilio.messaging.{name}",
        "source": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{SID}.json",
        "id": "EZ" + "e" * 32,
        "dataschema": "https://events-schemas.twilio.com/x/1",
        "datacontenttype": "application/json",
        "time": _iso(NOW),
        "data": {field: value for field, value in data.items() if value != "-"},
        **envelope,
    }
    return {field: value for field, value in event.items() if value != "-"}


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status_event(message_id: str = "order-17", status: str = "DELIVERED", **data: Any) -> Any:
    """A status of a message of ours, without the fields given as `-`."""
    return _event(
        f"message.{status.lower()}",
        {
            "messageSid": SID,
            "timestamp": _iso(NOW),
            "accountSid": ACCOUNT,
            "from": SENDER,
            "to": PERSON,
            "messageStatus": status,
            "statusCallBackUrl": f"{PUBLIC}/webhook/status?message_id={message_id}#rc=5&rp=all",
            "numberOfSegments": 1,
            "tags": {},
            **data,
        },
    )


def inbound_event(body: str = "STOP", **data: Any) -> Any:
    """An inbound message, without the fields given as `-`."""
    return _event(
        "inbound-message.received",
        {
            "messageSid": SID,
            "timestamp": _iso(NOW),
            "accountSid": ACCOUNT,
            "from": PERSON,
            "to": SENDER,
            "body": body,
            "numMedia": 0,
            "numSegments": 1,
            "recipients": [],
            **data,
        },
    )


def reassigned_event(**data: Any) -> Any:
    """A reassigned number, as in Twilio's documentation, without the fields given as `-`."""
    return _event(
        "reassigned-number.detected",
        {
            "event_id": "1c70ebe141c2f1062d226c9f80912ab67b778394592219510bc6751c017ab05f",
            "timestamp": _iso(NOW),
            "account_sid": ACCOUNT,
            "from_number": SENDER,
            "to_number": PERSON,
            "is_reassigned": True,
            "last_verified_date": "2026-08-01",
            "consent_operation": "opt-out-created",
            "consent_updated_at": _iso(NOW),
            **data,
        },
        source="-",
    )


@pytest.fixture
async def twilio(client_without_server: Client, engine: Engine) -> AsyncIterator[Twilio]:
    """Twilio, with a sink at a webhook that has a database of either kind and no Temporal."""
    twilio = Twilio.calling(create_app(WITH_EVENTS, client=client_without_server, engine=engine))
    yield twilio
    await twilio.http.aclose()


@pytest.fixture
def no_database() -> Iterator[Engine]:
    """An unreachable database."""
    engine = open_engine("postgresql://user@127.0.0.1:1/name")
    yield engine
    engine.dispose()


async def _post(twilio: Twilio, *batch: Any) -> int:
    answer = await twilio.post_json(PATH, json.dumps(batch).encode())
    return answer.status_code


async def _counted(twilio: Twilio, type_: str, result: str) -> float:
    return await metric(twilio.http, "signedfor_webhook_events_total", type=type_, result=result)


def _receive(engine: Engine, kind: InboundKind, sid: str, at: datetime, to: str = SENDER) -> None:
    InboundMessages(engine).receive(
        InboundRecord(message_sid=sid, from_=PERSON, to=to, kind=kind, received_at=at)
    )


# The batch.


async def test_events_are_not_accepted_by_default(
    client_without_server: Client, sqlite_engine: Engine
) -> None:
    """Without EVENT_STREAMS there is no such path."""
    app = create_app(SETTINGS, client=client_without_server, engine=sqlite_engine)

    assert 404 == await _post(Twilio.calling(app), inbound_event())


async def test_the_signature_covers_the_batch(twilio: Twilio, engine: Engine) -> None:
    """A batch without the hash of its body, with another body or token, is refused with 403."""
    body = json.dumps([inbound_event()]).encode()
    headers = {"Content-Type": "application/json"}
    unsigned = await twilio.http.post(PATH, content=body, headers=headers)
    no_hash = await twilio.http.post(
        PATH, content=body, headers={**headers, "X-Twilio-Signature": sign(PUBLIC + PATH)}
    )
    target = str((await twilio.post_json(PATH, b"[]")).request.url).partition("8080")[2]
    changed = await twilio.http.post(
        target, content=body, headers={**headers, "X-Twilio-Signature": sign(PUBLIC + target)}
    )
    forged = await Twilio(http=twilio.http, token="another").post_json(PATH, body)
    form = await twilio.post(PATH, {"type": "x"})

    assert [403] * 5 == [each.status_code for each in (unsigned, no_hash, changed, forged, form)]
    assert [] == Suppressions(engine).list_()
    for reason in ("unsigned", "wrong_body_hash", "wrong_signature", "content_type"):
        assert 0 < await metric(
            twilio.http, "signedfor_webhook_refused_total", path=PATH, reason=reason
        )


async def test_a_sink_that_does_not_batch_is_understood(twilio: Twilio, engine: Engine) -> None:
    """It sends one event without a list."""
    answer = await twilio.post_json(PATH, json.dumps(inbound_event()).encode())

    assert (204, b"") == (answer.status_code, answer.content)
    assert 1 == len(Suppressions(engine).list_())


@pytest.mark.parametrize("body", [b"[", b"\xff", b"[" * 100_000], ids=["json", "utf-8", "depth"])
async def test_what_cannot_be_decoded_is_answered_400(twilio: Twilio, body: bytes) -> None:
    """Twilio does not repeat it, and shows the error in its console."""
    answer = await twilio.post_json(PATH, body)

    assert (400, {"detail": "The body is not JSON in UTF-8."}) == (
        answer.status_code,
        answer.json(),
    )


async def test_a_batch_may_be_larger_than_a_callback(twilio: Twilio, engine: Engine) -> None:
    """A 4xx would drop it; but what nobody could send is refused unread."""
    events_ = [inbound_event("hello " * 300, messageSid=f"SM{each:032x}") for each in range(100)]
    assert len(json.dumps(events_)) > 2 * MAX_BODY_BYTES

    assert 204 == await _post(twilio, *events_, inbound_event())
    assert 1 == len(Suppressions(engine).list_())
    assert 413 == (await twilio.post_json(PATH, b" " * (MAX_BATCH_BYTES + 1))).status_code


async def test_the_batches_at_a_time_are_limited(
    twilio: Twilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Further ones are answered 503 before their bodies are read, and Twilio sends them later."""
    all_wait, may_go = asyncio.Event(), asyncio.Event()
    waiting = 0

    async def read_slowly(*_: object, **__: object) -> bytes:
        nonlocal waiting
        waiting += 1
        if waiting == MAX_BATCHES:
            all_wait.set()
        await may_go.wait()
        return b"[]"

    monkeypatch.setattr(Verifier, "json_body", read_slowly)
    first = [asyncio.create_task(_post(twilio)) for _ in range(MAX_BATCHES)]
    await all_wait.wait()
    further = await _post(twilio)
    may_go.set()

    assert 503 == further
    assert [204] * MAX_BATCHES == await asyncio.gather(*first)
    assert 204 == await _post(twilio)


async def test_a_body_that_is_too_slow_is_answered_503(
    twilio: Twilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twilio would drop the batch after a 408."""

    async def too_slow(*_: object, **__: object) -> bytes:
        raise HTTPException(408, "The body took too long to arrive.")

    monkeypatch.setattr("webhook.signature.read_body", too_slow)

    assert 503 == await _post(twilio)


@pytest.mark.parametrize(
    ("bad", "logged"),
    [
        pytest.param(7, "(other): input: ", id="not an object"),
        pytest.param({"data": {}}, "(other): type: ", id="no type"),
        pytest.param({**inbound_event(), "data": PERSON}, "(other): data: ", id="no data"),
        pytest.param(inbound_event(messageSid=PERSON), "(inbound): MessageSid: ", id="sid"),
        pytest.param(inbound_event(**{"from": "+1"}), "(inbound): From: ", id="from"),
        pytest.param(status_event(messageSid="-"), "(status): messageSid: ", id="no sid"),
        pytest.param(status_event(messageStatus=[1]), "(status): messageStatus: ", id="status"),
        pytest.param(status_event(errorCode=PERSON), "(status): errorCode: ", id="code"),
        pytest.param(
            status_event(statusCallBackUrl=f"{PUBLIC}/webhook/status?to={PERSON}"),
            "(status): statusCallBackUrl: ",
            id="no message id",
        ),
        pytest.param(reassigned_event(to_number="+1"), "(reassigned_number): to_number: ", id="to"),
        pytest.param(
            reassigned_event(is_reassigned="-"),
            "(reassigned_number): is_reassigned: ",
            id="whether",
        ),
    ],
)
async def test_a_bad_event_does_not_keep_back_the_others(
    twilio: Twilio,
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
    bad: Any,
    logged: str,
) -> None:
    """It is counted and logged without any value, and the batch is not repeated for hours."""
    caplog.set_level(logging.DEBUG, "webhook")

    assert 204 == await _post(twilio, bad, inbound_event(messageSid="SM" + "1" * 32))

    assert 1 == len(Suppressions(engine).list_())
    assert 1 == await _counted(twilio, logged[1:].partition(")")[0], "invalid")
    assert logged in caplog.text
    assert PERSON not in caplog.text


async def test_an_event_that_fails_unexpectedly_is_sent_again(
    twilio: Twilio, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are processed; the batch is answered 503, because the defect may be transient."""

    async def fail(*_: object) -> None:
        raise RuntimeError(PERSON)

    monkeypatch.setattr(StatusEndpoint, "accept", fail)

    assert 503 == await _post(twilio, status_event(), inbound_event())
    assert 1 == len(Suppressions(engine).list_())
    assert 1 == await _counted(twilio, "status", "unavailable")


@pytest.mark.parametrize(
    "name",
    [
        "compliance.number-registration.failed",
        "inbound-message.deleted",
        "reassigned-number.cleared",
    ],
)
async def test_events_of_other_types_are_ignored(twilio: Twilio, name: str) -> None:
    """So a subscription may have more types than those that mean something here."""
    assert 204 == await _post(twilio, _event(name, {"accountsid": ACCOUNT}))
    assert 1 == await _counted(twilio, "other", "ignored")


@pytest.mark.parametrize(
    "event",
    [
        inbound_event(accountSid=OTHER_ACCOUNT),
        reassigned_event(account_sid=OTHER_ACCOUNT),
        {
            **inbound_event(accountSid="-"),
            "source": f"/2010-04-01/Accounts/{OTHER_ACCOUNT}/Messages/{SID}.json",
        },
    ],
    ids=["inbound", "reassigned", "by its source"],
)
async def test_events_of_another_account_change_nothing(
    twilio: Twilio, engine: Engine, event: Any
) -> None:
    """They are counted, and not asked for again."""
    assert 204 == await _post(twilio, event)
    assert [] == Suppressions(engine).list_()
    assert 1 == await metric(twilio.http, "signedfor_webhook_events_total", result="other_account")


async def test_an_event_need_not_name_its_account(twilio: Twilio, engine: Engine) -> None:
    """Twilio does not always send it with an inbound message, and has signed the batch."""
    assert 204 == await _post(twilio, {**inbound_event(accountSid="-"), "source": "AB123"})
    assert 1 == len(Suppressions(engine).list_())


# Inbound messages.


async def test_a_stop_is_in_force_before_the_answer(twilio: Twilio, engine: Engine) -> None:
    """It is recorded like the one of a callback, with the time at which it was sent."""
    sent_at = NOW - timedelta(hours=3)

    assert 204 == await _post(twilio, inbound_event("Stop.", timestamp=_iso(sent_at)))

    (suppression,) = Suppressions(engine).list_()
    assert (PERSON, Reason.OPTED_OUT, Source.INBOUND, SID, SENDER) == (
        suppression.recipient,
        suppression.reason,
        suppression.source,
        suppression.evidence,
        suppression.to_sender,
    )
    assert suppression.created_at is not None
    assert timedelta(0) <= sent_at - suppression.created_at < timedelta(milliseconds=1)
    assert 1 == await _counted(twilio, "inbound", "recorded")


async def test_callback_and_event_of_a_message_count_once(twilio: Twilio, engine: Engine) -> None:
    """In either order, and the event any number of times."""
    assert 204 == await _post(twilio, inbound_event(), inbound_event())
    assert 200 == (await twilio.inbound("STOP")).status_code
    assert 200 == (await twilio.inbound("STOP", MessageSid="SM" + "1" * 32)).status_code
    assert 204 == await _post(twilio, inbound_event(messageSid="SM" + "1" * 32))

    assert 1 == len(Suppressions(engine).list_())
    assert [1, 2] == [
        await _counted(twilio, "inbound", result) for result in ("recorded", "duplicate")
    ]
    assert 1 == await metric(
        twilio.http, "signedfor_webhook_inbound_messages_total", result="duplicate"
    )


async def test_an_old_stop_does_not_undo_a_later_start(twilio: Twilio, engine: Engine) -> None:
    """Events come hours late and in any order: the times at which they were sent decide."""
    _receive(engine, InboundKind.START, "SM" + "2" * 32, NOW - timedelta(hours=1))

    await _post(twilio, inbound_event(timestamp=_iso(NOW - timedelta(hours=2))))
    assert [] == Suppressions(engine).list_()
    await _post(
        twilio,
        inbound_event(messageSid="SM" + "3" * 32, timestamp=_iso(NOW - timedelta(minutes=1))),
        inbound_event(
            "START", messageSid="SM" + "4" * 32, timestamp=_iso(NOW - timedelta(hours=3))
        ),
    )
    assert ["SM" + "3" * 32] == [each.evidence for each in Suppressions(engine).list_()]


@pytest.mark.parametrize("time", ["-", "yesterday", "2026-11-29T10:00:00", 7, None])
async def test_a_stop_is_not_lost_because_of_its_time(
    twilio: Twilio, engine: Engine, time: Any
) -> None:
    """Without a valid time it counts from now."""
    event = {**inbound_event(timestamp=time), "time": time, "source": time}

    assert 204 == await _post(twilio, event)
    (suppression,) = Suppressions(engine).list_()
    assert suppression.created_at is not None
    assert suppression.created_at > NOW - timedelta(minutes=1)


async def test_a_stop_does_not_wait_behind_the_statuses_of_its_batch(
    twilio: Twilio, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inbound messages come first, wherever they are in it."""
    stored = asyncio.Event()
    store = InboundEndpoint.store

    async def notify(self: InboundEndpoint, record: InboundRecord) -> inbound.Result:
        result = await store(self, record)
        stored.set()
        return result

    async def wait_for_it(*_: object) -> status.Result:
        await stored.wait()
        return status.Result.NONE

    monkeypatch.setattr(InboundEndpoint, "store", notify)
    monkeypatch.setattr(StatusEndpoint, "accept", wait_for_it)

    async with asyncio.timeout(10):
        assert 204 == await _post(twilio, *[status_event()] * 50, inbound_event())
    assert 1 == len(Suppressions(engine).list_())


async def test_twilios_opt_out_type_and_service_count(twilio: Twilio, engine: Engine) -> None:
    """An event has them as a callback has; a blank service is none."""
    await _post(
        twilio,
        inbound_event("nee", optOutType="STOP", messagingServiceSid=SERVICE),
        inbound_event("STOP", messageSid="SM" + "1" * 32, messagingServiceSid=""),
    )

    assert {SERVICE, SENDER} == {each.to_sender for each in Suppressions(engine).list_()}


async def test_a_text_that_cannot_be_stored_is_a_stop_nevertheless(
    twilio: Twilio, engine: Engine
) -> None:
    """JSON can have halves of surrogate pairs, which neither database nor Temporal can store."""
    body = b"please stop texting me \\ud83d \\u0000 \\ud83d\\udc4d"
    document = json.dumps([inbound_event("BODY")]).encode().replace(b"BODY", body)

    assert 204 == (await twilio.post_json(PATH, document)).status_code
    (review,) = InboundMessages(engine).reviews()
    assert "please stop texting me ? \ufffd 👍" == review.body


async def test_nothing_is_acknowledged_that_could_not_be_stored(
    client_without_server: Client, no_database: Engine
) -> None:
    """Without database and Temporal the batch gets a 503, whatever else is in it."""
    twilio = Twilio.calling(
        create_app(
            WITH_EVENTS,
            client=client_without_server,
            engine=no_database,
            signal_timeout=timedelta(milliseconds=50),
            patient_timeout=timedelta(milliseconds=50),
        )
    )

    sent_again = [
        await _post(twilio, inbound_event(), 7),
        await _post(twilio, status_event(), 7),
        await _post(twilio, reassigned_event(), 7),
    ]
    not_sent_again = [await _post(twilio, 7), await _post(twilio, status_event(status="SENT"))]

    assert ([503] * 3, [204] * 2) == (sent_again, not_sent_again)


# Reassigned numbers.


async def test_a_reassigned_number_is_not_sent_to(
    client_without_server: Client, engine: Engine
) -> None:
    """By no sender, whatever a STOP covers: its new holder has agreed to nothing."""
    settings = WITH_EVENTS.model_copy(update={"opt_out_scope": Scope.SENDER})
    twilio = Twilio.calling(create_app(settings, client=client_without_server, engine=engine))

    assert 204 == await _post(twilio, reassigned_event())

    (suppression,) = Suppressions(engine).list_()
    assert (PERSON, Reason.OPTED_OUT, Source.TWILIO_CODE, Scope.EVERYTHING, SENDER) == (
        suppression.recipient,
        suppression.reason,
        suppression.source,
        suppression.scope,
        suppression.to_sender,
    )
    assert (
        "a reassigned number, event "
        "1c70ebe141c2f1062d226c9f80912ab67b778394592219510bc6751c017ab05f, "
        "last verified 2026-08-01"
    ) == suppression.evidence
    (entry,) = Suppressions(engine).history(PERSON)
    assert "reassigned number" == entry.changed_by
    assert 1 == await _counted(twilio, "reassigned_number", "recorded")


async def test_the_new_holder_can_opt_in(twilio: Twilio, engine: Engine) -> None:
    """A later START lifts it, and the event changes nothing when it comes again."""
    detected = reassigned_event(consent_updated_at=_iso(NOW - timedelta(hours=1)))
    await _post(twilio, detected)
    await twilio.inbound("START")
    assert [] == Suppressions(engine).list_()

    assert 204 == await _post(twilio, detected)

    assert [] == Suppressions(engine).list_()
    assert 1 == await _counted(twilio, "reassigned_number", "duplicate")


async def test_opt_ins_end_with_the_reassignment(twilio: Twilio, engine: Engine) -> None:
    """Those of the former holder, in every category; a START does not bring them back."""
    at = NOW - timedelta(hours=2)
    opt_ins = OptIns(engine)
    former, latest = at - timedelta(days=90), at + timedelta(hours=1)
    opt_ins.record_all(
        [
            OptIn(recipient=PERSON, category=category, source="web", opted_in_at=moment)
            for category, moment in (("marketing", former), ("news", former), ("sport", latest))
        ],
        by="test",
    )

    await twilio.inbound("START")
    await _post(twilio, reassigned_event(consent_updated_at=_iso(at)))

    assert [] == Suppressions(engine).list_()
    assert ["sport"] == [each.category for each in opt_ins.list_()]
    withdrawn = opt_ins.list_(include_withdrawn=True)[0]
    assert "reassigned number" == withdrawn.withdrawn_by
    assert "a reassigned number, event" in (withdrawn.withdrawn_because or "")


async def test_what_an_operator_lifted_stays_lifted(twilio: Twilio, engine: Engine) -> None:
    """An event that comes again is no new evidence; another detection is."""
    await _post(twilio, reassigned_event())
    Suppressions(engine).lift(PERSON, source=Source.OPERATOR, evidence="by phone", by="test")

    await _post(twilio, reassigned_event())
    assert [] == Suppressions(engine).list_()
    await _post(twilio, reassigned_event(event_id="another"))
    assert 1 == len(Suppressions(engine).list_())


@pytest.mark.parametrize(("days", "suppressed"), [(1, 1), (3, 0)])
async def test_a_start_before_the_reassignment_was_the_former_holders(
    twilio: Twilio, engine: Engine, days: int, suppressed: int
) -> None:
    """It does not count; one that was sent since then, and came before the event, does."""
    _receive(engine, InboundKind.START, "SM" + "2" * 32, NOW - timedelta(days=2))

    await _post(twilio, reassigned_event(consent_updated_at=_iso(NOW - timedelta(days=days))))

    assert suppressed == len(Suppressions(engine).list_())


@pytest.mark.parametrize("is_event_first", [True, False])
@pytest.mark.parametrize(("sender", "suppressed"), [(SENDER, 0), ("+15005550010", 1)])
async def test_with_opt_outs_by_sender_a_start_counts_for_its_sender(
    client_without_server: Client,
    engine: Engine,
    is_event_first: bool,
    sender: str,
    suppressed: int,
) -> None:
    """Whether the START or the event comes first makes no difference."""
    settings = WITH_EVENTS.model_copy(update={"opt_out_scope": Scope.SENDER})
    twilio = Twilio.calling(create_app(settings, client=client_without_server, engine=engine))
    event = reassigned_event(consent_updated_at=_iso(NOW - timedelta(hours=1)))

    if is_event_first:
        await _post(twilio, event)
    await twilio.inbound("START", To=sender)
    await _post(twilio, event)

    assert suppressed == len(Suppressions(engine).list_())


async def test_a_number_that_is_not_reassigned_stays_as_it_is(
    twilio: Twilio, engine: Engine
) -> None:
    """Twilio's schema has the field, so it may be false."""
    await _post(twilio, reassigned_event(is_reassigned=False))

    assert [] == Suppressions(engine).list_()
    assert 1 == await _counted(twilio, "reassigned_number", "ignored")


async def test_an_unusable_sender_or_date_does_not_matter(twilio: Twilio, engine: Engine) -> None:
    """They only add to the evidence."""
    await _post(twilio, reassigned_event(from_number="a name!", last_verified_date=PERSON))

    (suppression,) = Suppressions(engine).list_()
    assert ("", False) == (suppression.to_sender, PERSON in suppression.evidence)


# Statuses.


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("-", "no_callback_url"),
        ("", "no_callback_url"),
        ("https://hooks.example.com/other?message_id=order-17", "not_ours"),
        ("https://staging.example.com/sms/webhook/status?message_id=order-17", "not_ours"),
        (f"{PUBLIC}/webhook/statuses?message_id=order-17", "not_ours"),
    ],
)
async def test_messages_that_are_not_ours_are_left_alone(
    twilio: Twilio, engine: Engine, url: str, result: str
) -> None:
    """Another application of the account has other callback URLs, perhaps with the same ids."""
    assert 204 == await _post(twilio, status_event(statusCallBackUrl=url))
    assert 1 == await _counted(twilio, "status", result)
    assert 0 == Inbox(engine).backlog().count


async def test_a_receipt_goes_to_the_inbox_without_temporal(twilio: Twilio, engine: Engine) -> None:
    """Once, however often it comes, as event or callback."""
    await _post(twilio, status_event(), status_event())
    await twilio.status("order-17", "delivered")

    (receipt,) = Inbox(engine).lease(limit=10, duration=timedelta(seconds=1))
    assert ("order-17", SID, "delivered") == (
        receipt.message_id,
        receipt.message_sid,
        receipt.message_status,
    )


class TestWithTemporal:
    """Statuses that find their messages."""

    pytestmark = pytest.mark.integration

    @pytest.fixture
    def twilio(self, client: Client, sqlite_engine: Engine) -> Twilio:
        """Twilio, with a sink at a webhook that has Temporal and a database."""
        return Twilio.calling(create_app(WITH_EVENTS, client=client, engine=sqlite_engine))

    async def test_receipts_are_signaled(self, client: Client, twilio: Twilio) -> None:
        """With SID, code and time, in the spelling of the callbacks."""
        message_id = new_message_id()
        message = await open_message(client, message_id)

        assert 204 == await _post(twilio, status_event(message_id, "UNDELIVERED", errorCode=30003))

        (signaled,) = await received(client, message)
        assert (SID, "undelivered", 30003) == (
            signaled.message_sid,
            signaled.message_status,
            signaled.error_code,
        )
        assert 1 == await _counted(twilio, "status", "message")

    async def test_message_ids_are_read_as_they_were_written(
        self, client: Client, twilio: Twilio
    ) -> None:
        """Percent-encoded, with or without the connection overrides behind them."""
        message_id = f"a&b=c/{new_message_id()}#%2F+"
        message = await open_message(client, message_id)
        quoted = httpx.QueryParams({"message_id": message_id})
        url = f"{PUBLIC}/webhook/status?{quoted}"

        await _post(twilio, status_event(statusCallBackUrl=url))
        await _post(twilio, status_event(statusCallBackUrl=f"{url}#rc=5&rp=all"))

        assert 2 == len(await received(client, message))

    async def test_sent_is_acknowledged_and_not_signaled(
        self, client: Client, twilio: Twilio
    ) -> None:
        """It is kept with the recent callbacks, in case the outcome is unknown."""
        message_id = new_message_id()
        message = await open_message(client, message_id)

        assert 204 == await _post(twilio, status_event(message_id, "SENT"))

        assert [] == await received(client, message)
        assert 1 == await metric(twilio.http, "signedfor_webhook_recent_callbacks")
        assert 1 == await _counted(twilio, "status", "acknowledged")

    async def test_a_text_that_cannot_be_stored_waits_in_temporal_nevertheless(
        self, client: Client, no_database: Engine
    ) -> None:
        """Half a surrogate pair, while the database is away."""
        twilio = Twilio.calling(create_app(WITH_EVENTS, client=client, engine=no_database))
        event = inbound_event("please stop texting me \ud83d", messageSid=f"SM{uuid4().hex}")

        assert 204 == await _post(twilio, event)

        workflow = client.get_workflow_handle(
            record_inbound_workflow_id(event["data"]["messageSid"])
        )
        assert WorkflowExecutionStatus.RUNNING is (await workflow.describe()).status
        assert 1 == await _counted(twilio, "inbound", "deferred")

    async def test_a_late_receipt_reaches_the_dead_letter(
        self, client: Client, twilio: Twilio
    ) -> None:
        """An event may come four hours after its status."""
        message_id = new_message_id()
        dead_letter = await open_dead_letter(client, message_id)

        assert 204 == await _post(twilio, status_event(message_id))

        assert ["delivered"] == [
            each.message_status for each in await received(client, dead_letter)
        ]
        assert 1 == await _counted(twilio, "status", "dead_letter")

    async def test_each_event_of_a_large_batch_reaches_its_message(
        self, client: Client, twilio: Twilio
    ) -> None:
        """A batch of 200, newest first and among others, is answered within Twilio's 5 seconds."""
        ids = [new_message_id() for _ in range(20)]
        messages = [await open_message(client, each) for each in ids]
        batch = [
            status_event(each, status, messageSid=f"SM{number:032x}")
            for number, each in enumerate(ids)
            for status in ("DELIVERED", "SENT")
        ]
        foreign = [status_event(statusCallBackUrl="https://x/?id=7") for _ in range(160)]
        started = datetime.now(UTC)

        assert 204 == await _post(twilio, *batch, *foreign)

        assert datetime.now(UTC) - started < timedelta(seconds=5)
        assert [f"SM{number:032x}" for number in range(20)] == [
            signal.message_sid for each in messages for signal in await received(client, each)
        ]
        assert 160 == await _counted(twilio, "status", "not_ours")
