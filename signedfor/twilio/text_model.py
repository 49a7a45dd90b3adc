"""How much a message resembles opt-outs: a linear model, learned from the labeled texts.

The rules know words and phrases, not what a sentence is about: "stop charging my card" is ordinary.
The model is a second opinion, for where it is almost certain. `devtools/train_text_model.py` makes
its weights, `text_model.csv`, from texts in the repository alone.
"""

import csv
import itertools
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path  # noqa: TID251 - the table is read once, at import
from typing import Final

from signedfor.twilio import ideas
from signedfor.twilio.phrases import CLAUSE_END

BIAS: Final = ""
"""The feature that every message has."""
ORDINARY: Final = -0.55
"""Below this an opt-out phrase is one in a hundred, in texts that the model has not learned from.
`devtools/train_text_model.py` prints the shares."""
OPT_OUT: Final = 0.8
"""Above this an ordinary message is one in two hundred."""
_RUN: Final = 4
_FEATURES: Final = 30
"""How many features a short message has."""
_MAX_WORDS: Final = 30
"""The texts that it has learned from are shorter, so it says nothing of longer ones."""


def features(body: str, text: str) -> set[str]:
    """The words of a message, its pairs of words, its runs of four letters, and its ideas.

    `text` are the clauses of `body`, as from `phrases.clauses`; their ends count as words in pairs.
    """
    tokens = text.split()
    found = {BIAS, *tokens}
    found.update(map(" ".join, itertools.pairwise(tokens)))
    for token in tokens:
        word = f"_{token}_"
        found.update(f"#{word[at : at + _RUN]}" for at in range(len(word) - _RUN + 1))
    for clause in text.split(CLAUSE_END):
        found.update(f"@{each}" for each in ideas.features(clause.split()))
    if "?" in body:
        found.add("?")
    return found


def scale(found: AbstractSet[str]) -> float:
    """By what weights are multiplied, so that a long message counts no more than a short one."""
    return math.sqrt(_FEATURES / len(found))


def weighted(found: AbstractSet[str], weights: Mapping[str, float]) -> float:
    """The score of a message with these features."""
    # Sorted, since the order of a set differs between processes, and with it the last digits.
    return scale(found) * sum(weights[each] for each in sorted(found & weights.keys()))


def _read_table() -> dict[str, float]:
    path = Path(__file__).with_name("text_model.csv")
    with path.open(encoding="utf-8", newline="") as table:
        return {row["feature"]: float(row["weight"]) for row in csv.DictReader(table)}


_WEIGHTS: Final = _read_table()


def score(body: str, text: str) -> float:
    """How much a message resembles opt-outs (above 0) or ordinary ones (below); 0 if it is long."""
    if len(text.split()) > _MAX_WORDS:
        return 0.0
    return weighted(features(body, text), _WEIGHTS)
