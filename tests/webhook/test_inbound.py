import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import Engine, event, func, select
from temporalio.client import Client

from signedfor.consent import Reason, Scope, Source
from signedfor.store.database import open_engine, transaction
from signedfor.store.inbound import InboundMessages
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import inbound_messages
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
    """Twilio, in front of a webhook with each kind of database; Temporal is not needed."""
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))
    yield twilio
    await twilio.http.aclose()


async def _counted(twilio: Twilio, **labels: str) -> float:
    return await metric(twilio.http, "signedfor_webhook_inbound_messages_total", **labels)


def _kept(engine: Engine) -> int:
    with transaction(engine, read_only=True) as connection:
        return connection.execute(select(func.count()).select_from(inbound_messages)).scalar_one()


async def test_answers_empty_twiml(twilio: Twilio) -> None:
    """The answer texts nothing to anybody: an empty TwiML document, and never plain text."""
    answer = await twilio.inbound("hello")

    assert 200 == answer.status_code
    assert "text/xml" == answer.headers["content-type"].partition(";")[0]
    document = ET.fromstring(answer.content)  # noqa: S314 - our own answer
    assert ("Response", 0, None) == (document.tag, len(document), document.text)
    assert answer.content.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')


async def test_stop_suppresses_before_the_answer(twilio: Twilio, engine: Engine) -> None:
    """When STOP is answered, the person is suppressed, with the message as evidence."""
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


async def test_start_lifts_the_opt_out(twilio: Twilio, engine: Engine) -> None:
    """START after STOP leaves no suppression."""
    await twilio.inbound("STOP", MessageSid="SM" + "1" * 32)
    await twilio.inbound("start", MessageSid="SM" + "2" * 32)

    assert [] == Suppressions(engine).list_()


async def test_a_repeated_callback_changes_nothing(twilio: Twilio, engine: Engine) -> None:
    """A STOP that Twilio delivers again after a START does not opt the person out again."""
    stop = {"body": "STOP", "MessageSid": "SM" + "1" * 32}
    await twilio.inbound(**stop)
    await twilio.inbound("START", MessageSid="SM" + "2" * 32)

    answer = await twilio.inbound(**stop)

    assert 200 == answer.status_code
    assert [] == Suppressions(engine).list_()
    assert 2 == len(Suppressions(engine).history(PERSON))
    assert 1 == await _counted(twilio, kind="stop", result="duplicate")


async def test_many_copies_at_once_count_once(twilio: Twilio, engine: Engine) -> None:
    """Copies of one message that arrive together are kept once, and all answered."""
    answers = await asyncio.gather(*(twilio.inbound("STOP") for _ in range(20)))

    assert {200} == {answer.status_code for answer in answers}
    assert (1, 1) == (_kept(engine), len(Suppressions(engine).list_()))
    assert 1 == await _counted(twilio, kind="stop", result="recorded")


async def test_opt_out_type_wins(twilio: Twilio, engine: Engine) -> None:
    """Twilio's own judgement counts, whatever the language of the text."""
    await twilio.inbound("ARRET", OptOutType="STOP")

    assert 1 == len(Suppressions(engine).list_())


async def test_scope_of_an_opt_out_is_configured(
    client_without_server: Client, engine: Engine
) -> None:
    """With the scope `sender` a STOP concerns the Messaging Service that it was texted to."""
    settings = SETTINGS.model_copy(update={"opt_out_scope": Scope.SENDER})
    twilio = Twilio.calling(create_app(settings, client=client_without_server, engine=engine))

    await twilio.inbound("STOP", MessagingServiceSid=SERVICE)

    (suppression,) = Suppressions(engine).list_()
    assert (Scope.SENDER, SERVICE) == (suppression.scope, suppression.scope_value)


async def test_channel_addresses_are_the_same_person(twilio: Twilio, engine: Engine) -> None:
    """A STOP on WhatsApp opts the number's person out."""
    await twilio.inbound("STOP", From=f"whatsapp:{PERSON}", To=f"whatsapp:{SENDER}")

    assert [PERSON] == [each.recipient for each in Suppressions(engine).list_()]


