"""Prices by country: which one a recipient has, and what is wrong with a file."""

from decimal import Decimal
from pathlib import Path

import pytest

from signedfor.prices import InvalidPrices, Prices, in_micros, read_prices

PRICES = Prices(
    by_country={"US": Decimal("0.01"), "CA": Decimal("0.02"), "GB": Decimal("0.04")},
    others=Decimal("0.2"),
)


def _file(folder: Path, text: str | bytes) -> Path:
    path = folder / "prices.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("to", "price"),
    [
        ("+12125550100", "0.01"),
        ("+14165550100", "0.02"),
        ("+18005550100", "0.02"),  # toll-free: in any country of code 1
        ("+18765550100", "0.2"),  # Jamaica, which shares code 1
        ("+447700900123", "0.04"),  # or Jersey, which has no price of its own
        ("whatsapp:+447700900123", "0.04"),
        ("whatsapp:US.13491208655302741918", "0.2"),
        ("+4915112345678", "0.2"),
        ("+99912345678", "0.2"),
    ],
)
def test_the_price_of_a_recipient(to: str, price: str) -> None:
    """That of the number's country; the highest, if it may be in several."""
    assert Decimal(price) == PRICES.per_segment(to)


def test_a_file(tmp_path: Path) -> None:
    """As spreadsheets write it: a byte order mark, spaces, small letters, blank lines."""
    text = "\ufeffCountry, Price_per_segment\r\nus, 0.0113\r\n\r\nGB,0.0464\r\n*,0.12\r\n"

    assert Prices(
        by_country={"US": Decimal("0.0113"), "GB": Decimal("0.0464")}, others=Decimal("0.12")
    ) == read_prices(_file(tmp_path, text), price_per_segment=Decimal(9))


def test_the_single_price_is_that_of_all_others(tmp_path: Path) -> None:
    """With a file that has no row for them, and without a file."""
    path = _file(tmp_path, "country,price_per_segment\nUS,0.01\n")
    single = Decimal("0.05")

    assert Prices(by_country={"US": Decimal("0.01")}, others=single) == read_prices(
        path, price_per_segment=single
    )
    assert Prices(by_country={}, others=single) == read_prices(None, price_per_segment=single)
    assert read_prices(None, price_per_segment=None) is None


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["line 1 must be country,price_per_segment"]),
        ("US,0.01\n", ["line 1 must be country,price_per_segment"]),
        ("country,price_per_segment\nUS,0.01\n", ["has no row for *, and"]),
        (
            "country,price_per_segment\nUSA,0.01\nUS,free\nUS\nUS,1\nUS,2\n*,0,01\n",
            [
                "line 2 must begin with a country's two letters",
                "line 3 must have a price",
                "line 4 must have two cells",
                "line 6 names a country for the second time",
                "line 7 must have two cells",
            ],
        ),
        ("country,price_per_segment\n*,-1\n", ["line 2 must have a price"]),
        ("country,price_per_segment\n*,1001\n", ["line 2 must have a price"]),
        ("country,price_per_segment\n*,NaN\n", ["line 2 must have a price"]),
        ("country,price_per_segment\n*,1e-7\n", ["line 2 must have a price"]),
        ("country,price_per_segment\n001,1\n*,1\n", ["line 2 must begin with"]),
        (b"\xff\xfe", ["is not UTF-8"]),
        (b"country,price_per_segment\n" + b"*,1\n" * 300_000, ["is larger than 1 MB"]),
        (
            "country,price_per_segment\n*," + "1" * 200_000 + "\n",
            ["line 2 is not CSV"],
        ),
    ],
)
def test_what_is_wrong_is_named_by_its_line(
    text: str | bytes, problems: list[str], tmp_path: Path
) -> None:
    """All of it at once, and never the contents."""
    with pytest.raises(InvalidPrices) as caught:
        read_prices(_file(tmp_path, text), price_per_segment=None)

    found = caught.value.problems
    assert len(problems) == len(found), found
    assert all(each.startswith(expected) for each, expected in zip(found, problems, strict=True))
    assert "USA" not in str(caught.value)
    assert "free" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The reason is named, and the path, which is a value, is not."""
    with pytest.raises(InvalidPrices, match="cannot be read") as caught:
        read_prices(tmp_path / "none.csv", price_per_segment=None)

    assert "none.csv" not in str(caught.value)


def test_amounts_are_rounded_up() -> None:
    """What costs something never counts as nothing."""
    assert [11_300, 1, 0] == [in_micros(Decimal(each)) for each in ("0.0113", "1e-9", "0")]
