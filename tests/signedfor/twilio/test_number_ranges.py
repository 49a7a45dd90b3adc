"""Numbers that cannot belong to a recipient, compared with `phonenumbers`."""

import phonenumbers
import pytest
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

from signedfor.twilio.number_ranges import _REFUSED, NON_GEOGRAPHIC, country_of, range_problem

_KINDS = (
    *("premium_rate", "shared_cost", "uan", "voicemail", "mobile", "fixed_line", "toll_free"),
    *("pager", "voip", "personal_number"),
)


def _examples() -> list[str]:
    numbers = []
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        for region in regions:
            metadata = (
                PhoneMetadata.metadata_for_nongeo_region(code, None)
                if region == "001"
                else PhoneMetadata.metadata_for_region(region, None)
            )
            described = [getattr(metadata, kind) for kind in _KINDS]
            numbers += [
                f"+{code}{each.example_number}"
                for each in described
                if each and each.example_number
            ]
    return numbers


def _country(number: str) -> str | None:
    """By the library; the main one of the country code if it knows none."""
    parsed = phonenumbers.parse(number)
    main = COUNTRY_CODE_TO_REGION_CODE[parsed.country_code or 0][0]
    country = phonenumbers.region_code_for_number(parsed) or main
    return None if country == "001" else country


def test_countries_are_told_apart_as_by_the_library() -> None:
    """Every example number, and numbers of all area codes that share the country code 1."""
    numbers = [*_examples(), *(f"+1{area}5550123" for area in range(200, 1000))]
    expected = {number: _country(number) for number in numbers}

    assert expected == {number: country_of(number) for number in numbers}
    assert 240 < len(set(expected.values()))


@pytest.mark.parametrize("number", ["+2105555555", "+8821612345678"])
def test_some_numbers_are_in_no_country(number: str) -> None:
    """Unassigned country codes, and those of no country."""
    assert country_of(number) is None


def test_ranges_are_classified_as_by_the_library() -> None:
    """The patterns that are checked first accept or refuse no example number by themselves."""
    numbers = _examples()
    expected = {
        number: _REFUSED.get(phonenumbers.number_type(phonenumbers.parse(number)))
        or (NON_GEOGRAPHIC if _country(number) is None else None)
        for number in numbers
    }

    assert expected == {number: range_problem(number) for number in numbers}
    assert 200 < sum(problem is not None for problem in expected.values())


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        ("+19002345678", "premium-rate"),
        ("+491801234567", "shared-cost"),
        ("+979123456789", "premium-rate"),
        ("+870773123456", "satellite"),
        ("+881612345678", "satellite"),
        ("+8821612345678", "satellite"),
        ("+883510012345678", "belongs to no country"),
        ("+88812345678", "belongs to no country"),
        ("+80012345678", "belongs to no country"),
        ("+80812345678", "shared-cost"),
        ("+878101234567890", "belongs to no country"),
        ("+2105555555", "unassigned country code"),
        ("+155586753", "has 8 digits after its country code, where numbers have 10"),
        ("+155586753091", "has 11 digits after its country code, where numbers have 10"),
        ("+18765551", "has 7 digits after its country code, where numbers have 10"),
        ("+47123456", "has 6 digits after its country code, where numbers have 5 or 8"),
    ],
)
def test_a_number_that_cannot_belong_to_a_recipient_is_refused(number: str, problem: str) -> None:
    """The problem gives the reason."""
    assert problem in (range_problem(number) or "")


@pytest.mark.parametrize(
    "number",
    [
        *("+15558675309", "+15005550006", "+18005551234"),
        *("+6907290", "+69012345", "+390612345", "+39061234567"),
    ],
)
def test_a_number_of_a_valid_length_is_not_refused(number: str) -> None:
    """The library need not know its range."""
    assert range_problem(number) is None
