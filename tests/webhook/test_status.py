import logging
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event
from temporalio.client import Client

from signedfor.store.database import open_engine
from signedfor.store.inbox import Inbox
from tests.webhook.support import PERSON, SENDER, SETTINGS, SID, Twilio, metric, status_fields
from tests.webhook.workflows import new_message_id, open_dead_letter, open_message, received
from webhook.app import create_app

pytestmark = pytest.mark.integration

RECEIPTS = ["delivered", "undelivered", "failed", "canceled", "read"]
INTERMEDIATE = ["queued", "sending", "sent", "accepted", "scheduled"]
UNKNOWN = "a-status-of-2031"


@pytest.fixture
def twilio(client: Client, sqlite_engine: Engine) -> Twilio:
    """Twilio, calling a webhook that has Temporal and a database."""
    return Twilio.calling(create_app(SETTINGS, client=client, engine=sqlite_engine))


async def _counted(twilio: Twilio, **labels: str) -> float:
    return await metric(twilio.http, "signedfor_webhook_status_callbacks_total", **labels)


@pytest.mark.parametrize("status", RECEIPTS)
async def test_receipts_are_signaled(client: Client, twilio: Twilio, status: str) -> None:
    """Every final status is signaled to its message, with SID, code and time."""
    message_id = new_message_id()
    message = await open_message(client, message_id)
    before = datetime.now(UTC)

    response = await twilio.status(message_id, status, ErrorCode="30003")

    assert (204, b"") == (response.status_code, response.content)
    (signaled,) = await received(client, message)
    assert (SID, status, 30003) == (
        signaled.message_sid,
        signaled.message_status,
        signaled.error_code,
    )
    assert signaled.received_at is not None
    assert timedelta(0) <= signaled.received_at - before < timedelta(seconds=30)
    assert 1 == await _counted(twilio, status=status, result="message")


@pytest.mark.parametrize("status", INTERMEDIATE)
async def test_intermediate_statuses_are_acknowledged_and_not_signaled(
    client: Client, twilio: Twilio, status: str
) -> None:
    """They cannot change the outcome, but are kept with the recent callbacks."""
    message_id = new_message_id()
    message = await open_message(client, message_id)

    response = await twilio.status(message_id, status)

    assert 204 == response.status_code
    assert [] == await received(client, message)
    assert 1 == await _counted(twilio, status=status, result="acknowledged")
    assert 1 == await metric(twilio.http, "signedfor_webhook_recent_callbacks")


async def test_unknown_statuses_are_signaled(client: Client, twilio: Twilio) -> None:
    """A status that Twilio adds in future could be a final one."""
    message_id = new_message_id()
    message = await open_message(client, message_id)

    response = await twilio.status(message_id, UNKNOWN)

    assert 204 == response.status_code
    assert [UNKNOWN] == [each.message_status for each in await received(client, message)]
    assert 1 == await _counted(twilio, status="unknown", result="message")


async def test_a_receipt_drops_recent_callbacks_of_its_sid(client: Client, twilio: Twilio) -> None:
    """The workflow then knows the SID; an unknown status drops nothing."""
    message_id = new_message_id()
    await open_message(client, message_id)
    counts = []

    for status in ("sent", UNKNOWN, "delivered"):
        await twilio.status(message_id, status)
        counts.append(await metric(twilio.http, "signedfor_webhook_recent_callbacks"))

    assert [1, 1, 0] == counts


async def test_every_status_can_be_forwarded(client: Client, sqlite_engine: Engine) -> None:
    """With `forward_all_statuses` every status is signaled, and none is kept as recent callback."""
    settings = SETTINGS.model_copy(update={"forward_all_statuses": True})
    twilio = Twilio.calling(create_app(settings, client=client, engine=sqlite_engine))
    message_id = new_message_id()
    message = await open_message(client, message_id)

    for status in [*INTERMEDIATE, UNKNOWN]:
        assert (await twilio.status(message_id, status)).status_code == 204
    assert 0 == await metric(twilio.http, "signedfor_webhook_recent_callbacks")
    for status in RECEIPTS:
        assert (await twilio.status(message_id, status)).status_code == 204

    assert [*INTERMEDIATE, UNKNOWN, *RECEIPTS] == [
        each.message_status for each in await received(client, message)
    ]


async def test_late_receipts_are_signaled_to_the_dead_letter(
    client: Client, twilio: Twilio
) -> None:
    """The message has closed."""
    message_id = new_message_id()
    dead_letter = await open_dead_letter(client, message_id)

    response = await twilio.status(message_id, "delivered")

    assert 204 == response.status_code
    assert 1 == len(await received(client, dead_letter))
    assert 1 == await _counted(twilio, status="delivered", result="dead_letter")


async def test_receipts_of_unknown_messages_are_acknowledged(
    twilio: Twilio, caplog: pytest.LogCaptureFixture
) -> None:
    """They are counted, and logged without personal data."""
    caplog.set_level(logging.INFO, "webhook")
    message_id = new_message_id()

    response = await twilio.status(message_id, "delivered")

    assert 204 == response.status_code
    assert 1 == await _counted(twilio, status="delivered", result="none")
    assert message_id in caplog.text
    assert PERSON not in caplog.text
    assert SENDER not in caplog.text


