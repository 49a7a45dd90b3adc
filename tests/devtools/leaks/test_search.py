import base64
import gzip
import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from devtools.leaks.search import Searcher, Value, forms

_NUMBER = "+15558675309"
_TEXT = 'Your "parcel"\nis at <the> door & café — 50% off / 1+1, Ana\\Zoë.'
_VALUES = (Value("numbers", _NUMBER, is_number=True), Value("texts", _TEXT))
_FORM_TYPES: dict[str, Callable[[str], bytes]] = {
    "in clear": str.encode,
    "JSON": lambda text: json.dumps({"a": text}).encode(),
    "JSON in UTF-8": lambda text: json.dumps({"a": text}, ensure_ascii=False).encode(),
    "JSON in a URL": lambda text: quote(text).encode(),
    "Python": lambda text: repr([text]).encode(),
    "HTML": lambda text: html.escape(text).encode(),
    "URL": lambda text: f"?q={quote(text, safe='')}&x=y".encode(),
    "form": lambda text: f"Body={quote_plus(text)}".encode(),
    "URL in a URL": lambda text: quote(f"https://a/?q={quote_plus(text)}", safe="").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 big-endian": lambda text: text.encode("utf-16-be"),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "hexadecimal in capitals": lambda text: text.encode().hex().upper().encode(),
    "gzip": lambda text: gzip.compress(f"body: {text}".encode()),
    "gzip within": lambda text: b"head" + gzip.compress(b"x" * 99) + gzip.compress(text.encode()),
}


@pytest.mark.parametrize("value", _VALUES, ids=lambda value: value.kind)
@pytest.mark.parametrize("form", _FORM_TYPES)
def test_a_value_is_found_in_every_form(form: str, value: Value) -> None:
    """By its kind, and among others."""
    data = b"\x00\xffbefore " + _FORM_TYPES[form](value.text) + b" after\x80"

    assert {value.kind} == Searcher(_VALUES).kinds_in(data)


@pytest.mark.parametrize("value", _VALUES, ids=lambda value: value.kind)
@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("behind", range(4))
def test_base64_is_found_at_every_offset(before: int, behind: int, value: Value) -> None:
    """Within a longer text, of any length, in both alphabets."""
    raw = b"\xfb" * before + value.text.encode() + b"\xfb" * behind

    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert {value.kind} == Searcher(_VALUES).kinds_in(b"Basic " + encode(raw))


@pytest.mark.parametrize(
    "written",
    [
        "15558675309",
        "5558675309",
        "(555) 867-5309",
        "555-867-5309",
        "555.867.5309",
        "%2B15558675309",
    ],
)
def test_a_number_is_found_as_people_write_it(written: str) -> None:
    """Also without its plus or its country."""
    assert {"numbers"} == Searcher(_VALUES).kinds_in(f"to {written}.".encode())


def test_other_data_have_nothing() -> None:
    """Masked numbers, other numbers, other texts, and what only begins like gzip."""
    data = b"+1555***5309 15558675308 parcel door \x1f\x8b\x08 caf\xc3\xa9"

    assert frozenset() == Searcher(_VALUES).kinds_in(data)


def test_a_short_value_is_refused() -> None:
    """It would be found by chance."""
    with pytest.raises(ValueError, match="at least 6"):
        forms(Value("texts", "short"))
