"""JSON from others: its limits, and what is refused."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signedfor.strict_json import InvalidJson, parse_json

_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def _refusal(data: bytes, **limits: int) -> tuple[tuple[str | int, ...], str]:
    with pytest.raises(InvalidJson) as caught:
        parse_json(data, **limits)
    return caught.value.path, str(caught.value)


@given(_json, st.booleans())
def test_json_is_what_pythons_parser_makes_of_it(document: Any, ensure_ascii: bool) -> None:
    """Any document within the limits, without half a character."""
    text = json.dumps(document, ensure_ascii=ensure_ascii)

    assert json.loads(text) == parse_json(text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=200) | st.text('{}[]",:1\\u ntrue', max_size=60).map(str.encode))
def test_any_bytes_are_answered(data: bytes) -> None:
    """With a document or a refusal."""
    with contextlib.suppress(InvalidJson):
        parse_json(data)


@given(_json, st.text(max_size=5))
def test_a_name_that_stands_twice_is_found(document: Any, name: str) -> None:
    """Anywhere in the document, with the way to it."""
    twice = f"{{{json.dumps(name)}: 1, {json.dumps(name)}: 2}}"
    whole = f'{{"first": {json.dumps(document)}, "second": [0, {twice}]}}'

    assert (("second", 1, name), "is given more than once") == _refusal(whole.encode())


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is not JSON in UTF-8"),
        (b"\xff", "is not JSON in UTF-8"),
        (b"\xef\xbb\xbf{}", "is not JSON in UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "is not JSON in UTF-8"),
        (b"[" + b"9" * 5000 + b"]", "is not JSON in UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "nests too deeply"),
        (b"[" + b"1," * 1000 + b"1]", "has more than 1,000 values"),
        (b"[[1],{}," + b'{"a":[1]},' * 334 + b"1]", "has more than 1,000 values"),
        (b'"' + b"x" * 262_144 + b'"', "is larger than 262,144 bytes"),
    ],
)
def test_what_is_refused_as_a_whole(data: bytes, problem: str) -> None:
    """The text says why; no place is named."""
    assert ((), problem) == _refusal(data)


def test_limits_can_be_given() -> None:
    """They are inclusive."""
    assert [1, 2] == parse_json(b"[1, 2]", max_bytes=6, max_values=2)
    assert ((), "is larger than 5 bytes") == _refusal(b"[1, 2]", max_bytes=5)
    assert ((), "has more than 1 values") == _refusal(b"[1, 2]", max_values=1)


@pytest.mark.parametrize(
    "data",
    [b"[" * 262_144, b'{"a":' * 52_000, b"[1," * 87_000, b'{"":0,' * 40_000, b"1" * 262_144,
     b'"' + b"\\ud800" * 43_000 + b'"', b"[" * 900 + b"1," * 130_000],
)  # fmt: skip
def test_the_largest_documents_are_refused_at_once(data: bytes) -> None:
    """Whatever they are made of."""
    started = time.perf_counter()
    with contextlib.suppress(InvalidJson):
        parse_json(data)

    assert time.perf_counter() - started < 0.25
