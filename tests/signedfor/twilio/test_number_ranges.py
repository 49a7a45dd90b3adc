"""Numbers that cannot belong to a recipient, compared with `phonenumbers`."""

import phonenumbers
import pytest
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

from signedfor.twilio.number_ranges import _REFUSED, range_problem

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


def test_ranges_are_classified_as_by_the_library() -> None:
    """The patterns that are checked first accept or refuse no example number by themselves."""
    numbers = _examples()
    expected = {
        number: _REFUSED.get(phonenumbers.number_type(phonenumbers.parse(number)))
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
