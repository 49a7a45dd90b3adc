"""Erasing a person from the database: what is deleted, and what still holds by a pseudonym."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select, text

from signedfor.consent import OptIn, Reason, Scope, Source, Suppression
from signedfor.contract import DeliveryStatus, InboundKind, MessageRequest
from signedfor.inbound import InboundRecord
from signedfor.inbound_texts import TextPolicy
from signedfor.message_limits import parse_rules
from signedfor.store.campaign_uploads import CampaignUploads
from signedfor.store.campaigns import CampaignRow, Campaigns
from signedfor.store.claim_statements import Blocked
from signedfor.store.database import transaction
from signedfor.store.dead_letter_index import DeadLetterIndex
from signedfor.store.erasure import Erasure
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.inbound import InboundMessages
from signedfor.store.inbox import Inbox
from signedfor.store.message_index import IndexedMessage, MessageIndex
from signedfor.store.opt_ins import OptIns
from signedfor.store.people import People
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.reassignments import Reassignment, Reassignments
from signedfor.store.send_attempts import Claimed, ClaimHeld, SendAttempts, count_recent_attempts
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import metadata
from signedfor.twilio.rates import SenderKind
from tests.signedfor.campaigns.support import message
from tests.signedfor.store.indexed_messages import open_letter

PERSON = "+15558675309"
WHATSAPP = f"whatsapp:{PERSON}"
OTHER = "+15558675310"
SENDER = "+15005550006"
MEXICAN, MEXICAN_OF_OLD = "+525512345678", "+5215512345678"
NOW = datetime.now(UTC)


def _attempts(engine: Engine) -> SendAttempts:
    rates = dict.fromkeys(SenderKind, 100_000.0)
    limits = parse_rules("person=5/24h,person=9/7d,tenant=9/1h")
    return SendAttempts(engine, RateLimiter(engine, rates=rates), limits=limits)


def _claim(engine: Engine, message_id: str, to: str, **options: Any) -> Any:
    request = MessageRequest(to=to, body="x", category="news")
    return _attempts(engine).claim(message_id, request, sender=SENDER, **options)


def _inbound(engine: Engine, sid: str, kind: InboundKind, from_: str = PERSON) -> None:
    InboundMessages(engine, texts=TextPolicy(keeps=True, dispatches=True)).receive(
        InboundRecord(
            message_sid=sid,
            from_=from_,
            to=SENDER,
            kind=kind,
            body=f"I am {from_}",
            received_at=NOW,
        )
    )


def _fill(engine: Engine, to: str, name: str) -> None:
    """One of everything, of one person."""
    _claim(engine, f"{name}-sent", to)
    MessageIndex(engine).put(
        [
            IndexedMessage(
                message_id=f"{name}-{each}",
                run_id="r",
                started_at=NOW,
                closed_at=None,
                status="sending",
                sender=None,
                person=People(engine).reference(to),
            )
            for each in ("sent", "waits")
        ]
    )
    DeadLetterIndex(engine).put([open_letter(message_id=f"{name}-sent")])
    status = DeliveryStatus(message_sid="SM" + "0" * 32, message_status="sent", received_at=NOW)
    Inbox(engine).put([(f"{name}-waits", status)])
    request = MessageRequest(to=to, body="x")
    HeldBackMessages(engine).record(f"{name}-held", request, sender=SENDER, because=None)
    campaigns = Campaigns(engine)
    campaigns.create(f"c-{name}", message(), ["to"])
    campaigns.add_rows(
        f"c-{name}",
        [
            CampaignRow(number=n, to=number, fields={"a": number}, segments=1, cells=(number,))
            for n, number in enumerate(("+15550000001", to, "+15550000002"), 1)
        ],
    )
    campaigns.finish_loading(f"c-{name}", rows=3, segments=3)
    for reason, recipient in (
        (Reason.OPTED_OUT, to),
        (Reason.MANUAL, f"whatsapp:{to}"),
        (Reason.UNDELIVERABLE, to),
    ):
        Suppressions(engine).record(
            Suppression(
                recipient=recipient, reason=reason, source=Source.OPERATOR, evidence=f"said {to}"
            ),
            by="test",
        )
    OptIns(engine).record_all([OptIn(recipient=to, category="news", source="form")], by="test")
    for sid, kind in (("other", InboundKind.OTHER), ("review", InboundKind.REVIEW)):
        _inbound(engine, f"SM-{name}-{sid}", kind, from_=to)
    CampaignUploads(engine).add(
        # The number is in two of the parts in which the file is stored.
        io.BytesIO(b"x" * ((1 << 20) - 8) + f"({to[2:5]}) {to[5:8]}-{to[8:]}".encode()),
        message(),
        to_column="to",
        campaign_id=None,
        by="test",
    )


def _erase(engine: Engine, recipient: str) -> Erasure:
    erasure = Erasure(engine, recipient)
    found = erasure.find()
    erasure.hold(found)
    erasure.finish(found, by="test")
    return erasure


def _dump(engine: Engine) -> str:
    """Everything that the database shows."""
    with transaction(engine, read_only=True) as connection:
        return repr([connection.execute(select(each)).all() for each in metadata.sorted_tables])


@pytest.mark.parametrize("as_typed", [PERSON, WHATSAPP])
def test_nothing_shows_the_number_any_more(engine: Engine, as_typed: str) -> None:
    """On whatever channel, and whichever of the addresses was given."""
    _fill(engine, PERSON, "p")
    _fill(engine, OTHER, "o")
    others = _dump_of(engine, OTHER)

    erasure = Erasure(engine, as_typed)
    found = erasure.find()
    assert {"p-sent", "p-waits", "p-held", "c-p:2"} == found.message_ids
    assert {"SM-p-other", "SM-p-review"} == found.inbound_sids
    assert {
        "campaign_rows": 1,
        "campaign_uploads": 1,
        "dead_letter_index": 1,
        "held_back_messages": 1,
        "inbound_messages": 2,
        "inbox": 1,
        "limit_usage": 2,
        "message_index": 2,
        "opt_ins": 1,
        "send_attempts": 1,
        "suppression_history": 4,
        "suppressions": 4,
    } == found.counts
    erasure.hold(found)
    assert found == erasure.find()
    erasure.finish(found, by="test")

    shown = _dump(engine)
    assert PERSON[1:] not in shown
    assert erasure.find().is_nothing
    assert others == _dump_of(engine, OTHER)


def _dump_of(engine: Engine, person: str) -> Any:
    """What there is of a person, by the means of each store."""
    return (
        Erasure(engine, person).find(),
        Suppressions(engine).of(person),
        Suppressions(engine).history(person),
        OptIns(engine).list_(recipient=person),
        HeldBackMessages(engine).of(person),
        [each for each in InboundMessages(engine).list_() if each.from_ == person],
    )


def test_an_opt_out_still_holds_and_can_still_be_lifted(engine: Engine) -> None:
    """On every channel, in the claim itself; a START ends it as before."""
    Suppressions(engine).record(
        Suppression(
            recipient=PERSON, reason=Reason.OPTED_OUT, source=Source.INBOUND, to_sender=SENDER
        ),
        by="test",
    )

    _erase(engine, PERSON)

    for each in (PERSON, WHATSAPP):
        assert Blocked.SUPPRESSED == _claim(engine, f"m {each}", each)
        assert {each} == Suppressions(engine).find_suppressed(
            [each, OTHER], sender=SENDER, category=None
        )
    assert isinstance(_claim(engine, "m", OTHER), Claimed)
    with transaction(engine) as connection:
        InboundMessages(engine).receive(
            InboundRecord(
                message_sid="SM9",
                from_=PERSON,
                to=SENDER,
                kind=InboundKind.START,
                received_at=datetime.now(UTC) + timedelta(minutes=1),
            ),
            connection=connection,
        )
    assert isinstance(_claim(engine, "again", PERSON), Claimed)


@pytest.mark.parametrize(
    ("reason", "recipient", "suppressed"),
    [
        (Reason.UNDELIVERABLE, PERSON, {PERSON}),
        (Reason.MANUAL, PERSON, {PERSON, WHATSAPP}),
        (Reason.MANUAL, WHATSAPP, {WHATSAPP}),
        (Reason.OPTED_OUT, PERSON, {PERSON, WHATSAPP}),
    ],
)
def test_it_covers_what_it_covered_before(
    engine: Engine, reason: Reason, recipient: str, suppressed: set[str]
) -> None:
    """A number that cannot be reached says nothing about other channels."""
    suppressions = Suppressions(engine)
    suppressions.record(
        Suppression(recipient=recipient, reason=reason, source=Source.OPERATOR), by="test"
    )

    def covered() -> set[str]:
        found = suppressions.find_suppressed([PERSON, WHATSAPP, OTHER], sender=None, category=None)
        assert found == {
            each
            for each in (PERSON, WHATSAPP, OTHER)
            if suppressions.find(each, sender=None, category=None)
        }
        return set(found)

    assert suppressed == covered()
    _erase(engine, PERSON)
    assert suppressed == covered()
    assert 1 == suppressions.lift(recipient, source=Source.OPERATOR, evidence="", by="test")
    assert set() == covered()


def test_somebody_who_opts_out_again_can_be_erased_again(engine: Engine) -> None:
    """One suppression stands, with the newer evidence."""

    def opt_out(sid: str, minutes: int) -> None:
        suppression = Suppression(
            recipient=PERSON,
            reason=Reason.OPTED_OUT,
            source=Source.INBOUND,
            to_sender=SENDER,
            evidence=sid,
            created_at=NOW + timedelta(minutes=minutes),
        )
        Suppressions(engine).renew(suppression, by="test")

    opt_out("SM1", 0)
    _erase(engine, PERSON)
    opt_out("SM2", 1)
    _erase(engine, PERSON)

    (standing,) = Suppressions(engine).of(PERSON)
    assert "SM2" == standing.evidence
    assert ["SM1", "SM2"] == [each.evidence for each in Suppressions(engine).history(PERSON)]


def test_old_ways_to_write_a_number_are_the_same_person(engine: Engine) -> None:
    """Mexico's numbers had another digit; both have the same pseudonym."""
    _claim(engine, "old", MEXICAN_OF_OLD)
    for recipient in (MEXICAN, MEXICAN_OF_OLD):
        Suppressions(engine).record(
            Suppression(recipient=recipient, reason=Reason.MANUAL, source=Source.OPERATOR), by="x"
        )
    assert {"old"} == Erasure(engine, MEXICAN).find().message_ids
    _erase(engine, MEXICAN)

    assert MEXICAN[-8:] not in _dump(engine)
    assert 1 == len(Suppressions(engine).of(MEXICAN_OF_OLD))
    assert Blocked.SUPPRESSED == _claim(engine, "new", MEXICAN)


