"""Cells that a spreadsheet has damaged are detected, and formulas are masked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signedfor.spreadsheets import (
    Damage,
    is_blank,
    masked,
    number_damage,
    text_damage,
    unmasked,
)

ERROR_VALUES = [
    *("#REF!", "#N/A", "#NAME?", "#DIV/0!", "#NULL!", "#CALC!", "#SPILL!", "#ERROR!", "####"),
    *("#WERT!", "#BEZUG!", "#NV", "#N/D", "#¡VALOR!", "#¿NOMBRE?", "#ЗНАЧ!", "#I/T", "#ÜBERLAUF!"),
    *("#GETTING_DATA", "Err:502", "Loading..."),
]


@given(st.text(alphabet=st.sampled_from("=+-@' a\uff1d\uff0b"), max_size=6))
def test_masking_is_reversible(cell: str) -> None:
    """Any cell can be unmasked, and a masked cell never starts like a formula."""
    result = masked(cell)

    assert cell == unmasked(result)
    assert result.lstrip()[:1] not in set("=+-@\uff1d\uff0b")


@pytest.mark.parametrize(
    ("cell", "damage"),
    [
        ("1.55587E+10", Damage.SCIENTIFIC),
        ("1,55587E+10", Damage.SCIENTIFIC),
        (" 1.5e10 ", Damage.SCIENTIFIC),
        ("=A2", Damage.FORMULA),
        ("=+15558675309", Damage.FORMULA),
        ("+SUM(A1:A2)", Damage.FORMULA),
        ("+$A$1", Damage.FORMULA),
        ("-15558675309", Damage.FORMULA),
        ("@SUM(A1)", Damage.FORMULA),
        ("#N/A", Damage.ERROR_VALUE),
        ("#NAME?", Damage.ERROR_VALUE),
        ("########", Damage.ERROR_VALUE),
        ("15558675309.0", Damage.DECIMAL),
        ("15558675309,00", Damage.DECIMAL),
        ("15,558,675,309", Damage.DECIMAL),
        ("15558675309", Damage.NO_PLUS),
        ("015112345678", Damage.NO_PLUS),
        ("'15558675309", Damage.NO_PLUS),
        ("+15558675309", None),
        ("whatsapp:+15558675309", None),
        ("messenger:1234567", None),
        ("", None),
    ],
)
def test_damaged_numbers_are_detected(cell: str, damage: Damage | None) -> None:
    """A complete address or an empty cell is not damaged."""
    assert damage is number_damage(cell)


@pytest.mark.parametrize(
    ("cell", "damage"),
    [
        ("=HYPERLINK(A1)", Damage.FORMULA),
        ("#REF!", Damage.ERROR_VALUE),
        ("1.23457E+12", Damage.SCIENTIFIC),
        ("12E5", None),
        ("-20 %", None),
        ("+5 points", None),
        ("@ann", None),
        ("#1", None),
        ("#winning!", None),
        ("#Sale?", None),
        ("Err:", None),
        ("Loading", None),
        ("Eve", None),
        ("1.5", None),
    ],
)
def test_damaged_texts_are_detected(cell: str, damage: Damage | None) -> None:
    """Texts that a person may write, such as a percentage or a handle, are not damaged."""
    assert damage is text_damage(cell)


@pytest.mark.parametrize("cell", ERROR_VALUES)
def test_error_values_are_detected_in_any_language(cell: str) -> None:
    """None of them can be a name or a number."""
    assert Damage.ERROR_VALUE is text_damage(f" {cell} ") is number_damage(cell)


@pytest.mark.parametrize(
    ("cell", "blank"),
    [
        *(("", True), (" \u00a0\u3000", True), ("\u200b\u2060\ufeff", True), ("\u200e ", True)),
        *(("Ann", False), ("-", False), ("\u200bAnn", False), ("👩\u200d🚀", False)),
    ],
)
def test_a_cell_without_visible_characters_is_blank(cell: str, blank: bool) -> None:
    """It may consist of spaces and invisible characters of any kind."""
    assert blank is is_blank(cell)
