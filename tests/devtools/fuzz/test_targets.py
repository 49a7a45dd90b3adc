"""Everything that is open to input from outside answers any input, and quickly."""

import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from devtools.fuzz.__main__ import MAX_SECONDS, fuzz
from devtools.fuzz.mutations import CLEAR, KEYS, NAMESPACE, SEEDS, mutated
from devtools.fuzz.targets import CORPUS, TARGETS
from signedfor.encryption import Encryption, EncryptionCodec

_LONG = 65_536
_LEAST = 0.001
"""Seconds that say nothing about growth."""
_PIECES = (
    *("a", " ", "1", "+1", "(", "-", ",", '"', '","', "\n", "\r\n", "\x00", "'", "|", "#", "@"),
    *("{", "}", "{{", "{a}", "[", "[1,", '{"a":', '"a":1,', "\\u", "&", "a=b&", "=", "%", "%41"),
    *("STOP ", "please stop texting me ", "sstttooopp", "ST0P", "unsubscribd ", "nomoretexts"),
    *("\u0301", "e\u0301", "\u200b", "\u0600", "\U0001f600", "🏳️\u200d🌈", "각\u11a8", "\ud800"),
    *(
        "http://",
        "https://a.",
        "a.",
        "whatsapp:",
        "to,",
        "=1+",
        "f^€",
        "\uff19",
        "²",
        "\u0661",
        "ARRÊT ",
    ),
)

_targets = pytest.mark.parametrize("name", TARGETS)


@_targets
@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_answered(name: str, data: bytes) -> None:
    """Or refused as the target says."""
    TARGETS[name](data)


@_targets
@settings(deadline=None, max_examples=200)
@given(seed=st.integers(0, 2**32))
def test_input_that_is_nearly_right_is_answered(name: str, seed: int) -> None:
    """As `make fuzz` does, for a short time."""
    TARGETS[name](mutated(SEEDS[name], Random(seed)))  # noqa: S311 - no secret


@_targets
@pytest.mark.parametrize("piece", _PIECES, ids=ascii)
def test_65536_characters_of_anything_are_answered_within_a_second(name: str, piece: str) -> None:
    """Repeated from the start, or after what begins well."""
    for text in (piece * (_LONG // len(piece)), "+1555" + piece * (_LONG // len(piece))):
        data = text.encode("utf-8", "surrogatepass")[:_LONG]
        started = time.process_time()
        TARGETS[name](data)
        assert time.process_time() - started < MAX_SECONDS


@_targets
@pytest.mark.parametrize("piece", _PIECES, ids=ascii)
def test_what_is_eight_times_as_long_takes_about_eight_times_as_long(name: str, piece: str) -> None:
    """Not 64 times: however fast the machine is, the work grows with the length of the input."""
    for begin in ("", "+1555"):
        short, long = (
            _processor_seconds(name, begin + piece * (length // len(piece)))
            for length in (_LONG // 8, _LONG)
        )
        assert long < 3 * 8 * max(short, _LEAST)


def _processor_seconds(name: str, text: str) -> float:
    """The least of some runs: another may have been held up."""
    data, took = text.encode("utf-8", "surrogatepass"), []
    for _ in range(3):
        started = time.process_time()
        TARGETS[name](data)
        took.append(time.process_time() - started)
        if took[-1] < _LEAST:
            break
    return min(took)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: path.name)
def test_what_fuzzing_once_found_is_answered(path: Path) -> None:
    """Each file of the corpus made its target fail, or slow."""
    started = time.process_time()
    TARGETS[path.parent.name](path.read_bytes())
    assert time.process_time() - started < MAX_SECONDS


def test_what_is_encrypted_can_be_decrypted() -> None:
    """Otherwise the target of encrypted payloads would prove nothing."""
    codec = EncryptionCodec(Encryption.parse(KEYS), NAMESPACE)

    assert CLEAR == codec.decrypt(Payload.FromString(SEEDS["encrypted_payloads"][0]))


def test_a_target_that_fails_is_found() -> None:
    """With the input that it failed with, and again with the same seed."""

    def fails(data: bytes) -> None:
        assert b"stop" not in data.lower()

    inputs, found = fuzz("keywords", fails, seconds=30, seed=1)

    assert found is not None
    assert b"stop" in found.lower()
    assert (inputs, found) == fuzz("keywords", fails, seconds=30, seed=1)


def test_a_target_that_is_slow_is_found() -> None:
    """After a second for one input."""

    def slow(_data: bytes) -> None:
        started = time.process_time()
        while time.process_time() - started < MAX_SECONDS + 0.1:
            pass

    _, found = fuzz("forms", slow, seconds=30, seed=1)

    assert found is not None
