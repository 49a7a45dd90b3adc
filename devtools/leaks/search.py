"""Finds values in any bytes, in clear and in the encodings in which they could hide."""

import base64
import contextlib
import html
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, quote_plus

import phonenumbers

MIN_LENGTH: Final = 6
"""Shorter values would be found by chance."""
_NANP_DIGITS: Final = 11
_GZIP: Final = b"\x1f\x8b\x08"
_MAX_UNPACKED: Final = 64_000_000


@dataclass(frozen=True)
class Value:
    """Something that must not be found but where it is allowed, and what kind of data it is."""

    kind: str
    text: str
    is_number: bool = False


class Searcher:
    """Finds which kinds of values are in some bytes; the values themselves are not repeated."""

    def __init__(self, values: Iterable[Value]) -> None:
        # Values that begin alike are looked for at once: this is what takes the time.
        self._by_start: dict[bytes, set[tuple[bytes, str]]] = {}
        for value in values:
            for form in forms(value):
                self._by_start.setdefault(form[:MIN_LENGTH], set()).add((form, value.kind))

    def kinds_in(self, data: bytes) -> frozenset[str]:
        """The kinds of which a value is in `data`, or in a gzip stream in it."""
        return frozenset(
            kind
            for part in (data, *_unpacked(data))
            for start, whole in self._by_start.items()
            if start in part
            for form, kind in whole
            if form in part
        )


def forms(value: Value) -> set[bytes]:
    """Every form of a value that is searched for.

    Raises:
        ValueError: it is too short to be searched for.
    """
    if len(value.text) < MIN_LENGTH:
        raise ValueError(f"A value must have at least {MIN_LENGTH} characters.")
    if not value.is_number:
        return {form for text in _escaped(value.text) for form in _encoded(text)}
    digits, *written = _written(value.text)
    return {*_encoded(digits), *(text.encode() for text in written)}


def _written(number: str) -> Iterator[str]:
    """The digits of a number, without its country if it is in North America; as people write it."""
    digits = number.lstrip("+")
    if not (digits.startswith("1") and len(digits) == _NANP_DIGITS):
        yield digits
        return
    yield digits[1:]
    parsed = phonenumbers.parse(f"+{digits}")
    for form in (
        phonenumbers.PhoneNumberFormat.INTERNATIONAL,
        phonenumbers.PhoneNumberFormat.NATIONAL,
    ):
        yield phonenumbers.format_number(parsed, form).removeprefix("+1 ")
    yield ".".join((digits[1:4], digits[4:7], digits[7:]))


def _escaped(text: str) -> Iterator[str]:
    """As JSON, Python, URLs, forms and HTML write it."""
    yield text
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield repr(text)[1:-1]
    yield html.escape(text)
    for in_url in (quote(text), quote(text, safe=""), quote_plus(text)):
        yield in_url
        yield quote(in_url, safe="")  # a URL in a URL


def _encoded(text: str) -> Iterator[bytes]:
    raw = text.encode()
    yield raw
    yield text.encode("utf-16-le")
    yield text.encode("utf-16-be")
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # Without the characters that also depend on what is before and behind it.
            first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
            yield encode(bytes(before) + raw)[first:last]


def _unpacked(data: bytes) -> Iterator[bytes]:
    """The contents of the gzip streams in the data."""
    view, at = memoryview(data), data.find(_GZIP)
    while at >= 0:
        with contextlib.suppress(zlib.error):
            yield zlib.decompressobj(wbits=31).decompress(view[at:], _MAX_UNPACKED)
        at = data.find(_GZIP, at + 1)
