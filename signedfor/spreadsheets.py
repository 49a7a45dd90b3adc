"""Protects cells from spreadsheet programs, and detects the damage they do.

Excel, LibreOffice and Google Sheets evaluate a cell that starts like a formula, and convert what
looks like a number when they open a CSV file: a phone number loses its plus or its last digits.
"""

import re
import unicodedata
from enum import Enum

# What starts a formula, full-width forms included; and the apostrophe itself, so that a text that
# starts with one is restored unchanged.
_MASKED = frozenset("=+-@'\uff1d\uff0b\uff0d\uff20")
_MASK = "'"

_SCIENTIFIC = re.compile(r"[+-]?\d{1,3}([.,]\d+)?E[+-]?\d{1,3}", re.ASCII | re.IGNORECASE)
_SCIENTIFIC_WITH_SIGN = re.compile(r"[+-]?\d{1,3}([.,]\d+)?E\+\d{1,3}", re.ASCII | re.IGNORECASE)
# In any language: #REF!, #WERT!, #¡DIV/0!, #N/A, #I/T; and a few without a punctuation mark.
_ERROR_VALUE = re.compile(
    r"#[¡¿]?[^\W\d_][\w/]*[!?]|#[^\W\d_]/[^\W\d_]|#(NV|YOK|PUUTTUU|HIÁNYZIK|GETTING_DATA|#+)"
    r"|Err:\d{3}|Loading\.\.\."
)
_NUMBER_WITH_FRACTION = re.compile(r"\+?\d{7,}[.,]0+", re.ASCII)
_GROUPED = re.compile(r"\d{1,3}([.,]\d{3}){2,}", re.ASCII)
_FORMULA = re.compile(r"[=@-]|\+[A-Za-z$]")
_SUSPECT = frozenset("=#+-0123456789EL")
"""A damaged text starts with one of these; most texts do not."""
_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})
_BARE_DIGITS = re.compile(r"'?\d{5,}", re.ASCII)  # in Excel, the apostrophe marks text


class Damage(Enum):
    """How a spreadsheet has damaged a cell; the value is the message for its author."""

    SCIENTIFIC = (
        "was turned into scientific notation by a spreadsheet, and digits are lost: format the "
        "column as text there, and fill it in again"
    )
    FORMULA = "is a formula: export the sheet's values instead"
    ERROR_VALUE = "is a spreadsheet's error value: fix the sheet and export it again"
    DECIMAL = (
        "was turned into a decimal number by a spreadsheet: format the column as text there, and "
        "write each number with its plus"
    )
    NO_PLUS = (
        "has no plus and country code; spreadsheets drop the plus and leading zeros: format the "
        "column as text there, and write +, country code and number"
    )


def masked(cell: str) -> str:
    """`cell`, with a leading apostrophe if a spreadsheet would evaluate it."""
    return _MASK + cell if _needs_mask(cell) else cell


def unmasked(cell: str) -> str:
    """The cell that `masked` was given; any other cell unchanged."""
    return cell[1:] if cell.startswith(_MASK) and _needs_mask(cell[1:]) else cell


def number_damage(cell: str) -> Damage | None:
    """How a spreadsheet has damaged a cell that should contain a phone number."""
    text = cell.strip()
    if _FORMULA.match(text):
        return Damage.FORMULA
    if _is_error_value(text):
        return Damage.ERROR_VALUE
    if _SCIENTIFIC.fullmatch(text):
        return Damage.SCIENTIFIC
    if _NUMBER_WITH_FRACTION.fullmatch(text) or _GROUPED.fullmatch(text):
        return Damage.DECIMAL
    return Damage.NO_PLUS if _BARE_DIGITS.fullmatch(text) else None


def text_damage(cell: str) -> Damage | None:
    """How a spreadsheet has damaged a cell of text, which would be sent to a person."""
    text = cell.strip()
    if text[:1] not in _SUSPECT:
        return None
    if text.startswith("="):
        return Damage.FORMULA
    if _is_error_value(text):
        return Damage.ERROR_VALUE
    # Without the sign it may be a genuine code, such as 12E5.
    return Damage.SCIENTIFIC if _SCIENTIFIC_WITH_SIGN.fullmatch(text) else None


def is_blank(cell: str) -> bool:
    """Whether nothing is visible: spaces and format characters only."""
    if cell[:1].isalnum():
        return False  # the usual case, decided fast
    return all(unicodedata.category(each) in _INVISIBLE for each in cell)


def _is_error_value(text: str) -> bool:
    # In capitals, except those without a number sign: #Winning! may be meant.
    if not _ERROR_VALUE.fullmatch(text):
        return False
    return text.isupper() or text[0] != "#" or text[1] == "#"


def _needs_mask(cell: str) -> bool:
    # Some programs ignore leading spaces.
    return cell.lstrip()[:1] in _MASKED
