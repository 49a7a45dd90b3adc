"""Reads a request's body within bounds and decodes it, strictly."""

import json
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import anyio
from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from webhook.signature import Fields

MAX_BODY_BYTES = 65_536
"""Twilio's callbacks are below 8 kB; an inbound message with ten media is too."""
MAX_FIELDS = 100
READ_SECONDS = 10.0
"""Twilio itself gives up after 15 seconds in all."""

# The rest of a body that will not be read must not be waited for either.
CLOSE = {"Connection": "close"}


class DecodeError(ValueError):
    """The bytes are not what their content type says; the text never repeats them."""


async def read_body(request: Request, *, seconds: float = READ_SECONDS) -> bytes:
    """The raw body, read no further than the limit.

    Raises:
        HTTPException: 413 over `MAX_BODY_BYTES`, 408 after so many `seconds`, 400 if it broke off.
    """
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > MAX_BODY_BYTES:
        _refuse_size()
    # A length that says less than is sent ends at what it says; chunks are counted as they come.
    body = bytearray()
    try:
        with anyio.fail_after(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    _refuse_size()
    except TimeoutError:
        raise HTTPException(408, "The body took too long to arrive.", CLOSE) from None
    except ClientDisconnect:
        raise HTTPException(400, "The body broke off.", CLOSE) from None
    return bytes(body)


def check_field_count(body: bytes) -> None:
    """Raise HTTPException 413 if a form body has more than `MAX_FIELDS` fields.

    Done before the signature is checked, whose cost grows with the fields.
    """
    if body.count(b"&") >= MAX_FIELDS:
        raise HTTPException(413, f"The body has more than {MAX_FIELDS} fields.")


def decode_form(encoded: bytes) -> Fields:
    """The fields of a form body or a query; blank values count, as they do in the signature.

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
    """The fields of a JSON body: one flat object; numbers and booleans in their JSON spelling.

    Raises:
        DecodeError: it is anything else.
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


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, with names that are given twice kept."""


def _no_constant(_name: str) -> NoReturn:
    raise DecodeError("holds a number that is not JSON")


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, list):  # an object too: _Pairs
        raise DecodeError("is not a flat JSON object")
    return json.dumps(value)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DecodeError("holds half of a surrogate pair") from None
    return text


def _refuse_size() -> NoReturn:
    raise HTTPException(413, f"The body is larger than {MAX_BODY_BYTES} bytes.", CLOSE)
