"""The time zones that a phone number may be in."""

import functools
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from phonenumbers import (
    COUNTRY_CODE_TO_REGION_CODE,
    PhoneNumberType,
    example_number_for_type,
    format_number,
)
from phonenumbers.phonenumberutil import PhoneNumberFormat
from phonenumbers.tzdata import TIMEZONE_DATA

from signedfor.time_zones import _AREAS, _IGNORED_ZONES, TIME_ZONES, recipient_zones, zone


@pytest.mark.parametrize(
    ("recipient", "zones"),
    [
        ("+4915112345678", {"Europe/Berlin", "Europe/Busingen"}),
        ("+12125550100", {"America/New_York"}),
        # An area code has the zones of all its exchanges, and of the one that it lies over.
        ("+12085550100", {"America/Boise", "America/Denver", "America/Los_Angeles"}),
        ("+18505550100", {"America/Chicago", "America/New_York"}),
        ("+14485550100", {"America/Chicago", "America/New_York"}),
        ("+16895550100", {"America/Chicago", "America/New_York"}),
        ("+18765551234", {"America/Jamaica"}),
        ("+16715551234", {"Pacific/Guam"}),
        ("+34612345678", {"Atlantic/Canary", "Europe/Madrid", "Africa/Ceuta"}),  # a mobile
        ("+34928123456", {"Atlantic/Canary"}),  # a landline
        ("+74012123456", {"Europe/Kaliningrad"}),
        ("+6281234567890",
         {"Asia/Jakarta", "Asia/Pontianak", "Asia/Makassar", "Asia/Jayapura"}),
        ("+622131234567", {"Asia/Jakarta"}),
        ("+5511912345678", {"America/Sao_Paulo"}),  # mobiles in Brazil have area codes
        ("+529981234567", {"America/Cancun"}),  # and so have those in Mexico
        ("+6861234567", {"Pacific/Kanton", "Pacific/Kiritimati", "Pacific/Tarawa"}),
        ("+212612345678", {"Africa/Casablanca", "Africa/El_Aaiun"}),
        ("+38344123456", {"Europe/Belgrade"}),  # tzdata has no Kosovo
        ("whatsapp:+818012345678", {"Asia/Tokyo"}),
        ("rcs:+818012345678", {"Asia/Tokyo"}),
        ("+882161234567", set()),  # satellite phones, shared codes and unassigned ones
        ("+80012345678", set()),
        ("+2101234567", set()),
        ("messenger:4915112345678", set()),
        ("12345", set()),
    ],
)  # fmt: skip
def test_a_number_has_the_zones_of_its_area_or_country(recipient: str, zones: set[str]) -> None:
    """Addresses without a country have none."""
    assert zones == set(recipient_zones(recipient))


@pytest.mark.parametrize(
    ("recipient", "some"),
    [
        ("+18005550100", {"America/New_York", "Pacific/Honolulu", "Pacific/Guam"}),  # toll-free
        ("+15558675309", {"America/New_York", "Pacific/Honolulu"}),  # no such area code
        ("+61412345678", {"Australia/Perth", "Australia/Sydney", "Indian/Christmas"}),
        ("+79161234567", {"Europe/Kaliningrad", "Europe/Moscow", "Asia/Kamchatka"}),
        ("+7123", {"Europe/Moscow", "Asia/Kamchatka"}),  # too short to know the country
        ("+77011234567", {"Asia/Almaty", "Asia/Aqtobe"}),
        (
            "+5215512345678",
            {"America/Mexico_City", "America/Tijuana"},
        ),  # a mobile in the old format
        ("+528001234567", {"America/Mexico_City", "America/Tijuana"}),  # toll-free
        ("+56912345678", {"America/Santiago", "America/Punta_Arenas", "Pacific/Easter"}),
        ("+56612212345", {"America/Punta_Arenas"}),  # Chile's landlines and mobiles look alike
        ("+67570123456", {"Pacific/Port_Moresby", "Pacific/Bougainville"}),
        ("+6919201234", {"Pacific/Chuuk", "Pacific/Pohnpei", "Pacific/Kosrae"}),
    ],
)
def test_a_number_without_an_area_has_all_zones_of_its_country(
    recipient: str, some: set[str]
) -> None:
    """An unknown area is not guessed, so that no message arrives at night."""
    assert some <= set(recipient_zones(recipient))


