import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import Engine, event, func, select, update
from temporalio.client import Client

from signedfor.consent import Reason, Scope, Source
from signedfor.contract import InboundKind
from signedfor.inbound import InboundRecord
from signedfor.store.database import open_engine, transaction
from signedfor.store.inbound import InboundMessages
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import inbound_messages, suppressions
from tests.webhook.support import (
    PERSON,
    SENDER,
    SETTINGS,
    SID,
    Twilio,
    inbound_fields,
    metric,
)
from webhook.app import create_app
from webhook.resilience import MAX_TRANSACTIONS, max_transactions

SERVICE = "MG" + "d" * 32


@pytest.fixture
async def twilio(client_without_server: Client, engine: Engine) -> AsyncIterator[Twilio]:
    """Twilio, calling a webhook that has a database of either kind and no Temporal."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))
    yield twilio
    await twilio.http.aclose()


async def _counted(twilio: Twilio, **labels: str) -> float:
    return await metric(twilio.http, "signedfor_webhook_inbound_messages_total", **labels)


def _stored(engine: Engine) -> int:
    with transaction(engine, read_only=True) as connection:
        return connection.execute(select(func.count()).select_from(inbound_messages)).scalar_one()


async def test_the_response_is_empty_twiml(twilio: Twilio) -> None:
    """Twilio would send plain text, or anything else in the document, to the person."""
    response = await twilio.inbound("hello")

    assert 200 == response.status_code
    assert "text/xml" == response.headers["content-type"].partition(";")[0]
    document = ET.fromstring(response.content)  # noqa: S314 - our own response
    assert ("Response", 0, None) == (document.tag, len(document), document.text)
    assert response.content.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')


async def test_a_stop_suppresses_before_the_response(twilio: Twilio, engine: Engine) -> None:
    """When the response is sent, the person is suppressed, with the message as evidence."""
    await twilio.inbound("Stop.")

    (suppression,) = Suppressions(engine).list_()
    assert (PERSON, Reason.OPTED_OUT, Source.INBOUND, Scope.EVERYTHING, SID) == (
        suppression.recipient,
        suppression.reason,
        suppression.source,
        suppression.scope,
        suppression.evidence,
    )
    assert 1 == await _counted(twilio, kind="stop", result="recorded")


def _stop_a_minute_ago(engine: Engine, message_sid: str) -> None:
    InboundMessages(engine).receive(
        InboundRecord(
            message_sid=message_sid,
            from_=PERSON,
            to=SENDER,
            kind=InboundKind.STOP,
            received_at=datetime.now(UTC) - timedelta(minutes=1),
        )
    )


async def test_a_start_lifts_the_opt_out(twilio: Twilio, engine: Engine) -> None:
    """After STOP and START there is no suppression."""
    _stop_a_minute_ago(engine, "SM" + "1" * 32)
    await twilio.inbound("start", MessageSid="SM" + "2" * 32)

    assert [] == Suppressions(engine).list_()


async def test_a_repeated_callback_changes_nothing(twilio: Twilio, engine: Engine) -> None:
    """A STOP that Twilio delivers again after a START does not opt the person out again."""
    stop = {"body": "STOP", "MessageSid": "SM" + "1" * 32}
    _stop_a_minute_ago(engine, stop["MessageSid"])
    await twilio.inbound("START", MessageSid="SM" + "2" * 32)

    response = await twilio.inbound(**stop)

    assert 200 == response.status_code
    assert [] == Suppressions(engine).list_()
    assert 2 == len(Suppressions(engine).history(PERSON))
    assert 1 == await _counted(twilio, kind="stop", result="duplicate")


async def test_concurrent_copies_of_a_message_count_once(twilio: Twilio, engine: Engine) -> None:
    """They are recorded once, and all get a 200."""
    responses = await asyncio.gather(*(twilio.inbound("STOP") for _ in range(20)))

    assert {200} == {response.status_code for response in responses}
    assert (1, 1) == (_stored(engine), len(Suppressions(engine).list_()))
    assert 1 == await _counted(twilio, kind="stop", result="recorded")


async def test_twilios_opt_out_type_decides(twilio: Twilio, engine: Engine) -> None:
    """The language of the text does not matter."""
    await twilio.inbound("ARRET", OptOutType="STOP")

    assert 1 == len(Suppressions(engine).list_())


async def test_the_scope_of_an_opt_out_can_be_configured(
    client_without_server: Client, engine: Engine
) -> None:
    """With the scope `sender` a STOP covers the Messaging Service that it was sent to."""
    settings = SETTINGS.model_copy(update={"opt_out_scope": Scope.SENDER})
    twilio = Twilio.calling(create_app(settings, client=client_without_server, engine=engine))

    await twilio.inbound("STOP", MessagingServiceSid=SERVICE)

    (suppression,) = Suppressions(engine).list_()
    assert (Scope.SENDER, SERVICE) == (suppression.scope, suppression.scope_value)


async def test_channel_addresses_are_the_same_person(twilio: Twilio, engine: Engine) -> None:
    """A STOP on WhatsApp opts the person out on all channels."""
    await twilio.inbound("STOP", From=f"whatsapp:{PERSON}", To=f"whatsapp:{SENDER}")

    assert [PERSON] == [each.recipient for each in Suppressions(engine).list_()]


USER = "whatsapp:US.13491208655302741918"
PARENT = "whatsapp:US.ENT.11815799212886844830"


async def test_a_whatsapp_user_id_is_a_person(twilio: Twilio, engine: Engine) -> None:
    """Of a person who hides the number, Twilio gives the user id; a STOP of theirs counts."""
    response = await twilio.inbound(
        "STOP", From=USER, To=f"whatsapp:{SENDER}", ExternalUserId=USER, WaId=""
    )

    assert 200 == response.status_code
    assert [USER] == [each.recipient for each in Suppressions(engine).list_()]
    assert 1 == await _counted(twilio, kind="stop", result="recorded")


@pytest.mark.parametrize(
    ("fields", "people"),
    [
        ({"From": f"whatsapp:{PERSON}", "ExternalUserId": USER}, {PERSON, USER}),
        ({"From": f"whatsapp:{PERSON}", "ExternalUserId": USER[9:]}, {PERSON, USER}),
        (
            {
                "From": f"whatsapp:{PERSON}",
                "WaId": PERSON[1:],
                "ExternalUserId": USER,
                "ParentExternalUserId": PARENT,
            },
            {PERSON, USER, PARENT},
        ),
        ({"From": USER, "ExternalUserId": USER, "WaId": PERSON[1:]}, {PERSON, USER}),
        ({"From": USER, "ExternalUserId": USER, "WaId": USER[9:]}, {USER}),
        ({"From": f"whatsapp:{PERSON}", "ExternalUserId": "?"}, {PERSON}),
        ({"From": PERSON, "ExternalUserId": USER}, {PERSON}),
    ],
)
async def test_a_number_and_its_whatsapp_user_id_are_one_person(
    twilio: Twilio, engine: Engine, fields: dict[str, str], people: set[str]
) -> None:
    """A STOP covers both, a START lifts both; an id that cannot be read changes nothing else."""
    fields = {"To": f"whatsapp:{SENDER}", **fields}
    stopped = await twilio.inbound("STOP", MessageSid="SM" + "1" * 32, **fields)
    suppressed = {each.recipient for each in Suppressions(engine).list_()}
    with transaction(engine) as connection:
        connection.execute(
            update(suppressions).values(created_at=datetime.now(UTC) - timedelta(minutes=1))
        )
    started = await twilio.inbound("START", MessageSid="SM" + "2" * 32, **fields)

    assert {200} == {stopped.status_code, started.status_code}
    assert people == suppressed
    assert [] == Suppressions(engine).list_()


async def test_a_phrase_with_a_stop_word_is_stored_for_review(
    twilio: Twilio, engine: Engine
) -> None:
    """The whole text is stored; characters that a database cannot store are replaced."""
    await twilio.inbound("please stop texting me \x00 👍")

    (review,) = InboundMessages(engine).reviews()
    assert ("please stop texting me \ufffd 👍", PERSON) == (review.body, review.from_)
    [found] = Suppressions(engine).list_()
    assert (Reason.REVIEW, Scope.CATEGORY, "marketing") == (
        *(found.reason, found.scope, found.scope_value),
    )


async def test_what_a_review_suppresses_can_be_configured(
    client_without_server: Client, engine: Engine
) -> None:
    """It is in force before the webhook answers."""
    settings = SETTINGS.model_copy(update={"review_suppresses": ("all",)})
    twilio = Twilio.calling(create_app(settings, client=client_without_server, engine=engine))

    await twilio.inbound("please stop texting me")

    found = Suppressions(engine).find(PERSON, sender=SENDER, category=None)
    assert found is not None
    assert Reason.REVIEW is found.reason


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        pytest.param({"Body": "HELP"}, "help", id="help"),
        pytest.param({"Body": "See you then"}, "other", id="text"),
        pytest.param({"Body": "", "NumMedia": "1", "MediaUrl0": "https://x"}, "other", id="media"),
        pytest.param({"Body": "-"}, "other", id="no body"),
        pytest.param({"Body": "x" * 4096}, "other", id="long WhatsApp text"),
        pytest.param({"To": "12345"}, "other", id="to a short code"),
        pytest.param({"SmsSid": "-", "SmsMessageSid": "-"}, "other", id="no aliases"),
        pytest.param({"MessagingServiceSid": ""}, "other", id="blank service"),
    ],
)
async def test_other_messages_are_recorded_without_a_suppression(
    twilio: Twilio, engine: Engine, fields: dict[str, str], kind: str
) -> None:
    """These are HELP, which Twilio answers itself, ordinary texts and media."""
    response = await twilio.post("/webhook/inbound", inbound_fields(**fields))

    assert 200 == response.status_code
    assert 1 == await _counted(twilio, kind=kind, result="recorded")
    assert (1, []) == (_stored(engine), Suppressions(engine).list_())


@pytest.mark.parametrize("sender", ["72345", "ACME", "A-Name 24"])
async def test_messages_from_short_codes_and_names_are_only_counted(
    twilio: Twilio, engine: Engine, sender: str
) -> None:
    """Nothing can be sent to them, so there is nothing to suppress."""
    response = await twilio.inbound("STOP", From=sender)

    assert 200 == response.status_code
    assert 1 == await _counted(twilio, kind="stop", result="no_recipient")
    assert (0, []) == (_stored(engine), Suppressions(engine).list_())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        pytest.param({"MessageSid": "-"}, "MessageSid", id="no sid"),
        pytest.param({"MessageSid": "SM" + "g" * 32}, "MessageSid", id="bad sid"),
        pytest.param({"SmsSid": "SM" + "c" * 32}, "SmsSid", id="alias"),
        pytest.param({"SmsMessageSid": "SM" + "c" * 32}, "SmsMessageSid", id="other alias"),
        pytest.param({"From": "-"}, "From", id="no from"),
        pytest.param({"From": "5558675309"}, "From", id="from without plus"),
        pytest.param({"From": "+1555867530x"}, "From", id="from with letter"),
        pytest.param({"From": "x" * 65}, "From", id="long from"),
        pytest.param({"To": "-"}, "To", id="no to"),
        pytest.param({"To": "+0555867530"}, "To", id="bad to"),
        pytest.param({"MessagingServiceSid": "MG1"}, "MessagingServiceSid", id="bad service"),
    ],
)
async def test_a_malformed_message_is_a_bad_request(
    twilio: Twilio, engine: Engine, fields: dict[str, str], named: str
) -> None:
    """Even if it is signed; the response names the field but not its value."""
    response = await twilio.inbound("STOP", **fields)

    assert 400 == response.status_code
    assert named in response.json()["detail"]
    assert not any(value in response.text for value in fields.values() if len(value) > 3)
    assert (0, []) == (_stored(engine), Suppressions(engine).list_())


async def test_an_unsigned_stop_is_refused(twilio: Twilio, engine: Engine) -> None:
    """Only Twilio can opt a person out."""
    attacker = Twilio(http=twilio.http, token="wrong-token")

    response = await attacker.inbound("STOP")

    assert (403, 0) == (response.status_code, _stored(engine))


async def test_the_response_is_503_while_the_database_is_locked(
    client_without_server: Client, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Temporal is down too. Twilio retries, and the database is tried again at once."""
    engine = open_engine(sqlite_url, lock_wait_seconds=0.1)
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    refused = await twilio.inbound("STOP")
    holder.execute("ROLLBACK")
    holder.close()
    accepted = await twilio.inbound("STOP")

    assert [503, 200] == [refused.status_code, accepted.status_code]
    assert 1 == await _counted(twilio, kind="stop", result="unavailable")
    assert 1 == len(Suppressions(engine).list_())
    assert "could not be recorded" in caplog.text
    assert PERSON not in caplog.text
    assert "STOP" not in caplog.text
    engine.dispose()


