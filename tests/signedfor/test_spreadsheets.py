"""What spreadsheets do to cells is recognised, and what they would run is masked."""

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
def test_masks_come_off_again(cell: str) -> None:
    """Whatever a cell holds, it comes back; and masked it begins with no formula."""
    shown = masked(cell)

    assert cell == unmasked(shown)
    assert shown.lstrip()[:1] not in set("=+-@\uff1d\uff0b")


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
def test_damaged_numbers(cell: str, damage: Damage | None) -> None:
    """Each says what happened to it; a whole address, or none, is not damaged."""
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
def test_damaged_texts(cell: str, damage: Damage | None) -> None:
    """Only what nobody would write to a person: a percentage or a handle is no formula."""
    assert damage is text_damage(cell)


@pytest.mark.parametrize("cell", ERROR_VALUES)
def test_error_values_of_any_program_and_language(cell: str) -> None:
    """None of them is anybody's name or number."""
    assert Damage.ERROR_VALUE is text_damage(f" {cell} ") is number_damage(cell)


@pytest.mark.parametrize(
    ("cell", "blank"),
    [
        *(("", True), (" \u00a0\u3000", True), ("\u200b\u2060\ufeff", True), ("\u200e ", True)),
        *(("Ann", False), ("-", False), ("\u200bAnn", False), ("👩\u200d🚀", False)),
    ],
)
def test_a_cell_that_shows_nothing_is_blank(cell: str, blank: bool) -> None:
    """Whatever characters it is made of."""
    assert blank is is_blank(cell)
