"""Templates of campaigns: a row's own cells in a common text, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signedfor.template import InvalidTemplate, MissingField, placeholders, render


def test_placeholders_are_replaced() -> None:
    """Each as often as it stands there; spaces in the braces are no part of the name."""
    body = "Hi {name}, {{not this}} {first order}: { name }"

    assert {"name", "first order"} == placeholders(body)
    assert "Hi Ann, {not this} 17: Ann" == render(body, {"name": "Ann", "first order": "17"})


@pytest.mark.parametrize("value", ["{name}", "{{", "}", "{0.__class__}", "%s", "\\1"])
def test_a_fields_own_braces_are_text(value: str) -> None:
    """What a row holds is never read as a template."""
    assert f"Hi {value}" == render("Hi {name}", {"name": value})


@pytest.mark.parametrize("name", ["0", "name.__class__", "name[0]", "name!r", "name:>10000000"])
def test_formats_are_not_understood(name: str) -> None:
    """They are the names of columns that no row has."""
    with pytest.raises(MissingField, match="has no value for"):
        render(f"Hi {{{name}}}", {"name": "Ann"})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("Private {name", "not closed at character 9"),
        ("Private }", "closing brace without an opening one at character 9"),
        ("Private {}", "without a column's name at character 9"),
        ("Private { }", "without a column's name at character 9"),
        ("Private {a{b}}", "not closed at character 9"),
        ("Private {{{", "not closed at character 11"),
        ("Private {a\nb}", "without a column's name at character 9"),
        ("Private {" + "n" * 65 + "}", "1 to 64 printable characters"),
    ],
)
def test_unfinished_braces_are_named_by_their_place(body: str, said: str) -> None:
    """The text itself is not repeated."""
    with pytest.raises(InvalidTemplate) as caught:
        placeholders(body)

    assert said in str(caught.value)
    assert "Private" not in str(caught.value)


@given(st.text())
def test_any_text_can_be_written(text: str) -> None:
    """With its braces doubled a text comes out as it was."""
    body = text.replace("{", "{{").replace("}", "}}")

    assert frozenset() == placeholders(body)
    assert text == render(body, {})
