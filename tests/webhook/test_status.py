import logging
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event
from temporalio.client import Client

from signedfor.store.database import open_engine
from signedfor.store.inbox import Inbox
from tests.webhook.recorded import new_message_id, open_letter, open_message, received
from tests.webhook.support import PERSON, SENDER, SETTINGS, SID, Twilio, metric, status_fields
from webhook.app import create_app

pytestmark = pytest.mark.integration

RECEIPTS = ["delivered", "undelivered", "failed", "canceled", "read"]
NO_RECEIPTS = ["queued", "sending", "sent", "accepted", "scheduled"]
UNKNOWN = "a-status-of-2031"


@pytest.fixture
def twilio(client: Client, sqlite_engine: Engine) -> Twilio:
    """Twilio, in front of a webhook with Temporal and a database."""
    return Twilio.calling(create_app(SETTINGS, client=client, engine=sqlite_engine))


async def _counted(twilio: Twilio, **labels: str) -> float:
    return await metric(twilio.http, "signedfor_webhook_status_callbacks_total", **labels)


@pytest.mark.parametrize("status", RECEIPTS)
async def test_signals_receipts(client: Client, twilio: Twilio, status: str) -> None:
    """Every final status is signalled to its message, with SID, code and time, and answered 204."""
    message_id = new_message_id()
    message = await open_message(client, message_id)
    before = datetime.now(UTC)

    answer = await twilio.status(message_id, status, ErrorCode="30003")

    assert (204, b"") == (answer.status_code, answer.content)
    (signalled,) = await received(client, message)
    assert (SID, status, 30003) == (
        signalled.message_sid,
        signalled.message_status,
        signalled.error_code,
    )
    assert signalled.received_at is not None
    assert timedelta(0) <= signalled.received_at - before < timedelta(seconds=30)
    assert 1 == await _counted(twilio, status=status, result="message")


@pytest.mark.parametrize("status", NO_RECEIPTS)
async def test_acknowledges_what_changes_nothing(
    client: Client, twilio: Twilio, status: str
) -> None:
    """A status that cannot change the outcome is answered 204, not signalled, and remembered."""
    message_id = new_message_id()
    message = await open_message(client, message_id)

    answer = await twilio.status(message_id, status)

    assert 204 == answer.status_code
    assert [] == await received(client, message)
    assert 1 == await _counted(twilio, status=status, result="acknowledged")
    assert 1 == await metric(twilio.http, "signedfor_webhook_recent_callbacks")


async def test_signals_what_it_does_not_know(client: Client, twilio: Twilio) -> None:
    """A status that Twilio may add one day reaches its message: it could be a final one."""
    message_id = new_message_id()
    message = await open_message(client, message_id)

    answer = await twilio.status(message_id, UNKNOWN)

    assert 204 == answer.status_code
    assert [UNKNOWN] == [each.message_status for each in await received(client, message)]
    assert 1 == await _counted(twilio, status="unknown", result="message")


async def test_a_receipt_ends_what_is_remembered(client: Client, twilio: Twilio) -> None:
    """A receipt names the SID to the workflow, so what was said of it before can be forgotten.

    A status we do not know names none, and ends nothing.
    """
    message_id = new_message_id()
    await open_message(client, message_id)
    remembered = []

    for status in ("sent", UNKNOWN, "delivered"):
        await twilio.status(message_id, status)
        remembered.append(await metric(twilio.http, "signedfor_webhook_recent_callbacks"))

    assert [1, 1, 0] == remembered


async def test_forwards_every_status_if_told_so(client: Client, sqlite_engine: Engine) -> None:
    """With `forward_all_statuses` the workflow hears of every status; none is only remembered."""
    settings = SETTINGS.model_copy(update={"forward_all_statuses": True})
    twilio = Twilio.calling(create_app(settings, client=client, engine=sqlite_engine))
    message_id = new_message_id()
    message = await open_message(client, message_id)

    for status in [*NO_RECEIPTS, UNKNOWN]:
        assert (await twilio.status(message_id, status)).status_code == 204
    assert 0 == await metric(twilio.http, "signedfor_webhook_recent_callbacks")
    for status in RECEIPTS:
        assert (await twilio.status(message_id, status)).status_code == 204

    assert [*NO_RECEIPTS, UNKNOWN, *RECEIPTS] == [
        each.message_status for each in await received(client, message)
    ]


