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
