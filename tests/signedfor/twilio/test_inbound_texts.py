"""The classifier over labeled texts: see devtools/opt_out_texts.py."""

from pathlib import Path

import pytest

from devtools import opt_out_texts

_SETS = pytest.mark.parametrize("path", opt_out_texts.files(), ids=lambda path: path.stem)


@_SETS
def test_no_opt_out_by_keyword_is_missed(path: Path) -> None:
    """A message that is nothing but an opt-out keyword is a STOP."""
    figure = opt_out_texts.missed_stops(opt_out_texts.read(path))

    assert figure.texts
    assert [] == [each.text for each in figure.counted]


@_SETS
def test_opt_outs_in_other_words_are_heeded(path: Path) -> None:
    """At least 98 % of them are a STOP or for review."""
    figure = opt_out_texts.missed_phrases(opt_out_texts.read(path))

    assert figure.texts
    assert figure.share <= 0.02, [each.text for each in figure.counted]


@_SETS
def test_ordinary_messages_need_no_review(path: Path) -> None:
    """At most 2 % of them are a STOP or for review."""
    figure = opt_out_texts.false_alarms(opt_out_texts.read(path))

    assert figure.texts
    assert figure.share <= 0.02, [each.text for each in figure.counted]
