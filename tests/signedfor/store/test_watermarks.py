"""Watermarks only rise."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from signedfor.store.watermarks import Watermarks

AT = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


def test_one_that_was_never_set(engine: Engine) -> None:
    """It is None, not a time that never was."""
    assert Watermarks(engine).read("a") is None


def test_rises_and_never_falls(engine: Engine) -> None:
    """The highest counts, for each name by itself."""
    watermarks = Watermarks(engine)
    for name, to in (("a", AT), ("b", AT), ("a", AT + timedelta(hours=1)), ("a", AT)):
        watermarks.rise(name, to)

    assert [AT + timedelta(hours=1), AT] == [watermarks.read(name) for name in ("a", "b")]
