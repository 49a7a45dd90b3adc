"""Campaign templates: placeholders are replaced with the cells of a row, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signedfor.template import InvalidTemplate, MissingField, placeholders, render


def test_placeholders_are_replaced() -> None:
    """Every occurrence is replaced; spaces inside the braces are ignored."""
    body = "Hi {name}, {{not this}} {first order}: { name }"

    assert {"name", "first order"} == placeholders(body)
    assert "Hi Ann, {not this} 17: Ann" == render(body, {"name": "Ann", "first order": "17"})


@pytest.mark.parametrize("value", ["{name}", "{{", "}", "{0.__class__}", "%s", "\\1"])
def test_braces_in_a_value_are_plain_text(value: str) -> None:
    """The values of a row are never interpreted as a template."""
    assert f"Hi {value}" == render("Hi {name}", {"name": value})


@pytest.mark.parametrize("name", ["0", "name.__class__", "name[0]", "name!r", "name:>10000000"])
def test_format_specifications_are_not_supported(name: str) -> None:
    """They count as names of columns that do not exist."""
    with pytest.raises(MissingField, match="has no value for"):
        render(f"Hi {{{name}}}", {"name": "Ann"})


@pytest.mark.parametrize(
    ("body", "problem"),
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
def test_the_error_for_bad_braces_names_their_position(body: str, problem: str) -> None:
    """It does not repeat the text."""
    with pytest.raises(InvalidTemplate) as caught:
        placeholders(body)

    assert problem in str(caught.value)
    assert "Private" not in str(caught.value)


@given(st.text())
def test_doubled_braces_are_plain_text(text: str) -> None:
    """A text with its braces doubled is rendered unchanged."""
    body = text.replace("{", "{{").replace("}", "}}")

    assert frozenset() == placeholders(body)
    assert text == render(body, {})