def test_kazakhstan_and_russia_are_distinguished() -> None:
    """Both have country code 7, but different time zones."""
    zones = [set(recipient_zones(number)) for number in ("+77011234567", "+79161234567")]

    assert "Asia/Kamchatka" in zones[1] - zones[0]
    assert "Asia/Almaty" in zones[0] - zones[1]


def _zone_tab() -> Iterator[tuple[str, str]]:
    text = resources.files("tzdata").joinpath("zoneinfo/zone.tab").read_text("utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            region, _, name = line.split("\t")[:3]
            yield region, name


@functools.cache
def _clock(name: str) -> tuple[timedelta | None, ...]:
    """The zone's UTC offsets in the next years, every other day."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    days = (start + timedelta(days=n) for n in range(0, 5 * 365, 2))
    return tuple(moment.astimezone(zone(name)).utcoffset() for moment in days)


def _code(prefix: str) -> int:
    codes = (int(prefix[:n]) for n in (1, 2, 3))
    return next(code for code in codes if code in COUNTRY_CODE_TO_REGION_CODE)


_FOREIGN = {
    "52201": "New York in addition to Mexico City: it only narrows the window of a landline",
    "247": "tzdata has no Ascension, which has the time of Saint Helena",
    "383": "tzdata has no Kosovo, which has the time of Belgrade",
}
"""Prefixes with another country's time zone, and why that is acceptable."""


def test_no_number_has_another_countrys_time_zone() -> None:
    """Each zone of each prefix has the offsets of some zone of its country, in the next years too.

    A new release of `phonenumbers` or `tzdata` may break this. Then check whether messages could
    arrive at night, and fix `_AREAS`.
    """
    foreign = set()
    for prefix in TIMEZONE_DATA:
        code = _code(prefix)
        regions = COUNTRY_CODE_TO_REGION_CODE[code]
        own = {_clock(name) for region, name in _zone_tab() if region in regions}
        is_country = prefix == str(code)
        zones = recipient_zones(f"+{prefix}") if is_country else _AREAS[prefix]
        if not zones or any(_clock(name) not in own for name in zones):
            foreign.add(prefix)

    assert _FOREIGN.keys() == foreign


def test_mobiles_have_every_time_zone_of_their_country() -> None:
    """Except for countries whose mobiles have area codes, and a few listed zones."""
    skipped = set()
    for region, name in _zone_tab():
        mobile = example_number_for_type(region, PhoneNumberType.MOBILE)
        if mobile is None or mobile.country_code in {1, 52, 55}:
            continue
        zones = recipient_zones(format_number(mobile, PhoneNumberFormat.E164))
        if _clock(name) not in {_clock(each) for each in zones}:
            skipped.add(name)

    assert _IGNORED_ZONES == skipped


def test_the_rules_of_every_zone_can_be_loaded() -> None:
    """Each zone of a number or of `zone.tab` is in the installed `tzdata`."""
    named = {name for zones in _AREAS.values() for name in zones}
    named |= {name for _, name in _zone_tab()}

    assert named <= TIME_ZONES
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    for name in named:
        assert abs(moment.astimezone(zone(name)).utcoffset() or timedelta(0)) <= timedelta(hours=14)


def test_the_systems_time_zone_data_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules come from the `tzdata` package on every machine."""
    (tmp_path / "Europe").mkdir()
    tokyo = resources.files("tzdata").joinpath("zoneinfo/Asia/Tokyo").read_bytes()
    (tmp_path / "Europe" / "Berlin").write_bytes(tokyo)
    monkeypatch.setattr("zoneinfo._tzpath.TZPATH", (str(tmp_path),))
    ZoneInfo.clear_cache()
    zone.cache_clear()
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    assert timedelta(hours=9) == noon.astimezone(ZoneInfo("Europe/Berlin")).utcoffset()
    assert timedelta(hours=1) == noon.astimezone(zone("Europe/Berlin")).utcoffset()
    ZoneInfo.clear_cache()


@pytest.mark.integration
def test_workflows_do_not_import_time_zones() -> None:
    """A new release of the time zone data or the quiet hours must not break a replay."""
    script = (
        "import sys, pkgutil, importlib, workflows\n"
        "for each in pkgutil.iter_modules(workflows.__path__):\n"
        "    importlib.import_module(f'workflows.{each.name}')\n"
        "print({'signedfor.time_zones', 'signedfor.send_windows', 'signedfor.quiet_hours'}"
        " & {*sys.modules})"
    )
    root = Path(__file__).parents[2]

    run = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )

    assert "set()" == run.stdout.strip()
