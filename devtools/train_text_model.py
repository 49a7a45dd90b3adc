"""Make `signedfor/twilio/text_model.csv` from the labeled texts.

    python -m devtools.train_text_model

writes the table, and prints what share of texts that it has not learned from the thresholds get
wrong. Run it when texts were added: a test compares the table with what this makes.

The model is a linear support vector machine with squared hinge loss, trained by dual coordinate
descent (Hsieh et al., A Dual Coordinate Descent Method for Large-scale Linear SVM, ICML 2008). That
takes two seconds, and always gives the same weights; a library for it would be our largest one.
"""

import csv
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devtools import opt_out_texts
from devtools.opt_out_texts import Text
from signedfor.contract import InboundKind
from signedfor.twilio import text_model
from signedfor.twilio.letters import plain
from signedfor.twilio.phrases import clauses

TABLE: Final = Path(__file__).resolve().parents[1] / "signedfor/twilio/text_model.csv"
LEARNED: Final = ("development", "another_writer", "held_out")
"""The sets that the model may learn from."""
_OPT_OUTS: Final = frozenset({InboundKind.STOP, InboundKind.REVIEW})
_PHRASE: Final = frozenset({InboundKind.REVIEW})
_COST: Final = 0.06
"""Of a text on the wrong side: more fits these texts better, and new ones no better."""
_EPOCHS: Final = 10
_MIN_TEXTS: Final = 2
"""In how many texts a feature occurs."""
_MIN_WEIGHT: Final = 0.01
_FOLDS: Final = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """A text to learn from."""

    features: frozenset[str]
    is_opt_out: bool
    is_phrase: bool
    """An opt-out in a person's own words: only of these the model decides."""


def samples() -> list[Sample]:
    """What is labeled as an opt-out or as something else, and not as perhaps both."""
    texts = [
        text
        for path in opt_out_texts.files()
        if path.stem in LEARNED
        for text in opt_out_texts.read(path)
    ]
    return [
        _sample(each)
        for each in texts
        if each.expected <= _OPT_OUTS or each.expected.isdisjoint(_OPT_OUTS)
    ]


def _sample(text: Text) -> Sample:
    return Sample(
        features=frozenset(text_model.features(text.text, clauses(plain(text.text)))),
        is_opt_out=text.expected <= _OPT_OUTS,
        is_phrase=text.expected == _PHRASE,
    )


def train(learned: Sequence[Sample]) -> dict[str, float]:
    """The weight of each feature."""
    counts = Counter(feature for sample in learned for feature in sample.features)
    # Sorted, since the order of a set differs between processes, and with it the last digits.
    known = [
        sorted(each for each in sample.features if counts[each] >= _MIN_TEXTS) for sample in learned
    ]
    weights = {feature: 0.0 for each in known for feature in each}
    alphas = [0.0] * len(learned)
    diagonal = 1 / (2 * _COST)
    order, chance = list(range(len(learned))), random.Random(0)  # noqa: S311 - no secret
    for _ in range(_EPOCHS):
        chance.shuffle(order)
        for at in order:
            sign = 1 if learned[at].is_opt_out else -1
            scale = text_model.scale(learned[at].features)
            margin = sign * scale * sum(map(weights.__getitem__, known[at]))
            gradient = margin - 1 + diagonal * alphas[at]
            alpha = max(alphas[at] - gradient / (scale**2 * len(known[at]) + diagonal), 0.0)
            step = sign * scale * (alpha - alphas[at])
            alphas[at] = alpha
            for feature in known[at]:
                weights[feature] += step
    return weights


def table(weights: dict[str, float]) -> list[tuple[str, str]]:
    """The rows of the table: weights that matter, rounded."""
    return [
        (feature, f"{weight:.2f}")
        for feature, weight in sorted(weights.items())
        if abs(weight) >= _MIN_WEIGHT
    ]


def unseen_scores(learned: Sequence[Sample]) -> Iterator[tuple[Sample, float]]:
    """Each sample with its score by a model that has not learned from it."""
    chance = random.Random(1)  # noqa: S311 - no secret
    folds = [chance.randrange(_FOLDS) for _ in learned]
    for fold in range(_FOLDS):
        weights = train([each for each, at in zip(learned, folds, strict=True) if at != fold])
        for sample, at in zip(learned, folds, strict=True):
            if at == fold:
                yield sample, text_model.weighted(sample.features, weights)


def _report(learned: Sequence[Sample]) -> str:
    scores = list(unseen_scores(learned))
    phrases = [score for sample, score in scores if sample.is_phrase]
    ordinary = [score for sample, score in scores if not sample.is_opt_out]
    return (
        f"Of {len(phrases)} opt-out phrases {_share(phrases, below=text_model.ORDINARY)} are taken "
        f"for ordinary, {1 - _share(phrases, below=text_model.OPT_OUT):.3f} for opt-outs.\n"
        f"Of {len(ordinary)} ordinary texts {1 - _share(ordinary, below=text_model.OPT_OUT):.3f} "
        f"are taken for opt-outs, {_share(ordinary, below=text_model.ORDINARY)} for ordinary.\n"
    )


def _share(scores: Sequence[float], *, below: float) -> float:
    return round(sum(score < below for score in scores) / len(scores), 3)


def main() -> None:
    """Write the table, and say how well the thresholds hold."""
    learned = samples()
    rows = table(train(learned))
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("feature", "weight"))
        writer.writerows(rows)
    sys.stdout.write(f"{len(rows)} weights.\n{_report(learned)}")


if __name__ == "__main__":
    main()