async def test_the_response_is_503_without_migrations(
    client_without_server: Client, tmp_path: object
) -> None:
    """Nothing can be stored in a database without tables."""
    engine = open_engine(f"sqlite:///{tmp_path}/empty.db")
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))

    response = await twilio.inbound("STOP")

    assert 503 == response.status_code
    engine.dispose()


async def test_a_waiting_transaction_does_not_block_other_requests(
    client_without_server: Client, sqlite_url: str
) -> None:
    """The event loop is free while a transaction waits for a lock."""
    engine = open_engine(sqlite_url, lock_wait_seconds=30)
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    waiting = asyncio.create_task(twilio.inbound("STOP"))
    for _ in range(20):
        assert 200 == (await twilio.http.get("/healthz")).status_code
    assert not waiting.done()
    holder.execute("ROLLBACK")
    holder.close()

    assert 200 == (await waiting).status_code
    engine.dispose()


async def test_a_message_does_not_wait_long_for_other_transactions(
    client_without_server: Client, sqlite_url: str
) -> None:
    """If the database is busy, the response is a 503 well within Twilio's timeout."""
    engine = open_engine(sqlite_url, lock_wait_seconds=30)
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))
    connected = threading.Event()
    event.listen(engine, "engine_connect", lambda _connection: connected.set())
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    waiting = asyncio.create_task(twilio.inbound("STOP", MessageSid="SM" + "1" * 32))
    assert await asyncio.to_thread(connected.wait, 10)
    start = time.monotonic()
    refused = await twilio.inbound("STOP", MessageSid="SM" + "2" * 32)
    seconds = time.monotonic() - start
    holder.execute("ROLLBACK")
    holder.close()

    assert 503 == refused.status_code
    assert 10 > seconds
    assert 200 == (await waiting).status_code
    assert 1 == _stored(engine)
    engine.dispose()


def test_sqlite_has_one_transaction_at_a_time(engine: Engine) -> None:
    """PostgreSQL may have several."""
    expected = {"sqlite": 1, "postgresql": MAX_TRANSACTIONS}[engine.dialect.name]

    assert expected == max_transactions(engine)
