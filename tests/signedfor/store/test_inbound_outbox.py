"""The inbound outbox: what awaits its workflow is leased, and dispatched once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from signedfor.consent import Reason
from signedfor.contract import InboundKind, InboundMedia, InboundMessage, MessageRequest
from signedfor.inbound import InboundRecord
from signedfor.inbound_texts import TextPolicy
from signedfor.store.database import DatabaseUnavailable, open_engine
from signedfor.store.inbound import CLOCK_MARGIN, InboundMessages, Received
from signedfor.store.inbound_outbox import InboundOutbox
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.send_attempts import Claimed, SendAttempts
from signedfor.store.suppressions import Suppressions
from signedfor.twilio.rates import SenderKind

PERSON = "+15558675309"
SENDER = "+15005550006"
SERVICE = "MG0123456789abcdef0123456789abcdef"
OTHER_SENDER = "+15005550001"
RECEIVED = datetime.now(UTC) - timedelta(hours=1)
LEASE = timedelta(minutes=1)
DISPATCHES = TextPolicy(dispatches=True, keeps=True)
PICTURE = InboundMedia(url="https://api.example/ME1", content_type="image/jpeg")


def receive(
    engine: Engine, message_sid: str, *, texts: TextPolicy = DISPATCHES, **fields: Any
) -> None:
    """Store an inbound message."""
    record = InboundRecord(
        **{
            "message_sid": message_sid,
            "from_": PERSON,
            "to": SENDER,
            "kind": InboundKind.OTHER,
            "body": "see you then",
            "received_at": RECEIVED,
            **fields,
        }
    )
    assert InboundMessages(engine, texts=texts).receive(record)


def outbox(engine: Engine, *, keeps_texts: bool = True) -> InboundOutbox:
    """The outbox of this database."""
    return InboundOutbox(engine, keeps_texts=keeps_texts)


def leased(box: InboundOutbox, *, limit: int = 100) -> list[str]:
    """The SIDs of the messages that are leased now."""
    return [each.message_sid for each in box.lease(limit=limit, duration=LEASE)]


def test_the_workflow_receives_what_the_person_sent(engine: Engine) -> None:
    """Text, media, both addresses, service, kind and time."""
    receive(engine, "SM1", messaging_service_sid=SERVICE, media=(PICTURE,), kind=InboundKind.YES)

    assert [
        InboundMessage(
            message_sid="SM1",
            from_=PERSON,
            to=SENDER,
            messaging_service_sid=SERVICE,
            text="see you then",
            media=(PICTURE,),
            kind=InboundKind.YES,
            received_at=RECEIVED,
            last_message_id=None,
        )
    ] == outbox(engine).lease(limit=1, duration=LEASE)


@pytest.mark.parametrize("kind", InboundKind)
def test_messages_of_every_kind_await_their_workflow(engine: Engine, kind: InboundKind) -> None:
    """Also a STOP, which is in force when the workflow starts."""
    receive(engine, "SM1", kind=kind)

    assert ["SM1"] == leased(outbox(engine))
    opt_outs = Suppressions(engine).list_(reason=Reason.OPTED_OUT)
    assert (kind is InboundKind.STOP) == bool(opt_outs)


def test_without_a_workflow_nothing_waits(engine: Engine) -> None:
    """Nor does a message that came before one was configured."""
    receive(engine, "SM1", texts=TextPolicy(keeps=True))

    assert [] == leased(outbox(engine))
    assert 0 == outbox(engine).backlog().count


def test_a_leased_message_is_not_leased_again(engine: Engine) -> None:
    """Another process gets the others, oldest first."""
    for number in range(5):
        receive(engine, f"SM{number}", received_at=RECEIVED + timedelta(seconds=-number))
    box = outbox(engine)

    assert ["SM4", "SM3", "SM2"] == leased(box, limit=3)
    assert ["SM1", "SM0"] == leased(box)
    assert [] == leased(box)


def test_an_expired_lease_is_given_to_another(engine: Engine) -> None:
    """The process that had it is dead, or slow."""
    receive(engine, "SM1")
    box = outbox(engine)
    box.lease(limit=1, duration=timedelta(0))

    assert ["SM1"] == leased(box)


def test_a_started_message_leaves_the_outbox(engine: Engine) -> None:
    """Only its time stays; a late report of another process changes nothing."""
    receive(engine, "SM1")
    box = outbox(engine)
    box.lease(limit=1, duration=timedelta(0))
    box.settle(started=["SM1"])
    box.settle(postponed={"SM1": timedelta(0)})

    assert [] == leased(box)
    assert 0 == box.backlog().count
    [listed] = InboundMessages(engine).list_()
    assert not listed.awaits_dispatch
    assert listed.dispatched_at is not None
    assert "see you then" == listed.text


def test_a_postponed_message_waits(engine: Engine) -> None:
    """Others do not wait behind it."""
    receive(engine, "SM1")
    receive(engine, "SM2", received_at=RECEIVED + timedelta(seconds=1))
    box = outbox(engine)
    leased(box)
    box.settle(postponed={"SM1": timedelta(minutes=1), "SM2": timedelta(0)})

    assert ["SM2"] == leased(box)
    assert (2, RECEIVED) == (box.backlog().count, box.backlog().oldest)


@pytest.mark.parametrize(
    ("kind", "text"), [(InboundKind.OTHER, None), (InboundKind.REVIEW, "see you then")]
)
def test_a_text_that_is_not_kept_is_deleted_with_its_dispatch(
    engine: Engine, kind: InboundKind, text: str | None
) -> None:
    """Unless a person has to read it; the other message, not dispatched yet, keeps its text."""
    texts = TextPolicy(dispatches=True, keeps=False)
    receive(engine, "SM1", kind=kind, media=(PICTURE,), texts=texts)
    receive(engine, "SM2", texts=texts)
    box = outbox(engine, keeps_texts=False)
    leased(box)
    box.settle(started=["SM1"])

    listed = {each.message_sid: each for each in InboundMessages(engine).list_()}
    assert (text, "see you then") == (listed["SM1"].text, listed["SM2"].text)
    assert bool(text) == bool(listed["SM1"].media)


def test_an_unreachable_database_raises_an_error() -> None:
    """The caller tries again."""
    with pytest.raises(DatabaseUnavailable):
        leased(outbox(open_engine("postgresql://user@127.0.0.1:1/name")))


# --- The last message to the person ---------------------------------------------------------


def _claim(
    engine: Engine, message_id: str, *, before: timedelta, to: str = PERSON, sender: str = SENDER
) -> SendAttempts:
    limiter = RateLimiter(engine, rates=dict.fromkeys(SenderKind, 100_000.0))
    attempts = SendAttempts(engine, limiter, now=lambda: RECEIVED - before)
    claimed = attempts.claim(message_id, MessageRequest(to=to, body="x"), sender=sender)
    assert isinstance(claimed, Claimed)
    return attempts


def _last_message_id(engine: Engine, **fields: Any) -> str | None:
    receive(engine, "SM1", **fields)
    [message] = outbox(engine).lease(limit=1, duration=LEASE)
    return message.last_message_id


_MINUTE = timedelta(minutes=1)


def test_the_last_message_is_the_newest_before_the_reply(engine: Engine) -> None:
    """The clocks may differ a little; a message that was sent clearly later is not answered."""
    _claim(engine, "first", before=2 * _MINUTE)
    _claim(engine, "second", before=-CLOCK_MARGIN)
    _claim(engine, "later", before=-CLOCK_MARGIN - timedelta(seconds=1))

    assert "second" == _last_message_id(engine)


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        ({"sender": SERVICE}, {"messaging_service_sid": SERVICE}),
        ({}, {"messaging_service_sid": SERVICE}),
        (
            {"to": f"whatsapp:{PERSON}", "sender": f"whatsapp:{SENDER}"},
            {"from_": f"whatsapp:{PERSON}", "to": f"whatsapp:{SENDER}"},
        ),
        # WhatsApp's id lacks the ninth digit.
        (
            {"to": "whatsapp:+5511961234567", "sender": f"whatsapp:{SENDER}"},
            {"from_": "whatsapp:+551161234567", "to": f"whatsapp:{SENDER}"},
        ),
    ],
)
def test_the_last_message_came_from_the_number_or_its_service(
    engine: Engine, sent: dict[str, str], reply: dict[str, str]
) -> None:
    """On the same channel."""
    _claim(engine, "m1", before=_MINUTE, **sent)

    assert "m1" == _last_message_id(engine, **reply)


@pytest.mark.parametrize(
    "sent", [{"sender": OTHER_SENDER}, {"sender": SERVICE}, {"to": "+15558675310"}]
)
def test_a_message_of_another_sender_or_to_another_person_is_not_the_last(
    engine: Engine, sent: dict[str, str]
) -> None:
    """The person answers what they have."""
    _claim(engine, "m1", before=_MINUTE, **sent)

    assert None is _last_message_id(engine)


def test_a_refused_message_is_not_the_last(engine: Engine) -> None:
    """The person never got it."""
    _claim(engine, "m1", before=2 * _MINUTE)
    _claim(engine, "m2", before=_MINUTE).refuse("m2", 1, 1)

    assert "m1" == _last_message_id(engine)


def test_the_sender_of_the_last_attempt_counts(engine: Engine) -> None:
    """A message whose first attempt was refused may be sent from another default sender."""
    _claim(engine, "m1", before=2 * _MINUTE, sender=OTHER_SENDER).refuse("m1", 1, 1)
    _claim(engine, "m1", before=_MINUTE)

    assert "m1" == _last_message_id(engine)


# --- What came, and how long its text is kept -----------------------------------------------


def _listed(engine: Engine, **filters: Any) -> list[str]:
    return [each.message_sid for each in InboundMessages(engine).list_(**filters)]


def test_what_came_is_listed_newest_first(engine: Engine) -> None:
    """All, by kind, of a time, and those that await their workflow."""
    receive(engine, "SM1", received_at=RECEIVED - timedelta(days=1))
    receive(engine, "SM2", kind=InboundKind.HELP)
    receive(engine, "SM3", received_at=RECEIVED + _MINUTE)
    outbox(engine).settle(started=["SM3"])

    assert ["SM3", "SM2", "SM1"] == _listed(engine)
    assert ["SM3", "SM2"] == _listed(engine, limit=2)
    assert ["SM2"] == _listed(engine, kind=InboundKind.HELP)
    assert ["SM3", "SM2"] == _listed(engine, since=RECEIVED)
    assert ["SM2", "SM1"] == _listed(engine, undispatched_only=True)


def test_the_repr_of_a_message_has_no_number_and_no_text(engine: Engine) -> None:
    """It may get into a log; so may what the workflow receives."""
    receive(engine, "SM1")
    shown: list[Received | InboundMessage] = [
        *InboundMessages(engine).list_(),
        *outbox(engine).lease(limit=1, duration=LEASE),
    ]

    assert 2 == len(shown)
    assert not any(secret in repr(shown) for secret in (PERSON, SENDER, "see you"))


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        (TextPolicy(), None),
        (TextPolicy(keeps=True), "see you then"),
        (TextPolicy(dispatches=True), "see you then"),
    ],
)
def test_a_text_is_stored_if_it_is_kept_or_dispatched(
    engine: Engine, texts: TextPolicy, text: str | None
) -> None:
    """Otherwise only that there was a message; so it is with its media."""
    receive(engine, "SM1", texts=texts, media=(PICTURE,))

    [listed] = InboundMessages(engine).list_()
    assert (text, () if text is None else (PICTURE,)) == (listed.text, listed.media)


def test_old_texts_are_purged(engine: Engine) -> None:
    """The message stays. So does a text that was not dispatched or not read yet, or is newer."""
    keeps = TextPolicy(keeps=True)
    receive(engine, "old", texts=keeps, media=(PICTURE,))
    receive(engine, "awaits dispatch")
    receive(engine, "awaits review", texts=keeps, kind=InboundKind.REVIEW)
    receive(engine, "reviewed", texts=keeps, kind=InboundKind.REVIEW)
    receive(engine, "new", texts=keeps, received_at=RECEIVED + _MINUTE)
    inbound = InboundMessages(engine)
    assert inbound.decide("reviewed", is_opt_out=False, by="ops")

    purged = [inbound.purge_texts(before=RECEIVED + timedelta(seconds=1)) for _ in range(2)]

    assert [2, 0] == purged
    listed = {each.message_sid: each.text is not None for each in inbound.list_()}
    assert {
        "old": False,
        "awaits dispatch": True,
        "awaits review": True,
        "reviewed": False,
        "new": True,
    } == listed
    assert () == next(each.media for each in inbound.list_() if each.message_sid == "old")