async def test_receipts_are_stored_in_the_inbox_while_temporal_is_down(
    client_without_server: Client, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The response is 204; intermediate statuses are not stored."""
    twilio = Twilio.calling(
        create_app(SETTINGS, client=client_without_server, engine=sqlite_engine)
    )

    responses = [
        await twilio.status("order-17", status, ErrorCode="30003")
        for status in ("undelivered", "sent")
    ]

    assert [204, 204] == [response.status_code for response in responses]
    (stored,) = Inbox(sqlite_engine).lease(limit=10, duration=timedelta(seconds=1))
    assert ("order-17", SID, "undelivered", 30003) == (
        stored.message_id,
        stored.message_sid,
        stored.message_status,
        stored.error_code,
    )
    assert timedelta(0) <= datetime.now(UTC) - stored.received_at < timedelta(seconds=30)
    assert 1 == await _counted(twilio, status="undelivered", result="inbox")
    assert "A receipt was not delivered: Temporal cannot be reached." in caplog.text
    assert PERSON not in caplog.text


async def test_without_temporal_and_database_the_response_is_503(
    client_without_server: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The receipt is not safe anywhere, so Twilio must retry, every time."""
    engine = open_engine("postgresql://user@127.0.0.1:1/name")
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))

    responses = [await twilio.status("order-17", "delivered") for _ in range(3)]
    engine.dispose()

    assert [503] * 3 == [response.status_code for response in responses]
    assert {"detail": "Not stored yet, please try again."} == responses[0].json()
    assert 3 == await _counted(twilio, status="delivered", result="unavailable")
    assert PERSON not in caplog.text


async def test_receipts_are_signaled_without_a_database(client: Client) -> None:
    """The database is only needed while Temporal is down."""
    engine = open_engine("postgresql://user@127.0.0.1:1/name")
    twilio = Twilio.calling(create_app(SETTINGS, client=client, engine=engine))
    message_id = new_message_id()
    message = await open_message(client, message_id)

    response = await twilio.status(message_id, "delivered")
    engine.dispose()

    assert 204 == response.status_code
    assert 1 == len(await received(client, message))


async def test_a_signaled_receipt_needs_no_query(
    client: Client, twilio: Twilio, sqlite_engine: Engine
) -> None:
    """If Temporal accepts the signal, the database is not used."""
    statements: list[str] = []
    event.listen(
        sqlite_engine,
        "before_cursor_execute",
        lambda _c, _k, statement, *_: statements.append(statement),
    )
    message_id = new_message_id()
    await open_message(client, message_id)

    await twilio.status(message_id, "delivered")

    assert [] == statements


async def test_duplicates_are_signaled_again(client: Client, twilio: Twilio) -> None:
    """The workflow ignores the duplicates of Twilio's retries."""
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
async def test_a_malformed_callback_is_a_bad_request(
    client: Client, twilio: Twilio, query: str, fields: dict[str, str], named: str
) -> None:
    """Even if it is signed; the response names the field but not its value."""
    message_id = new_message_id()
    message = await open_message(client, message_id)

    response = await twilio.post(
        "/webhook/status" + query.format(id=message_id), status_fields(**fields)
    )

    assert 400 == response.status_code
    assert named in response.json()["detail"]
    assert not any(value in response.text for value in fields.values() if len(value) > 3)
    assert [] == await received(client, message)


@pytest.mark.parametrize("name", ["MessageSid", "MessageStatus", "ErrorCode"])
async def test_a_repeated_field_is_a_bad_request(client: Client, twilio: Twilio, name: str) -> None:
    """Either value could be meant; nothing is signaled."""
    message_id = new_message_id()
    message = await open_message(client, message_id)
    fields = [*status_fields(ErrorCode="30003").items(), (name, "failed")]

    response = await twilio.post(f"/webhook/status?message_id={message_id}", fields)

    assert (400, {"detail": f"{name}: is given more than once"}) == (
        response.status_code,
        response.json(),
    )
    assert [] == await received(client, message)


async def test_the_message_id_is_decoded_once(client: Client, twilio: Twilio) -> None:
    """The receipt reaches a workflow whose id contains reserved characters."""
    message_id = f"{new_message_id()}/a+b%2B&c=d#e"
    message = await open_message(client, message_id)
    encoded = message_id.replace("%", "%25").replace("+", "%2B").replace("&", "%26")
    encoded = encoded.replace("=", "%3D").replace("#", "%23").replace("/", "%2F")

    response = await twilio.status(encoded, "delivered")

    assert 204 == response.status_code
    assert 1 == len(await received(client, message))


async def test_a_blank_error_code_means_no_error(client: Client, twilio: Twilio) -> None:
    """Twilio may send a blank ErrorCode."""
    message_id = new_message_id()
    message = await open_message(client, message_id)

    await twilio.status(message_id, "delivered", ErrorCode="")

    assert [None] == [each.error_code for each in await received(client, message)]