def test_the_ids_of_erased_messages_send_nothing_again(engine: Engine) -> None:
    """No submission of theirs can be claimed, and none counts as an attempt of a campaign."""
    assert isinstance(_claim(engine, "c:1", PERSON), Claimed)
    _attempts(engine).refuse("c:1", 1, 1)
    _erase(engine, PERSON)

    for submission in (1, 2, 7):
        assert isinstance(_claim(engine, "c:1", PERSON, submission=submission), ClaimHeld)
    assert 0 == count_recent_attempts(engine, "c:", within=timedelta(hours=1))
    assert isinstance(_claim(engine, "c:2", PERSON), Claimed)


def test_a_message_that_is_blocked_is_not_claimed(engine: Engine) -> None:
    """Also one that nobody has tried to send yet."""
    Erasure(engine, PERSON).block(["m"])
    Erasure(engine, PERSON).block(["m"])

    assert isinstance(_claim(engine, "m", PERSON), ClaimHeld)


def test_what_is_held_is_neither_sent_nor_started_nor_read(engine: Engine) -> None:
    """But it can still be found: what comes next may fail."""
    _fill(engine, PERSON, "p")
    erasure = Erasure(engine, PERSON)
    found = erasure.find()
    erasure.hold(found)

    assert ["+15550000001", erasure.reference, "+15550000002"] == [
        each.to for each in Campaigns(engine).page("c-p", after=0, limit=9)
    ]
    inbound = InboundMessages(engine)
    assert {(None, False)} == {(each.text, each.awaits_dispatch) for each in inbound.list_()}
    assert 0 == inbound.pending_reviews().count
    assert found == Erasure(engine, PERSON).find()


