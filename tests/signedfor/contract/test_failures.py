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


def test_each_class_is_either_retryable_or_terminal() -> None:
    """None is both, and none is neither."""
    assert set(FailureClass) == RETRYABLE | TERMINAL
    assert set() == RETRYABLE & TERMINAL


def test_a_post_is_retried_only_if_nothing_was_sent() -> None:
    """There is only one retryable class, which means that nothing was sent."""
    assert {FailureClass.TEMPORARILY_UNAVAILABLE} == RETRYABLE


@pytest.mark.parametrize("failure_class", FailureClass)
def test_each_class_has_a_meaning_and_advice(failure_class: FailureClass) -> None:
    """It says what happened and what to do even without a known code."""
    for text in (meaning_for(failure_class, None), advice_for(failure_class, 999_999)):
        assert text.endswith(".")
        assert len(text) > 20


@pytest.mark.parametrize("failure_class", FailureClass)
def test_each_class_is_in_the_table_of_the_docstring(failure_class: FailureClass) -> None:
    """The row says correctly whether the class is retried."""
    assert FailureClass.__doc__ is not None
    (row,) = [
        line for line in FailureClass.__doc__.splitlines() if f"| {failure_class.name} |" in line
    ]
    assert (failure_class in RETRYABLE) == (row.split("|")[2].strip() == "yes")


def test_the_table_of_codes_names_existing_classes() -> None:
    """Every class in the table is a failure class."""
    path = Path(codes.__file__).with_name("codes.csv")
    with path.open(encoding="utf-8", newline="") as table:
        names = {row["failure_class"] for row in csv.DictReader(table)}

    assert set() == names - {each.value for each in FailureClass}


@pytest.mark.parametrize(
    "enum",
    [FailureClass, contract.Outcome, contract.Stage, contract.DeadLetterOutcome],
    ids=lambda enum: enum.__name__,
)
def test_each_enum_member_is_explained(enum: type[Enum]) -> None:
    """A member is followed by a docstring, unless it is self-explanatory."""
    self_explanatory = {"RETRIED", "DISCARDED"}
    module = inspect.getmodule(enum)
    assert module is not None
    tree = ast.parse(inspect.getsource(module))
    (body,) = [
        each.body
        for each in tree.body
        if isinstance(each, ast.ClassDef) and each.name == enum.__name__
    ]
    explained = {
        name.id
        for statement, after in itertools.pairwise(body)
        if isinstance(statement, ast.Assign) and isinstance(after, ast.Expr)
        for name in statement.targets
        if isinstance(name, ast.Name)
    }

    assert set() == {each.name for each in enum} - explained - self_explanatory
