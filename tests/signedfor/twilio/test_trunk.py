"""Our table of trunk prefixes, held against the one of `phonenumbers`."""

from collections.abc import Iterator

import phonenumbers
import pytest
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata, PhoneNumberFormat

from signedfor.twilio.phone import has_trunk_prefix

_KINDS = (
    *("mobile", "fixed_line", "toll_free", "premium_rate", "shared_cost", "uan", "voicemail"),
    *("pager", "voip", "personal_number"),
)


def _regions() -> Iterator[tuple[int, PhoneMetadata]]:
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        for region in regions:
            known = (
                PhoneMetadata.metadata_for_nongeo_region(code, None)
                if region == "001"
                else PhoneMetadata.metadata_for_region(region, None)
            )
            assert known is not None
            yield code, known


def _numbers() -> Iterator[tuple[int, str, str]]:
    """Country code, trunk prefix and national number of one of each kind of every region."""
    for code, known in _regions():
        for kind in _KINDS:
            described = getattr(known, kind)
            if described and described.example_number:
                yield code, known.national_prefix or "", described.example_number


def _read(number: str) -> str:
    return phonenumbers.format_number(phonenumbers.parse(number), PhoneNumberFormat.E164)


def test_no_number_as_it_is_dialled_from_abroad_is_refused() -> None:
    """Whatever digit it begins with."""
    numbers = [f"+{code}{national}" for code, _, national in _numbers() if len(national) > 4]

    assert 1000 < len(numbers)
    assert [] == [number for number in numbers if has_trunk_prefix(number)]


def test_every_number_with_its_trunk_prefix_is_refused() -> None:
    """Where the library takes the prefix away: else a person had two spellings."""
    found = {
        f"+{code}{prefix}{national}": f"+{code}{national}"
        for code, prefix, national in _numbers()
        if prefix
    }
    read_alike = [written for written, number in found.items() if _read(written) == number]

    assert 500 < len(read_alike)
    assert [] == [written for written in read_alike if not has_trunk_prefix(written)]


@pytest.mark.parametrize(
    ("written", "refused"),
    [
        ("+4407911123456", True),
        ("+447911123456", False),
        ("+115558675309", True),
        ("+1155586753", False),
        ("+541115234567", False),
        ("+5411152345678", False),
        ("+54111523456789", True),
        ("+5491123456789", False),
        ("+541123456789", False),
        ("+390612345678", False),
        ("+2250712345678", False),
        ("+24106031234", False),
        ("+241011123456", True),
        ("+25006123456", False),
        ("+2500788123456", True),
        ("+810077123456", False),
        ("+37086123456", False),
        ("+370861234567", True),
        ("+3758011234567", False),
        ("+375802912345678", False),
        ("+37580291234567", True),
        ("+3758291234567", True),
    ],
)
def test_some(written: str, refused: bool) -> None:
    """Each kind of rule."""
    assert refused is has_trunk_prefix(written)