def test_an_event_that_twilio_repeats_changes_nothing_after_the_erasure(engine: Engine) -> None:
    """A reassigned number, for instance, whose opt-out was lifted since."""
    event = Reassignment(recipient=PERSON, sender=SENDER, at=NOW, evidence="event 1")
    reassignments = Reassignments(engine, scope=Scope.EVERYTHING)
    reassignments.receive(event)
    Suppressions(engine).lift(PERSON, source=Source.OPERATOR, evidence="", by="test")

    _erase(engine, PERSON)

    assert not reassignments.receive(event)
    assert [] == Suppressions(engine).of(PERSON)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE suppression_history SET recipient = '+15550000000'",
        "UPDATE suppression_history SET recipient = '{pseudonym}', changed_by = 'x'",
        "UPDATE suppression_history SET recipient = '{pseudonym}', evidence = 'x'",
        "UPDATE suppression_history SET evidence = '[erased]'",
        "DELETE FROM suppression_history",
    ],
)
def test_the_history_allows_no_other_change(engine: Engine, statement: str) -> None:
    """A pseudonym can only take the place of an address, once, and nothing else changes."""
    Suppressions(engine).record(
        Suppression(recipient=PERSON, reason=Reason.MANUAL, source=Source.OPERATOR), by="test"
    )
    allowed = "UPDATE suppression_history SET recipient = '{pseudonym}'"
    pseudonym = People(engine).pseudonym(WHATSAPP)

    with pytest.raises(Exception, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement.format(pseudonym=pseudonym)))
    with engine.begin() as connection:
        connection.execute(text(allowed.format(pseudonym=pseudonym)))
    with pytest.raises(Exception, match="append-only"), engine.begin() as connection:
        connection.execute(text(allowed.format(pseudonym=People(engine).pseudonym(OTHER))))
