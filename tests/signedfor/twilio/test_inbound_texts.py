"""The classifier over labeled texts: see devtools/opt_out_texts.py.

What it is like with texts that nobody had seen was measured once for each set; their README.md and
docs/reference/inbound-words.md publish it. The tests keep what is reached since.
"""

from pathlib import Path

import pytest

from devtools import opt_out_texts, train_text_model
from devtools.opt_out_texts import Figure

_PAGE = Path(__file__).parents[3] / "docs/reference/inbound-words.md"
_SETS = [each for each in opt_out_texts.files() if each.stem in train_text_model.LEARNED]
"""Those that the rules and the model may learn from."""


def _texts(figure: Figure) -> list[str]:
    return [each.text for each in figure.counted]


@pytest.mark.parametrize("path", _SETS, ids=lambda path: path.stem)
def test_an_opt_out_by_keyword_is_a_stop(path: Path) -> None:
    """A message that is nothing but an opt-out keyword."""
    figure = opt_out_texts.missed_stops(opt_out_texts.read(path))

    assert figure.texts
    assert not _texts(figure)


@pytest.mark.parametrize("path", _SETS, ids=lambda path: path.stem)
def test_an_opt_out_by_keyword_is_never_lost(path: Path) -> None:
    """What is no STOP is for review."""
    figure = opt_out_texts.lost_stops(opt_out_texts.read(path))

    assert figure.texts
    assert not _texts(figure)


@pytest.mark.parametrize("path", _SETS, ids=lambda path: path.stem)
def test_opt_outs_in_other_words_are_heeded(path: Path) -> None:
    """They are a STOP or for review."""
    figure = opt_out_texts.missed_phrases(opt_out_texts.read(path))

    assert figure.texts
    assert figure.share <= 0.02, _texts(figure)


@pytest.mark.parametrize("path", _SETS, ids=lambda path: path.stem)
def test_ordinary_messages_need_no_review(path: Path) -> None:
    """They are neither a STOP nor for review."""
    figure = opt_out_texts.false_alarms(opt_out_texts.read(path))

    assert figure.texts
    assert figure.share <= 0.02, _texts(figure)


def test_the_figures_are_as_published() -> None:
    """docs/reference/inbound-words.md has them in percent, of all sets that were learned from."""
    texts = [text for path in _SETS for text in opt_out_texts.read(path)]
    page = _PAGE.read_text(encoding="utf-8")

    missed = opt_out_texts.missed_phrases(texts).share
    flagged = opt_out_texts.false_alarms(texts).share

    published = f"{missed:.1%} of the phrases are missed there, and {flagged:.1%} of the ordinary"
    assert published.replace("%", " %") in " ".join(page.split())


def test_texts_that_nothing_was_learned_from_are_read_as_well_as_is_the_aim() -> None:
    """Who wrote the rules has not seen them; a change that helps others must not cost here."""
    texts = opt_out_texts.read(opt_out_texts.TEXTS / "held_out_3.csv")

    assert "held_out_3" not in train_text_model.LEARNED
    assert not opt_out_texts.missed_stops(texts).counted
    assert opt_out_texts.missed_phrases(texts).share <= 0.02
    assert opt_out_texts.false_alarms(texts).share <= 0.02
