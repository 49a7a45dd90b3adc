"""What a segment costs, by the recipient's country: `PRICES_FILE` and `PRICE_PER_SEGMENT`."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from signedfor.errors import InvalidSettings
from signedfor.places import COUNTRIES, recipient_places

ANY_COUNTRY: Final = "*"
"""The row for countries without a row of their own."""
MICROS: Final = 1_000_000
"""Amounts are stored as millionths of the currency, as whole numbers."""
_HEADER: Final = ["country", "price_per_segment"]
_MAX_PRICE: Final = 1000
_MAX_DECIMALS: Final = 6
_MAX_BYTES: Final = 1 << 20


class InvalidPrices(InvalidSettings):
    """PRICES_FILE cannot be used; `problems` name its bad lines, never their contents."""

    def __init__(self, problems: Sequence[str]) -> None:
        shown = "\n".join(f"  PRICES_FILE: {each}" for each in problems)
        super().__init__(f"The prices cannot be used.\n{shown}")
        self.problems = tuple(problems)


@dataclass(frozen=True, kw_only=True)
class Prices:
    """The price of a segment, by country."""

    by_country: Mapping[str, Decimal]
    others: Decimal
    """Of countries that are not in it, and of recipients without a phone number."""

    def per_segment(self, to: str) -> Decimal:
        """The price of a segment to a normalized recipient.

        A number that may be in several countries has the highest of their prices.
        """
        return self.in_places(recipient_places(to))

    def in_places(self, places: Iterable[str]) -> Decimal:
        """The same for the places of a recipient, as `recipient_places` has them."""
        countries = {place.partition("-")[0] for place in places}
        known = [self.by_country[each] for each in countries if each in self.by_country]
        return max(known, default=self.others)


def in_micros(amount: Decimal) -> int:
    """The amount in millionths, rounded up."""
    return int((amount * MICROS).to_integral_value(ROUND_UP))


def read_prices(path: Path | None, *, price_per_segment: Decimal | None) -> Prices | None:
    """The prices of the file, and `price_per_segment` elsewhere; None if there is neither.

    The file is CSV with the columns `country` (ISO 3166, such as `US`; `*` for all others) and
    `price_per_segment`.

    Raises:
        InvalidPrices: names every bad line of the file, never its contents.
    """
    if path is None:
        if price_per_segment is None:
            return None
        return Prices(by_country={}, others=price_per_segment)
    problems: list[str] = []
    found: dict[str, Decimal] = {}
    for line, cells in _rows(path):
        checked = _checked(cells)
        if isinstance(checked, str):
            problems.append(f"line {line} {checked}")
            continue
        country, price = checked
        if country in found:
            problems.append(f"line {line} names a country for the second time")
        found[country] = price
    others = found.pop(ANY_COUNTRY, price_per_segment)
    if others is None and not problems:
        problems.append("has no row for *, and PRICE_PER_SEGMENT is not set: add one of the two")
    if problems or others is None:
        raise InvalidPrices(problems)
    return Prices(by_country=found, others=others)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header that are not blank, each with its line."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InvalidPrices(["is larger than 1 MB: it has a row for each country"])
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidPrices([f"cannot be read ({error.strerror})"]) from None
    except UnicodeDecodeError:
        raise InvalidPrices(["is not UTF-8"]) from None
    reader = csv.reader(text.splitlines())
    header = [cell.strip().lower() for cell in next(reader, [])]
    if header != _HEADER:
        raise InvalidPrices([f"line 1 must be {','.join(_HEADER)}"])
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error:
        raise InvalidPrices([f"line {reader.line_num} is not CSV"]) from None


def _checked(cells: list[str]) -> tuple[str, Decimal] | str:
    """The country and its price, or what is wrong."""
    if len(cells) != len(_HEADER):
        return "must have two cells: a country and a price"
    country, price = cells[0].upper(), _price(cells[1])
    if country != ANY_COUNTRY and country not in COUNTRIES:
        return "must begin with a country's two letters (ISO 3166), such as US, or *"
    if price is None:
        return f"must have a price from 0 to {_MAX_PRICE}, with a point, such as 0.0083"
    return country, price


def _price(text: str) -> Decimal | None:
    try:
        price = Decimal(text)
    except InvalidOperation:
        return None
    if not price.is_finite() or not 0 <= price <= _MAX_PRICE:
        return None
    exponent = price.normalize().as_tuple().exponent
    return price if isinstance(exponent, int) and exponent >= -_MAX_DECIMALS else None