async def test_late_receipts_go_to_the_dead_letter(client: Client, twilio: Twilio) -> None:
    """When the message is closed, its dead letter gets the receipt."""
    message_id = new_message_id()
    letter = await open_letter(client, message_id)

    answer = await twilio.status(message_id, "delivered")

    assert 204 == answer.status_code
    assert 1 == len(await received(client, letter))
    assert 1 == await _counted(twilio, status="delivered", result="dead_letter")


async def test_unknown_messages_are_acknowledged(
    twilio: Twilio, caplog: pytest.LogCaptureFixture
) -> None:
    """A receipt nobody waits for is answered 204, counted, and logged without personal data."""
    caplog.set_level(logging.INFO, "webhook")
    message_id = new_message_id()

    answer = await twilio.status(message_id, "delivered")

    assert 204 == answer.status_code
    assert 1 == await _counted(twilio, status="delivered", result="none")
    assert message_id in caplog.text
    assert PERSON not in caplog.text
    assert SENDER not in caplog.text


async def test_keeps_receipts_while_temporal_is_away(
    client_without_server: Client, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """A receipt is kept in the inbox and answered 204; one that changes nothing is not kept."""
    twilio = Twilio.calling(
        create_app(SETTINGS, client=client_without_server, engine=sqlite_engine)
    )

    answers = [
        await twilio.status("order-17", status, ErrorCode="30003")
        for status in ("undelivered", "sent")
    ]

    assert [204, 204] == [answer.status_code for answer in answers]
    (kept,) = Inbox(sqlite_engine).lease(limit=10, duration=timedelta(seconds=1))
    assert ("order-17", SID, "undelivered", 30003) == (
        kept.message_id,
        kept.message_sid,
        kept.message_status,
        kept.error_code,
    )
    assert timedelta(0) <= datetime.now(UTC) - kept.received_at < timedelta(seconds=30)
    assert 1 == await _counted(twilio, status="undelivered", result="inbox")
    assert "A receipt was not delivered: Temporal cannot be reached." in caplog.text
    assert PERSON not in caplog.text


async def test_asks_for_a_retry_while_both_are_away(
    client_without_server: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """With Temporal and the database down nothing is safe: 503, first time and every time."""
    engine = open_engine("postgresql://somebody@127.0.0.1:1/name")
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))

    answers = [await twilio.status("order-17", "delivered") for _ in range(3)]
    engine.dispose()

    assert [503] * 3 == [answer.status_code for answer in answers]
    assert {"detail": "Not stored yet, please try again."} == answers[0].json()
    assert 3 == await _counted(twilio, status="delivered", result="unavailable")
    assert PERSON not in caplog.text


async def test_signals_without_the_database(client: Client) -> None:
    """With Temporal up, receipts need no database at all."""
    engine = open_engine("postgresql://somebody@127.0.0.1:1/name")
    twilio = Twilio.calling(create_app(SETTINGS, client=client, engine=engine))
    message_id = new_message_id()
    message = await open_message(client, message_id)

    answer = await twilio.status(message_id, "delivered")
    engine.dispose()

    assert 204 == answer.status_code
    assert 1 == len(await received(client, message))


async def test_the_usual_way_asks_the_database_nothing(
    client: Client, twilio: Twilio, sqlite_engine: Engine
) -> None:
    """A receipt that Temporal takes costs no query."""
    statements: list[str] = []
    event.listen(
        sqlite_engine, "before_cursor_execute", lambda _c, _k, said, *_: statements.append(said)
    )
    message_id = new_message_id()
    await open_message(client, message_id)

    await twilio.status(message_id, "delivered")

    assert [] == statements


async def test_duplicates_are_passed_on(client: Client, twilio: Twilio) -> None:
    """Twilio's retries are signalled again: the workflow is where duplicates do nothing."""
    message_id = new_message_id()
    message = await open_message(client, message_id)

    for _ in range(2):
        assert (await twilio.status(message_id, "delivered")).status_code == 204

    assert 2 == len(await received(client, message))


