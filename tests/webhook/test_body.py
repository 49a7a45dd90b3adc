from collections.abc import Iterable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from webhook.body import (
    MAX_BODY_BYTES,
    MAX_FIELDS,
    DecodeError,
    check_field_count,
    decode_form,
    decode_json,
    read_body,
)


class _Sender:
    """An ASGI server's side of a request: sends chunks and counts them."""

    def __init__(self, chunks: Iterable[bytes], *, disconnects: bool = False) -> None:
        self._chunks = iter(chunks)
        self._disconnects = disconnects
        self.sent = 0

    async def receive(self) -> Message:
        chunk = next(self._chunks, None)
        if chunk is not None:
            self.sent += 1
            return {"type": "http.request", "body": chunk, "more_body": True}
        if self._disconnects:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}


def _request(sender: _Sender, *, length: str | None = None) -> Request:
    headers = [] if length is None else [(b"content-length", length.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, sender.receive)


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    """It is read chunk by chunk."""
    sender = _Sender([b"a" * (MAX_BODY_BYTES - 1), b"b"])

    assert b"a" * (MAX_BODY_BYTES - 1) + b"b" == await read_body(_request(sender))


@pytest.mark.parametrize("length", [None, "10", "-1", "٣", "x", ""])
async def test_a_body_is_not_read_beyond_the_limit(length: str | None) -> None:
    """It is refused once it exceeds the limit, whatever its declared length."""
    sender = _Sender(b"a" * 16_384 for _ in range(1000))

    with pytest.raises(HTTPException) as caught:
        await read_body(_request(sender, length=length))

    assert (413, {"Connection": "close"}) == (caught.value.status_code, caught.value.headers)
    assert 5 == sender.sent


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 5000])
async def test_a_declared_length_over_the_limit_is_refused(length: str) -> None:
    """Nothing of the body is read."""
    sender = _Sender([b"a"])

    with pytest.raises(HTTPException) as caught:
        await read_body(_request(sender, length=length))

    assert (413, 0) == (caught.value.status_code, sender.sent)


async def test_a_client_that_disconnects_is_a_bad_request() -> None:
    """It is no internal error."""
    with pytest.raises(HTTPException) as caught:
        await read_body(_request(_Sender([b"a"], disconnects=True)))

    assert caught.value.status_code == 400


async def test_reading_a_slow_body_times_out() -> None:
    """A body that does not arrive is a request timeout."""

    async def never() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    request = Request({"type": "http", "method": "POST", "headers": []}, never)

    with pytest.raises(HTTPException) as caught:
        await read_body(request, seconds=0.01)

    assert caught.value.status_code == 408


def test_decoding_a_form_keeps_blank_and_repeated_fields_in_order() -> None:
    """The signature covers all of them."""
    fields = decode_form(
        b"Body=&From=%2B15551234567&MediaUrl=b&MediaUrl=a&bare&x=H%C3%A9+%F0%9F%91%8D"
    )

    assert [
        ("Body", ""),
        ("From", "+15551234567"),
        ("MediaUrl", "b"),
        ("MediaUrl", "a"),
        ("bare", ""),
        ("x", "Hé 👍"),
    ] == fields.multi_items()


@pytest.mark.parametrize(
    "encoded", [b"x=%FF", b"x=\xff", b"x=%ED%A0%80", b"&".join([b"x=1"] * 101)]
)
def test_a_form_must_be_utf8_and_short(encoded: bytes) -> None:
    """Other forms raise DecodeError."""
    with pytest.raises(DecodeError):
        decode_form(encoded)


def test_the_number_of_fields_is_limited() -> None:
    """There may be a hundred."""
    check_field_count(b"&".join([b"x=1"] * MAX_FIELDS))

    with pytest.raises(HTTPException) as caught:
        check_field_count(b"&".join([b"x=1"] * (MAX_FIELDS + 1)))

    assert caught.value.status_code == 413


def test_decoding_a_flat_json_object() -> None:
    """Numbers and booleans become strings as in JSON, null is omitted, repetitions are kept."""
    fields = decode_json(b'{"a": "x", "n": 30003, "b": true, "z": null, "a": "y"}')

    assert [("a", "x"), ("n", "30003"), ("b", "true"), ("a", "y")] == fields.multi_items()


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b'{"a": []}',
        b'{"a": {}}',
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b'{"\\ud800": "a"}',
        b'{"a": "\xff"}',
        b'{"a": 1',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b"{" + b",".join(b'"%d": 1' % n for n in range(MAX_FIELDS + 1)) + b"}",
    ],
    ids=lambda document: document[:12].decode(errors="replace"),
)
def test_other_json_is_refused(document: bytes) -> None:
    """Anything but a flat JSON object raises DecodeError."""
    with pytest.raises(DecodeError):
        decode_json(document)


@given(st.binary(max_size=300))
def test_decoders_raise_no_other_error(raw: bytes) -> None:
    """Any bytes are decoded to text that can be encoded, or raise DecodeError."""
    for decode in (decode_form, decode_json):
        try:
            fields = decode(raw)
        except DecodeError:
            continue
        for name, value in fields.multi_items():
            (name + value).encode()
