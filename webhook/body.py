"""Reads a request's body within limits, and decodes it strictly."""

import json
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import anyio
from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

Fields = ImmutableMultiDict[str, str]
"""Decoded names and values; a name may occur more than once."""

MAX_BODY_BYTES = 65_536
"""Twilio's requests are below 8 kB, even an inbound message with ten media."""
MAX_FIELDS = 100
READ_SECONDS = 9.0
"""A second later the server closes the connection. Twilio itself gives up after 15 in all."""

CLOSE = {"Connection": "close"}
"""Sent with an answer to an unread body, so that the server does not wait for the rest."""


class DecodeError(ValueError):
    """The body cannot be decoded; the text says why and repeats nothing of it."""


async def read_body(
    request: Request, *, max_bytes: int = MAX_BODY_BYTES, seconds: float = READ_SECONDS
) -> bytes:
    """The raw body.

    Raises:
        HTTPException: 413 for more than `max_bytes`, 408 after `seconds`, 400 if the client
            disconnects.
    """
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > max_bytes:
        _refuse_size(max_bytes)
    # The server reads no more than the declared length; a chunked body has none and is counted.
    body = bytearray()
    try:
        with anyio.fail_after(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    _refuse_size(max_bytes)
    except TimeoutError:
        raise HTTPException(408, "The body took too long to arrive.", CLOSE) from None
    except ClientDisconnect:
        raise HTTPException(400, "The body is incomplete.", CLOSE) from None
    return bytes(body)


def check_field_count(body: bytes) -> None:
    """Raise HTTPException 413 if a form body has more than `MAX_FIELDS` fields.

    Called before the signature is verified, because that costs more with each field.
    """
    if body.count(b"&") >= MAX_FIELDS:
        raise HTTPException(413, f"The body has more than {MAX_FIELDS} fields.")


def decode_form(encoded: bytes) -> Fields:
    """The fields of a form body or a query, blank ones included: the signature covers them.

    Raises:
        DecodeError: it is not UTF-8, or has more than `MAX_FIELDS` fields.
    """
    try:
        return ImmutableMultiDict(
            parse_qsl(
                encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
            )
        )
    except ValueError:
        raise DecodeError("is not a form in UTF-8") from None


def decode_json(body: bytes) -> Fields:
    """The fields of a JSON body, with numbers and booleans as text in JSON's spelling.

    Raises:
        DecodeError: it is not one flat object in UTF-8.
    """
    try:
        document = json.loads(body.decode(), object_pairs_hook=_Pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise DecodeError("is not JSON in UTF-8") from None
    if not isinstance(document, _Pairs) or len(document) > MAX_FIELDS:
        raise DecodeError(f"is not a JSON object of up to {MAX_FIELDS} fields")
    return ImmutableMultiDict(
        [(_encodable(name), _as_text(value)) for name, value in document if value is not None]
    )


def decode_events(body: bytes) -> list[Any]:
    """The events of a batch, not checked yet; a sink that does not batch sends one without a list.

    Raises:
        DecodeError: it is not JSON in UTF-8.
    """
    try:
        document = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise DecodeError("is not JSON in UTF-8") from None
    return document if isinstance(document, list) else [document]


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as pairs, which keep repeated names."""


def _no_constant(_name: str) -> NoReturn:
    raise DecodeError("contains a number that is not JSON")


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, list):  # an array, or an object (`_Pairs`)
        raise DecodeError("is not a flat JSON object")
    return json.dumps(value)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DecodeError("contains half of a surrogate pair") from None
    return text


def _refuse_size(max_bytes: int) -> NoReturn:
    raise HTTPException(413, f"The body is larger than {max_bytes} bytes.", CLOSE)