@pytest.mark.parametrize(
    ("query", "fields", "named"),
    [
        pytest.param("?message_id={id}", {"MessageSid": "-"}, "MessageSid", id="no sid"),
        pytest.param("?message_id={id}", {"MessageSid": ""}, "MessageSid", id="blank sid"),
        pytest.param("?message_id={id}", {"MessageSid": "SM1"}, "MessageSid", id="short sid"),
        pytest.param(
            "?message_id={id}", {"MessageSid": "CA" + "b" * 32}, "MessageSid", id="call sid"
        ),
        pytest.param("?message_id={id}", {"MessageStatus": "-"}, "MessageStatus", id="no status"),
        pytest.param(
            "?message_id={id}", {"MessageStatus": "d" * 41}, "MessageStatus", id="long status"
        ),
        pytest.param("?message_id={id}", {"SmsSid": "SM" + "c" * 32}, "SmsSid", id="alias"),
        pytest.param("?message_id={id}", {"ErrorCode": "soon"}, "ErrorCode", id="code"),
        pytest.param("?message_id={id}", {"ErrorCode": "-30003"}, "ErrorCode", id="negative code"),
        pytest.param("?message_id={id}", {"ErrorCode": "30003000"}, "ErrorCode", id="huge code"),
        pytest.param("", {}, "message_id", id="no id"),
        pytest.param("?message_id=", {}, "message_id", id="blank id"),
        pytest.param("?Message_Id={id}", {}, "message_id", id="id of another name"),
        pytest.param("?message_id={id}%20", {}, "message_id", id="id with space"),
        pytest.param("?message_id={id}%00", {}, "message_id", id="id with NUL"),
        pytest.param("?message_id=%F0%9F%91%8D", {}, "message_id", id="id not ASCII"),
        pytest.param("?message_id=" + "a" * 201, {}, "message_id", id="long id"),
        pytest.param("?message_id={id}&message_id={id}", {}, "message_id", id="id twice"),
    ],
)
async def test_malformed_callbacks_change_nothing(
    client: Client, twilio: Twilio, query: str, fields: dict[str, str], named: str
) -> None:
    """A signed callback that is malformed is a 400 that names the field and not its value."""
    message_id = new_message_id()
    message = await open_message(client, message_id)

    answer = await twilio.post(
        "/webhook/status" + query.format(id=message_id), status_fields(**fields)
    )

    assert 400 == answer.status_code
    assert named in answer.json()["detail"]
    assert not any(value in answer.text for value in fields.values() if len(value) > 3)
    assert [] == await received(client, message)


@pytest.mark.parametrize("name", ["MessageSid", "MessageStatus", "ErrorCode"])
async def test_a_repeated_field_is_malformed(client: Client, twilio: Twilio, name: str) -> None:
    """A field that is given twice could mean either: 400, and nothing is signalled."""
    message_id = new_message_id()
    message = await open_message(client, message_id)
    fields = [*status_fields(ErrorCode="30003").items(), (name, "failed")]

    answer = await twilio.post(f"/webhook/status?message_id={message_id}", fields)

    assert (400, {"detail": f"{name}: is given more than once"}) == (
        answer.status_code,
        answer.json(),
    )
    assert [] == await received(client, message)


async def test_message_id_is_decoded_once(client: Client, twilio: Twilio) -> None:
    """An id with reserved characters reaches the workflow whose id holds them."""
    message_id = f"{new_message_id()}/a+b%2B&c=d#e"
    message = await open_message(client, message_id)
    encoded = message_id.replace("%", "%25").replace("+", "%2B").replace("&", "%26")
    encoded = encoded.replace("=", "%3D").replace("#", "%23").replace("/", "%2F")

    answer = await twilio.status(encoded, "delivered")

    assert 204 == answer.status_code
    assert 1 == len(await received(client, message))


async def test_a_blank_error_code_is_none(client: Client, twilio: Twilio) -> None:
    """Twilio may send a blank ErrorCode: there was no error."""
    message_id = new_message_id()
    message = await open_message(client, message_id)

    await twilio.status(message_id, "delivered", ErrorCode="")

    assert [None] == [each.error_code for each in await received(client, message)]
