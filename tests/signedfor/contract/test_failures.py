import ast
import csv
import inspect
import itertools
from enum import Enum
from pathlib import Path

import pytest

from signedfor import contract
from signedfor.contract.failures import RETRYABLE, TERMINAL, FailureClass
from signedfor.twilio import codes
from signedfor.twilio.codes import advice_for, meaning_for


def test_two_kinds() -> None:
    """A class is retried by the policy or terminal, never both, never neither."""
    assert set(FailureClass) == RETRYABLE | TERMINAL
    assert set() == RETRYABLE & TERMINAL


def test_only_what_was_not_sent_is_retried() -> None:
    """The policy repeats a POST only for the class that says that nothing was sent."""
    assert {FailureClass.TEMPORARILY_UNAVAILABLE} == RETRYABLE


@pytest.mark.parametrize("failure_class", FailureClass)
def test_each_class_has_texts(failure_class: FailureClass) -> None:
    """A class says what happened and what to do even for a code that nobody knows."""
    for text in (meaning_for(failure_class, None), advice_for(failure_class, 999_999)):
        assert text.endswith(".")
        assert len(text) > 20


@pytest.mark.parametrize("failure_class", FailureClass)
def test_each_class_is_in_the_overview(failure_class: FailureClass) -> None:
    """The table in the docstring has a row for each class, and says rightly who retries it."""
    assert FailureClass.__doc__ is not None
    (row,) = [
        line for line in FailureClass.__doc__.splitlines() if f"| {failure_class.name} |" in line
    ]
    assert (failure_class in RETRYABLE) == (row.split("|")[2].strip() == "yes")


def test_the_codes_name_classes() -> None:
    """Every class in the table of codes is a failure class."""
    path = Path(codes.__file__).with_name("codes.csv")
    with path.open(encoding="utf-8", newline="") as table:
        named = {row["failure_class"] for row in csv.DictReader(table)}

    assert set() == named - {each.value for each in FailureClass}


@pytest.mark.parametrize(
    "words",
    [FailureClass, contract.Outcome, contract.Stage, contract.DeadLetterOutcome],
    ids=lambda words: words.__name__,
)
def test_each_word_is_explained(words: type[Enum]) -> None:
    """A member of an enum that people read is followed by its meaning, or explains itself."""
    plain = {"RETRIED", "DISCARDED"}
    module = inspect.getmodule(words)
    assert module is not None
    tree = ast.parse(inspect.getsource(module))
    (body,) = [
        each.body
        for each in tree.body
        if isinstance(each, ast.ClassDef) and each.name == words.__name__
    ]
    explained = {
        name.id
        for statement, after in itertools.pairwise(body)
        if isinstance(statement, ast.Assign) and isinstance(after, ast.Expr)
        for name in statement.targets
        if isinstance(name, ast.Name)
    }

    assert set() == {each.name for each in words} - explained - plain