async def test_phrases_are_kept_for_review(twilio: Twilio, engine: Engine) -> None:
    """A text that merely contains a stop word is kept whole, also what a database cannot hold."""
    await twilio.inbound("please stop texting me \x00 👍")

    (review,) = InboundMessages(engine).reviews()
    assert ("please stop texting me \ufffd 👍", PERSON) == (review.body, review.from_)
    assert [] == Suppressions(engine).list_()


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
async def test_other_messages_are_taken_once(
    twilio: Twilio, engine: Engine, fields: dict[str, str], kind: str
) -> None:
    """HELP (Twilio answers it), ordinary texts and pictures are noted and change no consent."""
    answer = await twilio.post("/webhook/inbound", inbound_fields(**fields))

    assert 200 == answer.status_code
    assert 1 == await _counted(twilio, kind=kind, result="recorded")
    assert (1, []) == (_kept(engine), Suppressions(engine).list_())


@pytest.mark.parametrize("sender", ["72345", "ACME", "A-Name 24"])
async def test_nobody_to_suppress(twilio: Twilio, engine: Engine, sender: str) -> None:
    """From a short code or a name, to which nothing can be sent: acknowledged and counted only."""
    answer = await twilio.inbound("STOP", From=sender)

    assert 200 == answer.status_code
    assert 1 == await _counted(twilio, kind="stop", result="no_recipient")
    assert (0, []) == (_kept(engine), Suppressions(engine).list_())


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
async def test_malformed_messages_change_nothing(
    twilio: Twilio, engine: Engine, fields: dict[str, str], named: str
) -> None:
    """A signed message that is malformed is a 400 that names the field and not its value."""
    answer = await twilio.inbound("STOP", **fields)

    assert 400 == answer.status_code
    assert named in answer.json()["detail"]
    assert not any(value in answer.text for value in fields.values() if len(value) > 3)
    assert (0, []) == (_kept(engine), Suppressions(engine).list_())


async def test_unsigned_stop_changes_nothing(twilio: Twilio, engine: Engine) -> None:
    """Only Twilio can opt somebody out."""
    stranger = Twilio(http=twilio.http, token="not-the-token")

    answer = await stranger.inbound("STOP")

    assert (403, 0) == (answer.status_code, _kept(engine))


async def test_asks_for_a_retry_while_the_database_is_locked(
    client_without_server: Client, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A STOP that cannot be recorded is answered 503; the same callback is taken later."""
    engine = open_engine(sqlite_url, lock_wait_seconds=0.1)
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    refused = await twilio.inbound("STOP")
    holder.execute("ROLLBACK")
    holder.close()
    taken = await twilio.inbound("STOP")

    assert [503, 200] == [refused.status_code, taken.status_code]
    assert 1 == await _counted(twilio, kind="stop", result="unavailable")
    assert 1 == len(Suppressions(engine).list_())
    assert "could not be recorded" in caplog.text
    assert PERSON not in caplog.text
    assert "STOP" not in caplog.text
    engine.dispose()


async def test_asks_for_a_retry_without_migrations(
    client_without_server: Client, tmp_path: object
) -> None:
    """A database without tables is answered 503: nothing is safe in it."""
    engine = open_engine(f"sqlite:///{tmp_path}/empty.db")
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))

    answer = await twilio.inbound("STOP")

    assert 503 == answer.status_code
    engine.dispose()


async def test_the_loop_is_free_while_the_database_waits(
    client_without_server: Client, sqlite_url: str
) -> None:
    """While the database keeps a transaction waiting, other requests are answered."""
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


async def test_does_not_queue_for_ever(client_without_server: Client, sqlite_url: str) -> None:
    """A message that gets no turn at the database is answered 503 well within Twilio's patience."""
    engine = open_engine(sqlite_url, lock_wait_seconds=30)
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))
    begun = threading.Event()
    event.listen(engine, "engine_connect", lambda _connection: begun.set())
    holder = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")

    waiting = asyncio.create_task(twilio.inbound("STOP", MessageSid="SM" + "1" * 32))
    assert await asyncio.to_thread(begun.wait, 10)
    started = time.monotonic()
    refused = await twilio.inbound("STOP", MessageSid="SM" + "2" * 32)
    taken_seconds = time.monotonic() - started
    holder.execute("ROLLBACK")
    holder.close()

    assert 503 == refused.status_code
    assert 10 > taken_seconds
    assert 200 == (await waiting).status_code
    assert 1 == _kept(engine)
    engine.dispose()


def test_sqlite_gets_one_transaction_at_a_time(engine: Engine) -> None:
    """SQLite's writers take turns here; PostgreSQL may do several at a time."""
    expected = {"sqlite": 1, "postgresql": MAX_TRANSACTIONS}[engine.dialect.name]

    assert expected == max_transactions(engine)
