import csv

from devtools import train_text_model
from signedfor.twilio import text_model


def test_the_table_is_what_the_texts_make() -> None:
    """Run `python -m devtools.train_text_model` when texts were added."""
    made = train_text_model.table(train_text_model.train(train_text_model.samples()))

    with train_text_model.TABLE.open(encoding="utf-8", newline="") as table:
        assert made == [(row["feature"], row["weight"]) for row in csv.DictReader(table)]


def test_the_thresholds_are_rarely_wrong() -> None:
    """Of those that the model has not learned from, one phrase in a hundred, one other in forty."""
    scores = list(train_text_model.unseen_scores(train_text_model.samples()))
    phrases = [score for sample, score in scores if sample.is_phrase]
    ordinary = [score for sample, score in scores if not sample.is_opt_out]

    assert sum(score < text_model.ORDINARY for score in phrases) / len(phrases) < 0.015
    assert sum(score > text_model.OPT_OUT for score in ordinary) / len(ordinary) < 0.025
