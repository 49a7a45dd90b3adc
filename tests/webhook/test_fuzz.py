import json
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qsl, quote, quote_from_bytes, urlencode

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from temporalio.client import Client

from tests.webhook.support import (
    FORM,
    PUBLIC,
    SETTINGS,
    Twilio,
    inbound_fields,
    sign,
    status_fields,
)
from tests.webhook.test_events import (
    WITH_EVENTS,
    inbound_event,
    reassigned_event,
    status_event,
)
from webhook.app import create_app

pytestmark = pytest.mark.integration

# The examples can share the fixtures: none changes what the app can do.
_many = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_odd_values = _text | st.sampled_from(
    [
        "",
        "\x00",
        "SM" + "b" * 32,
        "delivered",
        "+15558675309",
        "whatsapp:+1",
        "9" * 400,
        "STOP",
        "-",
    ]
)
_changes = st.dictionaries(
    st.sampled_from([*inbound_fields(OptOutType="STOP"), *status_fields(ErrorCode="1")]) | _text,
    _odd_values,
    max_size=6,
)
_ids = st.sampled_from(["order-17", "", "a b", "\x00", "é"]) | _text


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | _odd_values
    | st.text(st.characters(categories=["Cs"]), max_size=3)  # halves of surrogate pairs
    | st.just("2026-11-29T10:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_events = st.builds(
    lambda event, envelope, data: {**event, "data": {**event["data"], **data}, **envelope},
    st.sampled_from([inbound_event(), status_event(), reassigned_event()]),
    st.dictionaries(st.sampled_from(["type", "source", "time", "data"]), _json, max_size=1),
    st.dictionaries(
        st.sampled_from(
            [
                key
                for event in (inbound_event(), status_event(), reassigned_event())
                for key in event["data"]
            ]
        ),
        _json,
        max_size=3,
    ),
)


@pytest.fixture
def twilio(client: Client, sqlite_engine: Engine) -> Twilio:
    """Twilio, calling a webhook that has Temporal and a database."""
    return Twilio.calling(create_app(SETTINGS, client=client, engine=sqlite_engine))


@_many
@given(changes=_changes, repeated=st.lists(st.tuples(_text, _odd_values), max_size=3), id=_ids)
async def test_signed_status_callbacks_cause_no_internal_error(
    twilio: Twilio, changes: dict[str, str], repeated: list[tuple[str, str]], id: str
) -> None:
    """Whatever Twilio signs is accepted or refused as malformed."""
    fields = [*status_fields(**changes).items(), *repeated]

    response = await twilio.post(f"/webhook/status?message_id={quote(id, safe='')}", fields)

    assert response.status_code in {204, 400, 403}


@_many
@given(batch=st.lists(_events | _json, max_size=3))
async def test_signed_events_are_never_asked_for_again(
    client: Client, sqlite_engine: Engine, batch: list[object]
) -> None:
    """An event that can never be stored would keep its batch coming for four hours."""
    twilio = Twilio.calling(create_app(WITH_EVENTS, client=client, engine=sqlite_engine))

    assert (
        204 == (await twilio.post_json("/webhook/events", json.dumps(batch).encode())).status_code
    )


@_many
@given(changes=_changes, repeated=st.lists(st.tuples(_text, _odd_values), max_size=3))
async def test_signed_inbound_messages_cause_no_internal_error(
    twilio: Twilio, changes: dict[str, str], repeated: list[tuple[str, str]]
) -> None:
    """Whatever Twilio signs is accepted or refused as malformed."""
    fields = [*inbound_fields(**changes).items(), *repeated]

    response = await twilio.post("/webhook/inbound", fields)

    assert response.status_code in {200, 400, 403}


@_many
@given(
    body=st.binary(max_size=200),
    target=st.builds(
        "{}?{}".format,
        st.sampled_from(["/webhook/status", "/webhook/inbound"]),
        st.binary(max_size=60).map(quote_from_bytes) | st.just("message_id=order-17"),
    ),
    content_type=st.sampled_from([FORM, "application/json", "application/xml", ""]),
    signature=st.text(st.characters(codec="latin-1", exclude_characters="\r\n\x00"), max_size=40),
)
async def test_unsigned_requests_are_refused(
    twilio: Twilio, body: bytes, target: str, content_type: str, signature: str
) -> None:
    """Without the right signature the response is 403, whatever the request."""
    response = await twilio.http.post(
        target,
        content=body,
        headers=[
            (b"content-type", content_type.encode()),
            (b"x-twilio-signature", signature.encode("latin-1")),
        ],
    )

    assert response.status_code == 403


@_many
@given(
    index=st.integers(min_value=0),
    flip=st.integers(min_value=1, max_value=255),
    make=st.sampled_from([inbound_fields, status_fields]),
)
async def test_a_changed_byte_is_detected(
    twilio: Twilio, index: int, flip: int, make: Callable[..., dict[str, str]]
) -> None:
    """A signed body with any one byte changed is refused."""
    fields = make()
    target = "/webhook/inbound" if make is inbound_fields else "/webhook/status?message_id=x"
    body = bytearray(urlencode(fields).encode())
    body[index % len(body)] ^= flip
    with suppress(UnicodeDecodeError):
        assume(parse_qsl(body.decode(), keep_blank_values=True) != list(fields.items()))

    response = await twilio.http.post(
        target,
        content=bytes(body),
        headers={"Content-Type": FORM, "X-Twilio-Signature": sign(PUBLIC + target, fields)},
    )

    assert response.status_code == 403
