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
    """An ASGI server's side of a request: gives one chunk after another, and counts them."""

    def __init__(self, chunks: Iterable[bytes], *, breaks_off: bool = False) -> None:
        self._chunks = iter(chunks)
        self._breaks_off = breaks_off
        self.given = 0

    async def receive(self) -> Message:
        chunk = next(self._chunks, None)
        if chunk is not None:
            self.given += 1
            return {"type": "http.request", "body": chunk, "more_body": True}
        if self._breaks_off:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}


def _request(sender: _Sender, *, length: str | None = None) -> Request:
    headers = [] if length is None else [(b"content-length", length.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, sender.receive)


async def test_reads_a_body_of_the_limit() -> None:
    """A body of exactly the limit is read whole, chunk by chunk."""
    sender = _Sender([b"a" * (MAX_BODY_BYTES - 1), b"b"])

    assert b"a" * (MAX_BODY_BYTES - 1) + b"b" == await read_body(_request(sender))


@pytest.mark.parametrize("length", [None, "10", "-1", "٣", "x", ""])
async def test_stops_reading_beyond_the_limit(length: str | None) -> None:
    """A body that grows over the limit is refused there, whatever its declared length."""
    sender = _Sender(b"a" * 16_384 for _ in range(1000))

    with pytest.raises(HTTPException) as caught:
        await read_body(_request(sender, length=length))

    assert (413, {"Connection": "close"}) == (caught.value.status_code, caught.value.headers)
    assert 5 == sender.given


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 5000])
async def test_refuses_a_declared_length_unread(length: str) -> None:
    """A length over the limit is refused before anything is read."""
    sender = _Sender([b"a"])

    with pytest.raises(HTTPException) as caught:
        await read_body(_request(sender, length=length))

    assert (413, 0) == (caught.value.status_code, sender.given)


async def test_refuses_a_body_that_breaks_off() -> None:
    """A client that goes away in the middle is no defect of ours."""
    with pytest.raises(HTTPException) as caught:
        await read_body(_request(_Sender([b"a"], breaks_off=True)))

    assert caught.value.status_code == 400


async def test_does_not_wait_for_a_slow_body_for_ever() -> None:
    """A body that does not arrive is given up."""

    async def never() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    request = Request({"type": "http", "method": "POST", "headers": []}, never)

    with pytest.raises(HTTPException) as caught:
        await read_body(request, seconds=0.01)

    assert caught.value.status_code == 408


def test_form_keeps_blanks_order_and_repetitions() -> None:
    """Every pair of a form is kept, for the signature covers every one."""
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
def test_form_must_be_utf8_and_short(encoded: bytes) -> None:
    """What is not strictly UTF-8, or too much, is not decoded."""
    with pytest.raises(DecodeError):
        decode_form(encoded)


def test_field_count_is_bounded() -> None:
    """A hundred fields may come, and not one more."""
    check_field_count(b"&".join([b"x=1"] * MAX_FIELDS))

    with pytest.raises(HTTPException) as caught:
        check_field_count(b"&".join([b"x=1"] * (MAX_FIELDS + 1)))

    assert caught.value.status_code == 413


def test_json_is_a_flat_object() -> None:
    """Texts stay, numbers and booleans are spelt as in JSON, null is absent, repetitions stay."""
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
def test_json_of_any_other_shape_is_refused(document: bytes) -> None:
    """What is not a flat JSON object is refused by one kind of error that repeats nothing of it."""
    with pytest.raises(DecodeError):
        decode_json(document)


@given(st.binary(max_size=300))
def test_decoders_only_raise_their_error(raw: bytes) -> None:
    """Any bytes decode to encodable text, or raise DecodeError."""
    for decode in (decode_form, decode_json):
        try:
            fields = decode(raw)
        except DecodeError:
            continue
        for name, value in fields.multi_items():
            (name + value).encode()
